"""Distributions of a benchmark: every value as a point, each method's mean with its interval."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes

from usu.arrays.convert import Array
from usu.metrics.statistics import Interval
from usu.plot.scales import Pixels, pixels_of

_POINTS, _MEAN = "#0072B2", "#D55E00"  # blue and vermilion of Okabe and Ito, which all readers can tell apart
_SPREAD = 0.28  # half the height of a method's points, in rows
_GOLDEN = 0.6180339887498949


def distributions(
    values: Mapping[str, Array],
    intervals: Mapping[str, Interval],
    axis: Axes,
    *,
    label: str,
    log: bool = False,
    fontsize: float = 8,
) -> None:
    """Draw one row per method: its values as points, its mean and interval on top, and n beside its name.

    Args:
        values: method to (n,), one value per image.
        intervals: method to the interval of these values' mean.
        axis: to draw on.
        label: what was measured and its unit, for the axis of values.
        log: whether the axis of values is logarithmic.
        fontsize: of names, ticks and label, in points.

    Raises:
        ValueError: nothing to draw, methods that differ between the mappings, values that are not finite or
            not as many as the interval says, values that have no logarithm.
    """
    for name, given in {"values": values, "intervals": intervals}.items():
        if not isinstance(given, Mapping):
            raise TypeError(f"{name} must be a mapping from methods, got {type(given).__name__}")
    if not all(isinstance(interval, Interval) for interval in intervals.values()):
        raise TypeError("intervals must be of usu.metrics.Interval")
    if not values:
        raise ValueError("values is empty: give at least one method")
    if values.keys() != intervals.keys():
        lone = sorted(values.keys() ^ intervals.keys())
        raise ValueError(f"values and intervals must be of the same methods; {lone[0]!r} is in one only")
    samples = {name: _sample(name, sample, intervals[name], log) for name, sample in values.items()}
    for row, (name, sample) in enumerate(samples.items()):
        interval = intervals[name]
        # Low-discrepancy heights keep points apart, and the same from one drawing to the next.
        height = row + _SPREAD * (2 * ((np.arange(sample.size) + 0.5) * _GOLDEN % 1) - 1)
        axis.plot(sample, height, ".", color=_POINTS, alpha=0.45, markersize=4, markeredgewidth=0)
        axis.plot([interval.low, interval.high], [row, row], color=_MEAN, linewidth=2.2, zorder=3)
        axis.plot([interval.mean], [row], "D", color=_MEAN, markeredgecolor="white", markersize=5, zorder=4)
    if log:
        axis.set_xscale("log")
    axis.set_yticks(range(len(samples)), [f"{name}\nn = {len(sample)}" for name, sample in samples.items()])
    axis.set_ylim(len(samples) - 0.5, -0.5)
    levels = sorted({interval.level for interval in intervals.values()})
    shares = " and ".join(f"{100 * level:g} %" for level in levels)
    axis.set_xlabel(f"{label}\npoints: images; diamonds: means, {shares} intervals", fontsize=fontsize)
    axis.tick_params(labelsize=fontsize)
    axis.grid(axis="x", color="0.9", linewidth=0.6)
    axis.set_axisbelow(True)


def _sample(name: str, values: Array, interval: Interval, log: bool) -> Pixels:
    sample = pixels_of(values, f"values of {name!r}", None)
    if sample.ndim != 1 or not np.isfinite(sample).all():
        raise ValueError(f"values of {name!r} must be finite and on one axis (n,), got shape {sample.shape}")
    if len(sample) != interval.n:
        raise ValueError(f"{name!r} has {len(sample)} values, but its interval is of {interval.n}")
    if log and min(float(sample.min()), interval.low) <= 0:
        raise ValueError(f"log needs positive values and intervals, but {name!r} has others")
    return sample
