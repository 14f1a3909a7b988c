"""Existence is proved where β + b > 1, uniqueness on rows (docs/continuous.md); on images it fails."""

from itertools import product

import numpy as np
from numpy.testing import assert_allclose

from tests.operators.problems import dense_hats, find, owners, solve


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
