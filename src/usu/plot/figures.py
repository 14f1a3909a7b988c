"""Whole figures of one explanation: the map over its photograph, and the comparison of upsamplers."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import FuncFormatter

from usu.arrays.checks import check_number, check_path
from usu.arrays.convert import Array, as_numpy
from usu.operators.registry import INTERPOLATIONS, REDISTRIBUTIONS
from usu.plot.panels import (
    check_planar,
    coarse_cells,
    frame_seen,
    heat,
    overlay,
    partition,
    picture,
    score_map,
    segment_borders,
)
from usu.plot.scales import QUANTILE, clipped, colour_limits, colours, is_signed, pixels_of, power_of_ten
from usu.plot.style import fitted, style, titles
from usu.record import Record, answer_of, cells_of, coarse_title, unit_of
from usu.runtime.files import written_whole
from usu.runtime.renames import renamed

TITLES = INTERPOLATIONS | REDISTRIBUTIONS

_COLUMNS, _FEW = (4, 5), 3
_WIDE = 8.8  # inches for the panels of a row
_LEAST = 5.0  # inches that a comparison needs
_BARS, _INCH = 1.0, 11  # inches for colour bars and their labels, in text of so many points
_FILES_ONLY = ("agg", "cairo", "pdf", "pgf", "ps", "svg", "template")


@renamed(category="class_name")
def overlay_figure(
    explanation: Record,
    *,
    class_name: str | None = None,
    model: str | None = None,
    photograph: Array | None = None,
) -> Figure:
    """Return a figure of the picture, and over it the map and, for comparison, the bilinear one.

    Both maps share one colour scale. Around a photograph that is larger than what the network saw, that part
    is framed. Where cells are not a grid, the coarse map itself (nearest neighbour) stands in for the
    bilinear map.

    Args:
        explanation: what is drawn.
        class_name: name of the explained class; its index by default.
        model: name of the model, for the title.
        photograph: (3, height, width), RGB in [0, 1], to draw in place of the network's input; the record's
            placement says where in it the maps belong.

    Raises:
        ValueError: a photograph without a placement, or of another size than it says.
    """
    shown = explanation if photograph is None else _placed(explanation, photograph)
    figure, (panels,), width = _panels(shown, 1, 3, width=3.0)
    plain = "bilinear" if shown.neighbourhoods is None else "nearest"
    maps = {shown.mode: shown.attribution, plain: _upsampled(shown, plain)}
    picture(shown.image, panels[0])
    norm = colour_limits((_seen(shown, values) for values in maps.values()), signed=is_signed(shown))
    for axis, values in zip(panels[1:], maps.values(), strict=True):
        overlay(shown, axis, values, norm=norm)
    titles([*zip(panels, ["Input", *map(map_title, maps)], strict=True)], width)
    if framed := _has_surroundings(shown):
        for axis in panels:
            frame_seen(shown, axis)
    colour_bar(figure, norm, panels, shown, maps.values(), below=style().width is not None)
    words(figure, explanation, class_name, model, framed=framed)
    return figure


@renamed(category="class_name")
def comparison(
    explanation: Record,
    maps: Mapping[str, Array],
    *,
    class_name: str | None = None,
    model: str | None = None,
) -> Figure:
    """Return one figure of all stages and all maps; maps and coarse cells share one colour scale.

    The map is drawn over the picture, too. What room is left in the last row shows others over it.

    Args:
        explanation: of which the stages are drawn: photograph, coarse cells, segments, scores.
        maps: upsampler name to (H, W), in the order of the panels.
        class_name: name of the explained class; its index by default.
        model: name of the model, for the title.

    Raises:
        TypeError: maps that are no mapping, or not of real numbers.
        ValueError: there is no map to compare, or one of another size or not finite; inside
            `publication("column")`, too narrow for so many panels.
    """
    check_planar(explanation.image)
    if not isinstance(maps, Mapping):
        raise TypeError(f"maps must map upsamplers' names to maps, got {type(maps).__name__}")
    size = tuple(explanation.attribution.shape)
    for name, values in maps.items():
        if pixels_of(values, f"maps[{name!r}]").shape != size:
            raise ValueError(f"maps[{name!r}] must be {size}, got {tuple(values.shape)}")
    if not maps:
        raise ValueError("maps is empty: give at least one map to compare")
    if (width := style().width) is not None and width < _LEAST:
        raise ValueError(f"a comparison does not fit into {width:g} inches: use publication('page')")
    norm = colour_limits(maps.values(), signed=is_signed(explanation))
    count = 4 + len(maps) + 1  # the stages, the maps, and the map over its photograph
    columns = min(_COLUMNS, key=lambda columns: -count % columns)
    others = {name: values for name, values in maps.items() if name != explanation.mode}
    if -count % columns > len(others):
        columns = _FEW
    over = {explanation.mode: explanation.attribution, **dict(islice(others.items(), -count % columns))}
    figure, rows, width = _panels(explanation, -(-count // columns), columns, width=_WIDE / columns)
    panels = [axis for row in rows for axis in row]
    scores = _draw_stages(explanation, panels[:4], norm)
    label = "segment score\n(1 = matters most)"
    _bar_text(figure.colorbar(scores, ax=rows[0], aspect=10, pad=0.01), label)
    for axis, values in zip(panels[4:], maps.values(), strict=False):
        heat(values, axis, norm=norm)
    for axis, values in zip(panels[count - 1 :], over.values(), strict=False):
        overlay(explanation, axis, values, norm=norm)
    texts = [
        *_stage_titles(explanation),
        *map(map_title, maps),
        *(f"{map_title(name)}, overlaid" for name in over),
    ]
    titles([*zip(panels, texts, strict=True)], width)
    colour_bar(figure, norm, [axis for row in rows[1:] for axis in row], explanation, maps.values())
    words(figure, explanation, class_name, model)
    return figure


def save_figure(figure: Figure, path: str | os.PathLike[str], *, dpi: int = 150) -> None:
    """Write a figure in the format of the path's ending, whole or not at all: an old file is replaced last.

    Raises:
        TypeError: a path or a resolution of the wrong kind.
        ValueError: an ending that matplotlib cannot write, a resolution that is not positive.
        OSError: the folder does not exist or cannot be written.
    """
    kind = Path(check_path(path, "path")).suffix.removeprefix(".") or "png"
    known = figure.canvas.get_supported_filetypes()
    if kind.lower() not in known:
        raise ValueError(f"path must end as one of the formats {', '.join(sorted(known))}, got {kind!r}")
    if not check_number(dpi, "dpi") > 0:
        raise ValueError(f"dpi must be positive, got {dpi!r}")
    # zlib's fastest level: a fifth less time for a file a fifth larger.
    options: dict[str, Any] = {"pil_kwargs": {"compress_level": 1}} if kind == "png" else {}
    with written_whole(path) as file:
        figure.savefig(file, format=kind, dpi=dpi, bbox_inches="tight", pad_inches=0.06, **options)


def show_figure(figure: Figure) -> None:
    """Show a figure by matplotlib's backend: in a window until it is closed, or below a notebook's cell.

    Raises:
        RuntimeError: the backend only writes files.
    """
    import matplotlib.pyplot as plt

    backend = plt.get_backend()
    if backend.lower() in _FILES_ONLY:
        raise RuntimeError(
            f"matplotlib's backend {backend!r} opens no window: write a file, save_image('map.png')"
        )
    manager = plt.figure().canvas.manager
    assert manager is not None, "pyplot makes one"
    manager.canvas.figure = figure
    figure.set_canvas(manager.canvas)
    plt.show()


def _panels(
    explanation: Record, rows: int, columns: int, width: float
) -> tuple[Figure, list[list[Axes]], float]:
    """Return a figure of panels with the picture's proportions, and their width in inches."""
    check_planar(explanation.image)
    whole, text = style().width, style().small / _INCH
    beside = 0.0 if whole is not None and rows == 1 else _BARS * text
    if whole is not None:
        width = (whole - beside) / columns - 0.1
    height = width * explanation.attribution.shape[0] / explanation.attribution.shape[1]
    size = columns * (width + 0.1) + beside, rows * (height + 0.3 * text) + (0.6 if beside else 1.1) * text
    figure = Figure(figsize=size, layout="compressed")
    panels = [list(row) for row in figure.subplots(rows, columns, squeeze=False)]
    for axis in chain(*panels):  # pictures have no ticks, which take time even where there are none
        axis.xaxis.set_visible(False)
        axis.yaxis.set_visible(False)
    return figure, panels, width


def _placed(explanation: Record, photograph: Array) -> Record:
    """Return a record whose picture and map are those of the whole photograph."""
    if explanation.placement is None:
        raise ValueError("photograph must be None: the record has no placement, which says what was seen")
    size = tuple(explanation.placement.photograph)
    found = pixels_of(photograph, "photograph", None).shape
    if found != (3, *size):
        raise ValueError(f"photograph must be {(3, *size)} as the record's placement says, got {found}")
    whole = explanation.placement.to_photograph(explanation.attribution, padding="drop")
    return replace(explanation, image=photograph, attribution=whole)


def _seen(explanation: Record, values: Array) -> Array:
    """Return the part of a map (H, W) that the network saw: zeros around it must not set the colours."""
    if not _has_surroundings(explanation) or explanation.placement is None:
        return values
    top, left, bottom, right = explanation.placement.seen
    part: Array = values[math.floor(top) : math.ceil(bottom), math.floor(left) : math.ceil(right)]
    return part


def _upsampled(explanation: Record, upsampler: str) -> Array:
    """Return an interpolation of the coarse map at the size of the explanation's picture."""
    pixels: Array = explanation.coarse_map.upsample(upsampler, explanation.score_map)
    if _has_surroundings(explanation) and explanation.placement is not None:
        pixels = explanation.placement.to_photograph(pixels, padding="drop")
    return pixels


def _has_surroundings(explanation: Record) -> bool:
    """Return whether the picture is a whole photograph, of which the network saw a part."""
    placement, size = explanation.placement, tuple(explanation.attribution.shape)
    seen = tuple(explanation.score_map.shape)
    return placement is not None and size == tuple(placement.photograph) and size != seen


def _draw_stages(explanation: Record, panels: list[Axes], norm: Normalize) -> AxesImage:
    picture(explanation.image, panels[0])
    coarse_cells(explanation, panels[1], norm=norm)
    segment_borders(explanation, panels[2])
    return score_map(explanation, panels[3])


def _stage_titles(explanation: Record) -> list[str]:
    shape = " × ".join(map(str, explanation.coarse.shape))
    which = "Coarsest" if explanation.further else "Coarse"
    count = int(partition(explanation).max()) + 1
    return ["Input", f"{which} map, {shape} cells", f"Finest segments, {count}", "Score map"]


def colour_bar(
    figure: Figure,
    norm: Normalize,
    panels: list[Axes],
    explanation: Record,
    maps: Iterable[Array],
    below: bool = False,
    cmap: str | None = None,
) -> None:
    """Draw the colour bar of `maps`: it says the unit and, where colours are clipped, the largest value.

    It stands beside the panels or, where a low row has no room for its words, below them.
    """
    values = [as_numpy(one) for one in maps]
    extend = clipped(norm, values)
    power, factor = power_of_ten(norm)
    one = {1: "sample", 2: "pixel", 3: "voxel"}[values[0].ndim]
    label = f"attribution per {one}\nin {factor}{unit_of(explanation)}"
    if extend != "neither":
        furthest = max(float(np.abs(one).max()) for one in values) / 10**power
        label += f" (clipped at\nthe {100 * QUANTILE:g} % quantile; largest: {furthest:.3g})"
    bar = figure.colorbar(
        ScalarMappable(norm, cmap or colours(norm)),
        ax=panels,
        extend=extend,
        format=FuncFormatter(lambda value, _: f"{value / 10**power:.3g}"),
        aspect=40 if below else 10 * -(-len(panels) // _COLUMNS[0]),
        pad=0.02 if below else 0.01,
        location="bottom" if below else "right",
    )
    _bar_text(bar, label.replace("\n", " ") if below else label, style().width if below else None)


def _bar_text(bar: Colorbar, label: str, width: float | None = None) -> None:
    small = style().small - (style().width is None)
    bar.set_label(label, fontsize=small if width is None else fitted(label, 0.95 * width, small))
    bar.ax.tick_params(labelsize=small)


def words(
    figure: Figure, explanation: Record, class_name: str | None, model: str | None, framed: bool = False
) -> None:
    """Write the headline above the panels and the caption below, each on a line of its own."""
    width = 0.9 * float(figure.get_size_inches()[0])
    headline, caption = _headline(explanation, class_name, model), _caption(explanation, framed)
    figure.suptitle(headline, fontsize=fitted(headline, width, style().large))
    figure.supxlabel(caption, fontsize=fitted(caption, width, style().small - 1), color="0.3")


def _caption(explanation: Record, framed: bool) -> str:
    """Return how the map was made and how well it keeps the cells' masses."""
    temperature = explanation.settings.get("temperature")
    parts = [
        f"map: {map_title(explanation.mode)}{', continuous' * bool(explanation.settings.get('continuous'))}",
        None if temperature is None else f"ε = {temperature:g}",
        cells_of(explanation),
    ]
    if not _has_surroundings(explanation):
        error, whole = explanation.coarse_map.mass_error(explanation.attribution)
        parts.append(f"D1 error {error / whole if whole else 0.0:.2g} of a cell's mean mass")
    if framed:
        parts.append("frame: what the network saw")
    return "  ·  ".join(filter(None, parts))


def _headline(explanation: Record, class_name: str | None, model: str | None) -> str:
    kind = "class" if isinstance(explanation.target, int) else "target"
    name = class_name or explanation.class_name or f"{kind} {explanation.target}"
    model = model or explanation.model
    name = ", ".join(filter(None, (name, answer_of(explanation))))
    parts = (name, model, coarse_title(explanation), f"{explanation.forward_passes} passes")
    return "  ·  ".join(filter(None, parts))


def map_title(upsampler: str) -> str:
    """Return an upsampler's name as a panel's title."""
    return "Complete" if upsampler == "complete" else TITLES.get(upsampler, upsampler)
