"""The baselines that USU replaces: interpolation kernels made for photographs."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from contextlib import nullcontext
from functools import lru_cache
from typing import Any, Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from usu.arrays.checks import check_choice
from usu.arrays.convert import Array, as_floats, check_finite, check_range, like, working_dtype
from usu.operators.continuous import continuous_shares
from usu.operators.lattice import cell_lengths, grid

Mode: TypeAlias = Literal["nearest", "bilinear", "bicubic", "lanczos", "conserving"]
MODES: tuple[Mode, ...] = ("nearest", "bilinear", "bicubic", "lanczos", "conserving")

_LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


def interpolate(coarse: Array, size: Sequence[int], mode: Mode) -> Any:
    """Interpolate a coarse map to `size` pixels; its values are densities.

    Mass is not conserved, but by "nearest" and "conserving".

    Args:
        coarse: (..., *grid), finite; the last len(size) axes are the lattice, those before them batch.
        size: pixels along each lattice axis; one to three axes.
        mode: "nearest" (a pixel takes the cell that contains its centre), "bilinear" (linear in 1-D,
            trilinear in 3-D), "bicubic" (PyTorch's a = -0.75), "lanczos" (a = 3, as Pillow's LANCZOS) or
            "conserving": smooth, with each cell's mean and sign kept (`usu.redistribute` with
            `continuous=True` and equal scores; docs/continuous.md); no axis shorter than the grid's.
            Pixel centres are at half-integers (`align_corners=False`).

    Returns:
        (..., *size) in the kind, device and dtype of `coarse`.

    Raises:
        ValueError: an unknown mode, a size that is not positive, too few axes, values that are not finite.
        TypeError: a coarse map that is not of real numbers, a size that is not a sequence of integers.

    >>> interpolate([[0.0, 4.0]], (1, 4), "bilinear")
    array([[0., 1., 3., 4.]])
    >>> (3 * interpolate([[4.0, 0.5]], (1, 4), "conserving")).round(6)
    array([[16.,  8.,  2.,  1.]])
    """
    check_choice(mode, MODES, "mode")
    values = check_finite(as_floats(coarse, "coarse"), "coarse")
    shape = _check_size(size)
    if values.dim() < len(shape):
        raise ValueError(f"coarse must have the {len(shape)} axes of size {shape}, got {tuple(values.shape)}")
    batch = values.shape[: -len(shape)]
    planes = values.to(working_dtype(values)).reshape(-1, 1, *values.shape[-len(shape) :])
    if mode == "bilinear":
        result = F.interpolate(planes, shape, mode=_LINEAR[len(shape)], align_corners=False)
    elif mode == "conserving":
        cells = grid(tuple(planes.shape[2:]), shape)
        result = continuous_shares(planes.new_zeros(shape), 1.0, planes * cells.areas(planes), cells)
    else:
        resample = _RESAMPLE[mode]
        result = planes
        for axis, length in enumerate(shape, start=-len(shape)):
            result = resample(result.movedim(axis, -1), length).movedim(-1, axis)
    return like(check_range(result.reshape(*batch, *shape).to(values.dtype), "coarse"), coarse)


def _nearest(values: Tensor, length: int) -> Tensor:
    # PyTorch's "nearest-exact" rounds in float32 and picks the wrong cell for 4 cells on 41 pixels, say.
    lengths = torch.tensor(cell_lengths(length, values.shape[-1]), device=values.device)
    return values.repeat_interleave(lengths, dim=-1, output_size=length)


def _bicubic(values: Tensor, length: int) -> Tensor:
    rows = values.reshape(-1, 1, 1, values.shape[-1])
    result = F.interpolate(rows, (1, length), mode="bicubic", align_corners=False)
    return result.reshape(*values.shape[:-1], length)


def _lanczos(values: Tensor, length: int) -> Tensor:
    weights, kind = lanczos_weights(values.shape[-1], length).to(values), values.device.type
    # Autocast would round to 16 bits. Not every PyTorch has one for every device.
    cast = torch.amp.is_autocast_available(kind)
    with torch.autocast(kind, enabled=False) if cast else nullcontext():
        return values @ weights.T


@lru_cache(maxsize=64)
def lanczos_weights(cells: int, length: int) -> Tensor:
    """Return the (length, cells) kernel sinc(t)·sinc(t/3) for |t| < 3, each row normalised to 1."""
    stretch = max(cells / length, 1.0)
    # The cached tensor must serve calls that record gradients, too, and whatever the default device is.
    with torch.inference_mode(False), torch.device("cpu"):
        centres = (torch.arange(length, dtype=torch.float64) + 0.5) * (cells / length) - 0.5
        offsets = (torch.arange(cells, dtype=torch.float64) - centres[:, None]) / stretch
        kernel = torch.where(offsets.abs() < 3, torch.sinc(offsets) * torch.sinc(offsets / 3), 0.0)
        return kernel / kernel.sum(1, keepdim=True)


_RESAMPLE = {"nearest": _nearest, "bicubic": _bicubic, "lanczos": _lanczos}


def _check_size(size: Sequence[int]) -> tuple[int, ...]:
    try:
        shape = tuple(operator.index(length) for length in size)
    except TypeError:
        raise TypeError(f"size must be a sequence of one to three integers, got {size!r}") from None
    if not 1 <= len(shape) <= 3 or min(shape) < 1:
        raise ValueError(f"size must be one to three positive integers, got {shape}")
    return shape
