"""Drawn problems for the continuous operators, and slow ways to solve them: dense hats, and SciPy."""

from functools import reduce
from itertools import product

import numpy as np
import pytest
import torch
from scipy.optimize import root

from usu.operators.continuous import continuous_shares
from usu.operators.lattice import grid

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


def shares_of_scaled(levels, scale, masses, cells, operator=continuous_shares):
    return operator(levels, 0.3, masses * scale, cells)
