"""Hat functions on the cells' centres, and the sparse linear systems that they lead to.

b_j(x) is the weight of cell j in bilinear interpolation (linear in 1-D, trilinear in 3-D): 1 at the centre of
j, 0 at all other centres, constant beyond the outermost ones. The hats of a pixel sum to 1, and inside cell k
only those of k and of the cells that touch it differ from 0. So a matrix over pairs of cells is kept as its
entries at the pairs (k, j) that touch or are equal, (N, pairs) for N maps.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property, lru_cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from scipy.linalg.lapack import dgbsv
from scipy.sparse import csc_array
from scipy.sparse.linalg import splu
from torch import Tensor

from usu.operators.lattice import cell_lengths

Numbers: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"
Indices: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"

_WIDEST = 64  # band, in cells, up to which LAPACK's solution of banded systems is as fast as a sparse one


class Hats:
    """The hat functions of a grid of `shape` cells on a lattice of `size` pixels, for N maps at a time.

    Attributes:
        rows: (pairs,), cell k of each pair, counted along the grid; sorted.
        columns: (pairs,), cell j of each pair.
        bandwidth: the largest |k - j|.
    """

    def __init__(self, shape: tuple[int, ...], size: tuple[int, ...]) -> None:
        self.shape, self.size, self.cells, ndim = shape, size, math.prod(shape), len(shape)
        beside = np.pad(np.arange(self.cells).reshape(shape), 1, constant_values=-1)
        windows = np.lib.stride_tricks.sliding_window_view(beside, (3,) * ndim)
        columns = windows.reshape(self.cells, -1)
        self.rows, within = np.nonzero(columns >= 0)
        self.columns = columns[self.rows, within]
        self._starts = np.searchsorted(self.rows, np.arange(self.cells))
        # Moments come as (g0, 3, g1, 3, …).
        order = np.arange(columns.size).reshape([length for cells in shape for length in (cells, 3)])
        order = order.transpose([*range(0, 2 * ndim, 2), *range(1, 2 * ndim, 2)]).reshape(columns.shape)
        self._inside = order[self.rows, within]
        self.bandwidth = int(abs(self.rows - self.columns).max())

    def interpolate(self, values: Tensor, out: Tensor, second: Tensor | None = None) -> Tensor:
        """Write Σ_j v_j b_j(x), of values v (N, *shape), into the contiguous `out` (N, *size); return it.

        With `second` (see `by_row`), values are (2N, *shape): the last N serve the cells where it is true.
        """
        first, *others = _axes(self.shape, self.size, values.dtype, values.device)
        pixels, maps = values, out.shape[0]
        if others:
            pixels = pixels.reshape(-1, self.shape[-1]) @ others[-1].hats.T
        for index in range(len(others) - 1, 0, -1):
            rest = math.prod(self.size[index + 1 :])
            pixels = others[index - 1].hats @ pixels.view(-1, self.shape[index], rest)
        pixels = pixels.reshape(values.shape[0], self.shape[0], -1).index_select(1, first.beside)
        if second is not None:
            pixels = torch.where(second, pixels[maps:], pixels[:maps])
        weights = first.blocks.mT.expand(maps, -1, -1, -1).reshape(maps * self.shape[0], -1, 3)
        pixels = pixels.view(weights.shape[0], 3, -1)
        if first.padded is None:
            torch.bmm(weights, pixels, out=out.view(*weights.shape[:2], -1))
        else:
            wide = torch.bmm(weights, pixels).view(maps, -1, pixels.shape[-1])
            torch.index_select(wide, 1, first.places, out=out.view(maps, self.size[0], -1))
        return out

    def by_row(self, cells: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return (N, *shape) by pixel along all axes but the first, each row of cells thrice (N, 3·g0, …)."""
        for axis in range(1, len(self.shape)):
            cells = cells.repeat(cell_lengths(self.size[axis], self.shape[axis]), axis + 1)
        return cells.reshape(*cells.shape[:2], -1).repeat(3, 1)

    def moments(self, pixels: Tensor) -> Numbers:
        """Return the entries Σ_{x ∈ N_k} A(x) b_j(x), in float64, of contiguous pixels A (N, *size)."""
        first, *others = _axes(self.shape, self.size, pixels.dtype, pixels.device)
        pixels = pixels.view(pixels.shape[0], self.size[0], -1)
        if first.padded is not None:
            pixels = pixels.index_select(1, first.padded)
        pixels = first.blocks @ pixels.view(-1, *first.blocks.shape[::2], pixels.shape[-1])
        for index, axis in enumerate(others[:-1], start=1):
            pixels = axis.tests @ pixels.reshape(-1, self.size[index], math.prod(self.size[index + 1 :]))
        if others:
            pixels = pixels.reshape(-1, self.size[-1]) @ others[-1].tests.T
        sums = pixels.to("cpu", torch.float64).numpy().reshape(-1, self.cells * 3 ** len(self.shape))
        entries: Numbers = sums.take(self._inside, 1)
        return entries

    def taper(self, signs: Numbers, like: Tensor) -> Tensor:
        """Return maps (N, *size) that are 1 or -1 at cells' centres and fall to 0 where another sign begins.

        Linear (bilinear, trilinear) between the cells' centres, corners and the middles of their sides.
        `signs` (N, *shape) holds -1, 0 and 1; a corner or a side has the sign that all cells around it share,
        or 0. So a map has its cells' sign everywhere, and is 0 in cells of sign 0.
        """
        for axis, cells in enumerate(self.shape, start=1):
            signs = signs.swapaxes(axis, -1)
            before = np.concatenate([signs[..., :1], signs[..., :-1]], -1)
            nodes = np.empty((*signs.shape[:-1], 2 * cells + 1))
            nodes[..., 1::2], nodes[..., -1] = signs, signs[..., -1]
            nodes[..., :-1:2] = np.where(signs == before, signs, 0)
            signs = nodes.swapaxes(axis, -1)
        *others, last = (
            _slopes(*lengths, like.dtype, like.device) for lengths in zip(self.shape, self.size, strict=True)
        )
        pixels = torch.from_numpy(signs).to(like)
        pixels = pixels.reshape(-1, last.shape[1]) @ last.T
        for axis in range(len(others) - 1, -1, -1):
            rest = math.prod(self.size[axis + 1 :])
            pixels = others[axis] @ pixels.view(-1, others[axis].shape[1], rest)
        return pixels.view(-1, *self.size)

    def row_sums(self, entries: Numbers) -> Numbers:
        """Return the sums of a matrix's rows, (N, cells)."""
        sums: Numbers = np.add.reduceat(entries, self._starts, 1)
        return sums

    def column_sums(self, entries: Numbers) -> Numbers:
        """Return the sums of a matrix's columns, (N, cells)."""
        maps = entries.shape[0]
        columns = (self.cells * np.arange(maps)[:, None] + self.columns).ravel()
        sums: Numbers = np.bincount(columns, entries.ravel(), maps * self.cells).astype(np.float64)
        return sums.reshape(maps, -1)

    @cached_property
    def identity(self) -> Numbers:
        """The entries (pairs,) of the identity."""
        entries: Numbers = (self.rows == self.columns).astype(np.float64)
        return entries

    @cached_property
    def unevenness(self) -> Numbers:
        """The entries (pairs,) of v_k minus the mean of v over the cells that touch k."""
        count = np.maximum(np.bincount(self.rows) - 1, 1)
        return np.where(self.rows == self.columns, 1.0, -1.0 / count[self.rows])

    @cached_property
    def even(self) -> Numbers:
        """The entries (1, pairs) of the mean of Σ_j v_j b_j(x) over each cell's pixels."""
        moments = self.moments(torch.ones(1, *self.size, dtype=torch.float64, device="cpu"))
        means: Numbers = moments / self.row_sums(moments)[:, self.rows]
        return means

    def solve(self, entries: Numbers, values: Numbers, transposed: bool = False) -> Numbers:
        """Return u (N, cells) with matrix · u = values (N, cells), or with the transposed matrix.

        The matrix of a single map (1, pairs) serves all. A singular one gets 1e-9 added to its diagonal.
        """
        maps, width = values.shape[0], self.bandwidth
        if width > _WIDEST:
            own = np.broadcast_to(entries, (maps, entries.shape[1]))
            pairs = zip(own, values, strict=True)
            return np.stack([self._sparsely(*pair, transposed) for pair in pairs])
        places = _places(self, maps, transposed)
        for shift in (0.0, 1e-9):
            band = np.zeros(values.size * (3 * width + 1))
            band[places] = entries.ravel() if entries.shape[0] == maps else np.tile(entries[0], maps)
            matrix = band.reshape(values.size, -1).T
            if shift:
                matrix[2 * width] += shift
            _, _, result, singular = dgbsv(width, width, matrix, values.ravel(), overwrite_ab=True)
            if not singular:
                break
        solution: Numbers = result.reshape(values.shape)
        return solution

    def _sparsely(self, entries: Numbers, values: Numbers, transposed: bool) -> Numbers:
        """Solve for one map (cells,) by a sparse factorisation, which a wide band leaves far behind."""
        places = (self.columns, self.rows) if transposed else (self.rows, self.columns)
        matrix = csc_array((entries, places), shape=(self.cells, self.cells))
        try:
            factors = splu(matrix, permc_spec="MMD_AT_PLUS_A")
        except RuntimeError:  # singular
            matrix.setdiag(matrix.diagonal() + 1e-9)
            factors = splu(matrix, permc_spec="MMD_AT_PLUS_A")
        solution: Numbers = factors.solve(values)
        return solution


@lru_cache(maxsize=64)
def _places(hats: Hats, maps: int, transposed: bool) -> Indices:
    """Return where the entries of the joint system of all maps stand in LAPACK's storage of a band."""
    rows, columns = (hats.columns, hats.rows) if transposed else (hats.rows, hats.columns)
    # Entry (i, j) is in row 2·width + i - j of column j, and the columns, of 3·width + 1, follow one another.
    width = hats.bandwidth
    places = columns * (3 * width + 1) + 2 * width + rows - columns
    starts = np.arange(maps)[:, None] * hats.cells * (3 * width + 1)
    return (starts + places).ravel()


class _Axis(NamedTuple):
    """One axis of n pixels and g cells, of at most p pixels each.

    Attributes:
        hats: (n, g), b_j(x).
        tests: (3g, n), in row 3k + o b_(k+o-1)(x) where pixel x lies in cell k, 0 elsewhere.
        blocks: (g, 3, p), the same cell by cell, 0 beyond a cell's last pixel.
        beside: (3g,), in 3k + o cell k + o - 1, or any where there is none.
        places: (n,), where the pixels stand in the blocks one after another.
        padded: (g·p,), the pixels in that order, any where there is none; None if all cells have p pixels.
    """

    hats: Tensor
    tests: Tensor
    blocks: Tensor
    beside: Tensor
    places: Tensor
    padded: Tensor | None


@lru_cache(maxsize=64)
def _axes(
    shape: tuple[int, ...], size: tuple[int, ...], dtype: torch.dtype, device: torch.device
) -> tuple[_Axis, ...]:
    with torch.inference_mode(False):  # the cached tensors must serve calls that record gradients, too
        return tuple(_axis(*lengths, dtype, device) for lengths in zip(shape, size, strict=True))


def _axis(cells: int, pixels: int, dtype: torch.dtype, device: torch.device) -> _Axis:
    lengths = np.array(cell_lengths(pixels, cells))
    centres = np.clip((np.arange(pixels) + 0.5) * cells / pixels - 0.5, 0, cells - 1)
    hats = np.maximum(1 - abs(centres[:, None] - np.arange(cells)), 0)
    own, every, most = np.repeat(np.arange(cells), lengths), np.arange(pixels), int(lengths.max())
    inside = every - (np.cumsum(lengths) - lengths)[own]
    windows = np.pad(hats, ((0, 0), (1, 1)))[every[:, None], own[:, None] + np.arange(3)]
    tests, blocks = np.zeros((cells, 3, pixels)), np.zeros((cells, 3, most))
    tests[own, :, every] = blocks[own, :, inside] = windows
    places = own * most + inside
    padded = np.zeros(cells * most, int)
    padded[places] = every
    beside = np.clip(np.arange(cells)[:, None] + np.arange(-1, 2), 0, cells - 1).ravel()

    def tensor(part: np.ndarray[Any, Any], dtype: torch.dtype = torch.int64) -> Tensor:
        return torch.from_numpy(part).to(device, dtype)

    return _Axis(
        tensor(hats, dtype),
        tensor(tests.reshape(-1, pixels), dtype),
        tensor(blocks, dtype),
        tensor(beside),
        tensor(places),
        tensor(padded) if padded.size > pixels else None,
    )


@lru_cache(maxsize=64)
def _slopes(cells: int, pixels: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the weights (pixels, 2·cells + 1) of the cells' centres and ends in linear interpolation."""
    places = (np.arange(pixels) + 0.5) * 2 * cells / pixels
    with torch.inference_mode(False):
        weights = np.maximum(1 - abs(places[:, None] - np.arange(2 * cells + 1)), 0)
        return torch.from_numpy(weights).to(device, dtype)


@lru_cache(maxsize=64)
def hats_of(shape: tuple[int, ...], size: tuple[int, ...]) -> Hats:
    """Return the `Hats` of these sizes; they are immutable, and one image size serves many maps."""
    return Hats(shape, size)


def full_precision(device: torch.device) -> AbstractContextManager[Any]:
    """Keep automatic mixed precision, under which products of matrices round to 16 bits, out of a block."""
    available = torch.amp.is_autocast_available(device.type)
    return torch.autocast(device.type, enabled=False) if available else nullcontext()
