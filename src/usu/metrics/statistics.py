"""Statistics of paired comparisons: one value per image and method, the same images for all methods.

Nothing here knows what was measured. Tensors are accepted as well as arrays, but torch is not imported, so
that tables of saved results do not load it; SciPy is imported when it is needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from usu.arrays.checks import check_count, check_number

if TYPE_CHECKING:
    from usu.arrays.convert import Array

Sample: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"
Counts: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"

# Differences that are equal except for rounding must not make an effect of infinite size.
_ROUNDING = 1e-12

# Up to so many differences all signs are tried, which are then fewer than SciPy's 9,999 resamples.
_ALL_SIGNS = 13

# How many counts are drawn at a time, and up to how many are kept for the next samples of the same size.
BLOCK, KEPT = 2**18, 2**24


@dataclass(frozen=True)
class Interval:
    """A sample's mean and its bootstrap interval.

    Attributes:
        mean: of the sample.
        low: lower end of the BCa interval.
        high: upper end.
        n: number of values.
        level: the coverage that it aims at.
        resamples: number of bootstrap resamples.
        seed: of the resampling.
    """

    mean: float
    low: float
    high: float
    n: int
    level: float
    resamples: int
    seed: int


@dataclass(frozen=True)
class PairedTest:
    """A paired comparison of two methods.

    Attributes:
        n: number of pairs.
        difference: mean of values - reference, and its interval.
        statistic: Wilcoxon's W, the smaller of the two signed rank sums.
        p_value: two-sided, zeros ranked and dropped after Pratt; 1 if all differences are 0.
        cohens_d: d_z; infinite if all differences are the same and not 0, 0 if all are 0.
        rank_biserial: in [-1, 1]; 0 if all differences are 0.
    """

    n: int
    difference: Interval
    statistic: float
    p_value: float
    cohens_d: float
    rank_biserial: float


@dataclass(frozen=True)
class Correction:
    """A p-value corrected for all tests that were run.

    Attributes:
        p_value: uncorrected.
        bonferroni: times the number of tests, at most 1.
        holm: by Holm's step-down procedure, which is never larger.
        tests: number of tests.
    """

    p_value: float
    bonferroni: float
    holm: float
    tests: int


def paired_test(
    values: Array, reference: Array, *, level: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> PairedTest:
    """Compare two methods on the same images.

    Args:
        values: (n,), one per image.
        reference: (n,), of the same images in the same order.
        level: of the interval.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        ValueError: samples that differ in length or have fewer than two values, values that are not finite.
        TypeError: arguments of the wrong kind.

    >>> test = paired_test([0.9, 0.8, 0.7], [0.5, 0.6, 0.4])
    >>> round(test.difference.mean, 6), test.statistic, test.p_value, test.rank_biserial
    (0.3, 0.0, 0.25, 1.0)
    """
    differences = _differences(values, reference)
    statistic, p_value = wilcoxon(differences)
    return PairedTest(
        n=len(differences),
        difference=bootstrap_interval(differences, level=level, resamples=resamples, seed=seed),
        statistic=statistic,
        p_value=p_value,
        cohens_d=cohens_d(differences),
        rank_biserial=rank_biserial(differences),
    )


def wilcoxon(differences: Array) -> tuple[float, float]:
    """Return W and the two-sided p-value of the signed-rank test, zeros after Pratt; (0, 1) if all are 0.

    Of at most 13 differences, ties or not, the p-value is that of all 2ⁿ signs, as SciPy's is.
    """
    sample = _sample(differences, "differences")
    if not sample.any():
        return 0.0, 1.0
    from scipy import stats

    if len(sample) > _ALL_SIGNS:
        result = stats.wilcoxon(sample, zero_method="pratt", alternative="two-sided")
        return float(result.statistic), float(result.pvalue)
    # SciPy ranks ties once more for each of the signs, which takes seconds.
    ranks = _signed_ranks(sample)
    test = stats.permutation_test((ranks,), _positive_sum, permutation_type="samples", vectorized=True)
    return float(min(_positive_sum(ranks), _positive_sum(-ranks))), float(test.pvalue)


def cohens_d(differences: Array) -> float:
    """Return Cohen's d_z: the mean of the differences over their standard deviation (n - 1).

    0 if all differences are 0; infinite, with their sign, if all are the same.

    >>> cohens_d([1.0, 2.0, 3.0])
    2.0
    """
    sample = _sample(differences, "differences")
    mean = float(sample.mean())
    if _constant(sample):
        return 0.0 if mean == 0 else float(np.copysign(np.inf, mean))
    scaled = _scaled(sample)
    return float(scaled.mean()) / float(scaled.std(ddof=1))


def rank_biserial(differences: Array) -> float:
    """Return the matched-pairs rank-biserial correlation (W₊ - W₋) / (W₊ + W₋), ranks after Pratt.

    1 if every difference is positive, -1 if every one is negative, 0 if all are 0.

    >>> rank_biserial([3.0, 2.0, -1.0])
    0.6666666666666666
    """
    ranks = _signed_ranks(_sample(differences, "differences"))
    total = float(np.abs(ranks).sum())
    return float(ranks.sum()) / total if total else 0.0


def bootstrap_interval(
    sample: Array, *, level: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> Interval:
    """Return the BCa bootstrap interval of one sample's mean; see `bootstrap_intervals`.

    >>> bootstrap_interval([2.0, 2.0, 2.0])  # no spread, no width
    Interval(mean=2.0, low=2.0, high=2.0, n=3, level=0.95, resamples=10000, seed=0)
    """
    row = _sample(sample, "sample")[None]
    return bootstrap_intervals(row, level=level, resamples=resamples, seed=seed)[0]


def bootstrap_intervals(
    samples: Array, *, level: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> list[Interval]:
    """Return the bias-corrected and accelerated bootstrap interval of each row's mean.

    All rows share their resamples, which are drawn as `scipy.stats.bootstrap` draws; results equal its own
    except for rounding. A mean needs only how often each value was drawn, so many rows are as cheap as one.
    A sample without spread has an interval of no width.

    Args:
        samples: (m, n), m samples of n ≥ 2 values.
        level: in (0, 1).
        resamples: at least 1.
        seed: of NumPy's default generator.

    Raises:
        ValueError: an argument out of its range, values that are not finite.
        TypeError: an argument of the wrong kind.
    """
    rows = _floats(samples, "samples")
    if rows.ndim != 2 or rows.shape[1] < 2:
        raise ValueError(f"samples must be (m, n) with n of at least 2, got shape {rows.shape}")
    if not 0 < check_number(level, "level") < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level!r}")
    check_count(resamples, "resamples", 1)
    check_count(seed, "seed", 0)
    n = rows.shape[1]
    draws = _kept_draws if n * resamples <= KEPT else _draws
    blocks = [rows @ counts.T.astype(rows.dtype) for counts in draws(n, resamples, seed)]
    sums = np.concatenate(blocks, axis=1)
    intervals = []
    for row, resampled in zip(rows, sums, strict=True):
        mean = float(row.mean())
        low, high = (mean, mean) if _constant(row) else _bca(row, resampled, level)
        intervals.append(Interval(mean, low, high, n, level, resamples, seed))
    return intervals


def _draws(n: int, resamples: int, seed: int) -> Iterator[Counts]:
    """Yield how often each of n values is drawn in each resample, (resamples, n), in blocks of resamples."""
    generator = np.random.default_rng(seed)
    at_once = max(1, BLOCK // n)
    for first in range(0, resamples, at_once):
        block = min(at_once, resamples - first)
        drawn = generator.integers(0, n, (block, n)) + n * np.arange(block)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=n * block).reshape(block, n)
        yield counts.astype(np.min_scalar_type(n))


@lru_cache(maxsize=2)
def _kept_draws(n: int, resamples: int, seed: int) -> tuple[Counts, ...]:
    return tuple(_draws(n, resamples, seed))


def _bca(row: Sample, sums: Sample, level: float) -> tuple[float, float]:
    """Return the interval of a row's mean from the sums of its resamples (Efron 1987)."""
    from scipy.special import ndtr, ndtri

    n, total = len(row), float(row.sum())
    # Sums that equal the sample's own except for rounding count as ties.
    slack = _ROUNDING * float(np.abs(row).sum())
    below, up_to = (sums < total - slack).mean(), (sums <= total + slack).mean()
    # Where all resamples lie on one side, as few may, count half a resample on the other.
    half = 0.5 / len(sums)
    bias = ndtri(np.clip((below + up_to) / 2, half, 1 - half))
    influence = _scaled(row - row.mean())
    acceleration = (influence**3).sum() / (6 * (influence**2).sum() ** 1.5)
    tails = bias + ndtri([(1 - level) / 2, (1 + level) / 2])
    portions = ndtr(bias + tails / (1 - acceleration * tails))
    low, high = np.quantile(sums, portions) / n
    return float(low), float(high)


def correct(p_values: Sequence[float] | Array) -> list[Correction]:
    """Correct p-values for all the tests that were run, by Bonferroni and by Holm.

    Args:
        p_values: (tests,), in [0, 1], one per test that was run, null results included.

    Raises:
        ValueError: no p-value, or one outside [0, 1].

    >>> [round(one.holm, 6) for one in correct([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    none = isinstance(p_values, Sequence) and len(p_values) == 0
    values = np.empty(0) if none else _floats(p_values, "p_values")
    if values.ndim != 1 or values.size == 0 or not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f"p_values must be one or more values in [0, 1], got {p_values!r}")
    tests = len(values)
    order = np.argsort(values, kind="stable")
    stepped = np.maximum.accumulate(values[order] * (tests - np.arange(tests))).clip(max=1)
    holm = np.empty(tests)
    holm[order] = stepped
    return [
        Correction(float(p), min(1.0, tests * float(p)), float(step), tests)
        for p, step in zip(values, holm, strict=True)
    ]


def _differences(values: Array, reference: Array) -> Sample:
    first, second = _sample(values, "values"), _sample(reference, "reference")
    if len(first) != len(second):
        raise ValueError(
            f"values and reference must be of the same images, got {len(first)} and {len(second)}"
        )
    differences = first - second
    differences[np.abs(differences) <= _ROUNDING * np.maximum(np.abs(first), np.abs(second))] = 0
    return differences


def _signed_ranks(sample: Sample) -> Sample:
    """Return the ranks of absolute values with the values' signs, 0 for zeros, which have ranks as well."""
    from scipy.stats import rankdata

    ranks: Sample = np.sign(sample) * rankdata(np.abs(sample))
    return ranks


def _positive_sum(ranks: Sample, axis: int = -1) -> Any:
    return ranks.clip(min=0).sum(axis)


def _sample(values: Array, name: str) -> Sample:
    sample = _floats(values, name)
    if sample.ndim != 1 or len(sample) < 2:
        raise ValueError(f"{name} must be one axis of at least 2 values, got shape {sample.shape}")
    return sample


def _floats(values: Any, name: str) -> Sample:
    """Return finite real numbers as float64."""
    if hasattr(values, "detach"):  # a tensor, which may lie on a GPU
        values = values.detach().cpu()
        values = values.double() if values.is_floating_point() else values
    try:
        given = np.asarray(values)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} does not form one regular array: {error}") from error
    if given.dtype.kind not in "fiub" or given.dtype.itemsize > 8:
        raise TypeError(f"{name} must be an array or tensor of real numbers, got {type(values).__name__}")
    if not given.size:
        raise ValueError(f"{name} is empty: shape {given.shape}")
    found: Sample = given.astype(np.float64)
    broken = found.size - int(np.isfinite(found).sum())
    if broken:
        raise ValueError(f"{name} must be finite, but {broken} of {found.size} values are NaN or infinite")
    return found


def _constant(sample: Sample) -> bool:
    return bool(np.ptp(sample) <= _ROUNDING * np.abs(sample).max())


def _scaled(sample: Sample) -> Sample:
    """Return a sample divided by a power of two, which is exact, to keep its squares and cubes in range."""
    scaled: Sample = np.ldexp(sample, -np.frexp(np.abs(sample).max())[1])
    return scaled
