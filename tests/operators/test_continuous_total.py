"""The map that is continuous and keeps the total alone."""

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
