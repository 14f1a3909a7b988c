"""Continuous redistribution: worked by hand, against SciPy on dense matrices, its properties and limits."""

import warnings
from functools import partial, reduce
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import root

from usu.operators import hats
from usu.operators.continuous import continuous_shares, continuous_total
from usu.operators.lattice import Regions, grid

LATTICES = [
    ((3,), (11,)),
    ((1,), (4,)),
    ((3, 2), (9, 8)),
    ((4, 3), (9, 10)),
    ((1, 1), (3, 4)),
    ((5, 5), (5, 5)),
    ((2, 3, 2), (5, 6, 4)),
]
every_lattice = pytest.mark.parametrize(("shape", "size"), LATTICES)
every_type = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
MASSES = ["positive", "signed", "zeros"]
every_kind = pytest.mark.parametrize("kind", MASSES)
TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-12}


def draw_masses(rng, shape, kind):
    masses = rng.random(shape) + 0.1
    if kind != "positive":
        masses *= rng.choice([-1, 1], shape)
    if kind == "zeros":
        masses *= rng.random(shape) < 0.6
    return masses


def solve(levels, temperature, masses, dtype=torch.float64):
    """Run the operator on nested lists or arrays."""
    levels, masses = (torch.as_tensor(np.asarray(part), dtype=dtype) for part in (levels, masses))
    cells = grid(tuple(masses.shape[-levels.dim() :]), tuple(levels.shape))
    return continuous_shares(levels, temperature, masses, cells).numpy()


def sums(pixels, shape):
    """Sum over each cell, in float64."""
    pixels = torch.as_tensor(pixels, dtype=torch.float64)
    return grid(tuple(shape), tuple(pixels.shape[-len(shape) :])).sum(pixels.contiguous()).numpy()


def dense_hats(shape, size):
    """b_j(x) for all pixels and cells, (pixels, cells), by NumPy's own linear interpolation."""
    axes = []
    for cells, length in zip(shape, size, strict=True):
        places = (np.arange(length) + 0.5) * cells / length
        axes.append([np.interp(places, np.arange(cells) + 0.5, unit) for unit in np.eye(cells)])
    columns = [reduce(np.multiply, np.ix_(*hats)) for hats in product(*axes)]
    return np.stack([column.ravel() for column in columns], axis=1)


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


def find(weights, hats, owner, masses, guess, own=True, touching=None):
    """Let SciPy find the map (pixels,) in which the cells in `own` have their masses."""

    def gaps(heights):
        totals = np.bincount(owner, weights * np.exp(hats @ heights), masses.size)
        lacking = np.log(np.where(own, totals, 1) / np.where(own, masses, 1))
        return lacking if own is True else np.where(own, lacking, heights - touching @ heights)

    heights = root(gaps, guess, tol=1e-13).x
    assert abs(gaps(heights)).max() < 1e-9
    return weights * np.exp(hats @ heights)


def owners(shape, size):
    """Number the cell of each pixel, (pixels,)."""
    return grid(shape, size).spread(torch.arange(np.prod(shape)).view(shape)).numpy().ravel()


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


# Existence is proved where β + b > 1, uniqueness on rows (docs/continuous.md); on images it fails.


def least_hats(cells, size):
    """Return β, the least over the cells of their largest own hat, and b, the least own hat of all pixels."""
    hats, owner = dense_hats((cells,), (size,)), owners((cells,), (size,))
    own = hats[np.arange(size), owner]
    return min(own[owner == cell].max() for cell in range(cells)), own.min()


def test_the_condition_of_existence_holds_where_the_page_says():
    whole, long, odd = [], [], []
    for cells in (1, 2, 3, 5, 8):
        whole += [least_hats(cells, cells * side) for side in range(1, 20)]
        odd += [least_hats(cells, cells * side) for side in range(1, 20, 2)]
        long += [least_hats(cells, size) for size in range(-(-15 * cells // 4), 20 * cells)]
        longest = [least_hats(cells, size) for size in range(12 * cells, 20 * cells)]
        assert all(a**3 + b**3 > 1 for a, b in longest)
        rows = [least_hats(cells, size) for size in range(cells, 20 * cells)]
        assert all(a + b > 1 for a, b in rows)
    assert all(a * c + b * d > 1 for (a, b), (c, d) in product([*whole, *long], repeat=2))
    assert all(a * c * e + b * d * f > 1 for (a, b), (c, d), (e, f) in product(set(odd), repeat=3))


def test_on_an_image_more_than_one_map_can_meet_all_conditions():
    weights = np.full((16, 16), 1e-4)
    weights[[7, 12, 3, 8], [7, 12, 8, 3]] = 1
    hats, owner = dense_hats((2, 2), (16, 16)), owners((2, 2), (16, 16))
    masses = np.bincount(owner, weights.ravel())
    guesses = ([0, 0, 0, 0], [-8, 5, 5, 0], [5, -4, -4, 0])
    maps = [find(weights.ravel(), hats, owner, masses, guess) for guess in guesses]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert abs(np.log(maps[one] / maps[other])).max() > 1
    ours = solve(np.log(weights), 1.0, masses.reshape(2, 2)).ravel()
    assert min(abs(np.log(ours / other)).max() for other in maps) < 1e-6


def test_a_row_has_one_map_wherever_the_search_starts():
    rng = np.random.default_rng(12)
    for _ in range(20):
        cells = int(rng.integers(1, 6))
        size = int(rng.integers(cells, 5 * cells))
        weights, masses = 10 ** rng.uniform(-4, 0, size), rng.random(cells) + 0.01
        hats, owner = dense_hats((cells,), (size,)), owners((cells,), (size,))
        found = find(weights, hats, owner, masses, 3 * rng.normal(size=cells))
        assert_allclose(found, solve(np.log(weights), 1.0, masses), rtol=1e-8)


# Gradients, types, errors


@every_kind
@every_lattice
def test_gradients(shape, size, kind):
    rng = np.random.default_rng(13)
    for levels_batch, masses_batch in (((), ()), ((2,), (2,)), ((), (2,)), ((2, 1), (1, 2))):
        levels = torch.as_tensor(rng.random((*levels_batch, *size))).requires_grad_()
        masses = torch.as_tensor(draw_masses(rng, (*masses_batch, *shape), kind))
        # A mass of 0 has no slope: the map falls to 0 towards it at once.
        scale = torch.ones_like(masses).requires_grad_()
        shares = partial(shares_of_scaled, masses=masses, cells=grid(shape, size))
        assert torch.autograd.gradcheck(shares, (levels, scale))


def shares_of_scaled(levels, scale, masses, cells, operator=continuous_shares):
    return operator(levels, 0.3, masses * scale, cells)


def test_gradients_of_any_layout():
    levels = torch.rand(6, 6, dtype=torch.float64).requires_grad_()
    masses = torch.rand(2, 2, dtype=torch.float64)
    maps = continuous_shares(levels, 0.3, masses, grid((2, 2), (6, 6)))
    weights = torch.rand(6, 6, dtype=torch.float64)
    expected = torch.autograd.grad((maps * weights).sum(), levels, retain_graph=True)[0]
    assert_allclose(torch.autograd.grad((maps.T * weights.T).sum(), levels)[0], expected, rtol=1e-12)


def test_layouts_of_the_arguments_do_not_matter():
    levels, masses = torch.rand(9, 8, dtype=torch.float64), torch.rand(4, 2, dtype=torch.float64)
    cells = grid((2, 4), (8, 9))
    for temperature in (0.2, 1e-3):
        expected = continuous_shares(levels.T.contiguous(), temperature, masses.T.contiguous(), cells)
        assert_allclose(continuous_shares(levels.T, temperature, masses.T, cells), expected, rtol=1e-12)


def test_products_of_reduced_precision_are_not_used():
    levels, masses = torch.rand(12, 12), torch.rand(3, 3)
    expected = continuous_shares(levels.double(), 0.1, masses.double(), grid((3, 3), (12, 12)))
    with torch.autocast("cpu"):
        assert_allclose(continuous_shares(levels, 0.1, masses, grid((3, 3), (12, 12))), expected, rtol=1e-4)
    torch.set_float32_matmul_precision("medium")
    try:
        assert_allclose(continuous_shares(levels, 0.1, masses, grid((3, 3), (12, 12))), expected, rtol=1e-4)
    finally:
        torch.set_float32_matmul_precision("highest")


def test_on_every_device(device):
    rng = np.random.default_rng(14)
    for kind in MASSES:
        levels, masses = rng.random((2, 9, 10)), draw_masses(rng, (2, 4, 3), kind)
        tensors = [torch.as_tensor(part, device=device).requires_grad_() for part in (levels, masses)]
        maps = continuous_shares(tensors[0], 0.2, tensors[1], grid((4, 3), (9, 10)))
        maps.square().sum().backward()
        assert maps.device.type == tensors[0].grad.device.type == device.type
        one_by_one = [solve(level, 0.2, mass) for level, mass in zip(levels, masses, strict=True)]
        assert_allclose(maps.detach().cpu(), one_by_one, rtol=1e-9)


@pytest.mark.parametrize("operator", [continuous_shares, continuous_total])
def test_labels_are_refused_with_a_way_out(operator):
    labels = Regions(torch.tensor([[0, 0, 1], [0, 1, 1]]), 2)
    with pytest.raises(ValueError, match=r"neighbourhoods.*continuous=False"):
        operator(torch.zeros(2, 3), 1.0, torch.ones(2), labels)


@pytest.mark.parametrize("place", ["levels", "masses"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(place, value):
    parts = {"levels": torch.zeros(4, 4), "masses": torch.ones(2, 2)}
    parts[place][1, 1] = value
    with pytest.raises(ValueError, match="must be finite"):
        continuous_shares(parts["levels"], 1.0, parts["masses"], grid((2, 2), (4, 4)))


def test_an_empty_batch_is_refused():
    with pytest.raises(ValueError, match="must not be empty"):
        continuous_shares(torch.zeros(4, 4), 1.0, torch.ones(0, 2, 2), grid((2, 2), (4, 4)))


# Wide bands


@pytest.mark.parametrize(("shape", "size"), [((3, 4), (9, 10)), ((5, 5), (5, 5)), ((2, 3, 2), (5, 6, 4))])
@every_kind
def test_a_sparse_factorisation_gives_the_same(shape, size, kind, monkeypatch):
    rng = np.random.default_rng(3)
    masses = torch.as_tensor(draw_masses(rng, (2, *shape), kind), dtype=torch.float64).requires_grad_()
    levels = torch.as_tensor(rng.random(size)).requires_grad_()
    weights, found = torch.as_tensor(rng.random(size)), {}
    for widest in (10**6, 0):
        monkeypatch.setattr(hats, "_WIDEST", widest)
        pixels = continuous_shares(levels, 0.3, masses, grid(shape, size))
        found[widest] = (pixels, *torch.autograd.grad((pixels * weights).sum(), (levels, masses)))
    for one, other in zip(*found.values(), strict=True):
        assert_allclose(one.detach(), other.detach(), rtol=1e-8, atol=1e-11)


def test_a_singular_system_is_solved_by_a_small_addition(monkeypatch):
    system = hats.hats_of((2, 2), (4, 4))
    entries = np.zeros((1, len(system.rows)))
    for widest in (10**6, 0):
        monkeypatch.setattr(hats, "_WIDEST", widest)
        assert_allclose(system.solve(entries.copy(), np.ones((1, 4))), np.full((1, 4), 1e9))


# The total alone


@pytest.mark.parametrize(
    ("weights", "masses", "expected"),
    [
        pytest.param([1, 1, 1, 1], [0, 8], [0, 1, 3, 4], id="bilinear"),
        pytest.param([1, 3, 1, 1], [0, 10], [0, 3, 3, 4], id="weights"),
        pytest.param([1, 1, 1, 1], [-8, 8], [-4, -2, 2, 4], id="signs are shared apart"),
        pytest.param([1, 1, 1, 1], [0, 0], [0, 0, 0, 0], id="nothing to share"),
    ],
)
def test_total_by_hand(weights, masses, expected):
    levels, masses = torch.tensor(weights).double().log(), torch.tensor(masses).double()
    assert_allclose(continuous_total(levels, 1.0, masses, grid((2,), (4,))), expected, rtol=1e-12, atol=1e-15)


def test_total_takes_other_levels_for_negative_masses():
    levels, opposite = torch.tensor([1.0, 3, 1, 1]).log(), torch.tensor([1.0, 1, 1, 3]).log()
    result = continuous_total(levels, 1.0, torch.tensor([0.0, -13.0]), grid((2,), (4,)), opposite)
    assert_allclose(result, [0, -13 / 16, -39 / 16, -156 / 16], rtol=1e-6)


@every_type
@every_kind
@given(data=st.data())
def test_the_total_of_each_sign_is_kept(dtype, kind, data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    shape, size = data.draw(st.sampled_from(LATTICES))
    masses = torch.as_tensor(draw_masses(rng, (2, *shape), kind), dtype=dtype)
    levels = torch.as_tensor(rng.random(size), dtype=dtype)
    temperature = 10 ** data.draw(st.floats(-4, 4))
    for part in (masses.clamp(min=0), masses.clamp(max=0)):
        pixels = continuous_total(levels, temperature, part, grid(shape, size))
        assert pixels.isfinite().all()
        assert_allclose(pixels.flatten(1).sum(1), part.flatten(1).sum(1), rtol=10 * TOLERANCE[dtype])


@every_kind
def test_gradients_of_the_total(kind):
    rng = np.random.default_rng(15)
    levels = torch.as_tensor(rng.random((6, 9))).requires_grad_()
    masses = torch.as_tensor(draw_masses(rng, (2, 2, 3), kind))
    scale = torch.ones_like(masses).requires_grad_()
    total = partial(shares_of_scaled, masses=masses, cells=grid((2, 3), (6, 9)), operator=continuous_total)
    assert torch.autograd.gradcheck(total, (levels, scale))
