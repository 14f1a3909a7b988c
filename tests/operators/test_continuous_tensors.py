"""Gradients, types, layouts and errors of the continuous operators, and their systems of a wide band."""

from functools import partial

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from tests.operators.problems import MASSES, draw_masses, every_kind, every_lattice, shares_of_scaled, solve
from usu.operators import hats
from usu.operators.continuous import continuous_shares, continuous_total
from usu.operators.lattice import Regions, grid


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
        several = bool(levels_batch or masses_batch)  # are checked by random projections
        assert torch.autograd.gradcheck(shares, (levels, scale), fast_mode=several)


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
