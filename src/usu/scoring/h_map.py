"""The H-map: where scores change from pixel to pixel, and in which segments (paper, supplement C)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from usu.arrays.checks import check_choice
from usu.arrays.convert import Array, as_floats, check_finite, check_range, like


def h_map(scores: Array, kernel: str = "diagonal", *, ndim: int = 2) -> Any:
    """Return the H-map of a score matrix: its local heterogeneity (eq. 16), with replicated borders.

    Args:
        scores: (..., H, W), the score matrix Φ.
        kernel: "diagonal" is the paper's K_DD = [[-1,0,1],[0,0,0],[1,0,-1]], in [-2, 2] for scores in [0, 1].
            It is a mixed difference: 0 along straight horizontal and vertical edges. "gradient" is the length
            of the central differences (not halved), in [0, √ndim]: it detects every edge.
        ndim: axes of a score matrix: 1 for signals, 3 for volumes, which "diagonal" is not defined for.

    Returns:
        (..., H, W) in the caller's kind, device and dtype.

    Raises:
        ValueError: an unknown kernel, or one for two dimensions only, fewer dimensions than `ndim`, values
            that are not finite.

    >>> h_map([[0.0, 0.0], [0.0, 1.0]])
    array([[-1., -1.],
           [-1., -1.]])
    """
    values = check_finite(as_floats(scores, "scores"), "scores")
    if values.dim() < ndim:
        raise ValueError(f"scores must be a score matrix (..., H, W), got {tuple(values.shape)}")
    check_choice(kernel, KERNELS, "kernel")
    if kernel == "diagonal" and ndim != 2:
        raise ValueError(f"kernel 'diagonal' is for 2-D only, got ndim={ndim}: take 'gradient'")
    planes = values.reshape(-1, 1, *values.shape[values.dim() - ndim :])
    padded = F.pad(planes, (1, 1) * ndim, mode="replicate")
    return like(check_range(_KERNELS[kernel](padded).reshape(values.shape), "scores"), scores)


def _diagonal(padded: Tensor) -> Tensor:
    rising = padded[..., :-2, 2:] + padded[..., 2:, :-2]
    return rising - padded[..., :-2, :-2] - padded[..., 2:, 2:]


def _gradient(padded: Tensor) -> Tensor:
    axes = range(padded.dim() - 2)
    length = padded.new_zeros(())
    for axis in axes:
        inside: Any = (..., *(slice(None) if other == axis else slice(1, -1) for other in axes))
        threes = padded[inside].unfold(axis + 2, 3, 1)
        length = torch.hypot(length, threes[..., 2] - threes[..., 0])
    return length


_KERNELS: dict[str, Callable[[Tensor], Tensor]] = {"diagonal": _diagonal, "gradient": _gradient}
KERNELS = tuple(_KERNELS)


def boundary_segments(h: Tensor, labels: Tensor, threshold: float | None) -> Tensor:
    """Return which segments have max |H| above the threshold, (P,) (definition 5); None takes all."""
    strongest = strongest_in(h, labels)
    return torch.ones_like(strongest, dtype=torch.bool) if threshold is None else strongest > threshold


def strongest_in(h: Tensor, labels: Tensor) -> Tensor:
    """Return max |H| over each segment, (P,)."""
    flat = labels.flatten().to(torch.int64)
    empty = h.new_zeros(int(flat.max()) + 1)
    return empty.scatter_reduce(0, flat, h.abs().flatten(), reduce="amax", include_self=False)
