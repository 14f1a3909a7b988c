"""The guided filter: a map smoothed along the edges of its picture (He, Sun and Tang, 2013)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from usu.arrays.convert import Array, as_floats, check_finite, like
from usu.segmentation.methods import check_image

# He et al.'s ε for pictures in [0, 1]: where colours deviate by less than √ε, 3 % of the range, it smooths.
EPS = 1e-3


def guided_filter(values: Array, picture: Array, radius: int, eps: float = EPS) -> Any:
    """Filter a map by a picture: in each window the result is a linear function of the colours.

    Edges that the picture does not have disappear; those that it has remain. The range of the map is kept.

    Args:
        values: (H, W), finite.
        picture: (3, H, W) RGB or (1, H, W) grey, in [0, 1].
        radius: of the square window, in pixels: its side is 2·radius + 1; at borders it is cut.
        eps: the variance of colours below which a window counts as even.

    Returns:
        (H, W), in the kind, device and dtype of `values`, computed in float64.

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
    guide = check_image(picture, "picture")
    if given.dim() != 2 or guide.dim() != 3 or guide.shape[1:] != given.shape:
        raise ValueError(
            f"values must be (H, W) and picture (C, H, W), got {tuple(given.shape)} and {tuple(guide.shape)}"
        )
    target, colours = given.to(torch.float64), guide.to(given.device, torch.float64)
    channels = len(colours)
    products = colours[:, None] * colours[None]
    means = _window_means(
        torch.cat([target[None], colours, target * colours, products.flatten(0, 1)]), radius
    )
    mean, colour_means, mixed, squares = means.split([1, channels, channels, channels**2])
    covariance = squares.unflatten(0, (channels, channels)) - colour_means[:, None] * colour_means[None]
    ridge = eps * torch.eye(channels, dtype=torch.float64, device=given.device)
    slopes = torch.linalg.solve(
        covariance.permute(2, 3, 0, 1) + ridge, (mixed - mean * colour_means).permute(1, 2, 0)
    ).permute(2, 0, 1)
    offsets = mean - (slopes * colour_means).sum(0, keepdim=True)
    slopes, offsets = _window_means(torch.cat([slopes, offsets]), radius).split([channels, 1])
    lowest, highest = target.aminmax()
    filtered = ((slopes * colours).sum(0) + offsets[0]).clamp(lowest, highest)
    return like(filtered.to(given.dtype), values)


def _window_means(planes: Tensor, radius: int) -> Tensor:
    """Return the mean of each window (n, H, W), over the pixels of the picture in it."""
    side = 2 * radius + 1
    rows = F.avg_pool2d(planes[None], (side, 1), 1, (radius, 0), count_include_pad=False)
    return F.avg_pool2d(rows, (1, side), 1, (0, radius), count_include_pad=False)[0]
