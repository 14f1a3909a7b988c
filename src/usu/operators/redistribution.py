"""The operators: a coarse map's mass, shared among pixels in proportion to φ(score) (paper, section 3.4).

Works on arrays alone and knows neither models nor images, so that conservation can be checked by anyone.
"""

from __future__ import annotations

import math
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from usu.arrays.checks import as_number, check_choice
from usu.arrays.convert import Array, as_floats, as_labels, check_finite, check_range, like, working_dtype
from usu.operators.lattice import Neighbourhoods, Regions, grid, lattice_size
from usu.operators.potentials import Potential, check_potential, utility

Mass: TypeAlias = Literal["density", "total"]
Negative: TypeAlias = Literal["same", "opposite"]
Prior: TypeAlias = Literal["area", "mass"]

# Up to these spreads of log φ (in nats) one common reference serves all cells, else each cell takes its own
# best score. In the working dtype a wider spread would cost accuracy; the few weights of segments are then
# computed in float64, so that only the range of float32 limits them, with masses up to 1e30.
_SEGMENT_SPREAD = 32.0
_PIXEL_SPREAD = 10.0


def redistribute(
    coarse: Array,
    scores: Array,
    segments: Array | None = None,
    *,
    neighbourhoods: Array | None = None,
    temperature: float = 0.1,
    potential: Potential = "tensor",
    mass: Mass = "density",
    negative: Negative = "same",
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
        potential: "tensor" exp((s-0.5)/ε), "power" s^(1/ε), "log-odds" (s/(1-s))^(1/ε), or a callable φ.
        mass: "density": M_k = a_k·|N_k| (paper eq. 1); "total": M_k = a_k.
        negative: "same": eq. 11 as it stands; "opposite": φ(1-s) where M_k < 0, so that a better score
            never means a smaller value there either.
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
    problem = _Problem(coarse, scores, segments, neighbourhoods, temperature, potential, mass, ndim)
    flipped = problem.masses < 0 if negative == "opposite" else None
    return problem.share(problem.masses, flipped)


def iwmr(
    coarse: Array,
    scores: Array,
    segments: Array | None = None,
    *,
    neighbourhoods: Array | None = None,
    temperature: float = 0.1,
    importance_temperature: float | None = None,
    prior: Prior = "area",
    potential: Potential = "tensor",
    mass: Mass = "density",
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
    problem = _Problem(coarse, scores, segments, neighbourhoods, temperature, potential, mass, ndim)
    if importance_temperature is None:
        importance_temperature = temperature
    importance_temperature = check_temperature(importance_temperature, "importance_temperature")
    importances = problem.neighbourhoods.amax(problem.pixel_scores()).to(torch.float64)
    masses = problem.masses.to(torch.float64)
    if prior == "area":
        total = masses.sum(problem.cell_dims, keepdim=True)
        areas = problem.neighbourhoods.areas(masses)
        reassigned = total * _portions(areas, importances, importance_temperature, problem.cell_dims)
    else:
        reassigned = torch.zeros_like(masses)
        for part in (masses.clamp(min=0), masses.clamp(max=0)):
            total = part.sum(problem.cell_dims, keepdim=True)
            portions = _portions(part.abs(), importances, importance_temperature, problem.cell_dims)
            reassigned = reassigned + total * portions
    return problem.share(reassigned)


class _Problem:
    """The checked arguments of one call, as tensors of the working dtype."""

    def __init__(
        self,
        coarse: Array,
        scores: Array,
        segments: Array | None,
        neighbourhoods: Array | None,
        temperature: float,
        potential: Potential,
        mass: Mass,
        ndim: int,
    ) -> None:
        if isinstance(ndim, bool) or not isinstance(ndim, int) or ndim < 1:
            raise ValueError(f"ndim must be a positive number of lattice dimensions, got {ndim!r}")
        check_choice(mass, ("density", "total"), "mass")
        check_potential(potential)
        self._caller, self._potential = coarse, potential
        self._temperature = check_temperature(temperature, "temperature")
        values = as_floats(coarse, "coarse")
        raw_scores = _beside(as_floats(scores, "scores"), values, scores, "scores")
        self._dtype = values.dtype
        dtype = working_dtype(values, raw_scores)
        self._scores = _cast(raw_scores, dtype).contiguous()
        self._bounds = _check_scores(self._scores)
        self._segments = None
        if segments is not None:
            self._segments = _beside(as_labels(segments, "segments"), values, segments, "segments")
            size = lattice_size(self._segments, ndim, "segments")
        else:
            size = lattice_size(self._scores, ndim, "scores")
        self._coarse = values = _cast(values, dtype)
        self.neighbourhoods = neighbourhoods_of(values, size, neighbourhoods)
        self.cell_dims = tuple(range(-len(self.neighbourhoods.shape), 0))
        _check_batches(values, self.neighbourhoods, self._scores, self._segments, ndim)
        if mass == "density":
            values = values * self.neighbourhoods.areas(values)
        self.masses = values

    def pixel_scores(self) -> Tensor:
        """Return Φ(x) = s(σ(x)), shape (..., *size) (eq. 15)."""
        return self._scores if self._segments is None else gather(self._scores, self._segments, self._ndim)

    @property
    def _ndim(self) -> int:
        return len(self.neighbourhoods.size)

    def share(self, masses: Tensor, flipped: Tensor | None = None) -> Any:
        """Return M_ν(x) · w(x) as the caller's kind; cells in `flipped` take φ(1-s)."""
        weights = self._weights(flipped)
        totals = self.neighbourhoods.sum(weights)
        factors = _cast(masses, weights.dtype) / totals
        if factors.numel() == 0 or not math.isfinite(factors.detach().sum()):  # few, where pixels are many
            check_finite(self._coarse, "coarse")
            check_range(factors, "coarse")
        wide = self.neighbourhoods.scale(weights, factors)
        result = wide if wide.dtype == self._dtype else check_range(wide.to(self._dtype), "coarse")
        return like(result, self._caller)

    def _weights(self, flipped: Tensor | None) -> Tensor:
        """Return φ(s(σ(x))) (..., *size), up to a factor per cell that cancels."""
        if flipped is not None and not bool(flipped.any()):
            flipped = None
        by_segment = self._segments is not None
        if flipped is None:
            # A pixel's weight depends on its segment alone: P exponentials, not H·W.
            levels, temperature = _utility(self._potential, self._scores, self._temperature)
            lowest, highest = self._bounds if levels is self._scores else _bounds(levels)
            spread = (highest - lowest) / temperature
            if spread <= (_SEGMENT_SPREAD if by_segment else _PIXEL_SPREAD):
                levels = levels if spread <= _PIXEL_SPREAD else levels.to(torch.float64)
                weights = (levels - (lowest + highest) / 2).div_(temperature).exp_()
                weights = _cast(weights, self._scores.dtype)
                return weights if self._segments is None else gather(weights, self._segments, self._ndim)
        scores = self.pixel_scores()
        if flipped is not None:
            scores = scores.to(torch.float64)
            scores = torch.where(self.neighbourhoods.spread(flipped), 1 - scores, scores)
        levels, temperature = _utility(self._potential, scores, self._temperature)
        levels = self.neighbourhoods.subtract(levels, self.neighbourhoods.amax(levels.detach()))
        # The difference to the best score is exact where it matters, so that it is taken before the division.
        return levels.div_(temperature).exp_()


def _cast(values: Tensor, dtype: torch.dtype) -> Tensor:
    return values if values.dtype == dtype else values.to(dtype)  # asking first saves a microsecond


def _utility(potential: Potential, scores: Tensor, temperature: float) -> tuple[Tensor, float]:
    """Return u(s) and a temperature that its dtype does not round to zero."""
    levels, temperature = utility(potential, scores, temperature)
    return levels, max(temperature, torch.finfo(levels.dtype).tiny)


def neighbourhoods_of(coarse: Tensor, size: tuple[int, ...], labels: Array | None) -> Neighbourhoods:
    """Return the neighbourhood system of a coarse map over a lattice of `size` pixels.

    Raises:
        ValueError: the map or the labels do not fit the lattice.
    """
    if labels is None:
        return grid(lattice_size(coarse, len(size), "coarse"), size)
    regions = _beside(as_labels(labels, "neighbourhoods"), coarse, labels, "neighbourhoods")
    if tuple(regions.shape) != size:
        raise ValueError(
            f"neighbourhoods must be one label map of the lattice's shape {size}, got {tuple(regions.shape)}"
        )
    return Regions(regions, *lattice_size(coarse, 1, "coarse"))


def gather(values: Tensor, segments: Tensor, ndim: int) -> Tensor:
    """Give every pixel its segment's value: (..., P) at labels (..., *size), giving (..., *size).

    Raises:
        ValueError: a label outside 0..P-1.
    """
    labels = segments.flatten(-ndim)
    if labels.is_cuda:  # there an index out of range would end the process
        _check_segments(labels, values)
    try:
        pixels = values.index_select(-1, labels) if labels.dim() == 1 else _gather_rows(values, labels)
    except (IndexError, RuntimeError):
        _check_segments(labels, values)
        raise
    return pixels.view(segments.shape if pixels.dim() == 1 else pixels.shape[:-1] + segments.shape[-ndim:])


def _gather_rows(values: Tensor, labels: Tensor) -> Tensor:
    """Gather image by image: one index into a joint table would need a second map of labels."""
    batch = torch.broadcast_shapes(values.shape[:-1], labels.shape[:-1])
    tables, maps = (part.expand(*batch, -1).flatten(0, -2) for part in (values, labels))
    if values.requires_grad and torch.is_grad_enabled():
        rows = [table.index_select(0, row) for table, row in zip(tables, maps, strict=True)]
        return torch.stack(rows).view(*batch, -1)
    pixels = values.new_empty(len(maps), labels.shape[-1])
    for result, table, row in zip(pixels, tables, maps, strict=True):
        torch.index_select(table, 0, row, out=result)
    return pixels.view(*batch, -1)


def _portions(prior: Tensor, importances: Tensor, temperature: float, dims: tuple[int, ...]) -> Tensor:
    """Return ρ_k ∝ Λ(λ_k)·prior_k (eq. 13); all zeros where the whole prior is zero."""
    occupied = prior > 0
    best = torch.where(occupied, importances, -math.inf).amax(dims, keepdim=True).clamp(min=0).detach()
    # Not a clamp, whose gradient at the best cell itself differs between versions of PyTorch.
    levels = torch.where(occupied, importances - best, 0.0)
    weights = prior * (levels / max(temperature, _SMALLEST)).exp()
    return weights / weights.sum(dims, keepdim=True).clamp(min=_SMALLEST)


_SMALLEST = torch.finfo(torch.float64).tiny


def check_temperature(value: float, name: str) -> float:
    """Return a temperature as a float if it is a positive, finite number.

    Raises:
        TypeError: not a real number.
        ValueError: zero, negative, infinite or NaN.
    """
    temperature = as_number(value, name)
    if not 0 < temperature < math.inf:
        raise ValueError(f"{name} must be positive and finite, got {value!r}; try 0.1")
    return temperature


def _bounds(values: Tensor) -> tuple[float, float]:
    lowest, highest = values.detach().aminmax()
    return float(lowest), float(highest)


def _check_scores(scores: Tensor) -> tuple[float, float]:
    """Return the lowest and the highest score, both in [0, 1]."""
    if scores.dim() == 0 or scores.numel() == 0:
        raise ValueError(f"scores must have at least one value and one axis, got shape {tuple(scores.shape)}")
    lowest, highest = _bounds(scores)
    if not (lowest >= 0 and highest <= 1):
        check_finite(scores, "scores")
        raise ValueError(
            f"scores must lie in [0, 1], got [{lowest:g}, {highest:g}]; clip raw scores at 0 and divide "
            "them by their maximum"
        )
    return lowest, highest


def _check_segments(segments: Tensor, scores: Tensor) -> None:
    lowest, highest = (int(bound) for bound in segments.aminmax())
    if lowest < 0 or highest >= scores.shape[-1]:
        wrong = lowest if lowest < 0 else highest
        raise ValueError(
            f"segments has the label {wrong}, but scores are given for labels 0..{scores.shape[-1] - 1}"
        )


def _check_batches(
    coarse: Tensor, neighbourhoods: Neighbourhoods, scores: Tensor, segments: Tensor | None, ndim: int
) -> None:
    lone = coarse.dim() == len(neighbourhoods.shape) and scores.dim() == (ndim if segments is None else 1)
    if lone and (segments is None or segments.dim() == ndim):
        return
    shapes = {"coarse": tuple(coarse.shape[: coarse.dim() - len(neighbourhoods.shape)])}
    shapes["scores"] = tuple(scores.shape[: -1 if segments is not None else -ndim])
    if segments is not None:
        shapes["segments"] = tuple(segments.shape[:-ndim])
    try:
        torch.broadcast_shapes(*shapes.values())
    except RuntimeError:
        found = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"batch dimensions do not broadcast: {found} (ndim={ndim})") from None


def _beside(tensor: Tensor, coarse: Tensor, given: Any, name: str) -> Tensor:
    """Return `tensor` on the device of `coarse`; only plain arrays are moved there unasked."""
    if tensor.device == coarse.device:
        return tensor
    if isinstance(given, Tensor):
        raise ValueError(f"{name} is on {tensor.device}, but coarse is on {coarse.device}; move one of them")
    return tensor.to(coarse.device)
