"""The checked arguments of one call of an operator, as tensors of the working dtype.

The formulas stand in `usu.operators.redistribution`; here is what they must not be distracted by.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from usu.arrays.checks import as_number, check_choice
from usu.arrays.convert import (
    Array,
    as_floats,
    as_labels,
    beside,
    check_finite,
    check_range,
    like,
    working_dtype,
)
from usu.operators.lattice import Mass, Neighbourhoods, lattice_size, neighbourhoods_of
from usu.operators.potentials import Potential, check_potential, utility

# Up to these spreads of log φ (in nats) one common reference serves all cells, else each cell takes its own
# best score. In the working dtype a wider spread would cost accuracy; the few weights of segments are then
# computed in float64, so that only the range of float32 limits them, with masses up to 1e30.
_SEGMENT_SPREAD = 32.0
_PIXEL_SPREAD = 10.0
_BITS = 1 / math.log(2)  # exponents are of 2: PyTorch raises 2 several times as fast as e


class Arguments:
    """What `redistribute` and `iwmr` were given.

    Attributes:
        masses: M_k, (..., *cells).
        neighbourhoods: the cells.
        cell_dims: the axes of the cells in `masses`.
    """

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
        self._caller, self._potential = coarse, check_potential(potential)
        self._temperature = check_temperature(temperature, "temperature")
        values = as_floats(coarse, "coarse")
        raw_scores = beside(as_floats(scores, "scores"), values, scores, "scores")
        self._dtype = values.dtype
        dtype = working_dtype(values, raw_scores)
        self._scores = _cast(raw_scores, dtype).contiguous()
        self._bounds = _check_scores(self._scores)
        self._segments = None
        if segments is not None:
            self._segments = beside(as_labels(segments, "segments"), values, segments, "segments")
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

    def levels(self, flipped: Tensor | None = None) -> tuple[Tensor, float]:
        """Return u(s(σ(x))) of φ = exp(u / ε), (..., *size), and ε; `flipped` cells take u(1-s)."""
        scores = self.pixel_scores()
        if flipped is not None:
            scores = scores.to(torch.float64)
            scores = torch.where(self.neighbourhoods.spread(flipped), 1 - scores, scores)
        return _utility(self._potential, scores, self._temperature)

    @property
    def _ndim(self) -> int:
        return len(self.neighbourhoods.size)

    def checked(self, factors: Tensor) -> Tensor:
        """Return the cells' factors M_k / Σ φ, or masses, few where pixels are many, if they are finite.

        Raises:
            ValueError: the coarse map is not finite, or its values are too large.
        """
        if factors.numel() == 0 or not math.isfinite(factors.detach().sum()):
            check_finite(self._coarse, "coarse")
            check_range(factors, "coarse")
        return factors

    def give(self, pixels: Tensor) -> Any:
        """Return the pixel map in the kind and dtype of the caller's coarse map."""
        result = pixels if pixels.dtype == self._dtype else check_range(pixels.to(self._dtype), "coarse")
        return like(result, self._caller)

    def weights(self, flipped: Tensor | None = None) -> Tensor:
        """Return φ(s(σ(x))), (..., *size), up to a factor per cell, which cancels; `flipped` take φ(1-s)."""
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
                weights = (levels - (lowest + highest) / 2).mul_(_BITS / temperature).exp2_()
                weights = _cast(weights, self._scores.dtype)
                return weights if self._segments is None else gather(weights, self._segments, self._ndim)
        levels, temperature = self.levels(flipped)
        levels = self.neighbourhoods.subtract(levels, self.neighbourhoods.amax(levels.detach()))
        # The difference to the best score is exact where it matters, so that it is taken before the division.
        return levels.mul_(_BITS / temperature).exp2_()


def _cast(values: Tensor, dtype: torch.dtype) -> Tensor:
    return values if values.dtype == dtype else values.to(dtype)  # asking first saves a microsecond


def _utility(potential: Potential, scores: Tensor, temperature: float) -> tuple[Tensor, float]:
    """Return u(s) and a temperature that its dtype does not round to zero."""
    levels, temperature = utility(potential, scores, temperature)
    return levels, max(temperature, torch.finfo(levels.dtype).tiny)


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
    values = values.detach()
    return float(values.amin()), float(values.amax())  # together faster than aminmax


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
