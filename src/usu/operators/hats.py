"""Hat functions on the cells' centres, and the sparse linear systems that they lead to.

b_j(x) is the weight of cell j in bilinear interpolation (linear in 1-D, trilinear in 3-D): 1 at the centre of
j, 0 at all other centres, constant beyond the outermost ones. The hats of a pixel sum to 1, and inside cell k
only those of k and of the cells that touch it differ from 0. So a matrix over pairs of cells is a stencil:
one entry for each cell and each offset -1, 0, 1 along each axis, in the shape (N, g0, 3, g1, 3, …).
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property, lru_cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from scipy.linalg.lapack import dgbsv
from torch import Tensor

from usu.operators.lattice import cell_lengths

Numbers: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"


class Hats:
    """The hat functions of a grid of `shape` cells on a lattice of `size` pixels, for N maps at a time."""

    def __init__(self, shape: tuple[int, ...], size: tuple[int, ...]) -> None:
        self.shape, self.size = shape, size
        self._layout = tuple(length for cells in shape for length in (cells, 3))
        self._one_by_one = tuple(length for cells in shape for length in (cells, 1))
        # The entries of a stencil that belong to a pair of cells; at the lattice's edge the others are 0.
        cells = np.arange(math.prod(shape)).reshape(shape)
        windows = np.lib.stride_tricks.sliding_window_view(
            np.pad(cells, 1, constant_values=-1), (3,) * len(shape)
        )
        interleaved = [axis + part for axis in range(len(shape)) for part in (0, len(shape))]
        columns = windows.transpose(interleaved).ravel()
        rows = np.broadcast_to(cells.reshape(self._one_by_one), self._layout).ravel()
        self._inside = np.flatnonzero(columns >= 0)
        self._rows, self._columns = rows[self._inside], columns[self._inside]
        self._bandwidth = int(abs(self._rows - self._columns).max())

    @cached_property
    def even(self) -> Numbers:
        """The stencil (1, g0, 3, g1, 3, …) of the mean of Σ_j v_j b_j(x) over each cell's pixels."""
        moments = self.moments(torch.ones(1, *self.size, dtype=torch.float64, device="cpu"))
        means: Numbers = moments / self.along_rows(self.row_sums(moments))
        return means

    def interpolate(self, values: Tensor, out: Tensor) -> Tensor:
        """Write Σ_j v_j b_j(x), of values v (N, *shape), into the contiguous `out` (N, *size); return it."""
        axes = _axes(self.shape, self.size, values.dtype, values.device)
        if len(axes) == 1:
            return torch.mm(values, axes[0].hats.T, out=out)
        pixels = values.reshape(-1, self.shape[-1]) @ axes[-1].hats.T
        for index in range(len(axes) - 2, 0, -1):
            pixels = axes[index].hats @ pixels.view(-1, self.shape[index], math.prod(self.size[index + 1 :]))
        first, maps = axes[0], out.shape[0]
        pixels = pixels.view(maps, self.shape[0], -1)
        if first.blocks is None:
            weights = first.hats.expand(maps, -1, -1)
        else:
            weights = first.blocks.mT.expand(maps, -1, -1, -1).reshape(-1, first.blocks.shape[2], 3)
            pixels = pixels.index_select(1, first.beside).view(weights.shape[0], 3, -1)
        torch.bmm(weights, pixels, out=out.view(*weights.shape[:2], -1))
        return out

    def moments(self, pixels: Tensor) -> Numbers:
        """Return the stencil of Σ_{x ∈ N_k} A(x) b_j(x), in float64, of contiguous pixels A (N, *size)."""
        *others, last = _axes(self.shape, self.size, pixels.dtype, pixels.device)
        for index, axis in enumerate(others):
            rest = math.prod(self.size[index + 1 :])
            if axis.blocks is None:
                pixels = axis.tests @ pixels.view(-1, self.size[index], rest)
            else:
                pixels = axis.blocks @ pixels.view(-1, *axis.blocks.shape[::2], rest)
        sums = pixels.view(-1, self.size[-1]) @ last.tests.T
        return sums.to("cpu", torch.float64).numpy().reshape(-1, *self._layout)

    def taper(self, occupied: Tensor) -> Tensor:
        """Return maps (N, *size) that are 1 at the centres of occupied cells and 0 in all other cells.

        Linear (bilinear, trilinear) between the cells' centres, corners and the middles of their sides, which
        are 1 where all cells that touch them are occupied. `occupied` (N, *shape) holds 0 and 1.
        """
        nodes = occupied
        for axis in range(1, nodes.dim()):
            nodes = nodes.movedim(axis, -1)
            sides = torch.minimum(nodes, torch.cat([nodes[..., :1], nodes[..., :-1]], -1))
            pairs = torch.stack([sides, nodes], -1).flatten(-2)
            nodes = torch.cat([pairs, nodes[..., -1:]], -1).movedim(-1, axis)
        for axis, length in enumerate(self.size, start=1):
            half_cells = nodes.shape[axis] - 1
            places = (np.arange(length) + 0.5) * half_cells / length
            weights = np.maximum(1 - abs(places - np.arange(half_cells + 1)[:, None]), 0)
            nodes = (nodes.movedim(axis, -1) @ torch.from_numpy(weights).to(nodes)).movedim(-1, axis)
        return nodes.contiguous()

    def along_rows(self, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return values (N, *shape) in a shape that broadcasts along the rows of a stencil."""
        return values.reshape(-1, *self._one_by_one)

    def row_sums(self, stencil: Numbers) -> Numbers:
        """Return the sums of a stencil's rows, (N, *shape)."""
        for axis in range(2, 2 + len(self.shape)):
            stencil = stencil.sum(axis)
        return stencil

    def column_sums(self, stencil: Numbers) -> Numbers:
        """Return the sums of a stencil's columns, (N, *shape)."""
        maps, cells = len(stencil), math.prod(self.shape)
        columns = cells * np.arange(maps)[:, None] + self._columns
        entries = stencil.reshape(maps, -1)[:, self._inside]
        sums = np.bincount(columns.ravel(), entries.ravel(), maps * cells).astype(np.float64)
        return sums.reshape(maps, *self.shape)

    def unevenness(self) -> Numbers:
        """Return the stencil (1, g0, 3, g1, 3, …) of v_k minus the mean of v over the cells that touch k."""
        pairs = np.zeros((1, *self._layout))
        pairs.ravel()[self._inside] = self._rows != self._columns
        differences: Numbers = self.identity() - pairs / self.along_rows(np.maximum(self.row_sums(pairs), 1))
        return differences

    def identity(self) -> Numbers:
        """Return the stencil (1, g0, 3, g1, 3, …) of v_k itself."""
        pairs = np.zeros((1, *self._layout))
        pairs.ravel()[self._inside[self._rows == self._columns]] = 1.0
        return pairs

    def solve(self, stencil: Numbers, values: Numbers, transposed: bool = False) -> Numbers:
        """Return u (N, *shape) with stencil · u = values (N, *shape), or with the transposed stencil.

        A singular system is solved with 1e-9 added to its diagonal. A stencil of one map serves all.
        """
        maps, cells, width = values.shape[0], math.prod(self.shape), self._bandwidth
        # All maps form one system. In LAPACK's storage, entry (i, j) is in row 2·width + i - j of column j.
        height = 3 * width + 1
        rows, columns = (self._columns, self._rows) if transposed else (self._rows, self._columns)
        places = columns * height + 2 * width + rows - columns
        for shift in (0.0, 1e-9):
            band = np.zeros((maps, cells * height))
            band[:, places] = stencil.reshape(stencil.shape[0], -1)[:, self._inside]
            matrix = band.reshape(-1, height).T
            matrix[2 * width] += shift
            _, _, result, singular = dgbsv(width, width, matrix, values.ravel(), overwrite_ab=True)
            if not singular:
                break
        solution: Numbers = result.reshape(values.shape)
        return solution


class _Axis(NamedTuple):
    """One axis of n pixels and g cells.

    Attributes:
        hats: (n, g), b_j(x).
        tests: (3g, n), in row 3k + o b_(k+o-1)(x) where pixel x lies in cell k, 0 elsewhere.
        blocks: (g, 3, n / g), the same cell by cell, if all cells have equally many pixels; a pixel then
            meets its own three hats, not all of them.
        beside: (3g,), in 3k + o cell k + o - 1, or any where there is none.
    """

    hats: Tensor
    tests: Tensor
    blocks: Tensor | None
    beside: Tensor


@lru_cache(maxsize=64)
def _axes(
    shape: tuple[int, ...], size: tuple[int, ...], dtype: torch.dtype, device: torch.device
) -> tuple[_Axis, ...]:
    with torch.inference_mode(False):  # the cached tensors must serve calls that record gradients, too
        return tuple(_axis(*lengths, dtype, device) for lengths in zip(shape, size, strict=True))


def _axis(cells: int, pixels: int, dtype: torch.dtype, device: torch.device) -> _Axis:
    lengths = cell_lengths(pixels, cells)
    centres = np.clip((np.arange(pixels) + 0.5) * cells / pixels - 0.5, 0, cells - 1)
    hats = np.maximum(1 - abs(centres[:, None] - np.arange(cells)), 0)
    own, every = np.repeat(np.arange(cells), lengths), np.arange(pixels)
    tests = np.zeros((cells, 3, pixels))
    padded = np.pad(hats, ((0, 0), (1, 1)))
    for offset in range(3):
        tests[own, offset, every] = padded[every, own + offset]
    beside = np.clip(np.arange(cells)[:, None] + np.arange(-1, 2), 0, cells - 1).ravel()

    def tensor(values: Numbers) -> Tensor:
        return torch.from_numpy(values).to(device, dtype)

    blocks = None
    if len(set(lengths)) == 1:
        blocks = tensor(np.stack([tests[cell][:, own == cell] for cell in range(cells)]))
    return _Axis(
        tensor(hats), tensor(tests.reshape(3 * cells, pixels)), blocks, torch.from_numpy(beside).to(device)
    )


@lru_cache(maxsize=64)
def hats_of(shape: tuple[int, ...], size: tuple[int, ...]) -> Hats:
    """Return the `Hats` of these sizes; they are immutable, and one image size serves many maps."""
    return Hats(shape, size)


def full_precision(device: torch.device) -> AbstractContextManager[Any]:
    """Keep automatic mixed precision, under which products of matrices round to 16 bits, out of a block."""
    available = torch.amp.is_autocast_available(device.type)
    return torch.autocast(device.type, enabled=False) if available else nullcontext()
