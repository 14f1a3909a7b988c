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
from usu.runtime.callers import level_outside

Flags: TypeAlias = "np.ndarray[Any, np.dtype[np.bool_]]"

_BITS = 1 / math.log(2)  # exponents are of 2 in here: PyTorch raises 2 four times as fast as e
# Bits between the smallest and the largest weight, and mass, up to which float32 will do; float64 without
# taking each cell relative to its own largest weight; and float64 at all.
_SINGLE, _DOUBLE, _HOPELESS = 48.0, 400.0, 1e8
_MOST_STEPS = 60
_SHORTEST = 2.0**-10  # part of a step
_MOST_TEMPERATURES, _LEAST_GAIN = 100, 1.01
_LOG_ZERO = -1e30  # stands for log 0
_LEAST_WHOLE = 2.0**-10  # sum of weights relative to the best level's, above which none that counts is lost
_LEAST_MASS, _MOST_MASS = -1080.0, 1024.0  # log2 of all masses that float64 knows


def continuous_shares(levels: Tensor, temperature: float, masses: Tensor, cells: Neighbourhoods) -> Tensor:
    """Share each cell's mass among its pixels by φ times a factor that is continuous on the whole lattice.

    The factors of positive and of negative cells are sought apart. Towards a cell of another sign, or without
    mass, the map falls to 0.

    Args:
        levels: u(s(x)) of φ = exp(u / ε) (see `potentials`), (..., *size), finite.
        temperature: ε > 0.
        masses: M_k, (..., *shape), finite; batch axes broadcast.
        cells: the cells of a grid.

    Returns:
        The map (..., *size), in the wider type of levels and masses; differentiable once in both.

    Raises:
        ValueError: neighbourhoods that are not the cells of a grid; values that are not finite; no values.

    Warns:
        RuntimeWarning: no such factor was found for a map, which then has one factor per cell.
    """
    cells = _grid(cells)
    ndim = len(cells.size)
    dtype = torch.promote_types(levels.dtype, masses.dtype)
    batch = masses.shape[:-ndim]
    if levels.dim() > ndim:
        batch = torch.broadcast_shapes(batch, levels.shape[:-ndim])
        levels = levels.expand(*batch, *cells.size)
    if levels.numel() == 0 or masses.numel() == 0:
        raise ValueError(f"levels and masses must not be empty, got batch dimensions {tuple(batch)}")
    masses = masses.to(dtype).expand(*batch, *cells.shape).reshape(-1, *cells.shape)
    maps = _Shares.apply(levels.to(dtype).reshape(-1, *cells.size), temperature, masses, cells)
    result: Tensor = maps.view(*batch, *cells.size)
    return result


def continuous_total(
    levels: Tensor, temperature: float, masses: Tensor, cells: Neighbourhoods, opposite: Tensor | None = None
) -> Tensor:
    """Share the total mass in proportion to φ times the bilinear map: continuous, and only the total is kept.

    `Ã(x) = Σ_k M_k · B(x) φ(s(x)) / Σ_y B(y) φ(s(y))`, B the bilinear map of M_k / |N_k| (linear in 1-D,
    trilinear in 3-D), positive and negative masses apart. Arguments, result and errors are those of
    `continuous_shares`; on a lattice of one to three axes.
    """
    cells = _grid(cells)
    positive = _in_proportion(levels, temperature, masses.clamp(min=0), cells)
    if not bool((masses < 0).any()):
        return positive
    opposite = levels if opposite is None else opposite
    return positive - _in_proportion(opposite, temperature, (-masses).clamp(min=0), cells)


def _in_proportion(levels: Tensor, temperature: float, masses: Tensor, cells: Grid) -> Tensor:
    axes = tuple(range(-len(cells.size), 0))
    levels = levels.to(torch.promote_types(levels.dtype, masses.dtype))
    smooth = _bilinear(masses / cells.areas(masses), cells.size)
    # Relative to the best level where there is mass: elsewhere a better one would overflow.
    best = torch.where(smooth > 0, levels.detach(), -math.inf).amax(axes, keepdim=True)
    scale = _BITS / max(temperature, torch.finfo(levels.dtype).tiny)

    def bits() -> Tensor:
        return (levels - best).masked_fill_(smooth <= 0, 0).mul_(scale)

    weights = _times(bits().exp2_(), smooth)
    whole = weights.sum(axes, keepdim=True)
    least = smooth.detach().amax(axes, keepdim=True) * _LEAST_WHOLE
    if bool(((whole < least) & best.isfinite()).any()):
        weights = _by_logarithms(smooth, bits(), axes)
        whole = weights.sum(axes, keepdim=True)
    return _times(weights, masses.sum(axes, keepdim=True) / _or_one(whole)).to(masses.dtype)


def _times(values: Tensor, factors: Tensor) -> Tensor:
    """Return the product, in the memory of `values` where autograd allows it."""
    return values * factors if values.requires_grad or factors.requires_grad else values.mul_(factors)


def _or_one(values: Tensor) -> Tensor:
    return torch.where(values > 0, values, 1)


def _by_logarithms(smooth: Tensor, bits: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Return smooth · 2^bits up to a factor of each map, for a best level on pixels of almost no mass."""
    empty = smooth <= 0
    exponents = bits.double() + smooth.double().masked_fill(empty, 1).log2()
    exponents = exponents.masked_fill(empty, -math.inf)
    return (exponents - exponents.detach().amax(axes, keepdim=True).clamp(min=_LOG_ZERO)).exp2()


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
    """Maps (N, *size) of masses (N, *shape), differentiated by the implicit function theorem."""

    @staticmethod
    def forward(ctx: Any, levels: Tensor, temperature: float, masses: Tensor, cells: Grid) -> Tensor:
        temperature = max(temperature, torch.finfo(torch.float64).tiny)
        with full_precision(levels.device), np.errstate(divide="ignore", invalid="ignore"):
            search = _Search(levels, temperature, masses, cells)
            pixels, found = search.pixels()
        ctx.system, ctx.found, ctx.cells, ctx.temperature = search.system, found, cells, temperature
        ctx.shared = levels.shape[0] == 1
        ctx.save_for_backward(pixels, masses)
        return pixels

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, Tensor, None]:
        pixels, masses = ctx.saved_tensors
        system, hats = ctx.system, ctx.system.hats
        gradient = gradient.contiguous()
        with full_precision(pixels.device):
            inner, (sums, parts) = hats.moments(gradient * pixels), system.parts(pixels)
        # With P each hat's part of a cell's mass, P dc = d log M - Σ Ã d log φ / M in each cell.
        parts[~ctx.found] = hats.identity
        columns = hats.column_sums(np.where(system.own_pairs, inner, 0.0).reshape(-1, hats.rows.size))
        slopes = np.where(system.own, system.solve(parts, columns, transposed=True), 0.0).sum(0)
        slopes[~ctx.found] = hats.row_sums(inner)[~ctx.found]
        slopes[sums == 0] = 0
        by_mass = torch.from_numpy(slopes).to(masses).view(masses.shape) / masses.where(masses != 0, 1)
        by_level = ctx.cells.subtract(gradient, by_mass).mul_(pixels).div_(ctx.temperature)
        return by_level.sum(0, keepdim=True) if ctx.shared else by_level, None, by_mass, None


class _System:
    """The equations for the heights (F, N, cells) of N maps with F signs of mass.

    A cell has a height for each sign. If it is of another sign, or without mass, it has no sum which that
    height should meet: there the height is the mean of those around it.
    """

    def __init__(self, signs: Numbers, hats: Hats) -> None:
        self.hats, self.occupied = hats, signs != 0
        occurring = [sign for sign in (1, -1) if (signs == sign).any()] or [1]
        self.own = np.stack([signs == sign for sign in occurring])
        self.plain = bool(self.own.all())
        self.own_pairs = self.own.take(hats.rows, 2)
        used = self.own.any(axis=2, keepdims=True)
        self.free = hats.unevenness if used.all() else np.where(used, hats.unevenness, hats.identity)
        # Where the pixels of each cell find the heights of its own sign, among all of them.
        starts = hats.cells * np.arange(len(signs))[:, None]
        if len(occurring) == 2:
            starts = starts + np.where(self.own[1].take(hats.owners, 1), signs.size, 0)
        self._seen = starts + hats.beside

    def seen(self, heights: Numbers) -> Numbers:
        """Return the heights that the pixels of each cell see, as local values (see `Hats`)."""
        return heights.take(self._seen)

    def parts(self, pixels: Tensor) -> tuple[Numbers, Numbers]:
        """Return the cells' sums (N, cells), and the part that each hat has of them (N, pairs)."""
        moments = self.hats.moments(pixels)
        sums = self.hats.row_sums(moments)
        if sums.all():
            return sums, moments / sums.take(self.hats.rows, 1)
        parts = moments / np.where(sums == 0, 1.0, sums)[:, self.hats.rows]
        return sums, np.where((sums == 0)[:, self.hats.rows], self.hats.identity, parts)

    def solve(self, parts: Numbers, values: Numbers, transposed: bool = False) -> Numbers:
        """Return the heights (F, N, cells) from the cells' own equations and the right sides of all."""
        if not self.plain:
            parts = np.where(self.own_pairs, parts, self.free).reshape(-1, parts.shape[1])
        values = values.reshape(-1, self.hats.cells)
        return self.hats.solve(parts, values, transposed).reshape(self.own.shape)


class _Search:
    """The search for the heights, in bits, of N maps."""

    def __init__(self, levels: Tensor, temperature: float, masses: Tensor, cells: Grid) -> None:
        self.levels, self.temperature, self.masses, self.cells = levels, temperature, masses, cells
        host = masses.flatten(1).to("cpu", torch.float64).numpy()
        self.system = _System(np.sign(host), hats_of(cells.shape, cells.size))
        self.hats, occupied = self.system.hats, self.system.occupied
        wanted = np.log2(abs(host))
        highest = wanted.max(1, initial=_LEAST_MASS)
        lowest = wanted.min(1, initial=_MOST_MASS, where=occupied)
        # Relative to the largest mass, so that no pixel overflows before it must.
        self.wanted = np.where(occupied, wanted - highest[:, None], 0.0)
        least, most = float(levels.amin()), float(levels.amax())
        scale, masses_apart = _BITS / temperature, max(float((highest - lowest).max()), 0.0)
        if not math.isfinite(least + most + masses_apart):
            raise ValueError("levels and masses must be finite, and at least one has NaN or infinite values")
        self.extent = (most - least) * scale + masses_apart
        self.scale, self.middle, self.by_cell = scale, (least + most) / 2 * scale, self.extent > _DOUBLE
        widest = max(self.extent, 2 * abs(self.middle))  # equal levels have their height in common
        double = widest > _SINGLE or torch.get_float32_matmul_precision() != "highest"
        dtype = torch.float64 if double else masses.dtype
        self.enough = math.sqrt(2 * (1e-12 if dtype == torch.float64 else 1e-6)) * _BITS
        self.buffer = masses.new_empty((host.shape[0], *cells.size), dtype=dtype)
        self.taper = None
        if not self.system.plain:
            taper = self.hats.taper(np.sign(host), torch.empty_like(self.buffer))
            self.taper = taper.log2_().clamp_(min=_LOG_ZERO) if self.by_cell else taper

    def pixels(self) -> tuple[Tensor, Flags]:
        """Return the maps (N, *size), and for which of them (N,) a continuous factor was found."""
        heights, found = np.zeros(self.system.own.shape), np.zeros(self.masses.shape[0], bool)
        if self.extent < _HOPELESS:
            heights, found = self.newton(self.start())
        pixels, _ = self.lifted(heights)
        del self.buffer
        if not found.all():
            pixels = self.by_other_means(pixels, found)
        factors = self.masses / self.cells.sum(pixels)
        if not self.system.plain:
            factors = factors.masked_fill(self.masses == 0, 0)
        return self.cells.scale(pixels, factors).to(self.masses.dtype), found

    def by_other_means(self, pixels: Tensor, found: Flags) -> Tensor:
        """Replace the maps that Newton's method failed for, by φ itself for want of anything better."""
        for index in np.flatnonzero(~found):
            one = slice(index, index + 1)
            levels = self.levels if self.levels.shape[0] == 1 else self.levels[one]
            alone = _Search(levels, self.temperature, self.masses[one], self.cells)
            heights, found[index] = alone.cooled()
            pixels[one] = alone.lifted(heights)[0]
        if found.all():
            return pixels
        warnings.warn(
            f"no continuous factor was found for {np.sum(~found)} of {found.size} maps, which got one factor "
            "per cell, as with continuous=False; try a higher temperature",
            RuntimeWarning,
            stacklevel=level_outside("torch"),  # whose autograd calls back
        )
        levels = self.levels.to(pixels.dtype).contiguous()
        exponents = self.cells.subtract(levels, self.cells.amax(levels)) * (_BITS / self.temperature)
        keep = torch.from_numpy(found).to(pixels.device).view(-1, *(1,) * (pixels.dim() - 1))
        return torch.where(keep, pixels, exponents.exp2_())

    def newton(self, heights: Numbers) -> tuple[Numbers, Flags]:
        """Solve for the heights from a first guess; say for which maps that worked."""
        gap, parts = self.look(heights)
        missed = np.square(gap).sum(1)
        found = np.isfinite(missed)
        for _ in range(_MOST_STEPS):
            if not found.all():
                gap[~found], parts[~found] = 0, self.hats.identity
            step = self.solve(parts, gap)
            longest = abs(step).max((0, 2))
            if not math.isfinite(longest.sum()):
                found &= np.isfinite(longest)
                step[:, ~found] = longest[~found] = 0
            # After a whole step d, a gap is at most d²/2 (docs/continuous.md): the last one needs no look.
            settled = longest <= self.enough
            if settled.all():
                return heights + step, found
            heights, gap, parts, missed = self.advance(heights, step, missed, settled | ~found)
            found &= missed < math.inf
        return heights, found & settled

    def advance(
        self, heights: Numbers, step: Numbers, missed: Numbers, done: Flags
    ) -> tuple[Numbers, Numbers, Numbers, Numbers]:
        """Go as much of a step as lessens the squares of the gaps, or none; return the latter as infinite."""
        reached = heights + step
        length = np.ones((done.size, 1))
        while True:
            gap, parts = self.look(reached)
            left = np.square(gap).sum(1)
            worse = ~((left < missed) | done)
            if not worse.any():
                left[length.ravel() == 0] = math.inf
                return reached, gap, parts, left
            length[worse] /= 2
            length[length < _SHORTEST] = 0
            reached = heights + length * step
            done = done | (length.ravel() == 0)

    def cooled(self) -> tuple[Numbers, bool]:
        """Solve for the heights of a single map at higher temperatures first, and follow them down."""
        scale, middle = self.scale, self.middle
        known: list[tuple[float, Numbers]] = []
        heights, part, gain = np.zeros(self.system.own.shape), 1 / 64, 2.0
        for _ in range(_MOST_TEMPERATURES if self.extent < _HOPELESS else 0):
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
                if gain < _LEAST_GAIN:
                    break
            part = min(known[-1][0] * gain, 1.0) if known else part / 16
        return heights, False

    def start(self) -> Numbers:
        """Return a first guess: a whole step from heights that are all equal."""
        pixels, top = self.raised(self.buffer.fill_(-self.middle))
        sums, parts = self.system.parts(pixels)
        return self.solve(parts, self.lacking(sums, top)) - self.middle

    def look(self, heights: Numbers) -> tuple[Numbers, Numbers]:
        """Return by how many bits each cell is short of its mass, and what a bit of each height adds."""
        pixels, top = self.lifted(heights)
        sums, parts = self.system.parts(pixels)
        return self.lacking(sums, top), parts

    def lacking(self, sums: Numbers, top: Numbers | float) -> Numbers:
        gap: Numbers = self.wanted - np.log2(abs(sums)) - top
        return gap if self.system.plain else np.where(self.system.occupied, gap, 0.0)

    def solve(self, parts: Numbers, gap: Numbers) -> Numbers:
        return self.system.solve(parts, gap if self.system.plain else np.where(self.system.own, gap, 0.0))

    def lifted(self, heights: Numbers) -> tuple[Tensor, Numbers | float]:
        """Return the maps with these heights as `raised` does."""
        return self.raised(self.hats.interpolate(self.system.seen(heights), self.buffer))

    def raised(self, exponents: Tensor) -> tuple[Tensor, Numbers | float]:
        """Return 2 to φ's own and these exponents, up to a factor of each cell, and the factors' log2."""
        exponents.add_(self.levels, alpha=self.scale)
        if not self.by_cell:
            pixels = exponents.exp2_()
            return pixels if self.taper is None else pixels.mul_(self.taper), 0.0
        if self.taper is not None:
            exponents.add_(self.taper)
        top = self.cells.amax(exponents)
        raised = self.cells.subtract(exponents, top).exp2_()
        return raised, top.flatten(1).to("cpu", torch.float64).numpy()
