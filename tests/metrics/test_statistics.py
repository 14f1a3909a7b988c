"""Statistics against known answers, worked out by hand or by SciPy directly."""

import math
import re
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from usu.metrics import statistics

RNG = np.random.default_rng(5)
SAMPLE = RNG.exponential(size=40)
OTHER = SAMPLE + RNG.normal(0.1, 0.3, 40)


def test_wilcoxon_by_hand():
    # Ranks of |1, 2, -3, 4, 5| are 1 to 5; W₋ = 3, W₊ = 12. Of 32 sign patterns, 5 have a negative rank sum
    # of at most 3 (none, {1}, {2}, {3}, {1, 2}): p = 2 · 5 / 32.
    statistic, p_value = statistics.wilcoxon([1.0, 2.0, -3.0, 4.0, 5.0])
    assert (statistic, p_value) == (3, pytest.approx(10 / 32))


def test_wilcoxon_ranks_zeros_and_drops_them():
    # Pratt: the zero takes rank 1, so that the others have ranks 2, 3, 4.
    assert statistics.wilcoxon([0.0, 1.0, -2.0, 3.0])[0] == 3
    assert statistics.rank_biserial([0.0, 1.0, -2.0, 3.0]) == pytest.approx((2 + 4 - 3) / 9)


def test_wilcoxon_is_scipys():
    differences = SAMPLE - OTHER
    expected = stats.wilcoxon(differences, zero_method="pratt")
    assert statistics.wilcoxon(differences) == (expected.statistic, expected.pvalue)


@pytest.mark.parametrize("count", [2, 3, 5, 8, 10, 14])
def test_wilcoxon_of_few_ties_and_zeros_is_scipys(count):
    draw = np.random.default_rng(count)
    for differences in (draw.normal(size=count), draw.integers(-2, 4, count), [0.5] + [0.0] * (count - 1)):
        expected = stats.wilcoxon(differences, zero_method="pratt")
        assert statistics.wilcoxon(differences) == pytest.approx((expected.statistic, expected.pvalue))


def test_effect_sizes_by_hand():
    assert statistics.cohens_d([1.0, 3.0]) == pytest.approx(2 / math.sqrt(2))
    assert statistics.rank_biserial([1.0, -2.0, 3.0, 4.0]) == pytest.approx((8 - 2) / 10)
    # The tied pair shares ranks 1 and 2.
    assert statistics.rank_biserial([1.0, -1.0, 3.0]) == pytest.approx((1.5 + 3 - 1.5) / 6)


@pytest.mark.parametrize(
    ("differences", "d", "r", "p"),
    [([0.0, 0.0, 0.0], 0, 0, 1), ([2.0] * 3, math.inf, 1, 0.25), ([-2.0] * 3, -math.inf, -1, 0.25)],
)
def test_differences_without_spread(differences, d, r, p):
    assert statistics.cohens_d(differences) == d
    assert statistics.rank_biserial(differences) == r
    test = statistics.paired_test(np.array(differences) + 1, np.ones(3))
    assert (test.difference.low, test.difference.high) == (differences[0], differences[0])
    assert (test.cohens_d, test.rank_biserial, test.p_value) == (d, r, p)


def test_rounding_makes_no_effect():
    values = np.array([0.1 + 0.2, 1.0, 0.7])
    test = statistics.paired_test(values, np.array([0.3, 1.0, 0.7]))
    assert (test.cohens_d, test.p_value) == (0, 1)


def scipys_interval(sample, seed=0, level=0.95, resamples=10_000):
    data, rng = (sample,), np.random.default_rng(seed)
    return stats.bootstrap(
        data, np.mean, n_resamples=resamples, confidence_level=level, method="BCa", rng=rng
    ).confidence_interval


@pytest.mark.skipif(
    tuple(map(int, re.findall(r"\d+", __import__("scipy").__version__)[:2])) < (1, 15),
    reason="earlier versions name the generator otherwise",
)
@pytest.mark.parametrize(
    "sample", [SAMPLE, SAMPLE - OTHER, (SAMPLE > 1).astype(float), SAMPLE[:2], np.append(np.zeros(20), 1.0)]
)
def test_interval_is_scipys(sample):
    interval = statistics.bootstrap_interval(sample)
    low, high = scipys_interval(sample)
    assert (interval.low, interval.high) == (pytest.approx(low, rel=1e-9), pytest.approx(high, rel=1e-9))
    assert interval.mean == pytest.approx(sample.mean())


def test_many_samples_are_resampled_alike():
    both = statistics.bootstrap_intervals(np.stack([SAMPLE, OTHER]), seed=3, level=0.9, resamples=500)
    for interval, sample in zip(both, (SAMPLE, OTHER), strict=True):
        alone = statistics.bootstrap_interval(sample, seed=3, level=0.9, resamples=500)
        assert (interval.low, interval.high) == pytest.approx((alone.low, alone.high), rel=1e-12)


def test_the_seed_decides():
    one, same, another = (statistics.bootstrap_interval(SAMPLE, seed=seed) for seed in (1, 1, 2))
    assert one == same
    assert (one.low, one.high) != (another.low, another.high)


def test_an_interval_covers_as_often_as_it_says():
    samples = np.random.default_rng(1).exponential(size=(300, 30))
    hits = [one.low <= 1 <= one.high for one in statistics.bootstrap_intervals(samples, resamples=1000)]
    assert 0.88 < np.mean(hits) < 0.98


def test_no_spread_no_width():
    interval = statistics.bootstrap_interval([0.1 + 0.2, 0.3, 0.3])
    assert interval.low == interval.mean == interval.high


def test_intervals_are_drawn_in_blocks_alike(monkeypatch):
    expected = statistics.bootstrap_intervals(np.stack([SAMPLE, OTHER]), resamples=501, seed=2)
    for block, kept in ((40, 0), (40, 2**24), (41 * 40, 0), (1, 0)):
        for seed in (3, 4):  # the counts of two calls are kept: these take the place of those of seed 2
            statistics.bootstrap_interval(SAMPLE, resamples=501, seed=seed)
        monkeypatch.setattr(statistics, "BLOCK", block)
        monkeypatch.setattr(statistics, "KEPT", kept)
        found = statistics.bootstrap_intervals(np.stack([SAMPLE, OTHER]), resamples=501, seed=2)
        for one, other in zip(found, expected, strict=True):
            assert (one.low, one.high) == pytest.approx((other.low, other.high), rel=1e-12)
        monkeypatch.undo()


def test_memory_is_that_of_small_counts_or_of_a_block():
    sample = np.random.default_rng(2).random(2000)
    tracemalloc.start()
    statistics.bootstrap_interval(sample[:1000])  # 10 million counts of two bytes, which are kept
    statistics.bootstrap_interval(sample)  # 20 million, which are not
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40e6


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e-110, 1e110, 1e160])
def test_effects_and_intervals_know_no_scale(scale):
    sample = np.array([1.0, 2.0, 5.0, -1.0])
    test, other = (statistics.paired_test(one, np.zeros(4)) for one in (sample, scale * sample))
    assert other.cohens_d == pytest.approx(test.cohens_d, rel=1e-12)
    for name in ("mean", "low", "high"):
        expected = scale * getattr(test.difference, name)
        assert getattr(other.difference, name) == pytest.approx(expected, rel=1e-9, abs=0)


@pytest.mark.parametrize("resamples", [1, 2, 3])
def test_few_resamples_give_an_interval_among_them(resamples):
    sample = np.array([1.0, 2.0, 5.0])
    for seed in range(20):
        drawn = np.random.default_rng(seed).integers(0, 3, (resamples, 3))
        means = sample[drawn].mean(1)
        found = statistics.bootstrap_interval(sample, resamples=resamples, seed=seed)
        assert means.min() - 1e-12 <= found.low <= found.high <= means.max() + 1e-12


def test_corrections_by_hand():
    corrected = statistics.correct([0.01, 0.04, 0.03, 0.5])
    assert [one.bonferroni for one in corrected] == pytest.approx([0.04, 0.16, 0.12, 1])
    # 0.01 · 4; 0.03 · 3 = 0.09; 0.04 · 2 = 0.08, raised to 0.09; 0.5 · 1.
    assert [one.holm for one in corrected] == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert {one.tests for one in corrected} == {4}


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_holm_lies_between_and_ignores_the_order(p_values, random):
    corrected = statistics.correct(p_values)
    for one in corrected:
        assert one.p_value <= one.holm <= one.bonferroni <= 1
    order = random.sample(range(len(p_values)), len(p_values))
    again = statistics.correct([p_values[index] for index in order])
    assert again == [corrected[index] for index in order]


def test_a_paired_test_is_about_differences():
    test = statistics.paired_test(SAMPLE, OTHER)
    reverse = statistics.paired_test(OTHER, SAMPLE)
    assert test.n == 40
    assert test.difference.mean == pytest.approx((SAMPLE - OTHER).mean())
    assert test.cohens_d == pytest.approx((SAMPLE - OTHER).mean() / (SAMPLE - OTHER).std(ddof=1))
    assert (reverse.p_value, reverse.statistic) == (test.p_value, test.statistic)
    assert (reverse.cohens_d, reverse.rank_biserial) == (-test.cohens_d, -test.rank_biserial)


def test_torch_and_lists_are_taken(device):
    tensors = torch.tensor(SAMPLE, device=device), torch.tensor(OTHER, device=device)
    expected = statistics.paired_test(SAMPLE, OTHER)
    assert statistics.paired_test(*tensors) == expected
    assert statistics.paired_test(SAMPLE.tolist(), OTHER.tolist()) == expected


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: statistics.paired_test([1.0, 2.0], [1.0, 2.0, 3.0]), "same images, got 2 and 3"),
        (lambda: statistics.paired_test([1.0], [2.0]), "at least 2 values"),
        (lambda: statistics.cohens_d([[1.0, 2.0]]), "one axis"),
        (lambda: statistics.wilcoxon([math.nan, 1.0]), "differences must be finite"),
        (lambda: statistics.wilcoxon([]), "differences is empty"),
        (lambda: statistics.bootstrap_intervals([[1.0, 2.0], [1.0]]), "samples does not form one regular"),
        (lambda: statistics.bootstrap_interval([1.0, 2.0], level=1), "level must lie between"),
        (lambda: statistics.bootstrap_interval([1.0, 2.0], resamples=0), "resamples must be at least 1"),
        (lambda: statistics.bootstrap_intervals([1.0, 2.0]), "samples must be"),
        (lambda: statistics.correct([]), "one or more values"),
        (lambda: statistics.correct([0.5, 1.5]), "one or more values"),
    ],
)
def test_bad_input(call, match):
    with pytest.raises(ValueError, match=match):
        call()


@pytest.mark.parametrize("sample", [["a", "b"], [1 + 2j, 3.0], torch.ones(3, dtype=torch.complex64)])
def test_what_is_not_real_is_refused(sample):
    with pytest.raises(TypeError, match="differences must be an array or tensor of real numbers"):
        statistics.wilcoxon(sample)


def test_statistics_take_tensors_without_loading_torch():
    program = (
        "import sys; from usu.metrics.statistics import paired_test; paired_test([1.0, 2.0], [0.5, 1.0]);"
        "print('torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
    half = torch.tensor(SAMPLE).bfloat16()
    assert statistics.bootstrap_interval(half).mean == pytest.approx(float(half.double().mean()))
