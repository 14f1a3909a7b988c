"""The map that is continuous and keeps the total alone."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from tests.operators.problems import (
    LATTICES,
    TOLERANCE,
    draw_masses,
    every_kind,
    every_type,
    shares_of_scaled,
)
from usu.operators.continuous import continuous_total
from usu.operators.lattice import grid


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


@every_type
@pytest.mark.parametrize(
    ("last", "bits"),
    [
        pytest.param(0.9, [0, math.log2(3 / 4), math.log2(1 / 4), 90], id="loses"),
        pytest.param(3.0, [0, math.log2(3 / 4), math.log2(1 / 4), 300], id="wins"),
    ],
)
def test_a_better_score_where_there_is_almost_no_mass(dtype, last, bits):
    """φ = 2^(level / 0.01) against a bilinear map of (1, 3/4, 1/4, 2^-180): beyond float32 both ways."""
    levels = torch.tensor([0.0, 0.0, 0.0, last], dtype=dtype)
    masses = torch.tensor([2.0**90, 2.0**-90], dtype=dtype)
    pixels = continuous_total(levels, 0.01 / math.log(2), masses, grid((2,), (4,)))
    exponents = np.array(bits) - [0, 0, 0, 180]
    weights = np.exp2(exponents - exponents.max())
    assert_allclose(pixels, 2.0**90 * weights / weights.sum(), rtol=1e-4, atol=1e-30 * 2.0**90)


def test_gradients_where_the_best_score_has_almost_no_mass():
    levels = torch.tensor([0.0, 0.2, 0.5, 1.9], dtype=torch.float64).requires_grad_()
    masses = torch.tensor([[1e25, 1e-25]], dtype=torch.float64)
    scale = torch.ones_like(masses).requires_grad_()

    def parts(levels, scale):
        return continuous_total(levels, 0.01, masses * scale, grid((2,), (4,))) / 1e25

    assert torch.autograd.gradcheck(parts, (levels, scale))
