"""Pictures of explanations: panels that draw a record on an axis, and the comparison of all upsamplers.

Nothing here computes an attribution. Maps that stand side by side share one colour scale: sequential from
zero, or diverging about it as soon as a map has negative values. Both kinds of colours stay apart for
colour-blind readers and in grey print.
"""

from __future__ import annotations

import os
import tempfile
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
from torch import Tensor

from usu.arrays import Array
from usu.explanation import Explanation

Pixels: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"

TITLES = {
    "nearest": "Nearest neighbour",
    "bilinear": "Bilinear",
    "bicubic": "Bicubic",
    "lanczos": "Lanczos-3",
    "usu": "USU\n(keeps each cell's mass)",
    "iwmr": "IWMR\n(keeps the total mass)",
    "hybrid": "Hybrid\n(keeps the total mass)",
}

QUANTILE = 0.998  # a few peaks must not decide the colours of all other pixels
_SEQUENTIAL, _DIVERGING, _SCORES = "inferno", "RdBu_r", "cividis"
_NEGLIGIBLE = 0.01  # negative values below this share of the limit are not worth half of the colours
_COLUMNS = 4


def colour_limits(maps: Iterable[Array]) -> Normalize:
    """Return one colour scale for all `maps`: their joint 99.8 % quantile, from 0 or symmetric about 0."""
    values = np.concatenate([_numpy(values).ravel() for values in maps])
    limit = float(np.quantile(np.abs(values), QUANTILE)) or float(np.abs(values).max()) or 1.0
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
    opacity = 0.9 * np.sqrt(np.clip(np.abs(values) / _top(norm), 0, 1)) if alpha is None else alpha
    axis.imshow(values, cmap=_colours(norm), norm=norm, alpha=opacity)
    return ScalarMappable(norm, _colours(norm))


def photograph(explanation: Explanation, axis: Axes, *, grey: bool = False) -> AxesImage:
    """Draw the picture that was explained, in colour or in pale grey as a ground for something else."""
    picture = _numpy(explanation.image).transpose(1, 2, 0).clip(0, 1)
    _bare(axis)
    if not grey:
        return axis.imshow(picture)
    luminance = picture @ np.array([0.299, 0.587, 0.114])
    return axis.imshow(0.25 + 0.75 * luminance, cmap="gray", vmin=0, vmax=1)


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
    axis.add_collection(_borders(finest, color="black", linewidth=1.2))
    axis.add_collection(_borders(finest, color="yellow", linewidth=0.5))
    return int(finest.max()) + 1


def score_map(explanation: Explanation, axis: Axes) -> AxesImage:
    """Draw the scores in [0, 1] that the mass was shared by."""
    _bare(axis)
    return axis.imshow(_numpy(explanation.score_map), cmap=_SCORES, vmin=0, vmax=1)


def overlay_figure(
    explanation: Explanation, *, category: str | None = None, model: str | None = None
) -> Figure:
    """Return the map over its photograph beside the photograph, with a colour bar."""
    figure = Figure(figsize=(7.6, 4.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    photograph(explanation, left)
    left.set_title("Input", fontsize=9)
    norm = colour_limits([explanation.attribution])
    mappable = overlay(explanation, right, norm=norm)
    right.set_title(f"Attribution to “{_category(explanation, category)}”, {explanation.mode}", fontsize=9)
    _colour_bar(figure, mappable, [right], explanation, [explanation.attribution])
    figure.suptitle(_headline(explanation, category, model), fontsize=10)
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
    rows = 1 + -(-(len(maps) + 1) // _COLUMNS)
    figure = Figure(figsize=(9.6, 2.45 * rows + 0.5), layout="constrained")
    grid = figure.subplots(rows, _COLUMNS)
    score_image = _draw_stages(explanation, list(grid[0]), norm)
    figure.colorbar(score_image, ax=list(grid[0]), label="segment score (1 = best)", aspect=12, pad=0.01)
    panels = list(grid[1:].ravel())
    for axis, (name, values) in zip(panels, maps.items(), strict=False):
        mappable: ScalarMappable = heat(values, axis, norm=norm)
        axis.set_title(TITLES.get(name, name), fontsize=9)
    last, *unused = panels[len(maps) :]
    mappable = overlay(explanation, last, norm=norm)
    last.set_title(f"{explanation.mode.upper()} over the photograph\n(opacity by magnitude)", fontsize=9)
    for axis in unused:
        axis.set_axis_off()
    _colour_bar(figure, mappable, panels, explanation, maps.values())
    figure.suptitle(_headline(explanation, category, model), fontsize=11)
    return figure


def save_figure(figure: Figure, path: str | os.PathLike[str], *, dpi: int = 150) -> None:
    """Write a figure in the format of the ending, whole or not at all.

    Raises:
        ValueError: an ending that matplotlib cannot write.
        OSError: the folder does not exist or cannot be written.
    """
    target = Path(path)
    handle, partial = tempfile.mkstemp(dir=target.parent, prefix=f".{target.stem}.", suffix=".partial")
    try:
        with os.fdopen(handle, "wb") as file:
            figure.savefig(file, format=target.suffix.removeprefix(".") or "png", dpi=dpi)
        os.chmod(partial, 0o666 & ~_umask())
        os.replace(partial, target)
    except BaseException:
        os.unlink(partial)
        raise


def _draw_stages(explanation: Explanation, axes: list[Axes], norm: Normalize) -> AxesImage:
    picture, cells, segments, scores = axes
    photograph(explanation, picture)
    picture.set_title("Input", fontsize=9)
    coarse_cells(explanation, cells, norm=norm)
    shape = " × ".join(map(str, explanation.coarse.shape))
    cells.set_title(f"Coarse map\n({shape} cells)", fontsize=9)
    count = segment_borders(explanation, segments)
    segments.set_title(f"Finest segments\n({count} of them)", fontsize=9)
    image = score_map(explanation, scores)
    scores.set_title("Score map\n(what the mass follows)", fontsize=9)
    return image


def _colour_bar(
    figure: Figure,
    mappable: ScalarMappable,
    axes: list[Axes],
    explanation: Explanation,
    maps: Iterable[Array],
) -> None:
    norm = mappable.norm
    assert isinstance(norm, Normalize)
    extremes = [(float(_numpy(values).min()), float(_numpy(values).max())) for values in maps]
    above = max(high for _, high in extremes) > _top(norm)
    below = min(low for low, _ in extremes) < (norm.vmin or 0.0)
    extend = {(False, False): "neither", (True, False): "max", (False, True): "min", (True, True): "both"}
    label = f"attribution per pixel ({_unit(explanation)})"
    if above or below:
        label += f"\ncolours end at the {QUANTILE:.1%} quantile of magnitudes"
    figure.colorbar(
        mappable,
        ax=axes,
        label=label,
        extend=extend[above, below],
        aspect=12 * len(axes) // _COLUMNS + 12,
        pad=0.01,
    )


def _unit(explanation: Explanation) -> str:
    return "in the unit of the coarse map" if explanation.source == "given" else f"{explanation.source} units"


def _headline(explanation: Explanation, category: str | None, model: str | None) -> str:
    parts = [f"{_category(explanation, category)}: probability {explanation.probability:.1%}", model]
    parts += [explanation.source, f"{explanation.forward_passes} forward passes"]
    return "   ·   ".join(part for part in parts if part)


def _category(explanation: Explanation, category: str | None) -> str:
    return f"class {explanation.target}" if category is None else category


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


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
