"""Resizing, cropping, normalising and blurring as torchvision does them, bit for bit.

Importing torchvision takes longer than importing torch, since it starts torch's compiler, and a network that
is not torchvision's needs nothing else of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from runpy import run_path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from usu.models.placement import Placement


def placed(image: Image.Image, shorter: int, crop: tuple[int, int]) -> Placement:
    """Return where a centre crop (h, w) lies in an image, after its shorter side was resized."""
    return Placement.whole(image).resize(_size(image, shorter)).center_crop(crop)


def cropped(image: Image.Image, shorter: int, crop: tuple[int, int], interpolation: str) -> Image.Image:
    """Return an image with its shorter side resized, and of it the centre crop (h, w), padded with black."""
    height, width = _size(image, shorter)
    way = Image.Resampling[interpolation.removesuffix("-exact").upper()]
    resized = image if image.size == (width, height) else image.resize((width, height), way)
    top, left = _start(height, crop[0]), _start(width, crop[1])
    return resized.crop((left, top, left + crop[1], top + crop[0]))


def _size(image: Image.Image, shorter: int) -> tuple[int, int]:
    width, height = image.size
    return (
        (int(shorter * height / width), shorter)
        if width <= height
        else (shorter, int(shorter * width / height))
    )


def _start(old: int, new: int) -> int:
    return -((new - old) // 2) if new > old else round((old - new) / 2)


def to_tensor(image: Image.Image) -> Tensor:
    """Return an RGB image as a tensor (3, h, w) in [0, 1]."""
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
    return pixels.to(torch.get_default_dtype()).div(255)


def normalize(pixels: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Return (..., C, h, w) less its channels' `mean`, over their `std`."""
    centre, spread = (pixels.new_tensor(values)[:, None, None] for values in (mean, std))
    return (pixels - centre) / spread


def gaussian_blur(pixels: Tensor, kernel_size: Sequence[int], sigma: Sequence[float]) -> Tensor:
    """Return (B, C, H, W), blurred in windows of odd sides (columns, rows); borders are reflected."""
    columns, rows = (_gauss(*each, pixels) for each in zip(kernel_size, sigma, strict=True))
    kernel = (rows[:, None] * columns[None]).expand(pixels.shape[1], 1, -1, -1)
    across, down = (side // 2 for side in kernel_size)
    padded = F.pad(pixels, [across, across, down, down], mode="reflect")
    return F.conv2d(padded, kernel, groups=pixels.shape[1])


def _gauss(side: int, sigma: float, like: Tensor) -> Tensor:
    half = (side - 1) * 0.5
    places = torch.linspace(-half, half, steps=side, dtype=like.dtype, device=like.device)
    weights = (-0.5 * (places / sigma).square()).exp()
    return weights / weights.sum()


def imagenet_class_names() -> tuple[str, ...]:
    """Return the names of the 1,000 ImageNet classes, from torchvision's own records."""
    found = find_spec("torchvision")
    records = Path(found.origin).parent / "models" / "_meta.py" if found and found.origin else None
    names: Any = None
    if records and records.is_file():  # the names alone: torchvision itself is not imported
        names = run_path(str(records)).get("_IMAGENET_CATEGORIES")
    if names is None:
        from torchvision.models import ResNet18_Weights

        names = ResNet18_Weights.DEFAULT.meta["categories"]
    return tuple(names)
