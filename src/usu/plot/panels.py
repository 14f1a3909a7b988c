"""Panels: each draws one field of an explanation on an axis, and leaves the rest of the axis alone."""

from __future__ import annotations

import math

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

from usu.arrays.checks import check_number
from usu.arrays.convert import Array, as_numpy
from usu.plot.scales import (
    CHANGES,
    DEPTHS,
    SCORES,
    SEQUENTIAL,
    Pixels,
    bare,
    borders,
    check_whole,
    colour_limits,
    colours,
    full_limits,
    is_signed,
    pixels_of,
    top,
)
from usu.record import Record


def heat(values: Array, axis: Axes, *, norm: Normalize | None = None) -> AxesImage:
    """Draw a map (H, W) alone, so that its colours are exactly those of the colour bar.

    Raises ValueError for another number of axes and for values that are not finite.
    """
    found = pixels_of(values, "values")
    norm = norm or colour_limits([found])
    bare(axis)
    return axis.imshow(found, cmap=colours(norm), norm=norm)


def overlay(
    explanation: Record,
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
        The colours, for `Figure.colorbar`.

    Raises:
        ValueError: a map of another size, values that are not finite, an opacity outside [0, 1].
        TypeError: arguments of the wrong kind.
    """
    values = pixels_of(explanation.attribution if attribution is None else attribution, "attribution")
    size = tuple(explanation.attribution.shape)
    if values.shape != size:
        raise ValueError(f"attribution must be {size}, a map of the explanation's image, got {values.shape}")
    if alpha is not None and not 0 <= check_number(alpha, "alpha") <= 1:
        raise ValueError(f"alpha must lie in [0, 1], got {alpha!r}")
    norm = norm or colour_limits([values], signed=is_signed(explanation))
    photograph(explanation, axis, grey=True)
    return lay_over(values, axis, norm, alpha)


def lay_over(values: Array, axis: Axes, norm: Normalize, alpha: float | None = None) -> ScalarMappable:
    """Draw a map (H, W) over what an axis shows, the more opaque the larger; see `overlay`."""
    values = as_numpy(values)
    opacity = np.clip(np.abs(values) / top(norm), 0, 0.9) if alpha is None else alpha
    axis.imshow(values, cmap=colours(norm), norm=norm, alpha=opacity)
    return ScalarMappable(norm, colours(norm))


def photograph(explanation: Record, axis: Axes, *, grey: bool = False) -> AxesImage:
    """Draw the picture that was explained, in colour or in dim grey as a background."""
    return picture(explanation.image, axis, grey=grey)


def picture(image: Array, axis: Axes, *, grey: bool = False) -> AxesImage:
    """Draw a picture (3, H, W), RGB in [0, 1], in colour or in dim grey as a background."""
    check_planar(image)
    values = pixels_of(image, "image", 3).transpose(1, 2, 0).clip(0, 1)
    bare(axis)
    if not grey:
        return axis.imshow(values)
    luminance = values @ np.array([0.299, 0.587, 0.114])
    return axis.imshow(0.1 + 0.6 * luminance, cmap="gray", vmin=0, vmax=1)


def check_planar(image: Array) -> None:
    """Raise ValueError unless an image is a picture (3, H, W), not a signal or a volume."""
    if np.ndim(image) != 3:
        raise ValueError(
            "this figure is for 2-D pictures only; signals and volumes are drawn by show() and "
            "save_image(), that is usu.plot.signal_figure and usu.plot.volume_figure"
        )


def coarse_cells(explanation: Record, axis: Axes, *, norm: Normalize | None = None) -> AxesImage:
    """Draw the coarse map cell by cell, as densities, with the borders of its cells."""
    regions = _cells(explanation)
    densities = as_numpy(explanation.coarse).ravel()
    if explanation.mass == "total":
        densities = densities / np.bincount(regions.ravel(), minlength=densities.size)
    image = heat(densities[regions], axis, norm=norm)
    axis.add_collection(borders(regions, color="0.5", linewidth=0.4))
    return image


def segment_borders(explanation: Record, axis: Axes, number: int | None = None) -> int:
    """Draw the borders of a partition on the photograph; return its number of segments.

    Args:
        explanation: gives photograph and partitions.
        axis: to draw on.
        number: of the partition in `explanation.partitions`; the finest by default.

    Raises:
        ValueError: there is no such partition.
    """
    labels = partition(explanation, number)
    photograph(explanation, axis)
    axis.add_collection(borders(labels, color="black", linewidth=1.0))
    axis.add_collection(borders(labels, color="yellow", linewidth=0.4))
    return int(labels.max()) + 1


def hierarchy(explanation: Record, axis: Axes) -> list[LineCollection]:
    """Draw the borders of all partitions over the dim photograph, wider and brighter the coarser they are.

    Returns:
        The borders of each partition, in order, for `Axes.legend`. Coarser ones lie on top.
    """
    photograph(explanation, axis, grey=True)
    count = len(explanation.partitions)
    shades = colormaps[DEPTHS](np.linspace(0.95, 0.3, count))
    widths = np.linspace(1.4, 0.5, count) if count > 1 else np.ones(1)
    drawn = []
    for number, (shade, width) in enumerate(zip(shades, widths, strict=True)):
        labels = partition(explanation, number)
        lines = borders(labels, color=shade, linewidth=width, zorder=2 + (count - number) / count)
        axis.add_collection(lines)
        drawn.append(lines)
    return drawn


def score_map(explanation: Record, axis: Axes) -> AxesImage:
    """Draw the scores in [0, 1] by which the mass was shared."""
    return scores(explanation.score_map, axis)


def scores(values: Array, axis: Axes) -> AxesImage:
    """Draw a score matrix Φ (H, W) on a scale of [0, 1], whatever its own extremes."""
    bare(axis)
    return axis.imshow(as_numpy(values), cmap=SCORES, vmin=0, vmax=1)


def raw_scores(explanation: Record, axis: Axes, number: int, *, norm: Normalize | None = None) -> AxesImage:
    """Draw the raw scores of a partition, in the unit of the output that was scored.

    Args:
        explanation: gives partitions and raw scores.
        axis: to draw on.
        number: of the partition in `explanation.partitions`.
        norm: colour scale, shared with the panels of other partitions; by default up to its own extreme.

    Raises:
        ValueError: there is no such partition.
    """
    values = as_numpy(explanation.raw_scores[_check(explanation, number)])
    return changes(values[partition(explanation, number)], axis, norm=norm)


def h_map(explanation: Record, axis: Axes, *, norm: Normalize | None = None) -> AxesImage:
    """Draw the H-map: where the scores change (eq. 16)."""
    return changes(explanation.h_map, axis, norm=norm)


def changes(values: Array, axis: Axes, *, norm: Normalize | None = None) -> AxesImage:
    """Draw raw scores or an H-map, signed (H, W), up to their extreme and symmetric about 0."""
    limit = top(norm or full_limits([values]))
    bare(axis)
    return axis.imshow(as_numpy(values), cmap=CHANGES, norm=norm or Normalize(-limit, limit))


def cell_weights(explanation: Record, axis: Axes, cell: int, *, norm: Normalize | None = None) -> AxesImage:
    """Draw how one cell's mass is shared: Ã(x) over its mean in the cell, 1 for an even share.

    Args:
        explanation: gives the pixel map and the cells.
        axis: to draw on; it shows the rectangle around the cell, with other cells blank.
        cell: number of the cell, row by row, or its label.
        norm: colour scale; by default from 0 to the largest weight.

    Raises:
        ValueError: there is no such cell, or its pixels sum to 0.
    """
    inside = cell_pixels(explanation, cell)
    values = as_numpy(explanation.attribution)
    mean = values[inside].mean(dtype=np.float64)
    if mean == 0:
        raise ValueError(f"cell {cell} has no mass to share: take one whose pixels do not sum to 0")
    weights = np.where(inside, values / mean, np.nan)[_box(inside)]
    bare(axis)
    return axis.imshow(weights, cmap=SEQUENTIAL, norm=norm or Normalize(0, float(np.nanmax(weights))))


def mark_cell(explanation: Record, axis: Axes, cell: int) -> Rectangle:
    """Draw a frame around a cell.

    Raises:
        ValueError: there is no such cell.
    """
    rows, columns = _box(cell_pixels(explanation, cell))
    corner = columns.start - 0.5, rows.start - 0.5
    size = columns.stop - columns.start, rows.stop - rows.start
    frame = Rectangle(corner, *size, fill=False, edgecolor="cyan", linewidth=1.2)
    axis.add_patch(frame)
    return frame


def frame_seen(explanation: Record, axis: Axes) -> None:
    """Frame what the network saw of a whole photograph, and hatch what it did not.

    Raises:
        ValueError: the record has no placement.
    """
    if explanation.placement is None:
        raise ValueError("explanation must have a placement, which says what the network saw")
    height, width = explanation.placement.photograph
    top, left, bottom, right = (side - 0.5 for side in explanation.placement.seen)
    corners = (-0.5, -0.5), (width - 0.5, height - 0.5)
    outside = [
        (corners[0], left + 0.5, height),
        ((right, -0.5), corners[1][0] - right, height),
        ((left, -0.5), right - left, top + 0.5),
        ((left, bottom), right - left, corners[1][1] - bottom),
    ]
    for corner, wide, high in outside:
        if wide > 0 and high > 0:
            axis.add_patch(
                Rectangle(corner, wide, high, fill=False, hatch="////", edgecolor="0.7", linewidth=0)
            )
    for colour, line in (("black", 2.2), ("white", 1.2)):
        box = Rectangle((left, top), right - left, bottom - top, fill=False)
        box.set(edgecolor=colour, linewidth=line)
        axis.add_patch(box)


def partition(explanation: Record, number: int | None = None) -> Pixels:
    """Return a partition (H, W) of an explanation; the finest by default.

    Raises:
        ValueError: there is no such partition.
    """
    if number is None:
        return max(map(as_numpy, explanation.partitions), key=lambda labels: int(labels.max()))
    return as_numpy(explanation.partitions[_check(explanation, number)])


def _check(explanation: Record, number: int) -> int:
    count = len(explanation.partitions)
    check_whole(number, "number")
    if not 0 <= number < count:
        raise ValueError(f"number must be one of the {count} partitions, 0..{count - 1}, got {number}")
    return number


def cell_pixels(explanation: Record, cell: int) -> Pixels:
    """Return which pixels (H, W) a cell has; raise ValueError if there is no such cell."""
    check_whole(cell, "cell")
    inside: Pixels = _cells(explanation) == cell
    if not inside.any():
        count = int(_cells(explanation).max()) + 1
        raise ValueError(f"cell must be one of the {count} cells, 0..{count - 1}, got {cell}")
    return inside


def _box(inside: Pixels) -> tuple[slice, slice]:
    rows, columns = (np.flatnonzero(inside.any(axis)) for axis in (1, 0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _cells(explanation: Record) -> Pixels:
    """Return the label map (H, W) of the cells that the coarse values belong to."""
    cells = explanation.coarse_map.cells(tuple(explanation.attribution.shape))
    numbers = torch.arange(math.prod(cells.shape)).reshape(cells.shape)
    return as_numpy(cells.spread(numbers))
