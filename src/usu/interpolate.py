"""The baselines that USU replaces: interpolation kernels made for photographs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from usu.arrays import Array, as_floats, like, working_dtype
from usu.redistribute import check_finite

Mode: TypeAlias = Literal["nearest", "bilinear", "bicubic", "lanczos"]
MODES: tuple[Mode, ...] = ("nearest", "bilinear", "bicubic", "lanczos")

_LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


def interpolate(coarse: Array, size: Sequence[int], mode: Mode) -> Any:
    """Interpolate a coarse map to `size` pixels; its values are densities and its mass is not conserved.

    Args:
        coarse: (..., *grid), finite; the last len(size) axes are the lattice, those before them batch.
        size: pixels along each lattice axis; one to three axes.
        mode: "nearest" (a pixel takes the cell that contains its centre), "bilinear" (linear in 1-D,
            trilinear in 3-D), "bicubic" (PyTorch's a = -0.75) or "lanczos" (a = 3, as Pillow's LANCZOS).
            Pixel centres are at half-integers (`align_corners=False`).

    Returns:
        (..., *size) in the kind, device and dtype of `coarse`.

    Raises:
        ValueError: an unknown mode, a size that is not positive, too few axes, values that are not finite.

    >>> interpolate([[0.0, 4.0]], (1, 4), "bilinear")
    array([[0., 1., 3., 4.]], dtype=float32)
    """
    if mode not in MODES:
        raise ValueError(f"mode must be one of {MODES}, got {mode!r}")
    values = check_finite(as_floats(coarse, "coarse"), "coarse")
    shape = _check_size(size)
    if values.dim() < len(shape):
        raise ValueError(f"coarse must have the {len(shape)} axes of size {shape}, got {tuple(values.shape)}")
    batch = values.shape[: -len(shape)]
    planes = values.to(working_dtype(values)).reshape(-1, 1, *values.shape[-len(shape) :])
    if mode == "nearest":
        result = F.interpolate(planes, shape, mode="nearest-exact")
    elif mode == "bilinear":
        result = F.interpolate(planes, shape, mode=_LINEAR[len(shape)], align_corners=False)
    else:
        resample = _bicubic if mode == "bicubic" else _lanczos
        result = planes
        for axis, length in enumerate(shape, start=-len(shape)):
            result = resample(result.movedim(axis, -1), length).movedim(-1, axis)
    return like(result.reshape(*batch, *shape), coarse, values.dtype)


def _bicubic(values: Tensor, length: int) -> Tensor:
    rows = values.reshape(-1, 1, 1, values.shape[-1])
    result = F.interpolate(rows, (1, length), mode="bicubic", align_corners=False)
    return result.reshape(*values.shape[:-1], length)


def _lanczos(values: Tensor, length: int) -> Tensor:
    return values @ _lanczos_weights(values.shape[-1], length).to(values).T


@lru_cache(maxsize=64)
def _lanczos_weights(cells: int, length: int) -> Tensor:
    """Return the (length, cells) kernel sinc(t)·sinc(t/3) for |t| < 3, each row normalised to 1."""
    stretch = max(cells / length, 1.0)
    centres = (torch.arange(length, dtype=torch.float64) + 0.5) * (cells / length) - 0.5
    offsets = (torch.arange(cells, dtype=torch.float64) - centres[:, None]) / stretch
    kernel = torch.where(offsets.abs() < 3, torch.sinc(offsets) * torch.sinc(offsets / 3), 0.0)
    return kernel / kernel.sum(1, keepdim=True)


def _check_size(size: Sequence[int]) -> tuple[int, ...]:
    shape = tuple(int(length) for length in size)
    if not 1 <= len(shape) <= 3 or min(shape) < 1 or any(a != b for a, b in zip(shape, size, strict=True)):
        raise ValueError(f"size must be one to three positive integers, got {tuple(size)}")
    return shape
