"""Continuous redistribution: no jumps at the cells' borders, and every cell still sums to its mass.

`Ã(x) = φ(s(x)) · exp(Σ_j c_j b_j(x))`, with hat functions b_j on the cells' centres and the c with which each
cell k sums to M_k, found by Newton's method. docs/continuous.md says what is known about it.
"""

from __future__ import annotations

import math
import warnings
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from usu.operators.hats import Hats, Numbers, full_precision, hats_of
from usu.operators.lattice import Grid, Neighbourhoods

Flags: TypeAlias = "np.ndarray[Any, np.dtype[np.bool_]]"

_BITS = 1 / math.log(2)  # exponents are of 2 in here: PyTorch raises 2 four times as fast as e
# Bits between the smallest and the largest weight, and mass, up to which float32 will do; and float64, without
# taking each cell relative to its own largest weight.
_SINGLE, _DOUBLE = 48.0, 400.0
_MOST_STEPS = 60
_SHORTEST = 2.0**-20  # part of a step


def continuous_shares(
    log_weights: Tensor, masses: Tensor, cells: Neighbourhoods, opposite: Tensor | None = None
) -> Tensor:
    """Share each cell's mass among its pixels by φ times a factor that is continuous on the whole lattice.

    Positive and negative masses are shared apart. A cell without mass of one sign gets none of it, and the map
    of that sign falls to 0 towards that cell.

    Args:
        log_weights: log φ(s(x)), (..., *size), finite. Its rounding is a relative error of the map: give
            float64 where it spreads over more than 50, say.
        masses: M_k, (..., *shape), finite; batch axes broadcast.
        cells: the cells of a grid.
        opposite: log φ for the negative masses, where it is another.

    Returns:
        The map (..., *size), in the wider type of the two; differentiable once in all of them.

    Raises:
        ValueError: neighbourhoods that are not the cells of a grid; values that are not finite.

    Warns:
        RuntimeWarning: no such factor was found for a map, which then has one factor per cell.
    """
    if not isinstance(cells, Grid):
        raise ValueError(
            "continuous must be False with neighbourhoods: labels of any shape have no hat functions; "
            "leave neighbourhoods out (cells of the coarse map's grid) or set continuous=False"
        )
    ndim = len(cells.size)
    batch = masses.shape[:-ndim]
    if log_weights.dim() > ndim:
        batch = torch.broadcast_shapes(batch, log_weights.shape[:-ndim])
    dtype = torch.promote_types(log_weights.dtype, masses.dtype)
    masses = masses.to(dtype).expand(*batch, *cells.shape).reshape(-1, *cells.shape)

    def part(positive: Tensor, weights: Tensor) -> Tensor:
        weights = weights.to(dtype)
        if weights.dim() > ndim:
            weights = weights.expand(*batch, *cells.size)
        return _Shares.apply(weights.reshape(-1, *cells.size), positive, cells).view(*batch, *cells.size)

    opposite = log_weights if opposite is None else opposite
    if not float(masses.detach().amin()) < 0:
        return part(masses, log_weights)
    if not float(masses.detach().amax()) > 0:
        return -part(-masses, opposite)
    return part(masses.clamp(min=0), log_weights) - part((-masses).clamp(min=0), opposite)


class _Shares(torch.autograd.Function):
    """The maps (N, *size) of masses that are not negative, differentiated by the implicit function theorem."""

    @staticmethod
    def forward(ctx: Any, log_weights: Tensor, masses: Tensor, cells: Grid) -> Tensor:
        pixels, ctx.by_cell = _Balance(log_weights, masses, cells).shares()
        ctx.cells, ctx.shared = cells, log_weights.shape[0] == 1
        ctx.save_for_backward(pixels, masses)
        return pixels

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        pixels, masses = ctx.saved_tensors
        hats, cells = hats_of(ctx.cells.shape, ctx.cells.size), ctx.cells
        with full_precision(pixels.device):
            inner, moments = hats.moments(gradient * pixels), hats.moments(pixels)
        # With P each hat's part of a cell's mass, P dc = d log M - Σ Ã d log φ / M in each cell.
        _, parts = _parts(hats, moments, (masses == 0).cpu().numpy())
        parts[ctx.by_cell] = hats.identity()
        slopes = hats.solve(parts, hats.column_sums(inner), transposed=True)
        slopes[ctx.by_cell] = hats.row_sums(inner)[ctx.by_cell]
        by_mass = (torch.from_numpy(slopes).to(masses) / masses).masked_fill(masses == 0, 0)
        by_weight = cells.subtract(gradient, by_mass) * pixels
        return by_weight.sum(0, keepdim=True) if ctx.shared else by_weight, by_mass, None


class _Balance:
    """The search for the heights c (N, *shape), in bits, of N maps of masses that are not negative."""

    def __init__(self, log_weights: Tensor, masses: Tensor, cells: Grid) -> None:
        self.masses, self.cells, self.hats = masses, cells, hats_of(cells.shape, cells.size)
        levels = masses.to("cpu", torch.float64).numpy()
        self.empty = levels == 0
        self.some_empty = bool(self.empty.any())
        self.blank = self.empty.reshape(levels.shape[0], -1).all(1)
        self.empty[self.blank] = False  # a map without any mass is sought as if its masses were 1
        axes = tuple(range(1, levels.ndim))
        levels = np.log2(np.where(levels == 0, np.nan, levels) if self.some_empty else levels)
        levels[self.blank] = 0
        lowest, highest = np.nanmin(levels, axes, keepdims=True), np.nanmax(levels, axes, keepdims=True)
        self.levels = levels - highest  # relative to the largest mass: no pixel overflows on the way
        least, most = float(log_weights.amin()) * _BITS, float(log_weights.amax()) * _BITS
        self.middle, extent = (least + most) / 2, most - least + float((highest - lowest).max())
        if not math.isfinite(extent):
            raise ValueError("log_weights and masses must be finite")
        double = extent > _SINGLE or torch.get_float32_matmul_precision() != "highest"
        dtype = torch.float64 if double else masses.dtype
        self.by_cell = extent > _DOUBLE
        self.enough = math.sqrt(2 * (1e-12 if dtype == torch.float64 else 1e-6))
        self.weights, self.scale = log_weights, _BITS
        if self.some_empty:
            with np.errstate(divide="ignore"):
                taper = np.log2(self.hats.taper(1.0 - self.empty)).clip(min=-1e30)
            self.weights = torch.from_numpy(taper).to(masses.device, dtype).add(log_weights, alpha=_BITS)
            self.scale = 1.0
        self.buffer = masses.new_empty((levels.shape[0], *cells.size), dtype=dtype)

    def shares(self) -> tuple[Tensor, Flags]:
        """Return the maps (N, *size), and which (N,) have one factor per cell instead of a continuous one."""
        with full_precision(self.buffer.device), np.errstate(divide="ignore", invalid="ignore"):
            heights, found = self.search()
            heights[~found] = 0
            pixels, _ = self.lifted(heights)
        failed = int((~found & ~self.blank).sum())
        if failed:
            warnings.warn(
                f"no continuous factor was found for {failed} of {len(found)} maps, which got one factor per "
                "cell, as with continuous=False; try a higher temperature",
                RuntimeWarning,
                stacklevel=5,
            )
        factors = self.masses / self.cells.sum(pixels)
        if self.some_empty:
            factors = factors.masked_fill(self.masses == 0, 0)
        return self.cells.scale(pixels, factors).to(self.masses.dtype), ~found

    def search(self) -> tuple[Numbers, Flags]:
        """Return the heights, and for which maps they were found."""
        heights, found = self.start(), ~self.blank
        gap, parts = self.look(heights)
        for _ in range(_MOST_STEPS):
            step = self.hats.solve(parts, gap)
            step[~found] = 0
            # A step d leaves a gap of at most d²/2 (docs/continuous.md), so that the last one needs no look.
            settled = abs(step).reshape(found.size, -1).max(1) <= self.enough
            if settled.all():
                return heights + step, found
            heights, gap, parts, short = self.advance(heights, step, gap, settled)
            found &= ~short
        return heights, found & settled

    def advance(
        self, heights: Numbers, step: Numbers, gap: Numbers, settled: Flags
    ) -> tuple[Numbers, Numbers, Numbers, Flags]:
        """Take a step as far as it lessens the gaps; say for which maps that is nowhere."""
        length = np.ones((settled.size, *(1,) * (heights.ndim - 1)))
        before = _squares(gap)
        while True:
            reached = heights + length * step
            gap, parts = self.look(reached)
            worse = ~((_squares(gap) < before) | settled)
            if not worse.any():
                return reached, gap, parts, length.ravel() == 0
            length[worse] /= 2
            length[length < _SHORTEST] = 0
            settled = settled | (length.ravel() == 0)

    def start(self) -> Numbers:
        """Return the heights with which each cell would have its mass if its factor were constant."""
        pixels, top = self.raised(self.buffer.fill_(-self.middle))
        sums = self.cells.sum(pixels).to("cpu", torch.float64).numpy()
        heights = self.levels - np.log2(sums) - top - self.middle
        if self.some_empty:
            rows = np.where(self.hats.along_rows(self.empty), self.hats.unevenness(), self.hats.identity())
            heights = self.hats.solve(rows, np.where(self.empty, 0.0, heights))
        return heights

    def look(self, heights: Numbers) -> tuple[Numbers, Numbers]:
        """Return log2 of what each cell's mass is short by, and its derivatives by the heights, as a stencil."""
        pixels, top = self.lifted(heights)
        sums, parts = _parts(self.hats, self.hats.moments(pixels), self.empty if self.some_empty else None)
        gap = self.levels - np.log2(sums) - top
        return (np.where(self.empty, 0.0, gap) if self.some_empty else gap), parts

    def lifted(self, heights: Numbers) -> tuple[Tensor, Numbers | float]:
        """Return the maps of these heights, but for a factor of each cell whose log2 comes with them."""
        exponents = torch.from_numpy(heights).to(self.buffer)
        return self.raised(self.hats.interpolate(exponents, self.buffer))

    def raised(self, exponents: Tensor) -> tuple[Tensor, Numbers | float]:
        exponents = exponents.add_(self.weights, alpha=self.scale)
        if not self.by_cell:
            return exponents.exp2_(), 0.0
        top = self.cells.amax(exponents)
        return self.cells.subtract(exponents, top).exp2_(), top.cpu().numpy()


def _parts(hats: Hats, moments: Numbers, empty: Flags | None) -> tuple[Numbers, Numbers]:
    """Return the cells' sums (N, *shape), and as a stencil the part that each hat has of them.

    An empty cell has no sum to meet: its row says that its height is the mean of those around it.
    """
    sums = hats.row_sums(moments)
    if empty is None or not empty.any():
        return sums, moments / hats.along_rows(sums)
    sums = np.where(empty, 1.0, sums)
    return sums, np.where(hats.along_rows(empty), hats.unevenness(), moments / hats.along_rows(sums))


def _squares(gap: Numbers) -> Numbers:
    return np.einsum("ni,ni->n", gap.reshape(len(gap), -1), gap.reshape(len(gap), -1))
