"""Coarse maps of a batch, as an attribution source returns them, and their checks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from usu.arrays.checks import check_choice
from usu.arrays.convert import Array, as_floats, as_labels, check_finite
from usu.models.targets import Output, Target
from usu.operators.coarse import Coarse
from usu.operators.lattice import Mass


@dataclass(frozen=True, eq=False)
class CoarseMap:
    """A coarse map for each image of a batch, as its method computed it.

    Attributes:
        values: (B, gh, gw), for signals (B, cells), for volumes (B, gd, gh, gw); or (B, K) with
            `neighbourhoods`, or one (K,) per image; signed and unscaled.
        mass: "density", or "total" if a cell's value already is its mass.
        source: name of the method.
        layer: whose activations it describes, if there is one.
        neighbourhoods: (H, W) labels 0..K-1, if the cells are not a grid; or one label map per image.
        further: maps (B, h, w) on grids of other sizes to be redistributed and added, as FullGrad's.
        forward_passes: spent on each image; empty if they are not known.
        output: "logit", "probability" or a callable, if the values are in the unit of its result.
        ndim: of the images: 1 for signals, 3 for volumes; the pipeline knows it.
    """

    values: Array | Sequence[Array]
    mass: Mass = "density"
    source: str = "given"
    layer: str | None = None
    neighbourhoods: Array | Sequence[Array] | None = None
    further: tuple[Array, ...] = ()
    forward_passes: tuple[int, ...] = ()
    output: Output | None = None
    ndim: int = 2

    def __getitem__(self, image: int) -> Coarse:
        """Return the coarse map of one image."""
        labels: Any = self.neighbourhoods
        shared = labels is None or (not isinstance(labels, list | tuple) and labels.ndim == self.ndim)
        return Coarse(
            self.values[image],
            self.mass,
            labels if shared else labels[image],
            tuple(grid[image] for grid in self.further),
        )


Source: TypeAlias = Callable[[nn.Module, Tensor, "Sequence[Target]", "str | nn.Module | None"], CoarseMap]


def check_coarse_map(found: Any, count: int, origin: str = "source's values", ndim: int = 2) -> CoarseMap:
    """Return a source's result if it is a coarse map for each of `count` images of `ndim` dimensions.

    Its passes become `int`. Errors call its values `origin`.

    Raises:
        ValueError: values that are not finite or not one map per image, an unknown mass.
        TypeError: anything but a `CoarseMap` of arrays, or passes that are not integers.
    """
    if not isinstance(found, CoarseMap):
        raise TypeError(f"source must return a usu.CoarseMap, got {type(found).__name__}")
    rank = ndim if found.neighbourhoods is None else 1
    for name, maps, axes in (
        (origin, found.values, rank),
        *((f"{origin}, further[{number}],", grid, ndim) for number, grid in enumerate(found.further)),
    ):
        each = maps if isinstance(maps, list | tuple) else as_floats(maps, name)
        if len(each) != count:
            raise ValueError(f"{name} must be one map per image, {count}, got {len(each)}")
        for values in each:
            if check_finite(as_floats(values, name), name).dim() != axes:
                raise ValueError(f"{name} must have {axes} axes per image, got {tuple(values.shape)}")
    labels: Any = found.neighbourhoods
    listed = labels is None or isinstance(labels, list | tuple)
    if not listed and np.ndim(labels) not in (ndim, ndim + 1):
        raise ValueError(
            f"neighbourhoods of {origin} must be label maps of {ndim} axes, got shape {(*np.shape(labels),)}"
        )
    several = labels is not None and (listed or labels.ndim == ndim + 1)
    if several and len(labels) != count:
        raise ValueError(
            f"neighbourhoods of {origin} must be one label map for all or one per image, {count}, got "
            f"{len(labels)}"
        )
    check_choice(found.mass, ("density", "total"), f"mass of {origin}")
    passes = found.forward_passes
    if not isinstance(passes, tuple) or len(passes) not in (0, count):
        raise ValueError(f"source must count forward_passes for {count} images or none, got {passes!r}")
    if not all(isinstance(spent, Integral) for spent in passes):
        raise TypeError(f"source must count forward_passes in integers, got {passes!r}")
    return replace(found, forward_passes=tuple(map(int, passes)), ndim=ndim)


def given_map(
    coarse: Array | Sequence[Array],
    mass: Mass,
    neighbourhoods: Array | Sequence[Array] | None,
    inputs: Tensor,
    batched: bool,
) -> CoarseMap:
    """Return the caller's own maps as a `CoarseMap`, on the device of the inputs (B, C, *size).

    Raises ValueError for axes that do not fit, and as `check_coarse_map`.
    """
    several, ndim, device = batched and isinstance(coarse, list | tuple), inputs.dim() - 2, inputs.device
    maps = list(coarse) if several else as_floats(coarse, "coarse")
    rank = (1 if neighbourhoods is not None else ndim) + batched
    if isinstance(maps, Tensor) and maps.dim() != rank:
        raise ValueError(f"coarse must have {rank} axes for these inputs, got shape {tuple(maps.shape)}")
    values = [as_floats(one, "coarse").to(device) for one in (maps if batched else [maps])]
    labels = None if neighbourhoods is None else _labels(neighbourhoods, ndim, device)
    found = CoarseMap(values, mass, neighbourhoods=labels)
    return check_coarse_map(found, len(inputs), "coarse", ndim)


def _labels(given: Array | Sequence[Array], ndim: int, device: torch.device) -> Tensor | list[Tensor]:
    """Return the caller's label map (*size), or one per image, each perhaps on another device."""
    if isinstance(given, list | tuple) and len(given) and np.ndim(given[0]) == ndim:
        return [as_labels(one, "neighbourhoods").to(device) for one in given]
    return as_labels(given, "neighbourhoods").to(device)


def check_cells(found: CoarseMap, size: tuple[int, ...]) -> None:
    """Raise as `Coarse.cells` does unless all cells fit images of `size` pixels."""
    for image in range(len(found.values)):
        for coarse in (found[image], *found[image].grids):
            coarse.cells(size)
