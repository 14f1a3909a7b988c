"""Continuous redistribution: worked by hand, against SciPy on dense matrices, its properties and limits."""

import warnings
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from tests.operators.problems import (
    LATTICES,
    MASSES,
    TOLERANCE,
    dense_hats,
    draw_masses,
    every_kind,
    every_lattice,
    every_type,
    find,
    owners,
    solve,
    sums,
)
from usu.operators.continuous import continuous_shares
from usu.operators.lattice import grid


def dense_taper(signs, size):
    """What brings a map down to 0 towards another sign, (pixels,)."""
    shape = signs.shape
    nodes = np.zeros([2 * cells + 1 for cells in shape])
    for place in np.ndindex(nodes.shape):
        around = {
            signs[cell]
            for cell in np.ndindex(shape)
            if all(abs(2 * k + 1 - p) <= 1 for k, p in zip(cell, place, strict=True))
        }
        nodes[place] = around.pop() if len(around) == 1 else 0
    for axis, (cells, length) in enumerate(zip(shape, size, strict=True)):
        places = (np.arange(length) + 0.5) * 2 * cells / length
        nodes = np.apply_along_axis(lambda line: np.interp(places, np.arange(len(line)), line), axis, nodes)  # noqa: B023
    return abs(nodes.ravel())


def reference(levels, temperature, masses):
    """The slow version: dense hats, and SciPy's root of log Σ - log M, for each sign apart."""
    size, shape, flat = levels.shape, masses.shape, masses.ravel()
    hats, owner = dense_hats(shape, size), owners(shape, size)
    places = np.array(list(np.ndindex(shape)))
    touching = abs(places[:, None] - places).max(-1) == 1
    touching = touching / np.maximum(touching.sum(1, keepdims=True), 1)
    weights = dense_taper(np.sign(masses), size) * np.exp(levels.ravel() / temperature)
    result = np.zeros(levels.size)
    for sign in np.unique(np.sign(flat[flat != 0])):
        own = np.sign(flat) == sign
        found = find(weights * own[owner], hats, owner, abs(flat), np.zeros(flat.size), own, touching)
        result += sign * found
    return result.reshape(size)


# Worked by hand: two cells of two pixels have hats (1, 0), (3/4, 1/4), (1/4, 3/4), (0, 1). With
# a = exp(c_0 / 4) and b = exp(c_1 / 4), the map is a⁴, a³b, ab³, b⁴, so that M_0 / M_1 = (a / b)³.


@pytest.mark.parametrize(
    ("weights", "masses", "expected"),
    [
        pytest.param([1, 1, 1, 1], [8, 1], [16 / 3, 8 / 3, 2 / 3, 1 / 3], id="equal weights"),
        pytest.param([1, 3, 3, 1], [40, 7], [16, 24, 6, 1], id="weights"),
        pytest.param([1] * 6, [5, 1], [2, 2, 1, 0.5, 0.25, 0.25], id="three pixels a cell"),
        pytest.param([1, 1, 1, 1], [-8, -1], [-16 / 3, -8 / 3, -2 / 3, -1 / 3], id="negative"),
        pytest.param([1, 1, 1, 1], [6, 0], [4, 2, 0, 0], id="falls to 0 towards a cell without mass"),
        pytest.param([1, 1, 1, 1], [6, -3], [4, 2, -1, -2], id="falls to 0 towards another sign"),
        pytest.param([1, 3, 1, 1], [5, -3], [2, 3, -1, -2], id="weights and another sign"),
        pytest.param([1, 2, 5], [16], [2, 4, 10], id="one cell is USU"),
        pytest.param([1, 2, 5], [3, 1, 2], [3, 1, 2], id="a pixel a cell"),
        pytest.param([1, 1, 1, 1], [0, 0], [0, 0, 0, 0], id="nothing to share"),
    ],
)
def test_by_hand(weights, masses, expected):
    assert_allclose(solve(np.log(weights), 1.0, masses), expected, rtol=1e-14)


def test_on_an_image_by_hand():
    rows, columns = np.array([16, 8, 2, 1]) / 3, np.array([16, 24, 6, 1])
    weights = np.outer([1, 1, 1, 1], [1, 3, 3, 1])
    # Weights and masses that are products along the axes give a map that is one.
    assert_allclose(
        solve(np.log(weights), 1.0, np.outer([8, 1], [40, 7])), np.outer(rows, columns), rtol=1e-14
    )


@every_kind
@every_lattice
def test_agrees_with_the_reference(shape, size, kind):
    rng = np.random.default_rng(7)
    for temperature in (1e4, 1.0, 0.3):
        levels, masses = rng.random(size), draw_masses(rng, shape, kind)
        assert_allclose(
            solve(levels, temperature, masses), reference(levels, temperature, masses), rtol=1e-9, atol=1e-13
        )


# Properties


@every_type
@every_kind
@given(data=st.data())
def test_every_cell_keeps_its_mass_and_sign(dtype, kind, data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    shape, size = data.draw(st.sampled_from(LATTICES))
    temperature = 10 ** data.draw(st.floats(-4, 4))
    masses = draw_masses(rng, shape, kind) * 10 ** rng.uniform(-3, 3, shape)
    masses = torch.as_tensor(masses, dtype=dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a factor that is not found keeps the masses, too
        pixels = solve(rng.random(size), temperature, masses, dtype)
    assert_allclose(sums(pixels, shape), masses.double(), rtol=TOLERANCE[dtype])
    signs = grid(shape, size).spread(masses.sign()).numpy()
    assert (pixels * signs >= 0).all()
    assert not pixels[signs == 0].any()


@every_lattice
def test_the_factor_is_a_linear_interpolation_in_the_logarithm(shape, size):
    rng = np.random.default_rng(3)
    levels = rng.random(size)
    factors = np.log(solve(levels, 0.2, rng.random(shape) + 0.1)).ravel() - levels.ravel() / 0.2
    hats = dense_hats(shape, size)
    heights = np.linalg.lstsq(hats, factors, rcond=None)[0]
    assert_allclose(hats @ heights, factors, rtol=0, atol=1e-11)


def test_no_jump_at_a_border_where_the_scores_are_equal():
    rng = np.random.default_rng(0)
    masses = draw_masses(rng, (4, 4), "zeros")
    steps = {}
    for pixels in (16, 256):
        size = (4 * pixels, 4 * pixels)
        densities = solve(np.zeros(size), 1.0, masses) * pixels**2
        steps[pixels] = max(abs(np.diff(densities, axis=axis)).max() for axis in (0, 1))
    assert steps[256] < steps[16] / 8  # a jump would stay; a slope's step becomes shorter as the pixels do


@every_lattice
def test_equal_scores_and_densities_give_a_constant_map(shape, size):
    areas = grid(shape, size).areas(torch.ones((), dtype=torch.float64)).numpy()
    assert_allclose(solve(np.full(size, 0.7), 0.1, 2.5 * areas), np.full(size, 2.5), rtol=1e-12)


@every_kind
@every_lattice
def test_scaling_the_masses_scales_the_map(shape, size, kind):
    rng = np.random.default_rng(5)
    levels, masses = rng.random(size), draw_masses(rng, shape, kind)
    expected = solve(levels, 0.3, masses)
    for factor in (-1.0, 1e-200, 1e200):
        assert_allclose(solve(levels, 0.3, factor * masses), factor * expected, rtol=1e-9)


@every_kind
def test_turning_and_mirroring_the_problem_turns_and_mirrors_the_map(kind):
    rng = np.random.default_rng(6)
    levels, masses = rng.random((9, 10)), draw_masses(rng, (4, 3), kind)
    expected = solve(levels, 0.2, masses)
    # Pixels on a border belong to the later cell, so that only borders between pixels can be mirrored.
    assert_allclose(solve(levels.T, 0.2, masses.T), expected.T, rtol=1e-9)
    levels, masses = rng.random((8, 9)), draw_masses(rng, (4, 3), kind)
    mirrored = solve(levels[::-1, ::-1].copy(), 0.2, masses[::-1, ::-1].copy())
    assert_allclose(mirrored, solve(levels, 0.2, masses)[::-1, ::-1], rtol=1e-9)


@every_type
def test_a_batch_is_its_maps_one_by_one(dtype):
    rng = np.random.default_rng(8)
    levels = torch.as_tensor(rng.random((3, 1, 9, 10)), dtype=dtype)
    kinds = [
        rng.random((4, 3)),
        -rng.random((4, 3)),
        np.zeros((4, 3)),
        *(draw_masses(rng, (4, 3), k) for k in MASSES),
    ]
    masses = torch.as_tensor(np.stack(kinds), dtype=dtype)
    batch = continuous_shares(levels, 0.1, masses, grid((4, 3), (9, 10)))
    assert batch.shape == (3, 6, 9, 10)
    for first, second in product(range(3), range(6)):
        alone = continuous_shares(levels[first, 0], 0.1, masses[second], grid((4, 3), (9, 10)))
        assert_allclose(
            batch[first, second], alone, rtol=1e-9 if dtype == torch.float64 else 2e-5, atol=1e-30
        )


def test_shares_of_either_sign_do_not_depend_on_masses_of_the_other():
    rng = np.random.default_rng(9)
    levels, masses = rng.random((12, 12)), draw_masses(rng, (4, 4), "signed")
    changed = np.where(masses < 0, 3 * masses, masses)
    before, after = solve(levels, 0.2, masses), solve(levels, 0.2, changed)
    assert_allclose(after[before > 0], before[before > 0], rtol=1e-9)
    assert not np.allclose(after[before < 0], before[before < 0])


# Limits


@every_type
@pytest.mark.parametrize("temperature", [1e-4, 1e-3, 1e-2, 1.0])
def test_maps_without_mass_are_zero_at_any_temperature(dtype, temperature):
    rng = np.random.default_rng(16)
    for masses in (np.zeros((2, 3)), -np.zeros((2, 3)), np.eye(2, 3), -np.eye(2, 3)):
        pixels = solve(rng.random((8, 9)), temperature, masses, dtype)
        assert_allclose(sums(pixels, (2, 3)), masses, rtol=TOLERANCE[dtype])


def test_at_a_high_temperature_scores_do_not_matter():
    rng = np.random.default_rng(1)
    masses = rng.random((3, 4))
    assert_allclose(
        solve(rng.random((12, 12)), 1e9, masses), solve(np.zeros((12, 12)), 1.0, masses), rtol=1e-7
    )


@pytest.mark.parametrize("temperature", [1e-2, 1e-3, 1e-4])
def test_at_low_temperatures_a_factor_is_still_found(temperature):
    # At 1e-3, Newton's method alone fails here: temperatures have to be lowered step by step.
    rng = np.random.default_rng(40)
    scores, seeds = rng.random(64), rng.random((64, 2)) * 56
    pixels = np.stack(np.meshgrid(np.arange(56) + 0.5, np.arange(56) + 0.5, indexing="ij"), axis=-1)
    levels = scores[np.square(pixels[..., None, :] - seeds).sum(-1).argmin(-1)]
    masses = 10 ** (-3 * rng.random((8, 8)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = solve(levels, temperature, masses)
    assert_allclose(sums(result, (8, 8)), masses, rtol=1e-12)
    seen = result.ravel() > 1e-290  # numbers below have fewer digits
    factors = np.log(result.ravel()[seen]) - levels.ravel()[seen] / temperature
    hats = dense_hats((8, 8), (56, 56))[seen]
    assert_allclose(hats @ np.linalg.lstsq(hats, factors, rcond=None)[0], factors, rtol=0, atol=1e-6)


def test_where_no_factor_is_found_each_cell_has_its_own_and_a_warning_says_so():
    rng = np.random.default_rng(4)
    levels, masses = rng.random((9, 10)), draw_masses(rng, (4, 3), "zeros")
    with pytest.warns(
        RuntimeWarning, match="no continuous factor was found for 1 of 1 maps.*higher temperature"
    ):
        pixels = solve(levels, 1e-12, masses)
    assert_allclose(sums(pixels, (4, 3)), masses, rtol=1e-12)
    cells = grid((4, 3), (9, 10))
    best = levels == cells.spread(cells.amax(torch.as_tensor(levels))).numpy()
    assert_array_equal(pixels != 0, best & (cells.spread(torch.as_tensor(masses)).numpy() != 0))


def test_a_map_that_fails_leaves_the_rest_of_its_batch_alone():
    rng = np.random.default_rng(11)
    levels = torch.as_tensor(rng.random((3, 9, 10)))
    masses = torch.as_tensor(np.stack([draw_masses(rng, (4, 3), kind) for kind in MASSES])).requires_grad_()
    cells = grid((4, 3), (9, 10))
    expected = continuous_shares(levels[:2], 0.1, masses[:2], cells)
    with pytest.warns(RuntimeWarning, match="for 1 of 3 maps"):
        result = continuous_shares(levels * torch.tensor([1, 1, 1e12])[:, None, None], 0.1, masses, cells)
    assert_allclose(result[:2].detach(), expected.detach(), rtol=1e-9)
    best = (levels[2] == cells.spread(cells.amax(levels[2]))).double()
    usu = best * cells.spread(masses[2] / cells.sum(best))
    assert_allclose(result[2].detach(), usu.detach(), rtol=1e-12)
    weights = torch.as_tensor(rng.random((3, 9, 10)))
    slope = torch.autograd.grad((result * weights).sum(), masses)[0]
    expected_slope = torch.autograd.grad((usu * weights[2]).sum(), masses)[0][2]
    assert_allclose(slope[2], expected_slope.where(masses[2] != 0, 0), rtol=1e-9)
    expected_slope = torch.autograd.grad((expected * weights[:2]).sum(), masses)[0]
    assert_allclose(slope[:2], expected_slope[:2], rtol=1e-7)


@pytest.mark.parametrize("level", [0.5, 1.0])
def test_equal_scores_lose_no_digits_at_low_temperatures(level):
    """All weights are 2^7000 or so; single precision has no digits left for what differs."""
    masses = np.random.default_rng(5).random((4, 3)).astype(np.float32) + 0.1
    single, double = (solve(np.full((13, 9), level), 2e-4, masses, dtype) for dtype in TOLERANCE)
    assert_allclose(single, double, rtol=1e-6)
