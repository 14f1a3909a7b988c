"""Metrics that replace features step by step, an eighth of a channel each: pixel flipping and monotonicity.

A feature is one channel of one pixel, and a map holds for every channel, as in Quantus: NumPy's sort decides
the order among the equal features of a pixel, and among tied pixels.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from usu.metrics.faithfulness.examiner import Case, Examiner, Floats, Integers, Mask, nan_where_flat

# Steps per channel: of 6,272 features each at 224 × 224, so that RGB takes 24 steps.
STEPS_PER_CHANNEL = 8
# Uniform fills per step of monotonicity.
SAMPLES = 5


def pixel_flipping(examiner: Examiner, maps: Floats) -> Floats:
    """Return the area under the target's probability as the highest features turn black (Bach et al., 2015).

    Returns:
        (M,), the mean height of the curve, which starts after the first step; lower is better; NaN for a
        constant map.
    """

    def cases() -> Iterator[Case]:
        for values in maps:
            for mask in _masks(examiner, np.argsort(-_features(examiner, values)), cumulative=True):
                yield examiner.masked(mask, "black")

    heights = examiner.answers(cases()).probabilities.astype(np.float64).reshape(len(maps), -1)
    areas = (heights[:, 1:] + heights[:, :-1]).sum(1) / 2
    return nan_where_flat(maps, areas / (heights.shape[1] - 1))


def monotonicity(examiner: Examiner, maps: Floats) -> Floats:
    """Return Spearman's correlation of a step's |a| and what replacing it does (Nguyen and Martínez, 2020).

    The features of a step, in ascending order of |a|, take one uniform value in [0, 1), in the units of the
    inputs; the effect is the mean squared change of the probability over five such values.

    Returns:
        (M,), higher is better; NaN for a map whose absolute values are constant, or where no step changes
        the answer.
    """
    from scipy.stats import rankdata

    sizes = np.abs(maps)
    orders = [np.argsort(_features(examiner, size)) for size in sizes]

    def cases() -> Iterator[Case]:
        for order in orders:
            for step, mask in enumerate(_masks(examiner, order, cumulative=False)):
                for value in _fills(examiner)[step]:
                    yield examiner.masked(mask, float(value))

    whole = examiner.whole().probabilities
    changed = examiner.answers(cases()).probabilities.reshape(len(maps), -1, SAMPLES)
    # In float32, as in Quantus: it decides ties where the probability is saturated. Quantus also divides by
    # the squared probability of the image, which does not change ranks.
    effects = np.mean((changed - whole) ** 2, axis=2)
    scores = []
    for size, order, effect in zip(sizes, orders, effects, strict=True):
        features = _features(examiner, size)
        masses = [features[part].sum() for part in _parts(order, examiner)]
        with np.errstate(divide="ignore", invalid="ignore"):  # NaN where one does not vary
            scores.append(np.corrcoef(rankdata(masses), rankdata(effect))[0, 1])
    return nan_where_flat(sizes, scores)


def _features(examiner: Examiner, values: Floats) -> Floats:
    """Return the value of each feature (C·H·W,)."""
    return np.broadcast_to(values, examiner.array.shape).reshape(-1)


def _parts(order: Integers, examiner: Examiner) -> list[Integers]:
    """Return the features of each step; the last step has the remainder."""
    step = -(-examiner.size[0] * examiner.size[1] // STEPS_PER_CHANNEL)
    return [order[start : start + step] for start in range(0, len(order), step)]


def _masks(examiner: Examiner, order: Integers, *, cumulative: bool) -> Iterator[Mask]:
    mask = np.zeros(examiner.array.shape, dtype=np.bool_)
    for part in _parts(order, examiner):
        mask = mask.copy() if cumulative else np.zeros_like(mask)
        mask.reshape(-1)[part] = True
        yield mask


def _fills(examiner: Examiner) -> Floats:
    """Return the uniform values (steps, samples), the same for every map, in the order Quantus draws them."""
    steps = len(_parts(np.arange(examiner.array.size), examiner))

    def draw() -> Floats:
        # The legacy generator is the one that Quantus uses.
        return np.random.RandomState(examiner.seed).uniform(size=(steps, SAMPLES))

    return examiner.kept("uniform", draw)
