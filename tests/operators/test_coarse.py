"""Masses of cells: worked by hand, and against sums over pixels."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from usu import redistribute
from usu.operators.coarse import Coarse

LABELS = np.array([[0, 0, 1], [0, 2, 2]])


@pytest.mark.parametrize(
    ("mass", "expected"), [("density", [[2.0, 6.0], [4.0, 12.0]]), ("total", [[1.0, 3.0], [1.0, 3.0]])]
)
def test_masses_of_a_grid(mass, expected):
    # Rows of 1 and of 2 pixels, columns of 2.
    coarse = Coarse([[1.0, 3.0], [1.0, 3.0]], mass)
    cells, masses = coarse.cells((3, 4)), coarse.masses((3, 4))
    assert cells.areas(masses).tolist() == [[2, 2], [4, 4]]
    assert masses.dtype == torch.float64
    assert masses.tolist() == expected


@pytest.mark.parametrize(("mass", "expected"), [("density", [15.0, 1.0, 4.0]), ("total", [5.0, 1.0, 2.0])])
def test_masses_of_a_label_map(mass, expected):
    assert Coarse([5.0, 1.0, 2.0], mass, LABELS).masses((2, 3)).tolist() == expected


@pytest.mark.parametrize(
    ("mass", "expected"),
    [("density", [[1.0 * 3 + 10.0 * 3, 2.0 * 3 + 20.0 * 3]]), ("total", [[1.0 + 10.0, 2.0 + 20.0]])],
)
def test_the_mass_of_a_further_map_of_the_same_cells_is_added(mass, expected):
    found = Coarse([[1.0, 2.0]], mass, further=([[10.0, 20.0]],)).masses((1, 6))
    assert found.tolist() == expected


def test_the_mass_of_a_further_map_lies_where_its_pixels_do():
    # Three further cells of two pixels over two cells of three: the middle one gives each half of its mass.
    found = Coarse([[0.0, 0.0]], "total", further=([[2.0, 4.0, 8.0]],)).masses((1, 6))
    assert found.tolist() == [[4.0, 10.0]]


@given(st.integers(0, 2**32 - 1), st.sampled_from(["density", "total"]))
def test_masses_are_those_of_a_nearest_map(seed, mass):
    random = np.random.default_rng(seed)
    coarse, further = random.normal(size=(2, 3)), random.normal(size=(4, 2))
    masses = Coarse(coarse, mass, further=(further,)).masses((8, 9))
    even = sum(redistribute(grid, np.full((8, 9), 0.5), mass=mass) for grid in (coarse, further))
    expected = [[even[row : row + 4, column : column + 3].sum() for column in (0, 3, 6)] for row in (0, 4)]
    np.testing.assert_allclose(masses, expected, rtol=1e-12, atol=1e-12)


def test_the_error_is_the_mean_over_cells():
    pixels = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    error, scale = Coarse([7.0, 1.0, -10.0], "total", LABELS).mass_error(pixels)
    assert error == pytest.approx((0 + 2 + 21) / 3)
    assert scale == pytest.approx(6)
