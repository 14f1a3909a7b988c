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

    *Local* values (N, 3^d · cells) belong to a cell and a step of -1, 0 or 1 along each of the d axes; they
    stand in the order (g0, 3, g1, 3, …).

    Attributes:
        rows: (pairs,), cell k of each pair, counted along the grid; sorted.
        columns: (pairs,), cell j of each pair.
        bandwidth: the largest |k - j|.
        owners: (3^d · cells,), the cell of each local value.
        beside: (3^d · cells,), the cell that its step leads to, or the last one before the grid's end.
    """

    def __init__(self, shape: tuple[int, ...], size: tuple[int, ...]) -> None:
        self.shape, self.size, self.cells, ndim = shape, size, math.prod(shape), len(shape)
        cells = np.arange(self.cells).reshape(shape)
        around = _windows(np.pad(cells, 1, constant_values=-1))
        columns = around.reshape(self.cells, -1)
        self.rows, within = np.nonzero(columns >= 0)
        self.columns = columns[self.rows, within]
        self._starts = np.searchsorted(self.rows, np.arange(self.cells))
        self.bandwidth = int(abs(self.rows - self.columns).max())
        self.owners = _in_order(np.broadcast_to(cells.reshape(*shape, *(1,) * ndim), around.shape))
        self.beside = _in_order(_windows(np.pad(cells, 1, mode="edge")))
        places = np.argsort(_in_order(np.arange(columns.size).reshape(around.shape)))
        self._inside = places.reshape(columns.shape)[self.rows, within]

    def interpolate(self, local: Numbers, out: Tensor) -> Tensor:
        """Write Σ_j v_j b_j(x) into the contiguous `out` (N, *size), and return it.

        Each cell has local values of its own: the v_j, at the cells `beside` it, that its pixels see.
        """
        axes = _axes(self.shape, self.size, out.dtype, out.device)
        return _spread(local, axes, [axis.hats for axis in axes], out)

    def taper(self, signs: Numbers, out: Tensor) -> Tensor:
        """Write into `out` (N, *size) what is 1 at cells' centres and falls to 0 where another sign begins.

        Linear (bilinear, trilinear) between the cells' centres, corners and the middles of their sides.
        `signs` (N, cells) holds -1, 0 and 1. A corner or a side is at 1 if the cells around it have one sign,
        not 0; else at 0. A centre is at 0 if its cell's sign is.
        """
        axes = _axes(self.shape, self.size, out.dtype, out.device)
        own = signs.take(self.owners, 1)
        alike = (signs.take(self.beside, 1) == own) & (own != 0)
        alike = alike.reshape(-1, *(length for cells in self.shape for length in (cells, 3)))
        for steps in range(2, alike.ndim, 2):
            alike &= alike.take([1], steps)
        return _spread(alike.astype(np.float64), axes, [axis.slopes for axis in axes], out)

    def moments(self, pixels: Tensor) -> Numbers:
        """Return the entries Σ_{x ∈ N_k} A(x) b_j(x), in float64, of contiguous pixels A (N, *size)."""
        maps, rest = pixels.shape[0], math.prod(self.size)
        *others, last = _axes(self.shape, self.size, pixels.dtype, pixels.device)
        for axis, cells, length in zip(others, self.shape, self.size, strict=False):
            rest //= length
            blocks = axis.blocked(pixels.view(-1, length, rest))
            pixels = axis.hats @ blocks.view(blocks.shape[0], cells, -1, rest)
        if last.places is None:
            sums = pixels.view(-1, last.hats.shape[2]) @ last.hats[0].T
        else:
            blocks = last.blocked(pixels.view(-1, self.size[-1], 1)).view(-1, *last.hats.shape[::2])
            sums = (blocks.transpose(0, 1) @ last.hats.mT).transpose(0, 1)
        local = sums.to("cpu", torch.float64).numpy().reshape(-1, self.shape[-1], 3)
        if last.places is None:  # there, what lies beyond the grid's end is the last cell's
            local[:, 0, 1] += local[:, 0, 0]
            local[:, -1, 1] += local[:, -1, 2]
        entries: Numbers = local.reshape(maps, -1).take(self._inside, 1)
        return entries

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


def _windows(values: Indices) -> Indices:
    """Return the 3^d values around each inner one, (*shape, 3, …, 3)."""
    return np.lib.stride_tricks.sliding_window_view(values, (3,) * values.ndim)


def _in_order(values: Indices) -> Indices:
    """Return values (*shape, 3, …, 3) in the order of local ones, (g0, 3, g1, 3, …)."""
    ndim = values.ndim // 2
    order: Indices = values.transpose([axis + half for axis in range(ndim) for half in (0, ndim)]).ravel()
    return order


class _Axis(NamedTuple):
    """One axis of n pixels and g cells, of at most p pixels each; weights are 0 beyond a cell's last pixel.

    Attributes:
        hats: (g, 3, p), b_(k+o-1)(x) at cell k, step o and its pixel x. Of a last axis on which all cells
            have p pixels (1, 3, p), those of all cells if beyond the grid's end the last cell is repeated.
        slopes: like `hats`, the weights of a cell's beginning, centre and end in linear interpolation.
        places: (n,), where the pixels stand in the blocks of p one after another; None if all cells have p.
        padded: (g·p,), the pixels in that order, any where there is none; None if all cells have p.
    """

    hats: Tensor
    slopes: Tensor
    places: Tensor | None
    padded: Tensor | None

    def joined(self, blocks: Tensor) -> Tensor:
        """Return the pixels (M, n, R) in blocks (M, g·p, R)."""
        return blocks if self.places is None else blocks.index_select(1, self.places)

    def blocked(self, pixels: Tensor) -> Tensor:
        """Return pixels (M, n, R) in blocks (M, g·p, R)."""
        return pixels if self.padded is None else pixels.index_select(1, self.padded)


def _spread(local: Numbers, axes: tuple[_Axis, ...], weights: list[Tensor], out: Tensor) -> Tensor:
    """Write the means of the cells' local values by the axes' weights into `out` (N, *size)."""
    *others, last = axes
    values = torch.from_numpy(local).to(out)
    if last.places is None:
        pixels = values.view(-1, 3) @ weights[-1][0]
    else:
        blocks = values.view(-1, len(last.hats), 3).transpose(0, 1) @ weights[-1]
        pixels = last.joined(blocks.transpose(0, 1).reshape(-1, blocks.shape[0] * blocks.shape[2], 1))
    for index in range(len(others) - 1, -1, -1):
        values = pixels.view(-1, 3, math.prod(out.shape[index + 2 :]))
        repeats = len(values) // len(weights[index])
        matrices = weights[index].mT.expand(repeats, -1, -1, -1).reshape(len(values), -1, 3)
        if index == 0 and others[0].places is None:
            torch.bmm(matrices, values, out=out.view(len(values), -1, values.shape[2]))
            return out
        blocks = torch.bmm(matrices, values).view(repeats, -1, values.shape[2])
        pixels = others[index].joined(blocks)
    return out.copy_(pixels.view_as(out))


@lru_cache(maxsize=64)
def _axes(
    shape: tuple[int, ...], size: tuple[int, ...], dtype: torch.dtype, device: torch.device
) -> tuple[_Axis, ...]:
    with torch.inference_mode(False):  # the cached tensors must serve calls that record gradients, too
        *others, last = (_axis(*lengths, dtype, device) for lengths in zip(shape, size, strict=True))
        if last.places is None:
            one = _axis(3, 3 * last.hats.shape[2], dtype, device)
            last = last._replace(hats=one.hats[1:2], slopes=one.slopes[1:2])
        return *others, last


def _axis(cells: int, pixels: int, dtype: torch.dtype, device: torch.device) -> _Axis:
    lengths = np.array(cell_lengths(pixels, cells))
    own, every, most = np.repeat(np.arange(cells), lengths), np.arange(pixels), int(lengths.max())
    inside = every - (np.cumsum(lengths) - lengths)[own]
    places = own * most + inside
    padded = np.zeros(cells * most, int)
    padded[places] = every
    ends = (every[:, None] + 0.5) * cells / pixels  # in cells from the grid's beginning
    centres, steps = np.clip(ends - 0.5, 0, cells - 1), own[:, None] + np.arange(3)
    hats, slopes = np.zeros((cells, 3, most)), np.zeros((cells, 3, most))
    hats[own, :, inside] = np.maximum(1 - abs(centres - (steps - 1)), 0)
    slopes[own, :, inside] = np.maximum(1 - abs(2 * ends - (steps + own[:, None])), 0)
    uneven = padded.size > pixels
    return _Axis(
        torch.from_numpy(hats).to(device, dtype),
        torch.from_numpy(slopes).to(device, dtype),
        torch.from_numpy(places).to(device) if uneven else None,
        torch.from_numpy(padded).to(device) if uneven else None,
    )


@lru_cache(maxsize=64)
def hats_of(shape: tuple[int, ...], size: tuple[int, ...]) -> Hats:
    """Return the `Hats` of these sizes; they are immutable, and one image size serves many maps."""
    return Hats(shape, size)


def full_precision(device: torch.device) -> AbstractContextManager[Any]:
    """Keep automatic mixed precision, under which products of matrices round to 16 bits, out of a block."""
    available = torch.amp.is_autocast_available(device.type)
    return torch.autocast(device.type, enabled=False) if available else nullcontext()
