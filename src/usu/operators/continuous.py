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
# Bits between the smallest and the largest weight, and mass, up to which float32 will do; float64 without
# taking each cell relative to its own largest weight; and float64 at all.
_SINGLE, _DOUBLE, _HOPELESS = 48.0, 400.0, 1e8
_MOST_STEPS = 60
_SHORTEST = 2.0**-10  # part of a step
_MOST_TEMPERATURES = 100
_LOWEST = -1e30  # stands for log 0


def continuous_shares(
    levels: Tensor,
    temperature: float,
    masses: Tensor,
    cells: Neighbourhoods,
    opposite: Tensor | None = None,
) -> Tensor:
    """Share each cell's mass among its pixels by φ times a factor that is continuous on the whole lattice.

    Positive and negative masses are shared apart. A cell without mass of one sign gets none of it, and the
    map of that sign falls to 0 towards that cell.

    Args:
        levels: u(s(x)) of φ = exp(u / ε) (see `potentials`), (..., *size), finite.
        temperature: ε > 0.
        masses: M_k, (..., *shape), finite; batch axes broadcast.
        cells: the cells of a grid.
        opposite: the levels for the negative masses, where they are others.

    Returns:
        The map (..., *size), in the wider type of levels and masses; differentiable once in all of them.

    Raises:
        ValueError: neighbourhoods that are not the cells of a grid; values that are not finite.

    Warns:
        RuntimeWarning: no such factor was found for a map, which then has one factor per cell.
    """
    cells = _grid(cells)
    ndim = len(cells.size)
    batch = masses.shape[:-ndim]
    if levels.dim() > ndim:
        batch = torch.broadcast_shapes(batch, levels.shape[:-ndim])
    dtype = torch.promote_types(levels.dtype, masses.dtype)
    masses = masses.to(dtype).expand(*batch, *cells.shape).reshape(-1, *cells.shape)

    def part(positive: Tensor, levels: Tensor) -> Tensor:
        shared = levels.dim() == ndim
        maps = levels.to(dtype) if shared else levels.to(dtype).expand(*batch, *cells.size)
        pixels = _Shares.apply(maps.reshape(-1, *cells.size), temperature, positive, cells)
        shares: Tensor = pixels.view(*batch, *cells.size)
        return shares

    opposite = levels if opposite is None else opposite
    if not float(masses.detach().amin()) < 0:
        return part(masses, levels)
    if not float(masses.detach().amax()) > 0:
        return -part(-masses, opposite)
    return part(masses.clamp(min=0), levels) - part((-masses).clamp(min=0), opposite)


def continuous_total(
    levels: Tensor, temperature: float, masses: Tensor, cells: Neighbourhoods, opposite: Tensor | None = None
) -> Tensor:
    """Share the total mass in proportion to φ times the bilinear map: continuous, and only the total is kept.

    `Ã(x) = Σ_k M_k · B(x) φ(s(x)) / Σ_y B(y) φ(s(y))`, B the bilinear map of M_k / |N_k| (linear in 1-D,
    trilinear in 3-D), positive and negative masses apart. Arguments, result and errors are those of
    `continuous_shares`; on a lattice of one to three axes.
    """
    cells = _grid(cells)
    axes = tuple(range(-len(cells.size), 0))
    densities = masses / cells.areas(masses)
    parts = []
    for sign, own in ((1, levels), (-1, levels if opposite is None else opposite)):
        smooth = _bilinear((sign * densities).clamp(min=0), cells.size)
        # Relative to the best level where there is mass: elsewhere a better one would overflow.
        best = torch.where(smooth > 0, own.detach(), -math.inf).amax(axes, keepdim=True)
        floor = torch.finfo(own.dtype).tiny
        weights = smooth * ((own - best).clamp(max=0) * (_BITS / max(temperature, floor))).exp2()
        total = (sign * masses).clamp(min=0).sum(axes, keepdim=True)
        parts.append(weights * (total / weights.sum(axes, keepdim=True).clamp(min=floor)))
    return parts[0] - parts[1]


def _bilinear(values: Tensor, size: tuple[int, ...]) -> Tensor:
    planes = values.reshape(-1, 1, *values.shape[-len(size) :])
    mode = ("linear", "bilinear", "trilinear")[len(size) - 1]
    pixels = torch.nn.functional.interpolate(planes, size, mode=mode, align_corners=False)
    return pixels.view(*values.shape[: -len(size)], *size)


def _grid(cells: Neighbourhoods) -> Grid:
    if not isinstance(cells, Grid):
        raise ValueError(
            "continuous must be False with neighbourhoods: labels of any shape have no hat functions; "
            "leave neighbourhoods out (cells of the coarse map's grid) or set continuous=False"
        )
    return cells


class _Shares(torch.autograd.Function):
    """Maps (N, *size) of masses that are not negative, differentiated by the implicit function theorem."""

    @staticmethod
    def forward(ctx: Any, levels: Tensor, temperature: float, masses: Tensor, cells: Grid) -> Tensor:
        temperature = max(temperature, torch.finfo(torch.float64).tiny)
        with full_precision(levels.device), np.errstate(divide="ignore", invalid="ignore"):
            pixels, found = _Search(levels, temperature, masses, cells).pixels()
        ctx.cells, ctx.temperature, ctx.by_cell, ctx.shared = cells, temperature, ~found, levels.shape[0] == 1
        ctx.save_for_backward(pixels, masses)
        return pixels

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, Tensor, None]:
        pixels, masses = ctx.saved_tensors
        hats, cells = hats_of(ctx.cells.shape, ctx.cells.size), ctx.cells
        with full_precision(pixels.device):
            inner, moments = hats.moments(gradient * pixels), hats.moments(pixels)
        # With P each hat's part of a cell's mass, P dc = d log M - Σ Ã d log φ / M in each cell.
        empty = hats.row_sums(moments) == 0
        _, parts = _parts(hats, moments, empty)
        parts[ctx.by_cell] = hats.identity()
        slopes = hats.solve(parts, hats.column_sums(inner), transposed=True)
        slopes[ctx.by_cell] = hats.row_sums(inner)[ctx.by_cell]
        slopes[empty] = 0
        by_mass = torch.from_numpy(slopes).to(masses) / masses.where(masses > 0, 1)
        by_level = cells.subtract(gradient, by_mass).mul_(pixels).div_(ctx.temperature)
        return by_level.sum(0, keepdim=True) if ctx.shared else by_level, None, by_mass, None


class _Search:
    """The search for the heights c (N, *shape), in bits, of N maps of masses that are not negative."""

    def __init__(self, levels: Tensor, temperature: float, masses: Tensor, cells: Grid) -> None:
        self.levels, self.temperature, self.masses, self.cells = levels, temperature, masses, cells
        self.hats = hats_of(cells.shape, cells.size)
        wanted = masses.to("cpu", torch.float64).numpy()
        self.empty = wanted == 0
        self.some_empty = bool(self.empty.any())
        self.blank = self.empty.reshape(wanted.shape[0], -1).all(1)
        if self.some_empty:
            self.empty[self.blank] = False  # no mass at all: sought as if all masses were 1
            wanted = np.where(self.empty, np.nan, np.where(wanted == 0, 1.0, wanted))
        wanted = np.log2(wanted)
        axes = tuple(range(1, wanted.ndim))
        lowest, highest = np.nanmin(wanted, axes, keepdims=True), np.nanmax(wanted, axes, keepdims=True)
        self.wanted = wanted - highest  # relative to the largest mass: no pixel overflows on the way
        least, most = float(levels.amin()), float(levels.amax())
        scale, masses_apart = _BITS / temperature, float((highest - lowest).max())
        if not math.isfinite(least + most + masses_apart):
            raise ValueError("levels and masses must be finite")
        self.extent, self.middle = (most - least) * scale + masses_apart, (least + most) / 2 * scale
        double = self.extent > _SINGLE or torch.get_float32_matmul_precision() != "highest"
        dtype = torch.float64 if double else masses.dtype
        self.enough = math.sqrt(2 * (1e-12 if dtype == torch.float64 else 1e-6))
        self.scale, self.taper = scale, None
        if self.some_empty:
            occupied = torch.from_numpy(~self.empty).to(masses)
            self.taper = self.hats.taper(occupied).log2_().clamp_(min=_LOWEST)
        self.buffer = masses.new_empty((wanted.shape[0], *cells.size), dtype=dtype)

    def pixels(self) -> tuple[Tensor, Flags]:
        """Return the maps (N, *size), and for which of them (N,) a continuous factor was found."""
        heights, found = self.search()
        pixels, _ = self.lifted(heights)
        del self.buffer
        if not found.all():
            pixels = self.without_heights(pixels, found)
        factors = self.masses / self.cells.sum(pixels)
        if self.some_empty:
            factors = factors.masked_fill(self.masses == 0, 0)
        return self.cells.scale(pixels, factors).to(self.masses.dtype), found

    def without_heights(self, pixels: Tensor, found: Flags) -> Tensor:
        """Replace the maps for which nothing was found by φ itself, up to a factor of each cell."""
        failed = int((~found & ~self.blank).sum())
        if failed:
            warnings.warn(
                f"no continuous factor was found for {failed} of {found.size} maps, which got one factor per "
                "cell, as with continuous=False; try a higher temperature",
                RuntimeWarning,
                stacklevel=7,
            )
        levels = self.levels.to(pixels.dtype)
        exponents = self.cells.subtract(levels, self.cells.amax(levels)) * (_BITS / self.temperature)
        keep = torch.from_numpy(found).to(pixels.device).view(-1, *(1,) * (pixels.dim() - 1))
        return torch.where(keep, pixels, exponents.exp2_())

    def search(self) -> tuple[Numbers, Flags]:
        """Return the heights, and for which maps they were found."""
        if not self.extent < _HOPELESS:
            return np.zeros(self.wanted.shape), np.zeros(self.blank.shape, bool)
        heights, found = self.newton(self.start())
        for index in np.flatnonzero(~found & ~self.blank):
            one = slice(index, index + 1)
            levels = self.levels if self.levels.shape[0] == 1 else self.levels[one]
            alone = _Search(levels, self.temperature, self.masses[one], self.cells)
            heights[one], found[one] = alone.cooled()
        heights[~found] = 0
        return heights, found

    def newton(self, heights: Numbers) -> tuple[Numbers, Flags]:
        """Solve for the heights from a first guess; say for which maps that worked."""
        gap, parts = self.look(heights)
        found = ~self.blank & np.isfinite(gap).reshape(self.blank.size, -1).all(1)
        gap[~found], parts[~found] = 0, self.hats.identity()
        for _ in range(_MOST_STEPS):
            step = self.hats.solve(parts, gap)
            step[~found] = 0
            # After a whole step d, a gap is at most d²/2 (docs/continuous.md): the last one needs no look.
            settled = abs(step).reshape(found.size, -1).max(1) <= self.enough
            if settled.all():
                return heights + step, found
            heights, gap, parts, stuck = self.advance(heights, step, gap, settled)
            found &= ~stuck
        return heights, found & settled

    def advance(
        self, heights: Numbers, step: Numbers, gap: Numbers, settled: Flags
    ) -> tuple[Numbers, Numbers, Numbers, Flags]:
        """Go as much of a step as lessens the gaps; say for which maps that is nothing."""
        length = np.ones((settled.size, *(1,) * (heights.ndim - 1)))
        before = _squares(gap)
        while True:
            reached = heights + length * step
            gap, parts = self.look(reached)
            stuck = length.ravel() == 0
            worse = ~((_squares(gap) < before) | settled | stuck)
            if not worse.any():
                return reached, gap, parts, stuck
            length[worse] /= 2
            length[length < _SHORTEST] = 0

    def cooled(self) -> tuple[Numbers, bool]:
        """Solve for the heights of a single map at higher temperatures first, and follow them down."""
        scale, middle = self.scale, self.middle
        known: list[tuple[float, Numbers]] = []
        part, gain = 1 / 64, 2.0
        for _ in range(_MOST_TEMPERATURES):
            self.scale, self.middle = scale * part, middle * part
            guess = self.start() if not known else known[-1][1]
            if len(known) > 1:
                (earlier, before), (later, last) = known
                guess = last + (last - before) * (part - later) / (later - earlier)
            heights, found = self.newton(guess)
            if found[0]:
                if part == 1:
                    return heights, True
                known, gain = [*known[-1:], (part, heights)], min(gain**2, 2.0)
            else:
                gain = math.sqrt(gain)
            part = min(known[-1][0] * gain, 1.0) if known else part / 16
        return heights, False

    def start(self) -> Numbers:
        """Return a first guess: right to first order in the heights where all weights are equal."""
        pixels, top = self.raised(self.buffer.fill_(-self.middle))
        sums = self.cells.sum(pixels).to("cpu", torch.float64).numpy()
        lacking, parts = self.wanted - np.log2(sums) - top, self.hats.even
        if self.some_empty:
            lacking = np.where(self.empty, 0.0, lacking)
            parts = np.where(self.hats.along_rows(self.empty), self.hats.unevenness(), parts)
        return self.hats.solve(parts, lacking) - self.middle

    def look(self, heights: Numbers) -> tuple[Numbers, Numbers]:
        """Return by how many bits each cell is short of its mass, and what a bit of each height adds."""
        pixels, top = self.lifted(heights)
        sums, parts = _parts(self.hats, self.hats.moments(pixels), self.empty if self.some_empty else None)
        gap = self.wanted - np.log2(sums) - top
        return (np.where(self.empty, 0.0, gap) if self.some_empty else gap), parts

    def lifted(self, heights: Numbers) -> tuple[Tensor, Numbers | float]:
        """Return the maps with these heights as `raised` does."""
        return self.raised(self.hats.interpolate(torch.from_numpy(heights).to(self.buffer), self.buffer))

    def raised(self, exponents: Tensor) -> tuple[Tensor, Numbers | float]:
        """Return 2 to φ's own and these exponents, up to a factor of each cell, and the factors' log2."""
        exponents.add_(self.levels, alpha=self.scale)
        if self.taper is not None:
            exponents.add_(self.taper)
        if not self.by_cell:
            return exponents.exp2_(), 0.0
        top = self.cells.amax(exponents)
        return self.cells.subtract(exponents, top).exp2_(), top.to("cpu", torch.float64).numpy()

    @property
    def by_cell(self) -> bool:
        return self.extent > _DOUBLE


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
    flat = gap.reshape(gap.shape[0], -1)
    squares: Numbers = np.einsum("ni,ni->n", flat, flat)
    return squares
