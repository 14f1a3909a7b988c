"""The paper's theorems, corollaries and propositions, each under its own number.

Those on refinement (propositions 3 to 10, theorem 8) are in test_refinement_propositions.py. Where the
paper's statement needs a condition that it does not name, the test takes the condition and says so;
docs/paper-notes.md has the counter-examples.
"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import usu
from usu.desiderata.check import check_desiderata
from usu.metrics.errors import error_maps, mass_errors
from usu.operators.upsamplers import UPSAMPLERS, find_upsampler

KERNELS = ("bilinear", "bicubic", "lanczos")
FOUR = ("D1", "D2", "D3", "D4")
SATISFIED, VIOLATED = "satisfied", "violated"

few = settings(max_examples=15)
seeds = st.integers(0, 2**31)
temperatures = st.floats(-3, 2).map(lambda power: 10.0**power)


@st.composite
def lattices(draw, smallest=1):
    """Draw a grid of at least `smallest` cells, with at least twice as many pixels along each axis."""
    shape = draw(st.tuples(st.integers(1, 4), st.integers(smallest, 4)))
    factors = draw(st.tuples(st.integers(2, 6), st.integers(2, 6)))
    return shape, (shape[0] * factors[0], shape[1] * factors[1])


@st.composite
def problems(draw, smallest=1, signed=False):
    """Draw (coarse, scores) with some scores equal, as in segments."""
    shape, size = draw(lattices(smallest))
    rng = np.random.default_rng(draw(seeds))
    levels = draw(st.sampled_from([3, 10, 1000]))
    return rng.random(shape) - 0.4 * signed, rng.integers(0, levels + 1, size) / levels


def cell_sums(pixels, shape):
    rows, columns = (length // cells for length, cells in zip(pixels.shape, shape, strict=True))
    return pixels.reshape(shape[0], rows, shape[1], columns).sum((1, 3))


def cell_of(pixel, shape, size):
    return tuple(place * cells // length for place, cells, length in zip(pixel, shape, size, strict=True))


def areas_of(shape, size):
    return size[0] * size[1] // (shape[0] * shape[1])


def indicator(shape, cell):
    coarse = np.zeros(shape)
    coarse[cell] = 1.0
    return coarse


def verdicts(report):
    return {name: finding.verdict for name, finding in report.items()}


# --- A.1: interpolation ---


@pytest.mark.parametrize("kernel", KERNELS)
@given(lattice=lattices(smallest=2), place=st.floats(0, 1, exclude_max=True))
def test_theorem_01_interpolation_leaks_mass(kernel, lattice, place):
    """The witness is the indicator of a cell (the paper's is that of a pixel, which is no coarse map)."""
    shape, size = lattice
    source = np.unravel_index(int(place * shape[0] * shape[1]), shape)
    pixels = find_upsampler(kernel)(indicator(shape, source), np.zeros(size))
    leak = cell_sums(pixels, shape) / areas_of(shape, size)
    leak[source] = 0
    assert np.abs(leak).max() > 0.01


@given(st.integers(1, 40))
def test_theorem_01_leak_of_bilinear_in_closed_form(factor):
    """One eighth of a cell's mass to each side for even factors, (1 - 1/f²)/8 for odd ones."""
    pixels = find_upsampler("bilinear")([[0.0, 1.0, 0.0]], np.zeros((1, 3 * factor)))
    leak = cell_sums(pixels, (1, 3))[0] / factor
    expected = (1 if factor % 2 == 0 else 1 - factor**-2) / 8
    np.testing.assert_allclose(leak, [expected, 1 - 2 * expected, expected], atol=1e-12)


@pytest.mark.parametrize("kernel", KERNELS)
@given(problem=problems(smallest=2), seed=seeds)
def test_theorem_02_interpolation_ignores_scores(kernel, problem, seed):
    coarse, scores = problem
    others = np.random.default_rng(seed).random(scores.shape)
    upsample = find_upsampler(kernel)
    np.testing.assert_array_equal(upsample(coarse, scores), upsample(coarse, others))


@pytest.mark.parametrize("kernel", KERNELS)
@few
@given(problem=problems(smallest=2))
def test_theorem_02_interpolation_violates_monotonicity(kernel, problem):
    """Any two unequal pixels of a cell contradict the scores that order them the other way."""
    coarse, _ = problem
    size = problem[1].shape
    pixels = find_upsampler(kernel)(coarse, np.zeros(size))
    top = np.unravel_index(pixels.argmax(), size)
    cell = cell_of(top, coarse.shape, size)
    scores = np.ones(size)
    scores[top] = 0.0
    report = check_desiderata(kernel, coarse, scores)
    assert coarse[cell] >= 0
    assert report["D2"].verdict == VIOLATED
    assert report["D2"].witness.numbers["score_better"] >= report["D2"].witness.numbers["score_worse"]


@pytest.mark.parametrize("kernel", KERNELS)
@given(lattice=lattices(smallest=2), place=st.floats(0, 1, exclude_max=True))
def test_theorem_03_interpolation_is_not_local(kernel, lattice, place):
    """A₁ = 0 and A₂ = the indicator of a neighbour agree on a cell, and its boundary pixels differ."""
    shape, size = lattice
    cell = np.unravel_index(int(place * shape[0] * shape[1]), shape)
    neighbour = (cell[0], cell[1] + 1 if cell[1] + 1 < shape[1] else cell[1] - 1)
    upsample = find_upsampler(kernel)
    change = upsample(indicator(shape, neighbour), np.zeros(size)) - upsample(np.zeros(shape), np.zeros(size))
    inside = [cell_of(pixel, shape, size) == tuple(cell) for pixel in np.ndindex(size)]
    assert np.abs(change[np.reshape(inside, size)]).max() > 0.1


@few
@given(problem=problems(smallest=2))
def test_theorems_01_to_03_hold_for_wide_kernels_only(problem):
    """Nearest-neighbour upsampling is an interpolation, too, and meets D1, D2 and D4."""
    report = check_desiderata("nearest", *problem)
    assert [report[name].verdict for name in ("D1", "D2", "D4")] == [SATISFIED] * 3


# --- A.2: the ratio form ---


@st.composite
def increasing_potentials(draw):
    """Draw φ(s) = c + Σ bᵢ·exp(aᵢ·s) with aᵢ, bᵢ, c > 0: positive, increasing, seldom exponential."""
    positive = st.floats(0.05, 8)
    terms = draw(st.lists(st.tuples(positive, positive), min_size=1, max_size=3))
    constant = draw(positive)
    return lambda scores: constant + sum(weight * (rate * scores).exp() for rate, weight in terms)


@few
@given(problem=problems(), potential=increasing_potentials())
def test_theorem_04_the_ratio_form_suffices(problem, potential):
    """Any positive, increasing potential gives D1, D2, D4 and linearity in mass."""
    report = check_desiderata("usu", *problem, potential=potential)
    assert not [name for name in ("D1", "D2", "D4") if report[name].verdict == VIOLATED]
    coarse, scores = problem
    pixels = usu.redistribute(coarse, scores, potential=potential)
    np.testing.assert_allclose(
        usu.redistribute(-3 * coarse, scores, potential=potential), -3 * pixels, rtol=1e-12
    )


def by_spread(coarse, scores):
    """Weights ∝ exp(s / sd), with sd the spread of the scores in the cell."""
    rows, columns = (length // cells for length, cells in zip(scores.shape, coarse.shape, strict=True))
    blocks = scores.reshape(coarse.shape[0], rows, coarse.shape[1], columns)
    spread = blocks.std((1, 3), keepdims=True)
    weights = np.exp((blocks - blocks.max((1, 3), keepdims=True)) / np.where(spread > 0, spread, 1))
    shares = weights / weights.sum((1, 3), keepdims=True)
    return (coarse[:, None, :, None] * rows * columns * shares).reshape(scores.shape)


@few
@given(problem=problems())
def test_theorem_04_does_not_hold_in_the_other_direction(problem):
    """D1, D2, D4 and linearity hold, and yet the ratio of two pixels depends on a third one's score."""
    report = check_desiderata(by_spread, *problem)
    assert not [name for name in ("D1", "D2", "D4") if report[name].verdict == VIOLATED], str(report)
    coarse, scores = problem
    np.testing.assert_allclose(by_spread(-3 * coarse, scores), -3 * by_spread(coarse, scores), rtol=1e-12)
    ratios = [
        np.divide(*by_spread(np.ones((1, 1)), np.array([[0.8, 0.2, third]]))[0, :2]) for third in (0.5, 1)
    ]
    assert ratios[0] == pytest.approx(11.6, abs=0.1)
    assert ratios[1] == pytest.approx(5.8, abs=0.1)


@few
@given(problem=problems(signed=True), temperature=temperatures)
def test_theorem_05_usu_satisfies_all_four(problem, temperature):
    report = check_desiderata("usu", *problem, temperature=temperature)
    of_the_paper = {name: finding for name, finding in report.items() if name != "D5"}  # not the paper's
    assert not [name for name, finding in of_the_paper.items() if finding.verdict == VIOLATED], str(report)


@given(problem=problems(signed=True), temperature=temperatures)
@pytest.mark.parametrize("name", ["usu", "nearest"])
def test_corollary_01_global_conservation(name, problem, temperature):
    coarse, scores = problem
    pixels = find_upsampler(name, temperature=temperature)(coarse, scores)
    masses = coarse * areas_of(coarse.shape, scores.shape)
    assert abs(pixels.sum() - masses.sum()) <= 1e-12 * np.abs(masses).sum()


# --- A.3: Soft IWMR ---


@few
@given(problem=problems(smallest=2), temperature=temperatures, between=temperatures)
def test_theorem_06_properties_of_soft_iwmr(problem, temperature, between):
    report = check_desiderata("iwmr", *problem, temperature=temperature, importance_temperature=between)
    wanted = ("D1-G", "D2", "D3", "D4'", "global")
    assert not [name for name in wanted if report[name].verdict == VIOLATED], str(report)


@few
@given(problem=problems(smallest=2))
def test_theorem_06_soft_iwmr_violates_d1_and_d4(problem):
    """D4 too, which table 2 marks as satisfied: the result follows scores and masses of other cells."""
    report = check_desiderata("iwmr", *problem)
    assert report["D1"].verdict == report["D4"].verdict == VIOLATED


@given(problem=problems(signed=True), temperature=temperatures)
@pytest.mark.parametrize("name", ["iwmr", "hybrid"])
def test_corollary_02_global_conservation_and_zero_sum_flow(name, problem, temperature):
    coarse, scores = problem
    area = areas_of(coarse.shape, scores.shape)
    pixels = find_upsampler(name, importance_temperature=temperature)(coarse, scores)
    flow = cell_sums(pixels, coarse.shape) - coarse * area
    assert abs(flow.sum()) <= 1e-12 * np.abs(coarse).sum() * area


@given(problem=problems(), temperature=temperatures)
def test_equal_importances_give_areas_and_not_masses(problem, temperature):
    """Section 3.5 says M̃_k = M_k there; eq. 13 says M_total·|N_k|/|Ω|. The hybrid gives M_k."""
    coarse, scores = problem
    area = areas_of(coarse.shape, scores.shape)
    scores = scores.copy()
    rows, columns = (length // cells for length, cells in zip(scores.shape, coarse.shape, strict=True))
    scores[::rows, ::columns] = 1.0
    sums = cell_sums(usu.iwmr(coarse, scores, importance_temperature=temperature), coarse.shape)
    np.testing.assert_allclose(sums, np.full(coarse.shape, coarse.mean() * area), rtol=1e-12)
    hybrid = usu.iwmr(coarse, scores, importance_temperature=temperature, prior="mass")
    np.testing.assert_allclose(hybrid, usu.redistribute(coarse, scores), rtol=1e-12)


# --- A.4: potentials ---


def measured_ratio(low, high, **options):
    """Return φ(high) / φ(low) as the operator applies it: two pixels that share one cell."""
    pixels = usu.redistribute(np.ones((1, 1)), np.array([[low, high]]), **options)
    return pixels[0, 1] / pixels[0, 0]


gammas = st.floats(0.1, 5)
steps = st.floats(0.02, 0.2)
bases = st.floats(0.05, 0.75)


@given(gamma=gammas, step=steps, base=bases)
def test_proposition_01_power_law_violates_d3(gamma, step, base):
    ratio = measured_ratio(base, base + step, potential="power", temperature=1 / gamma)
    assert ratio == pytest.approx(((base + step) / base) ** gamma, rel=1e-9)
    assert ratio > measured_ratio(base + 0.04, base + 0.04 + step, potential="power", temperature=1 / gamma)


@given(gamma=gammas, step=steps, base=bases)
def test_proposition_02_log_odds_violates_d3(gamma, step, base):
    top = base + step
    ratio = measured_ratio(base, top, potential="log-odds", temperature=1 / gamma)
    assert ratio == pytest.approx((top * (1 - base) / ((1 - top) * base)) ** gamma, rel=1e-9)
    middle = measured_ratio(0.5 - step / 2, 0.5 + step / 2, potential="log-odds", temperature=1 / gamma)
    at_the_edge = measured_ratio(0.02, 0.02 + step, potential="log-odds", temperature=1 / gamma)
    assert at_the_edge > middle


@pytest.mark.parametrize("potential", ["power", "log-odds"])
@few
@given(problem=problems(), gamma=gammas)
def test_propositions_01_and_02_on_the_whole_operator(potential, problem, gamma):
    """D3 alone falls; D1, D2 and D4 hold for any increasing potential."""
    report = check_desiderata("usu", *problem, potential=potential, temperature=1 / gamma)
    assert [name for name in FOUR if report[name].verdict == VIOLATED] == ["D3"], str(report)


@given(temperature=temperatures, step=st.floats(0.001, 0.2), first=bases, second=bases)
def test_theorem_07_tensor_potential_has_constant_strength(temperature, step, first, second):
    step = min(step, 100 * temperature)
    ratios = [measured_ratio(base, base + step, temperature=temperature) for base in (first, second)]
    np.testing.assert_allclose(ratios, np.exp(step / temperature), rtol=1e-9)


@few
@given(
    problem=problems(), rate=st.floats(0.5, 8), bend=st.floats(0.05, 2), power=st.sampled_from([2, 3, 0.5])
)
def test_theorem_07_no_other_potential_has(problem, rate, bend, power):
    """log φ = rate·s is affine; with a term bend·s^power it is not."""
    affine = check_desiderata("usu", *problem, potential=lambda s: torch.exp(rate * s))
    bent = check_desiderata("usu", *problem, potential=lambda s: torch.exp(rate * s + bend * s**power))
    assert affine["D3"].verdict == SATISFIED
    assert bent["D3"].verdict == VIOLATED


# --- D: errors ---

values = st.floats(-1e6, 1e6, allow_subnormal=False)


@given(attribution=st.lists(values, min_size=1, max_size=30), seed=seeds)
def test_proposition_11_errors_exclude_each_other(attribution, seed):
    attribution = np.array([attribution])
    truth = np.random.default_rng(seed).permutation(attribution.ravel())[None] * 0.7
    errors = error_maps(attribution, truth)
    assert not (errors.alpha * errors.beta).any()
    assert min(errors.alpha.min(), errors.beta.min()) >= 0
    np.testing.assert_array_equal(errors.alpha + errors.beta, np.abs(np.abs(attribution) - np.abs(truth)))


@pytest.mark.parametrize("name", UPSAMPLERS)
@given(problem=problems(), seed=seeds)
def test_proposition_12_mass_errors_bound_pixel_errors(name, problem, seed):
    """For non-negative maps; bicubic and Lanczos undershoot, and are clipped here."""
    coarse, scores = problem
    attribution = find_upsampler(name)(coarse, scores).clip(min=0)
    truth = np.random.default_rng(seed).random(scores.shape) ** 2
    errors, masses = error_maps(attribution, truth), mass_errors(attribution, truth, coarse.shape)
    slack = 1e-12 * attribution.size
    assert (cell_sums(errors.alpha, coarse.shape) >= masses.excess - slack).all()
    assert (cell_sums(errors.beta, coarse.shape) >= masses.deficit - slack).all()


@given(problem=problems(), temperature=temperatures)
def test_proposition_12_usu_zeroes_the_bounds_where_the_coarse_map_aggregates_the_truth(problem, temperature):
    truth, scores = problem[1][::-1], problem[1]
    shape = problem[0].shape
    attribution = usu.redistribute(cell_sums(truth, shape), scores, temperature=temperature, mass="total")
    masses = mass_errors(attribution, truth, shape)
    assert max(masses.deficit.max(), masses.excess.max()) <= 1e-12 * truth.size
