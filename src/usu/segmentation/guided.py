"""The guided filter: a map smoothed along the edges of its picture (He, Sun and Tang, 2013)."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from usu.arrays.convert import Array, as_floats, check_finite, like
from usu.segmentation.methods import check_picture, guide_of

# He et al.'s ε for pictures in [0, 1]: where colours deviate by less than √ε, 3 % of the range, it smooths.
EPS = 1e-3


def guided_filter(values: Array, picture: Array, radius: int, eps: float = EPS) -> Any:
    """Filter a map by a picture: in each window the result is a linear function of the colours.

    Edges that the picture does not have disappear; those that it has remain. The range of the map is kept.

    Args:
        values: (H, W), finite; or (L,), or (D, H, W).
        picture: (3, H, W) RGB or (1, H, W) grey, in [0, 1]; or a signal (C, L) or volume (C, D, H, W), which
            is stretched to it.
        radius: of the square window, in pixels: its side is 2·radius + 1; at borders it is cut.
        eps: the variance of colours below which a window counts as even.

    Returns:
        The shape of `values`, in the kind, device and dtype of `values`, computed in float64.

    Raises:
        ValueError: sizes that differ, values that are not finite, a radius or ε that is not positive.
        TypeError: an argument of the wrong kind.

    >>> step = torch.tensor([[0.0, 0.0, 1.0, 1.0]]).expand(4, 4)
    >>> guided_filter(step, step[None], radius=1).round(decimals=2)[0]
    tensor([0., 0., 1., 1.])
    """
    if isinstance(radius, bool) or not isinstance(radius, int) or radius < 1:
        raise ValueError(f"radius must be a positive number of pixels, got {radius!r}")
    if not eps > 0:
        raise ValueError(f"eps must be positive, got {eps!r}")
    given = check_finite(as_floats(values, "values"), "values")
    ndim = given.dim()
    guide = check_picture(picture, "picture", ndim if ndim in (1, 3) else 2)
    if ndim not in (1, 2, 3) or guide.shape[1:] != given.shape:
        raise ValueError(
            f"values must be (H, W) and picture (C, H, W), got {tuple(given.shape)} and {tuple(guide.shape)}"
        )
    guide = guide_of(guide)
    target, colours = given.to(torch.float64), guide.to(given.device, torch.float64)
    channels = len(colours)
    one, other = torch.triu_indices(channels, channels, device=given.device)  # pairs of colours
    means = _window_means(
        torch.cat([target[None], colours, target * colours, colours[one] * colours[other]]), radius
    )
    mean, colour_means, mixed, products = means.split([1, channels, channels, len(one)])
    covariance = means.new_empty((*given.shape, channels, channels))
    pairs = (products - colour_means[one] * colour_means[other]).movedim(0, -1)
    covariance[..., one, other] = covariance[..., other, one] = pairs
    ridge = eps * torch.eye(channels, dtype=torch.float64, device=given.device)
    with_target = (mixed - mean * colour_means).movedim(0, -1)
    slopes = torch.linalg.solve(covariance + ridge, with_target).movedim(-1, 0)
    offsets = mean - (slopes * colour_means).sum(0, keepdim=True)
    slopes, offsets = _window_means(torch.cat([slopes, offsets]), radius).split([channels, 1])
    lowest, highest = target.aminmax()
    filtered = ((slopes * colours).sum(0) + offsets[0]).clamp(lowest, highest)
    return like(filtered.to(given.dtype), values)


def smoothed(score_map: Array, picture: Tensor, part: float | None) -> Any:
    """Return the score map, filtered in windows whose radius is a part of the picture's shortest side."""
    if part is None:
        return score_map
    return guided_filter(score_map, picture, max(1, round(part * min(picture.shape[1:]))))


def _window_means(planes: Tensor, radius: int) -> Tensor:
    """Return the mean of each window (n, *size), over the pixels of the picture in it."""
    means = planes.movedim(0, -1).contiguous()  # several planes at once, side by side
    for axis, length in enumerate(planes.shape[1:]):
        columns = means.reshape(math.prod(planes.shape[1 : axis + 1]), length, 1, -1).permute(0, 3, 1, 2)
        averages = F.avg_pool2d(columns, (2 * radius + 1, 1), 1, (radius, 0), count_include_pad=False)
        means = averages.permute(0, 2, 3, 1).reshape(means.shape)
    return means.movedim(-1, 0).contiguous()
