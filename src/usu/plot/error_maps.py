"""Panels of α and β errors: spurious attribution in red, lost attribution in blue (paper eq. 3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from usu.arrays.convert import Array, as_numpy
from usu.metrics.errors import ErrorMaps
from usu.plot.scales import DIVERGING, QUANTILE, Pixels, bare, pixels_of, top

_WIDTH, _SMALL = 1.5, 8


def error_limits(errors: Iterable[ErrorMaps]) -> Normalize:
    """Return one colour scale for all error maps, up to the joint 98 % quantile of errors that are not 0."""
    magnitudes = np.concatenate([np.abs(_signed(one)).ravel() for one in errors])
    present = magnitudes[magnitudes > 0]
    limit = float(np.quantile(present, QUANTILE)) if present.size else 1.0
    return Normalize(-limit, limit)


def error_map(
    errors: ErrorMaps, axis: Axes, *, truth: Array | None = None, norm: Normalize | None = None
) -> AxesImage:
    """Draw α above 0 and β below it; a pixel has at most one of them (proposition 11).

    Args:
        errors: α and β, (H, W) each.
        axis: to draw on.
        truth: (H, W), outlined at half its largest value.
        norm: colour scale, shared with other panels; by default the map's own.

    Raises:
        ValueError: maps with a batch axis, or a truth of another size.
    """
    values = _signed(errors)
    bare(axis)
    image = axis.imshow(values, cmap=DIVERGING, norm=norm or error_limits([errors]))
    if truth is not None:
        outline = np.abs(pixels_of(truth, "truth", None).astype(np.float64))
        if outline.shape != values.shape:
            raise ValueError(f"truth must be {values.shape} as the errors are, got {outline.shape}")
        axis.contour(outline, levels=[0.5 * outline.max()], colors="black", linewidths=0.6)
    return image


def error_figure(
    errors: Mapping[str, ErrorMaps], *, truth: Array | None = None, unit: str = "units of the maps"
) -> Figure:
    """Return a row of error panels on one colour scale.

    Args:
        errors: titles to α and β, (H, W) each.
        truth: (H, W), outlined in each panel.
        unit: of the maps, for the colour bar.

    Raises:
        ValueError: there is nothing to draw; as `error_map`.
    """
    if not isinstance(errors, Mapping):
        raise TypeError(f"errors must map titles to error maps, got {type(errors).__name__}")
    if not errors:
        raise ValueError("errors is empty: give at least one pair of error maps")
    norm = error_limits(errors.values())
    height, width = _signed(next(iter(errors.values()))).shape
    size = len(errors) * (_WIDTH + 0.08) + 0.9, _WIDTH * height / width + 0.3
    figure = Figure(figsize=size, layout="compressed")
    panels = figure.subplots(1, len(errors), squeeze=False)[0]
    for axis, (title, one) in zip(panels, errors.items(), strict=True):
        image = error_map(one, axis, truth=truth, norm=norm)
        axis.set_title(title, fontsize=_SMALL)
    largest = max(float(np.abs(_signed(one)).max()) for one in errors.values())
    bar = figure.colorbar(
        image, ax=panels, pad=0.015, aspect=15, extend="both" if largest > top(norm) else "neither"
    )
    bar.set_label(f"error per pixel,\n{unit}\nlost (β) | spurious (α)", fontsize=_SMALL)
    bar.ax.tick_params(labelsize=_SMALL)
    return figure


def _signed(errors: ErrorMaps) -> Pixels:
    if not isinstance(errors, ErrorMaps):
        raise TypeError(f"errors must be usu.ErrorMaps, got {type(errors).__name__}")
    values: Pixels = as_numpy(errors.alpha) - as_numpy(errors.beta)
    if values.ndim != 2:
        raise ValueError(f"errors must be of one map (H, W), got shape {values.shape}: draw one at a time")
    return values
