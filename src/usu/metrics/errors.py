"""How far an attribution map is from a known truth: pixel by pixel, and by the mass of each neighbourhood."""

from __future__ import annotations

import operator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from usu.arrays.convert import (
    Array,
    as_floats,
    as_labels,
    check_finite,
    check_labels,
    check_range,
    like,
    working_dtype,
)
from usu.operators.lattice import Neighbourhoods, Regions, grid, lattice_size


@dataclass(frozen=True)
class ErrorMaps:
    """Errors of each pixel (paper eq. 3); at most one of the two is positive (proposition 11).

    Attributes:
        alpha: (..., H, W), max(0, |Ã| - |A*|), spurious attribution, in the unit of the maps.
        beta: (..., H, W), max(0, |A*| - |Ã|), lost attribution.
    """

    alpha: Any
    beta: Any


@dataclass(frozen=True)
class MassErrors:
    """Errors of each neighbourhood's mass (paper, supplement D); at most one of the two is positive.

    For maps without negative values they bound the sums of α and β from below (proposition 12).

    Attributes:
        deficit: (..., gh, gw) or (..., K), max(0, Σ A* - Σ Ã).
        excess: of the same shape, max(0, Σ Ã - Σ A*).
    """

    deficit: Any
    excess: Any


def error_maps(attribution: Array, truth: Array) -> ErrorMaps:
    """Compare an attribution map with the truth, pixel by pixel (paper eq. 3).

    Magnitudes are compared: a pixel of the right size and the wrong sign has no error.

    Args:
        attribution: Ã, (..., H, W), signed, in any unit.
        truth: A*, in the same unit; its batch dimensions broadcast. It may be a boolean mask.

    Returns:
        α and β in the kind, device and dtype of `attribution`.

    Raises:
        ValueError: shapes that do not fit, values that are not finite, maps on two devices.
        TypeError: an argument that is not an array of real numbers.

    >>> error_maps([[2.0, 1.0]], [[0.5, -3.0]])
    ErrorMaps(alpha=array([[1.5, 0. ]]), beta=array([[0., 2.]]))
    """
    given, wanted, dtype = _maps(attribution, truth, ndim=2)
    overshoot = given.abs() - wanted.abs()
    return ErrorMaps(
        alpha=like(overshoot.clamp(min=0), attribution, dtype),
        beta=like((-overshoot).clamp(min=0), attribution, dtype),
    )


def mass_errors(attribution: Array, truth: Array, neighbourhoods: Array | tuple[int, ...]) -> MassErrors:
    """Compare an attribution map with the truth, neighbourhood by neighbourhood (paper, supplement D).

    Args:
        attribution: Ã, (..., H, W), signed, in any unit.
        truth: A*, in the same unit; its batch dimensions broadcast. It may be a boolean mask.
        neighbourhoods: an (H, W) map of integer labels 0..K-1; or a tuple of integers such as (7, 7), the
            shape of a grid of cells over the lattice.

    Returns:
        Deficit and excess, (..., K) or (..., *grid), in the kind, device and dtype of `attribution`; in
        float32 for 16-bit maps, whose range a sum of pixels would leave.

    Raises:
        ValueError: shapes that do not fit, values that are not finite, labels with gaps, maps on two devices.
        TypeError: an argument of the wrong kind.

    >>> mass_errors([[1.0, 1.0, 5.0, 0.0]], [[2.0, 1.0, 1.0, 1.0]], (1, 2))
    MassErrors(deficit=array([[1., 0.]]), excess=array([[0., 3.]]))
    """
    partition = _partition(neighbourhoods)
    ndim = len(partition) if isinstance(partition, tuple) else partition.dim()
    given, wanted, dtype = _maps(attribution, truth, ndim)
    cells = _cells(partition, tuple(given.shape[-ndim:]), given.device)
    surplus = check_range(cells.sum(given) - cells.sum(wanted), "attribution or truth")
    dtype = torch.promote_types(dtype, torch.float32)
    return MassErrors(
        deficit=like((-surplus).clamp(min=0), attribution, dtype),
        excess=like(surplus.clamp(min=0), attribution, dtype),
    )


def _maps(attribution: Array, truth: Array, ndim: int) -> tuple[Tensor, Tensor, torch.dtype]:
    """Return both maps in the dtype to compute in, and the caller's dtype."""
    given = check_finite(as_floats(attribution, "attribution"), "attribution")
    wanted = check_finite(as_floats(truth, "truth"), "truth")
    if wanted.device != given.device:
        if isinstance(truth, Tensor):
            raise ValueError(
                f"truth is on {wanted.device}, but attribution is on {given.device}; move one of them"
            )
        wanted = wanted.to(given.device)
    sizes = lattice_size(given, ndim, "attribution"), lattice_size(wanted, ndim, "truth")
    if sizes[0] != sizes[1]:
        raise ValueError(f"truth must cover the lattice of attribution, {sizes[0]} pixels, got {sizes[1]}")
    try:
        torch.broadcast_shapes(given.shape, wanted.shape)
    except RuntimeError:
        raise ValueError(
            f"truth of shape {tuple(wanted.shape)} does not broadcast with attribution {tuple(given.shape)}"
        ) from None
    dtype = working_dtype(given, wanted)
    return given.to(dtype), wanted.to(dtype), given.dtype


def _partition(neighbourhoods: Any) -> tuple[int, ...] | Tensor:
    """Return the shape of a grid, or a label map."""
    if isinstance(neighbourhoods, tuple):
        with suppress(TypeError):
            if shape := tuple(map(operator.index, neighbourhoods)):
                return shape
    elif (labels := as_labels(neighbourhoods, "neighbourhoods")).dim() > 0:
        return labels
    raise TypeError(f"neighbourhoods must be a label map or a tuple of integers, got {neighbourhoods!r}")


def _cells(
    partition: tuple[int, ...] | Tensor, size: tuple[int, ...], device: torch.device
) -> Neighbourhoods:
    if isinstance(partition, tuple):
        if any(not 1 <= cells <= pixels for cells, pixels in zip(partition, size, strict=True)):
            raise ValueError(
                f"neighbourhoods is a grid of {partition} cells, but the lattice has {size} pixels: every "
                "cell needs at least one"
            )
        return grid(partition, size)
    if tuple(partition.shape) != size:
        raise ValueError(
            f"neighbourhoods must label the {size} pixels of attribution, got {tuple(partition.shape)}"
        )
    labels = check_labels(partition, "neighbourhoods").to(device)
    return Regions(labels, int(labels.max()) + 1)
