"""Infidelity (Yeh et al., 2019): the squared error of a map as a linear model of the answer's change.

With x' a perturbed input, Δ = f(x) - f(x') of the target's logit and s = Σ a (x - x'), it is the mean of
(Δ - s)² over the perturbed inputs. These do not depend on the map, so one set of passes serves all maps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from usu.metrics.faithfulness.examiner import Examiner, Floats, Integers, Mask

# Patches in a row and in a column: of 16 × 16 pixels at 224 × 224.
PATCHES = 14
# As many random squares as the raster has patches, with sides of this share: a cell of a 7 × 7 map.
SQUARES = PATCHES**2
SQUARE_SHARE = 1 / 7


class Probe(NamedTuple):
    """Perturbed inputs as the metric needs them."""

    drops: Floats  # Δ of each perturbed input (n,)
    sums: Callable[[Floats], Floats]  # from maps (M, H, W) to s, (M, n)


def infidelity(examiner: Examiner, maps: Floats, scale: Callable[[Floats], Floats] | None = None) -> Floats:
    """Return the infidelity on Quantus's raster: patches turn black one after the other and stay black.

    Of maps (M, H, W), to which `scale` is applied first, (M,); lower is better.
    """
    probe = examiner.kept("raster", lambda: _raster(examiner))
    return _squared_error(probe, probe.sums(scale(maps) if scale else maps))


def minmax(maps: Floats) -> Floats:
    """Return each map scaled to [0, 1]; a constant map becomes 0."""
    low, high = maps.min((1, 2), keepdims=True), maps.max((1, 2), keepdims=True)
    scaled: Floats = (maps - low) / np.where(high > low, high - low, 1)
    return scaled


def unit_sum(maps: Floats) -> Floats:
    """Return each map over its sum; the zero map stays, any other map without a sum becomes NaN."""
    sums = maps.sum((1, 2), keepdims=True)
    empty = ~maps.any((1, 2), keepdims=True)
    # Below this the sum is only the rounding error of values that cancel.
    lost = np.abs(sums) <= 1e-12 * np.abs(maps).sum((1, 2), keepdims=True)
    scaled: Floats = maps / np.where(empty, 1, np.where(lost, np.nan, sums))
    return scaled


def scaled_on_raster(examiner: Examiner, maps: Floats) -> Floats:
    """Return the infidelity of each map times its best factor β = E[s Δ] / E[s²], on the raster."""
    return _best_scaled(examiner.kept("raster", lambda: _raster(examiner)), maps)


def scaled_on_squares(examiner: Examiner, maps: Floats) -> Floats:
    """Return the infidelity of each map times its best factor, on single black squares at random places."""
    return _best_scaled(examiner.kept("squares", lambda: _squares(examiner)), maps)


def _best_scaled(probe: Probe, maps: Floats) -> Floats:
    # Without the map's unit no square can overflow or vanish; β makes up for it.
    largest = np.abs(maps).max((1, 2), keepdims=True)
    sums = probe.sums(maps / np.where(largest > 0, largest, 1))
    powers = (sums**2).mean(1)
    factors = (sums * probe.drops).mean(1) / np.where(powers > 0, powers, 1)
    return _squared_error(probe, factors[:, None] * sums)


def _squared_error(probe: Probe, sums: Floats) -> Floats:
    error: Floats = ((probe.drops - sums) ** 2).mean(1)
    return error


def _raster(examiner: Examiner) -> Probe:
    labels = _patches(examiner.size)
    drops = _drops(examiner, [labels <= last for last in range(labels.max() + 1)])
    change = _change(examiner)

    def sums(maps: Floats) -> Floats:
        parts = [np.bincount(labels.ravel(), weights=(each * change).ravel()) for each in maps]
        return np.cumsum(parts, axis=1)

    return Probe(drops, sums)


def _patches(size: tuple[int, int]) -> Integers:
    """Return the labels of the patches in raster order; a small image has fewer."""
    rows, columns = (np.arange(side) * PATCHES // side for side in size)
    _, labels = np.unique(rows[:, None] * PATCHES + columns, return_inverse=True)
    return np.asarray(labels).reshape(size)


def _squares(examiner: Examiner) -> Probe:
    rng = np.random.default_rng(examiner.seed)
    sides = np.maximum(np.rint(np.array(examiner.size) * SQUARE_SHARE).astype(np.int64), 1)
    top, left = rng.integers(0, np.array(examiner.size) - sides + 1, (SQUARES, 2)).T
    low, right = top + sides[0], left + sides[1]
    rows, columns = (np.arange(side) for side in examiner.size)
    inside = ((rows >= top[:, None]) & (rows < low[:, None]))[:, :, None]
    inside = inside & ((columns >= left[:, None]) & (columns < right[:, None]))[:, None, :]
    drops = _drops(examiner, list(inside))
    change = _change(examiner)

    def sums(maps: Floats) -> Floats:
        # Summed-area tables: four corners give a square's sum.
        table = np.pad((maps * change).cumsum(1).cumsum(2), ((0, 0), (1, 0), (1, 0)))
        corners = table[:, low, right] - table[:, top, right] - table[:, low, left] + table[:, top, left]
        return np.asarray(corners)

    return Probe(drops, sums)


def _drops(examiner: Examiner, masks: list[Mask]) -> Floats:
    answers = examiner.answers(examiner.masked(mask, "black") for mask in masks)
    # The difference is in the model's own precision, as in Quantus.
    drops: Floats = (examiner.whole().logits - answers.logits).astype(np.float64)
    return drops


def _change(examiner: Examiner) -> Floats:
    """Return what each pixel loses when it turns black, summed over channels, (H, W)."""
    change: Floats = (examiner.array - examiner.array.min()).astype(np.float64).sum(0)
    return change
