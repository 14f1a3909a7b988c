"""What replaces a masked segment: the baselines of masked perturbation."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

from usu.arrays.convert import as_tensor, check_finite
from usu.models.pictures import gaussian_blur

Baselines: TypeAlias = "str | Tensor | Any | Callable[[Tensor], Tensor]"

# Standard deviation of the blur, as a share of the longest side: 14 pixels at 224, which leaves no outline.
_BLUR = 1 / 16


def _blur(inputs: Tensor) -> Tensor:
    count, _, *size = inputs.shape
    sigma = max(size) * _BLUR
    blurred: Tensor = inputs
    for axis, side in enumerate(size):  # one at a time, on two axes at least, as torchvision wants
        # A reflected border must not be wider than the image.
        width = 2 * min(int(3 * sigma + 0.5), side - 1) + 1
        last = axis == len(size) - 1
        plane = (size[axis - 1] if axis else 1, side) if last else (side, math.prod(size[axis + 1 :]))
        planes = blurred.reshape(count, -1, *plane)
        blurred = gaussian_blur(planes, [width, 1] if last else [1, width], [sigma, sigma])
    return blurred.reshape(inputs.shape)


def _noise(inputs: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(inputs.shape[1:], generator=generator, device="cpu").to(inputs)
    return _mean(inputs) + noise * inputs.std(tuple(range(2, inputs.dim())), keepdim=True)


def _mean(inputs: Tensor) -> Tensor:
    return inputs.mean(tuple(range(2, inputs.dim())), keepdim=True)


_FILLS: dict[str, Callable[[Tensor], Tensor]] = {
    "blur": _blur,
    "mean": lambda inputs: _mean(inputs).expand_as(inputs),
    "zeros": torch.zeros_like,
    "noise": _noise,
}
FILLS = tuple(_FILLS)


def check_baselines(baselines: Baselines) -> None:
    """Raise ValueError if `baselines` is a name that is not in `FILLS`."""
    if isinstance(baselines, str) and baselines not in _FILLS:
        raise ValueError(f"baselines must be one of {FILLS}, a tensor or a callable, got {baselines!r}")


def make_fill(inputs: Tensor, baselines: Baselines) -> Tensor:
    """Return what replaces masked pixels, for each input.

    All fills are made in the network's input space; blur and mean commute with its normalisation.

    Args:
        inputs: (B, C, H, W); or signals (B, C, L), or volumes (B, C, D, H, W).
        baselines: "blur" (Gaussian, standard deviation 1/16 of the longest side), "mean" (each image's mean
            colour, each channel's mean), "zeros", "noise" (Gaussian, with each channel's mean and deviation,
            seeded), a tensor or array that broadcasts to `inputs`, or a callable from `inputs` to such a
            tensor.

    Returns:
        The shape of `inputs`, in the dtype and on the device of `inputs`.

    Raises:
        ValueError: an unknown name, a shape that does not broadcast, values that are not finite.
    """
    check_baselines(baselines)
    if isinstance(baselines, str):
        return _FILLS[baselines](inputs)
    fill = as_tensor(baselines(inputs) if callable(baselines) else baselines, "baselines").to(inputs)
    try:
        return check_finite(fill, "baselines").expand_as(inputs)
    except RuntimeError:
        raise ValueError(
            f"baselines of shape {tuple(fill.shape)} does not broadcast to inputs {tuple(inputs.shape)}"
        ) from None
