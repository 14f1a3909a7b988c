"""Deletion and insertion curves on whole pixels, with ties broken by seeds; also of band-limited maps."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.ndimage import gaussian_filter

from usu.metrics.faithfulness.examiner import Case, Examiner, Floats, Integers

STEPS = 14
TIE_SEEDS = 5
BAND_SHARE = 6 / 224  # deviation of the Gaussian that limits a band, of the longer side


def area(examiner: Examiner, maps: Floats, fill: str, insertion: bool, smooth: bool = False) -> Floats:
    """Return the area under the curve of the target's probability, over that of the image.

    Deletion replaces the highest pixels first. Insertion starts from the fill and brings back the highest
    pixels first; deleting the lowest first (LeRF) gives the same images in reverse order, and the same area.

    Args:
        examiner: of the image.
        maps: (M, H, W).
        fill: name of `usu.models.baselines.FILLS`.
        insertion: whether to insert.
        smooth: whether maps are band-limited first: fine grain can harm a network whatever it means.

    Returns:
        (M,), the mean over the tie seeds. Lower is better for deletion, higher for insertion; a constant map
        gets what a random order gets. NaN if the probability of the image rounds to 0.
    """
    maps = band_limited(maps) if smooth else maps
    ranks = [ranks_of(values, examiner.seed) for values in maps]
    pixels = examiner.size[0] * examiner.size[1]

    def cases() -> Iterator[Case]:
        for rank in (each for seeds in ranks for each in seeds):
            for step in range(STEPS + 1):
                reached = rank < pixels * step // STEPS
                yield examiner.masked(~reached if insertion else reached, fill)

    whole = float(examiner.whole().probabilities[0])
    heights = examiner.answers(cases()).probabilities.astype(np.float64).reshape(-1, STEPS + 1)
    areas = (heights[:, 1:] + heights[:, :-1]).sum(1) / (2 * STEPS)
    ends = np.cumsum([len(seeds) for seeds in ranks])[:-1]
    means = np.array([part.mean() for part in np.split(areas, ends)])
    return means / whole if whole > 0 else np.full(len(maps), np.nan)


def band_limited(maps: Floats) -> Floats:
    """Return maps (M, H, W) after a Gaussian of 6 pixels at 224, which keeps the order of smooth ones."""
    deviation = BAND_SHARE * max(maps.shape[1:])
    found: Floats = gaussian_filter(maps, (0, deviation, deviation), mode="nearest")
    return found


def ranks_of(values: Floats, seed: int) -> list[Integers]:
    """Return the rank (H, W) of each pixel, 0 for the highest: one for each tie seed, or one without ties."""
    seeds = TIE_SEEDS if len(np.unique(values)) < values.size else 1
    return [rank_of(values, each) for each in range(seed, seed + seeds)]


def rank_of(values: Floats, seed: int) -> Integers:
    """Return the rank (H, W) of each pixel, 0 for the highest, ties broken by a seeded shuffle."""
    flat = values.ravel()
    shuffle = np.random.default_rng(seed).permutation(flat.size)
    rank: Integers = np.empty(values.shape, dtype=np.int64)
    rank.ravel()[np.lexsort((shuffle, -flat))] = np.arange(flat.size)  # a view: `rank` is contiguous
    return rank
