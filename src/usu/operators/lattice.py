"""Neighbourhood systems on a pixel lattice (N and ν of the paper): one set of pixels per coarse value.

Two kinds with the same verbs: `Grid`, the cells of a coarse grid, and `Regions`, any label map such as
superpixels. Both work over the trailing lattice dimensions; all dimensions before them are batch.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from typing import Literal, Protocol, TypeAlias

import torch
from torch import Tensor

from usu.arrays.convert import Array, as_labels, beside, check_labels

# What a coarse value says: M_k = a_k·|N_k| of a "density" (paper eq. 1), M_k = a_k of a "total".
Mass: TypeAlias = Literal["density", "total"]


class Neighbourhoods(Protocol):
    """What the operators ask of a neighbourhood system with K members over `size` pixels.

    Maps of pixels are contiguous.
    """

    shape: tuple[int, ...]
    size: tuple[int, ...]

    def areas(self, like: Tensor) -> Tensor:
        """Return |N_k|, shape `shape`, in the dtype and on the device of `like`."""

    def sum(self, pixels: Tensor) -> Tensor:
        """Sum (..., *size) over each neighbourhood, giving (..., *shape)."""

    def amax(self, pixels: Tensor) -> Tensor:
        """Take the maximum of (..., *size) over each neighbourhood, giving (..., *shape)."""

    def spread(self, values: Tensor) -> Tensor:
        """Give every pixel its neighbourhood's value: (..., *shape) to (..., *size)."""

    def scale(self, pixels: Tensor, values: Tensor) -> Tensor:
        """Multiply every pixel by its neighbourhood's value; `pixels` may be overwritten."""

    def subtract(self, pixels: Tensor, values: Tensor) -> Tensor:
        """Subtract its neighbourhood's value from every pixel."""


@lru_cache(maxsize=256)
def cell_lengths(size: int, cells: int) -> tuple[int, ...]:
    """Count the pixels of each cell along one axis.

    A pixel belongs to the cell that contains its centre, floor((y + 0.5) · cells / size): the rule that
    PyTorch calls `nearest-exact`, in integers so that no rounding can move a border.

    >>> cell_lengths(7, 3)
    (2, 3, 2)
    """
    starts = [-((cells - 2 * size * cell) // (2 * cells)) for cell in range(cells + 1)]
    return tuple(end - start for start, end in pairwise(starts))


@lru_cache(maxsize=64)
def _grid_areas(lengths: tuple[tuple[int, ...], ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # the cached tensor must serve calls that record gradients, too
        areas = torch.ones((), dtype=dtype, device=device)
        for axis in lengths:
            areas = areas.unsqueeze(-1) * torch.tensor(axis, dtype=dtype, device=device)
        return areas


class Grid:
    """Cells of a regular grid of `shape` cells laid over a lattice of `size` pixels.

    Raises:
        ValueError: a cell would get no pixel, so its mass would be lost.
    """

    def __init__(self, shape: tuple[int, ...], size: tuple[int, ...]) -> None:
        if any(cells < 1 or pixels < cells for cells, pixels in zip(shape, size, strict=True)):
            raise ValueError(
                f"coarse has a grid of {shape} cells but the lattice has {size} pixels: a cell without a "
                "pixel would lose its mass; use a finer lattice or a coarser map"
            )
        self.shape = shape
        self.size = size
        self._lengths = tuple(map(cell_lengths, size, shape))
        self._axes = tuple(_Axis(axis, self._lengths[axis]) for axis in range(-len(shape), 0))

    def areas(self, like: Tensor) -> Tensor:
        """Return |N_k|, shape `shape`, in the dtype and on the device of `like`."""
        return _grid_areas(self._lengths, like.dtype, like.device)

    def sum(self, pixels: Tensor) -> Tensor:
        """Sum (..., *size) over each cell, giving (..., *shape)."""
        # One axis after another, the first one first: whole rows keep the vector units busy, and torch's
        # cascade summation keeps float32 sums exact to an ulp or so, which a scatter would not.
        for axis in self._axes:
            pixels = axis.reduce(torch.sum, pixels)
        return pixels

    def amax(self, pixels: Tensor) -> Tensor:
        """Take the maximum of (..., *size) over each cell, giving (..., *shape)."""
        for axis in self._axes:
            pixels = axis.reduce(torch.amax, pixels)
        return pixels

    def spread(self, values: Tensor) -> Tensor:
        """Give every pixel its cell's value: (..., *shape) to (..., *size)."""
        for axis in self._axes:
            values = axis.repeat(values)
        return values

    def scale(self, pixels: Tensor, values: Tensor) -> Tensor:
        """Multiply every pixel by its cell's value, in the memory of `pixels` where autograd allows it.

        A fresh map of a few megabytes costs more in page faults than the multiplication itself.
        """
        ndim = len(self.size)
        fits = values.dim() == ndim or values.shape[:-ndim] == pixels.shape[:-ndim]
        if fits and not (pixels.requires_grad or values.requires_grad):
            self._combine(Tensor.mul_, pixels, values)
            return pixels
        return self._combine(torch.mul, pixels, values)

    def subtract(self, pixels: Tensor, values: Tensor) -> Tensor:
        """Subtract its cell's value from every pixel."""
        return self._combine(torch.sub, pixels, values)

    def _combine(
        self, operation: Callable[[Tensor, Tensor], Tensor], pixels: Tensor, values: Tensor
    ) -> Tensor:
        # `values` grows along every axis but the first and broadcasts along that one: no full-size copy.
        first, *others = self._axes
        for axis in others:
            values = axis.repeat(values)
        return first.combine(operation, pixels, values)


@lru_cache(maxsize=64)
def grid(shape: tuple[int, ...], size: tuple[int, ...]) -> Grid:
    """Return the `Grid` of these sizes; a grid is immutable, and one image size serves many maps."""
    return Grid(shape, size)


class _Axis:
    """One lattice axis, counted from the end and cut into runs of pixels, one run per cell."""

    def __init__(self, axis: int, lengths: tuple[int, ...]) -> None:
        self.axis = axis
        self.lengths = lengths
        self._length = lengths[0] if len(set(lengths)) == 1 else None
        self._blocked = (len(lengths), lengths[0])

    def reduce(self, operation: Callable[..., Tensor], pixels: Tensor) -> Tensor:
        """Reduce every run to one value."""
        if self._length is not None:
            return operation(self._blocks(pixels), dim=self.axis)
        runs = pixels.split(self.lengths, dim=self.axis)
        return torch.stack([operation(run, dim=self.axis) for run in runs], dim=self.axis)

    def repeat(self, values: Tensor) -> Tensor:
        """Repeat every value along its run."""
        if self._length is not None:
            return values.repeat_interleave(self._length, dim=self.axis)
        repeats = torch.tensor(self.lengths, device=values.device)
        return values.repeat_interleave(repeats, dim=self.axis, output_size=sum(self.lengths))

    def combine(
        self, operation: Callable[[Tensor, Tensor], Tensor], pixels: Tensor, values: Tensor
    ) -> Tensor:
        """Apply `operation` to every pixel and the value of its run."""
        if self._length is None:
            return operation(pixels, self.repeat(values))
        result = operation(self._blocks(pixels), values.unsqueeze(self.axis))
        return result.flatten(self.axis - 1, self.axis)

    def _blocks(self, pixels: Tensor) -> Tensor:
        blocks: Tensor = pixels.unflatten(self.axis, self._blocked)
        return blocks


class Regions:
    """Neighbourhoods given by a label map (*size) with labels 0..K-1.

    Raises:
        ValueError: a label lies outside 0..K-1 or has no pixel.
    """

    def __init__(self, labels: Tensor, count: int) -> None:
        self.shape: tuple[int, ...] = (count,)
        self.size = tuple(labels.shape)
        self._labels = check_labels(labels, "neighbourhoods", count).flatten().to(torch.int64)

    def areas(self, like: Tensor) -> Tensor:
        """Return |N_k|, shape (K,), in the dtype and on the device of `like`."""
        return torch.bincount(self._labels, minlength=self.shape[0]).to(like)

    def sum(self, pixels: Tensor) -> Tensor:
        """Sum (..., *size) over each region, giving (..., K); accumulated in float64."""
        flat = self._flatten(pixels).to(torch.float64)
        total = flat.new_zeros((*flat.shape[:-1], *self.shape))
        return total.index_add(-1, self._labels, flat).to(pixels.dtype)

    def amax(self, pixels: Tensor) -> Tensor:
        """Take the maximum of (..., *size) over each region, giving (..., K)."""
        flat = self._flatten(pixels)
        highest = flat.new_zeros((*flat.shape[:-1], *self.shape))
        index = self._labels.expand_as(flat)
        return highest.scatter_reduce(-1, index, flat, reduce="amax", include_self=False)

    def spread(self, values: Tensor) -> Tensor:
        """Give every pixel its region's value: (..., K) to (..., *size)."""
        return values.index_select(-1, self._labels).reshape(*values.shape[:-1], *self.size)

    def scale(self, pixels: Tensor, values: Tensor) -> Tensor:
        """Multiply every pixel by its region's value."""
        return pixels * self.spread(values)

    def subtract(self, pixels: Tensor, values: Tensor) -> Tensor:
        """Subtract its region's value from every pixel."""
        return pixels - self.spread(values)

    def _flatten(self, pixels: Tensor) -> Tensor:
        return pixels.flatten(-len(self.size))


def lattice_size(pixels: Tensor, ndim: int, name: str) -> tuple[int, ...]:
    """Return the trailing `ndim` sizes of `pixels`.

    Raises:
        ValueError: `pixels` has fewer dimensions, or no pixel along one.
    """
    size = tuple(pixels.shape[-ndim:])
    if len(size) < ndim or 0 in size:
        raise ValueError(
            f"{name} must end in {ndim} lattice dimensions with at least one pixel each (ndim={ndim}), "
            f"got shape {tuple(pixels.shape)}"
        )
    return size


def neighbourhoods_of(coarse: Tensor, size: tuple[int, ...], labels: Array | None) -> Neighbourhoods:
    """Return the neighbourhood system of a coarse map over a lattice of `size` pixels.

    Raises:
        ValueError: the map or the labels do not fit the lattice.
    """
    if labels is None:
        return grid(lattice_size(coarse, len(size), "coarse"), size)
    regions = beside(as_labels(labels, "neighbourhoods"), coarse, labels, "neighbourhoods")
    if tuple(regions.shape) != size:
        raise ValueError(
            f"neighbourhoods must be one label map of the lattice's shape {size}, got {tuple(regions.shape)}"
        )
    return Regions(regions, *lattice_size(coarse, 1, "coarse"))
