"""Colour scales, colour bars and lines: what all panels have in common.

Maps that stand side by side share one colour scale: sequential from zero or, if the coarse map has negative
values, diverging about it. Colour-blind readers and grey print can tell all colours apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from numbers import Integral
from typing import Any, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize

from usu.arrays.convert import Array, as_floats, as_numpy, check_finite
from usu.record import Record

Pixels: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"

QUANTILE = 0.98  # a few peaks must not turn all other pixels, and whole maps beside theirs, black
SEQUENTIAL, DIVERGING, SCORES = "inferno", "RdBu_r", "cividis"
CHANGES = "PuOr_r"  # for signed scores and their differences: other colours than an attribution's
DEPTHS = "plasma"

_NEGLIGIBLE = 0.01  # negative values below this share of the limit get no half of the colours


def pixels_of(values: Any, name: str, ndim: int | None = 2) -> Pixels:
    """Return a map as a finite array of NumPy, of `ndim` axes unless that is None.

    Raises:
        ValueError: another number of axes, values that are not finite.
        TypeError: anything but real numbers.
    """
    found = as_numpy(check_finite(as_floats(values, name), name))
    if ndim is not None and found.ndim != ndim:
        raise ValueError(f"{name} must have {ndim} axes, got shape {found.shape}")
    return found


def check_whole(number: Any, name: str) -> None:
    """Raise TypeError unless a number of a partition, a cell or the like is an integer."""
    if isinstance(number, bool) or not isinstance(number, Integral):
        raise TypeError(f"{name} must be an integer, got {number!r}")


def _together(maps: Any) -> Pixels:
    """Return the values of all maps, (n,)."""
    if not isinstance(maps, Iterable) or isinstance(maps, str | Mapping):
        raise TypeError(f"maps must be arrays, one or more, got {type(maps).__name__}")
    found = [pixels_of(values, "maps", None).ravel() for values in maps]
    if not found:
        raise ValueError("maps is empty: give at least one map")
    return np.concatenate(found)


def colour_limits(maps: Iterable[Array], *, signed: bool | None = None) -> Normalize:
    """Return one colour scale for `maps`, up to their joint 98 % quantile, from 0 or symmetric about 0.

    Args:
        maps: any number of arrays.
        signed: whether the scale is symmetric about 0; by default, if a map has values that are clearly
            negative. Figures of one explanation take `is_signed`, so that all have the same colours.
    """
    values = _together(maps)
    magnitudes = np.abs(values)
    limit = float(np.quantile(magnitudes, QUANTILE)) or float(magnitudes.max()) or 1.0
    if signed is None:
        signed = float(values.min()) < -_NEGLIGIBLE * limit
    return Normalize(-limit if signed else 0.0, limit)


def is_signed(record: Record) -> bool:
    """Return whether a record's coarse maps, or its pixel map, have clearly negative values."""
    maps = [as_numpy(one) for one in (record.coarse, *record.further, record.attribution)]
    return any(float(one.min()) < -_NEGLIGIBLE * float(np.abs(one).max()) for one in maps)


def full_limits(maps: Iterable[Array]) -> Normalize:
    """Return one colour scale for `maps`, up to their joint extreme, from 0 or symmetric about 0.

    For maps that are 0 nearly everywhere, such as H-maps: a quantile of them would be 0.
    """
    values = _together(maps)
    limit = float(np.abs(values).max()) or 1.0
    return Normalize(-limit if float(values.min()) < 0 else 0.0, limit)


def clipped(norm: Normalize, maps: Iterable[Array]) -> str:
    """Return the ends of a scale that `maps` exceed, as the `extend` of a colour bar."""
    values = [as_numpy(one) for one in maps]
    above = max(float(one.max()) for one in values) > top(norm)
    below = min(float(one.min()) for one in values) < (norm.vmin or 0.0)
    return "both" if above and below else "max" if above else "min" if below else "neither"


def borders(labels: Pixels, **style: Any) -> LineCollection:
    """Return the lines between pixels of different labels, in the coordinates of `imshow`."""
    upright = _runs(labels[:, 1:] != labels[:, :-1])
    level = _runs((labels[1:] != labels[:-1]).T)[..., ::-1]
    return LineCollection(list(np.concatenate([upright, level])), capstyle="projecting", **style)


def _runs(cuts: Pixels) -> Pixels:
    """Return the upright lines (n, 2, 2) of pixels (H, W - 1) that differ from their right neighbours."""
    ends = np.diff(cuts.T.astype(np.int8), prepend=0, append=0)
    x, top = np.nonzero(ends == 1)
    bottom = np.nonzero(ends == -1)[1]
    return np.stack([np.stack([x + 0.5, top - 0.5], -1), np.stack([x + 0.5, bottom - 0.5], -1)], 1)


def colours(norm: Normalize) -> str:
    """Return the colour map of attributions on a scale."""
    return DIVERGING if (norm.vmin or 0.0) < 0 else SEQUENTIAL


def top(norm: Normalize) -> float:
    """Return the upper end of a scale."""
    return float(norm.vmax or 1.0)


def power_of_ten(norm: Normalize) -> tuple[int, str]:
    """Return the exponent by which a colour bar's numbers are scaled, 0 from 0.01 to 1,000, and its label."""
    power = math.floor(math.log10(top(norm)))
    return (0, "") if -2 <= power <= 2 else (power, f"$10^{{{power}}}$ ")


def bare(axis: Axes) -> None:
    """Remove the ticks of an axis on which pixels are drawn."""
    axis.set_xticks([])
    axis.set_yticks([])
