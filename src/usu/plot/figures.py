"""Whole figures of one explanation: the map over its photograph, and the comparison of upsamplers."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import FuncFormatter

from usu.arrays.convert import Array, as_numpy
from usu.operators.registry import INTERPOLATIONS, REDISTRIBUTIONS
from usu.plot.panels import coarse_cells, heat, overlay, photograph, score_map, segment_borders
from usu.plot.scales import QUANTILE, clipped, colour_limits, colours, power_of_ten
from usu.record import Record, answer_of, coarse_title, unit_of
from usu.runtime.files import written_whole
from usu.runtime.renames import renamed

TITLES = INTERPOLATIONS | REDISTRIBUTIONS

_COLUMNS = 4
_FILES_ONLY = ("agg", "cairo", "pdf", "pgf", "ps", "svg", "template")
_SMALL, _LARGE = 11, 12


@renamed(category="class_name")
def overlay_figure(explanation: Record, *, class_name: str | None = None, model: str | None = None) -> Figure:
    """Return a figure of the photograph and of the map over it, with a colour bar.

    Args:
        explanation: what is drawn.
        class_name: name of the explained class; its index by default.
        model: name of the model, for the title.
    """
    figure, (panels,) = _panels(explanation, 1, 2, width=3.4)
    photograph(explanation, panels[0])
    panels[0].set_title("Input", fontsize=_SMALL)
    norm = colour_limits([explanation.attribution])
    overlay(explanation, panels[1], norm=norm)
    panels[1].set_title(f"{_title(explanation.mode)} map, opacity by magnitude", fontsize=_SMALL)
    _colour_bar(figure, norm, panels, explanation, [explanation.attribution])
    figure.suptitle(_headline(explanation, class_name, model), fontsize=_LARGE)
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

    Args:
        explanation: of which the stages are drawn: photograph, coarse cells, segments, scores.
        maps: upsampler name to (H, W), in the order of the panels.
        class_name: name of the explained class; its index by default.
        model: name of the model, for the title.

    Raises:
        ValueError: there is no map to compare.
    """
    if not maps:
        raise ValueError("maps is empty: give at least one map to compare")
    norm = colour_limits(maps.values())
    # One panel more than there are maps: the map over its photograph.
    figure, (stages, *rows) = _panels(explanation, 2 + len(maps) // _COLUMNS, _COLUMNS, width=2.2)
    scores = _draw_stages(explanation, stages, norm)
    figure.colorbar(scores, ax=stages, label="segment score\n(1 = matters most)", aspect=10, pad=0.01)
    panels = [axis for row in rows for axis in row]
    for axis, (name, values) in zip(panels, maps.items(), strict=False):
        heat(values, axis, norm=norm)
        axis.set_title(_title(name), fontsize=_SMALL)
    last, *unused = panels[len(maps) :]
    overlay(explanation, last, norm=norm)
    last.set_title(f"{_title(explanation.mode)} over the input", fontsize=_SMALL)
    for axis in unused:
        axis.set_axis_off()
    _colour_bar(figure, norm, panels, explanation, maps.values())
    figure.suptitle(_headline(explanation, class_name, model), fontsize=_LARGE)
    return figure


def save_figure(figure: Figure, path: str | os.PathLike[str], *, dpi: int = 150) -> None:
    """Write a figure in the format of the path's ending, whole or not at all: an old file is replaced last.

    Raises:
        ValueError: an ending that matplotlib cannot write.
        OSError: the folder does not exist or cannot be written.
    """
    kind = Path(path).suffix.removeprefix(".") or "png"
    with written_whole(path) as file:
        figure.savefig(file, format=kind, dpi=dpi, bbox_inches="tight", pad_inches=0.06)


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


def _panels(explanation: Record, rows: int, columns: int, width: float) -> tuple[Figure, list[list[Axes]]]:
    """Return a figure of panels with the picture's proportions, each `width` inches wide."""
    height = width * explanation.attribution.shape[0] / explanation.attribution.shape[1]
    size = columns * (width + 0.1) + 1.0, rows * (height + 0.4) + 0.4
    figure = Figure(figsize=size, layout="compressed")
    return figure, [list(row) for row in figure.subplots(rows, columns, squeeze=False)]


def _draw_stages(explanation: Record, panels: list[Axes], norm: Normalize) -> AxesImage:
    picture, cells, segments, scores = panels
    photograph(explanation, picture)
    coarse_cells(explanation, cells, norm=norm)
    count = segment_borders(explanation, segments)
    image = score_map(explanation, scores)
    shape = " × ".join(map(str, explanation.coarse.shape))
    which = "Coarsest" if explanation.further else "Coarse"
    titles = ["Input", f"{which} map, {shape} cells", f"Finest segments, {count}", "Score map"]
    for axis, title in zip(panels, titles, strict=True):
        axis.set_title(title, fontsize=_SMALL)
    return image


def _colour_bar(
    figure: Figure, norm: Normalize, panels: list[Axes], explanation: Record, maps: Iterable[Array]
) -> None:
    """Draw the colour bar of `maps`: it says the unit and, where colours are clipped, the largest value."""
    values = [as_numpy(one) for one in maps]
    extend = clipped(norm, values)
    power, factor = power_of_ten(norm)
    label = f"attribution per pixel\nin {factor}{unit_of(explanation)}"
    if extend != "neither":
        furthest = max(float(np.abs(one).max()) for one in values) / 10**power
        label += f" (clipped at\nthe {100 * QUANTILE:g} % quantile; largest: {furthest:.3g})"
    figure.colorbar(
        ScalarMappable(norm, colours(norm)),
        ax=panels,
        label=label,
        extend=extend,
        format=FuncFormatter(lambda value, _: f"{value / 10**power:.3g}"),
        aspect=10 * -(-len(panels) // _COLUMNS),
        pad=0.01,
    )


def _headline(explanation: Record, class_name: str | None, model: str | None) -> str:
    kind = "class" if isinstance(explanation.target, int) else "target"
    name = class_name or explanation.class_name or f"{kind} {explanation.target}"
    model = model or explanation.model
    name = ", ".join(filter(None, (name, answer_of(explanation))))
    parts = (name, model, coarse_title(explanation), f"{explanation.forward_passes} forward passes")
    return "  ·  ".join(filter(None, parts))


def _title(upsampler: str) -> str:
    return TITLES.get(upsampler, upsampler)
