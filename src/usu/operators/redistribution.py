"""The operators: a coarse map's mass, shared among pixels in proportion to φ(score) (paper, section 3.4).

Works on arrays alone and knows neither models nor images, so that anyone can check what is conserved.
"""

from __future__ import annotations

import math
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from usu.arrays.checks import check_choice, check_flag
from usu.arrays.convert import Array
from usu.operators.arguments import Arguments, check_temperature
from usu.operators.continuous import continuous_shares, continuous_total
from usu.operators.lattice import Mass
from usu.operators.potentials import Potential

Negative: TypeAlias = Literal["same", "opposite"]
Prior: TypeAlias = Literal["area", "mass"]

_SMALLEST = torch.finfo(torch.float64).tiny


def redistribute(
    coarse: Array,
    scores: Array,
    segments: Array | None = None,
    *,
    neighbourhoods: Array | None = None,
    temperature: float = 0.1,
    potential: Potential = "exponential",
    mass: Mass = "density",
    negative: Negative = "same",
    continuous: bool = False,
    ndim: int = 2,
) -> Any:
    """Universal Semantic-Aware Upsampling: share each cell's mass among its pixels (paper eq. 8-11).

    `Ã(x) = M_ν(x) · φ(s(σ(x))) / Σ φ(s(σ(y)))`, the sum over the pixels y of the cell N_ν(x), differentiable
    in `coarse` and `scores`.

    Args:
        coarse: (..., gh, gw), or (..., K) with `neighbourhoods`. Signed, in any unit, never rescaled.
        scores: with `segments` (..., P), one score per segment (those that label no pixel are ignored);
            without, the dense score map (..., H, W). In [0, 1].
        segments: (..., H, W) integer labels 0..P-1.
        neighbourhoods: (H, W) integer labels 0..K-1; by default the grid of the coarse map, where a pixel
            belongs to the cell that contains its centre.
        temperature: ε > 0. Small values give all mass to the best segment of each cell, large ones give
            nearest-neighbour upsampling.
        potential: "exponential" exp((s-0.5)/ε), "power" s^(1/ε), "log-odds" (s/(1-s))^(1/ε), or a callable φ.
        mass: "density": M_k = a_k·|N_k| (paper eq. 1); "total": M_k = a_k.
        negative: "same": eq. 11 as it stands; "opposite": φ(1-s) where M_k < 0, so that a better score
            never means a smaller value there either.
        continuous: whether the factor of φ is continuous over the whole lattice in place of one per cell
            (docs/continuous.md): no jump at a cell's border, and every cell keeps its mass. Cells of a grid.
        ndim: number of lattice dimensions; all axes before them are batch and broadcast.

    Returns:
        The pixel map (..., H, W) in the kind, device and dtype of `coarse` and the unit of a density: the
        values of a cell sum to M_k.

    Raises:
        ValueError: shapes that do not fit, values that are not finite, scores outside [0, 1], labels outside
            their range, a neighbourhood without a pixel, a temperature that is not positive.
        TypeError: an argument of the wrong kind.

    >>> redistribute([[8.0]], [[0.0, 0.0], [0.0, 1.0]], temperature=0.1, mass="total").round(2)
    array([[0., 0.],
           [0., 8.]])
    """
    check_choice(negative, ("same", "opposite"), "negative")
    given = Arguments(coarse, scores, segments, neighbourhoods, temperature, potential, mass, ndim)
    flipped = given.masses < 0 if negative == "opposite" else None
    return _share(given, given.masses, flipped, continuous)


def iwmr(
    coarse: Array,
    scores: Array,
    segments: Array | None = None,
    *,
    neighbourhoods: Array | None = None,
    temperature: float = 0.1,
    importance_temperature: float | None = None,
    prior: Prior = "area",
    potential: Potential = "exponential",
    mass: Mass = "density",
    continuous: bool = False,
    ndim: int = 2,
) -> Any:
    """Soft IWMR: reassign the total mass to cells by importance, then share it as USU does (eq. 13-14).

    M̃_k = (Σ_j M_j) · Λ(λ_k)|N_k| / Σ_j Λ(λ_j)|N_j| with λ_k the best score in N_k and
    Λ(λ) = exp((λ-0.5)/ε_Λ). The total is conserved, single cells are not.

    Args:
        coarse: as for `redistribute`.
        scores: as for `redistribute`.
        segments: as for `redistribute`.
        neighbourhoods: as for `redistribute`.
        temperature: ε > 0, within cells.
        importance_temperature: ε_Λ > 0, between cells; `temperature` by default.
        prior: "area" is the paper's, which keeps nothing of the coarse map but its total. "mass" puts M_k in
            the place of |N_k| (the hybrid): it keeps the coarse map's evidence, and is USU when all
            importances are equal. Where masses have both signs, the positive and the negative total are each
            reassigned among the cells of that sign.
        potential: as for `redistribute`.
        mass: as for `redistribute`.
        continuous: as for `redistribute`.
        ndim: as for `redistribute`.

    Returns:
        The pixel map (..., H, W), as `redistribute` returns it.

    Raises:
        ValueError: as `redistribute`.
        TypeError: as `redistribute`.

    >>> iwmr([[3.0, 1.0]], [[0.5, 0.5]], mass="total")
    array([[2., 2.]])
    >>> iwmr([[3.0, 1.0]], [[0.5, 0.5]], mass="total", prior="mass")
    array([[3., 1.]])
    """
    check_choice(prior, ("area", "mass"), "prior")
    given = Arguments(coarse, scores, segments, neighbourhoods, temperature, potential, mass, ndim)
    if importance_temperature is None:
        importance_temperature = temperature
    importance_temperature = check_temperature(importance_temperature, "importance_temperature")
    return _share(given, _reassigned(given, prior, importance_temperature), None, continuous)


def share_total(
    coarse: Array,
    scores: Array,
    segments: Array | None = None,
    *,
    temperature: float = 0.1,
    potential: Potential = "exponential",
    mass: Mass = "density",
    negative: Negative = "same",
    ndim: int = 2,
) -> Any:
    """Share the total mass among all pixels by φ times the bilinear map: continuous across all cells.

    Ã(x) = M_total · B(x) φ(s(σ(x))) / Σ_y B(y) φ(s(σ(y))) with B the bilinear map of the densities; positive
    and negative masses apart. The total of each sign is conserved, single cells are not (docs/continuous.md).

    Args:
        coarse: as for `redistribute`, on a grid.
        scores: as for `redistribute`.
        segments: as for `redistribute`.
        temperature: as for `redistribute`.
        potential: as for `redistribute`.
        mass: as for `redistribute`.
        negative: as for `redistribute`.
        ndim: as for `redistribute`, at most 3.

    Returns:
        The pixel map (..., H, W), as `redistribute` returns it.

    Raises:
        ValueError: as `redistribute`.
        TypeError: as `redistribute`.

    >>> share_total([[3.0, 1.0]], [[0.5, 0.5]], mass="total")
    array([[3., 1.]])
    >>> share_total([[3.0, 1.0]], [[0.0, 1.0]], mass="total", temperature=1.0).round(2)
    array([[2.1, 1.9]])
    """
    check_choice(negative, ("same", "opposite"), "negative")
    given = Arguments(coarse, scores, segments, None, temperature, potential, mass, ndim)
    levels, epsilon = given.levels()
    masses, opposite = given.checked(given.masses), None
    given.checked(masses.abs().sum(given.cell_dims))
    if negative == "opposite" and bool((masses < 0).any()):
        opposite, _ = given.levels(torch.ones_like(masses, dtype=torch.bool))
    return given.give(continuous_total(levels, epsilon, masses, given.neighbourhoods, opposite))


def _share(given: Arguments, masses: Tensor, flipped: Tensor | None, continuous: bool) -> Any:
    """Return Ã(x) = M_ν(x) · φ(s(σ(x))) / Σ_{y ∈ N_ν(x)} φ(s(σ(y))) (eq. 8-11)."""
    check_flag(continuous, "continuous")
    if continuous:
        levels, temperature = given.levels(flipped)
        return given.give(continuous_shares(levels, temperature, given.checked(masses), given.neighbourhoods))
    weights = given.weights(flipped)
    totals = given.neighbourhoods.sum(weights)
    factors = given.checked(masses.to(weights.dtype) / totals)
    return given.give(given.neighbourhoods.scale(weights, factors))


def _reassigned(given: Arguments, prior: Prior, temperature: float) -> Tensor:
    """Return M̃_k = (Σ_j M_j) · ρ_k in float64 (eq. 13); with prior "mass" for each sign apart."""
    importances = given.neighbourhoods.amax(given.pixel_scores()).to(torch.float64)
    masses = given.masses.to(torch.float64)

    def shared(part: Tensor, weight: Tensor) -> Tensor:
        total = part.sum(given.cell_dims, keepdim=True)
        return total * _portions(weight, importances, temperature, given.cell_dims)

    if prior == "area":
        return shared(masses, given.neighbourhoods.areas(masses))
    positive, negative = masses.clamp(min=0), masses.clamp(max=0)
    return shared(positive, positive) + shared(negative, -negative)


def _portions(prior: Tensor, importances: Tensor, temperature: float, dims: tuple[int, ...]) -> Tensor:
    """Return ρ_k ∝ Λ(λ_k)·prior_k (eq. 13); all zeros where the whole prior is zero."""
    occupied = prior > 0
    best = torch.where(occupied, importances, -math.inf).amax(dims, keepdim=True).clamp(min=0).detach()
    # Not a clamp, whose gradient at the best cell itself differs between versions of PyTorch.
    levels = torch.where(occupied, importances - best, 0.0)
    weights = prior * (levels / max(temperature, _SMALLEST)).exp()
    return weights / weights.sum(dims, keepdim=True).clamp(min=_SMALLEST)
