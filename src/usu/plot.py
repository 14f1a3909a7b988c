"""Pictures of explanations: panels that draw a record on an axis, and the comparison of all upsamplers.

Nothing here computes an attribution. Maps that stand side by side share one colour scale: sequential from
zero, or diverging about it as soon as a map has negative values. Both kinds of colours stay apart for
colour-blind readers and in grey print.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import FuncFormatter
from torch import Tensor

from usu.arrays import Array
from usu.explanation import Explanation
from usu.files import written_whole
from usu.names import SOURCE_NAMES, unit_of

Pixels: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"

TITLES = {
    "nearest": "Nearest neighbour",
    "bilinear": "Bilinear",
    "bicubic": "Bicubic",
    "lanczos": "Lanczos-3",
    "usu": "USU",
    "iwmr": "IWMR",
    "hybrid": "Hybrid",
}
QUANTILE = 0.98  # a few peaks must not turn all other pixels, and whole maps beside theirs, black

_SEQUENTIAL, _DIVERGING, _SCORES = "inferno", "RdBu_r", "cividis"
_NEGLIGIBLE = 0.01  # negative values below this share of the limit are not worth half of the colours
_COLUMNS = 4
_SMALL, _LARGE = 9, 11


def colour_limits(maps: Iterable[Array]) -> Normalize:
    """Return one colour scale for all `maps`: to their joint 98 % quantile, from 0 or symmetric about 0."""
    values = np.concatenate([_numpy(values).ravel() for values in maps])
    magnitudes = np.abs(values)
    limit = float(np.quantile(magnitudes, QUANTILE)) or float(magnitudes.max()) or 1.0
    signed = float(values.min()) < -_NEGLIGIBLE * limit
    return Normalize(-limit if signed else 0.0, limit)


def heat(values: Array, axis: Axes, *, norm: Normalize | None = None) -> AxesImage:
    """Draw a map (H, W) alone, so that its colours are exactly those of the colour bar."""
    norm = norm or colour_limits([values])
    _bare(axis)
    return axis.imshow(_numpy(values), cmap=_colours(norm), norm=norm)


def overlay(
    explanation: Explanation,
    axis: Axes,
    attribution: Array | None = None,
    *,
    norm: Normalize | None = None,
    alpha: float | None = None,
) -> ScalarMappable:
    """Draw a map over the photograph, which is shown in grey so that every colour is the map's.

    Args:
        explanation: gives the photograph, and the map by default.
        axis: to draw on.
        attribution: (H, W), another map for the same photograph.
        norm: colour scale, shared with other panels; by default the map's own.
        alpha: opacity in [0, 1]; by default it grows with the magnitude, so that zero is transparent.

    Returns:
        What `Figure.colorbar` takes.
    """
    values = _numpy(explanation.attribution if attribution is None else attribution)
    norm = norm or colour_limits([values])
    photograph(explanation, axis, grey=True)
    opacity = np.clip(np.abs(values) / _top(norm), 0, 0.9) if alpha is None else alpha
    axis.imshow(values, cmap=_colours(norm), norm=norm, alpha=opacity)
    return ScalarMappable(norm, _colours(norm))


def photograph(explanation: Explanation, axis: Axes, *, grey: bool = False) -> AxesImage:
    """Draw the picture that was explained, in colour or in dim grey as a ground for something else."""
    picture = _numpy(explanation.image).transpose(1, 2, 0).clip(0, 1)
    _bare(axis)
    if not grey:
        return axis.imshow(picture)
    luminance = picture @ np.array([0.299, 0.587, 0.114])
    return axis.imshow(0.1 + 0.6 * luminance, cmap="gray", vmin=0, vmax=1)


def coarse_cells(explanation: Explanation, axis: Axes, *, norm: Normalize | None = None) -> AxesImage:
    """Draw the coarse map cell by cell, as densities, with the borders of its cells."""
    regions = _cells(explanation)
    densities = _numpy(explanation.coarse).ravel()
    if explanation.mass == "total":
        densities = densities / np.bincount(regions.ravel(), minlength=densities.size)
    image = heat(densities[regions], axis, norm=norm)
    axis.add_collection(_borders(regions, color="0.5", linewidth=0.4))
    return image


def segment_borders(explanation: Explanation, axis: Axes) -> int:
    """Draw the borders of the finest partition on the photograph; return its number of segments."""
    finest = max(map(_numpy, explanation.partitions), key=lambda labels: int(labels.max()))
    photograph(explanation, axis)
    axis.add_collection(_borders(finest, color="black", linewidth=1.0))
    axis.add_collection(_borders(finest, color="yellow", linewidth=0.4))
    return int(finest.max()) + 1


def score_map(explanation: Explanation, axis: Axes) -> AxesImage:
    """Draw the scores in [0, 1] that the mass was shared by."""
    _bare(axis)
    return axis.imshow(_numpy(explanation.score_map), cmap=_SCORES, vmin=0, vmax=1)


def overlay_figure(
    explanation: Explanation, *, category: str | None = None, model: str | None = None
) -> Figure:
    """Return a figure of the photograph and of the map over it, with a colour bar.

    Args:
        explanation: what is drawn.
        category: name of the explained class; its index by default.
        model: name of the model, for the title.
    """
    figure, (panels,) = _panels(explanation, 1, 2, width=3.4)
    photograph(explanation, panels[0])
    panels[0].set_title("Input", fontsize=_SMALL)
    norm = colour_limits([explanation.attribution])
    overlay(explanation, panels[1], norm=norm)
    panels[1].set_title(f"{_title(explanation.mode)} map, opacity by magnitude", fontsize=_SMALL)
    _colour_bar(figure, norm, panels, explanation, [explanation.attribution])
    figure.suptitle(_headline(explanation, category, model), fontsize=_LARGE)
    return figure


def comparison(
    explanation: Explanation,
    maps: Mapping[str, Array],
    *,
    category: str | None = None,
    model: str | None = None,
) -> Figure:
    """Return one figure of all stages and of all maps, the maps and the coarse cells on one colour scale.

    Args:
        explanation: gives the stages: photograph, coarse cells, segments, scores.
        maps: upsampler name to (H, W), in the order of the panels.
        category: name of the explained class; its index by default.
        model: name of the model, for the title.

    Raises:
        ValueError: there is no map to compare.
    """
    if not maps:
        raise ValueError("maps is empty: give at least one map to compare")
    norm = colour_limits(maps.values())
    # One panel more than there are maps, for the map over its photograph.
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
    figure.suptitle(_headline(explanation, category, model), fontsize=_LARGE)
    return figure


def save_figure(figure: Figure, path: str | os.PathLike[str], *, dpi: int = 150) -> None:
    """Write a figure in the format of the ending, whole or not at all: an old file is replaced at the end.

    Raises:
        ValueError: an ending that matplotlib cannot write.
        OSError: the folder does not exist or cannot be written.
    """
    kind = Path(path).suffix.removeprefix(".") or "png"
    with written_whole(path) as file:
        figure.savefig(file, format=kind, dpi=dpi, bbox_inches="tight", pad_inches=0.06)


def _panels(
    explanation: Explanation, rows: int, columns: int, width: float
) -> tuple[Figure, list[list[Axes]]]:
    """Return a figure of panels with the picture's proportions, each `width` inches wide."""
    height = width * explanation.attribution.shape[0] / explanation.attribution.shape[1]
    size = columns * (width + 0.1) + 1.0, rows * (height + 0.4) + 0.4
    figure = Figure(figsize=size, layout="compressed")
    return figure, [list(row) for row in figure.subplots(rows, columns, squeeze=False)]


def _draw_stages(explanation: Explanation, panels: list[Axes], norm: Normalize) -> AxesImage:
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
    figure: Figure,
    norm: Normalize,
    panels: list[Axes],
    explanation: Explanation,
    maps: Iterable[Array],
) -> None:
    """Draw the colour bar of `maps`: it says the unit and, where colours are clipped, how far values go."""
    values = [_numpy(one) for one in maps]
    lowest, highest = min(float(one.min()) for one in values), max(float(one.max()) for one in values)
    above, below = highest > _top(norm), lowest < (norm.vmin or 0.0)
    power = math.floor(math.log10(_top(norm)))
    power = 0 if -2 <= power <= 2 else power
    unit = unit_of(explanation)
    label = f"attribution per pixel\nin {f'$10^{{{power}}}$ ' if power else ''}{unit}"
    if above or below:
        furthest = max(highest, -lowest) / 10**power
        label += f" (clipped at\nthe {100 * QUANTILE:g} % quantile; largest: {furthest:.3g})"
    ends = {(False, False): "neither", (True, False): "max", (False, True): "min", (True, True): "both"}
    figure.colorbar(
        ScalarMappable(norm, _colours(norm)),
        ax=panels,
        label=label,
        extend=ends[above, below],
        format=FuncFormatter(lambda value, _: f"{value / 10**power:.3g}"),
        aspect=10 * -(-len(panels) // _COLUMNS),
        pad=0.01,
    )


def _headline(explanation: Explanation, category: str | None, model: str | None) -> str:
    kind = "class" if isinstance(explanation.target, int) else "target"
    name = f"{kind} {explanation.target}" if category is None else category
    if explanation.probability is not None:
        name += f", probability {100 * explanation.probability:.1f} %"
    parts = [name, model]
    parts.append(SOURCE_NAMES.get(explanation.source, explanation.source))
    return "  ·  ".join([*filter(None, parts), f"{explanation.forward_passes} forward passes"])


def _title(upsampler: str) -> str:
    return TITLES.get(upsampler, upsampler)


def _cells(explanation: Explanation) -> Pixels:
    """Return the label map (H, W) of the cells that the coarse values belong to."""
    if explanation.neighbourhoods is not None:
        return _numpy(explanation.neighbourhoods)
    rows, columns = explanation.coarse.shape
    height, width = explanation.attribution.shape
    row = (2 * np.arange(height) + 1) * rows // (2 * height)
    column = (2 * np.arange(width) + 1) * columns // (2 * width)
    return np.asarray(row[:, None] * columns + column)


def _borders(labels: Pixels, **style: Any) -> LineCollection:
    """Return the lines between pixels of different labels, in the coordinates of `imshow`."""
    y, x = np.nonzero(labels[:, 1:] != labels[:, :-1])
    upright = np.stack([np.stack([x + 0.5, y - 0.5], -1), np.stack([x + 0.5, y + 0.5], -1)], 1)
    y, x = np.nonzero(labels[1:] != labels[:-1])
    level = np.stack([np.stack([x - 0.5, y + 0.5], -1), np.stack([x + 0.5, y + 0.5], -1)], 1)
    return LineCollection(list(np.concatenate([upright, level])), capstyle="projecting", **style)


def _colours(norm: Normalize) -> str:
    return _DIVERGING if (norm.vmin or 0.0) < 0 else _SEQUENTIAL


def _top(norm: Normalize) -> float:
    return float(norm.vmax or 1.0)


def _bare(axis: Axes) -> None:
    axis.set_xticks([])
    axis.set_yticks([])


def _numpy(values: Array) -> Pixels:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
