"""ROAD (Rong et al., 2022): is the class still recognised when the highest pixels are imputed?"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from functools import cache

import numpy as np
from threadpoolctl import ThreadpoolController
from torch import Tensor

from usu.metrics.faithfulness.examiner import Case, Examiner, Floats, Integers, nan_where_flat

PERCENTAGES = (10, 20, 30, 40, 50, 60, 70, 80, 90)
NOISE = 0.01
# Rows and columns of the neighbours, in the order in which Quantus adds them up; those at corners weigh half.
_NEIGHBOURS = [(down, right) for right in (1, -1, 0) for down in (1, 0, -1) if down or right]


def road(examiner: Examiner, maps: Floats) -> Floats:
    """Return the share of percentages at which the target is still the most probable class.

    At each percentage, that share of the pixels, the highest ones, become noisy means of their neighbours.

    Returns:
        (M,); lower is better; NaN for a constant map.
    """

    def cases() -> Iterator[Case]:
        for values in maps:
            order = descending_pixels(values, len(examiner.array))
            for percentage, noise in _noises(examiner).items():
                yield _case(examiner, order[: noise.shape[-1]], percentage)

    hits = examiner.answers(cases()).hits.reshape(len(maps), len(PERCENTAGES))
    return nan_where_flat(maps, hits.mean(1).tolist())


def descending_pixels(values: Floats, channels: int) -> Integers:
    """Return the pixels of a map (H, W) from the highest to the lowest.

    Sorted together with channels of a lower value, as Quantus does: the order of ties in NumPy's sort depends
    on everything that is sorted.
    """
    stacked = np.concatenate([values.ravel(), np.full((channels - 1) * values.size, -math.inf)])
    return np.argsort(-stacked)[: values.size]


def _case(examiner: Examiner, pixels: Integers, percentage: int) -> Case:
    # The order counts: it decides which pixel gets which noise.
    digest = hashlib.blake2b(np.ascontiguousarray(pixels).data, digest_size=16).digest()

    def make() -> Tensor:
        image = examiner.array.reshape(len(examiner.array), -1).copy()
        image[:, pixels] = imputed(examiner.array, pixels) + NOISE * _noises(examiner)[percentage]
        return examiner.tensor(image.reshape(examiner.array.shape))

    return Case(b"imputed " + digest, make)


def _noises(examiner: Examiner) -> dict[int, Floats]:
    """Return the noise (C, pixels) of each percentage, the same for every map, in Quantus's order."""

    def draw() -> dict[int, Floats]:
        random = np.random.RandomState(examiner.seed)
        pixels = examiner.size[0] * examiner.size[1]
        counts = {percentage: int(pixels * percentage / 100) for percentage in PERCENTAGES}
        return {each: random.randn(len(examiner.array), count) for each, count in counts.items()}

    return examiner.kept("noise", draw)


def imputed(image: Floats, pixels: Integers) -> Floats:
    """Return the values of the missing pixels: each the weighted mean of its eight neighbours.

    In raster order the system is positive definite and its band about as wide as a row: a banded Cholesky
    factorisation takes a small part of the time of a general sparse one.

    Returns:
        (C, n) of an image (C, H, W), in the order of `pixels`, the indices (n,) of the missing ones.
    """
    from scipy.linalg import solveh_banded

    if pixels.size == 0:
        return np.zeros((len(image), 0))
    (_, height, width), flat = image.shape, image.reshape(len(image), -1)
    places = np.sort(pixels)
    unknown = np.full(height * width, -1)
    unknown[places] = np.arange(len(places))
    rows, columns = places // width, places % width
    known_part = np.zeros((len(places), len(image)))
    weights = np.ones(len(places))
    below: list[tuple[Integers, Integers, float]] = []
    for down, right in _NEIGHBOURS:
        weight = 1 / 12 if down and right else 1 / 6
        row, column = rows + down, columns + right
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        each = np.flatnonzero(inside)
        near = places[each] + down * width + right
        number = unknown[near]
        known = number < 0
        known_part[each[known]] += weight * flat[:, near[known]].T
        weights[~inside] -= weight
        lower = (number >= 0) & (number < each)
        below.append((each[lower], number[lower], weight))
    band = max(int((later - earlier).max(initial=0)) for later, earlier, _ in below)
    system = np.zeros((band + 1, len(places)))
    system[0] = weights
    for later, earlier, weight in below:
        system[later - earlier, earlier] = -weight
    with _libraries().limit(limits=1, user_api="blas"):
        solution = solveh_banded(system, known_part, overwrite_ab=True, lower=True, check_finite=False)
    return np.asarray(solution[unknown[pixels]].T)


@cache
def _libraries() -> ThreadpoolController:
    # Several threads are not faster here, and many times slower when one of them waits for a busy core.
    return ThreadpoolController()
