"""The mass that a coarse map puts into each cell, and how far a pixel map is from it (D1)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from usu.arrays.convert import Array, as_tensor
from usu.operators.lattice import Neighbourhoods
from usu.operators.redistribution import Mass, neighbourhoods_of


def cell_masses(
    coarse: Array,
    further: Sequence[Array],
    size: tuple[int, ...],
    neighbourhoods: Array | None,
    mass: Mass,
) -> tuple[Neighbourhoods, Tensor]:
    """Return the cells of a coarse map over `size` pixels, and their M_k in float64.

    Args:
        coarse: (gh, gw), or (K,) with `neighbourhoods`.
        further: maps (h, w) on grids of their own, whose mass is added where it lies, spread evenly.
        size: (H, W).
        neighbourhoods: (H, W) labels of `coarse`.
        mass: "density": M_k = a_k·|N_k|; "total": M_k = a_k.

    Returns:
        The cells of `coarse`, and M_k in its shape.
    """
    wide = as_tensor(coarse, "coarse").detach().to(torch.float64)
    cells = neighbourhoods_of(wide, size, neighbourhoods)
    masses = wide * cells.areas(wide) if mass == "density" else wide
    for grid in further:
        own, sums = cell_masses(grid, (), size, None, mass)
        masses = masses + cells.sum(own.spread(sums / own.areas(sums)))
    return cells, masses


def mass_error(pixels: Tensor, cells: Neighbourhoods, masses: Tensor) -> tuple[float, float]:
    """Return the mean over cells of |Σ Ã - M_k|, and what it is relative to, the mean of |M_k|."""
    sums = cells.sum(pixels.to(masses))
    return float((sums - masses).abs().mean()), float(masses.abs().mean())
