"""Explanations for the tests of the report: a photograph, a small network, and every kind of cells."""

from dataclasses import replace
from functools import cache

import numpy as np
import torch
from skimage.data import chelsea
from skimage.transform import resize

import usu
from tests.helpers.networks import small_cnn

HIERARCHIES = {"slic": (8, 16), "quadtree": (8, 16)}
MASKED = {"segmentation": HIERARCHIES, "scoring": "mask"}


def picture(height: int = 48, width: int = 64) -> torch.Tensor:
    pixels = resize(chelsea(), (height, width), anti_aliasing=True)
    return torch.from_numpy(pixels).permute(2, 0, 1).to(torch.float32)


@cache
def signed() -> usu.Explanation:
    """Grad-CAM as it is: 12 × 16 cells, masses of both signs."""
    return usu.explain(small_cnn(), picture(), mode="usu", source="gradcam", **MASKED)


@cache
def positive() -> usu.Explanation:
    """The same with a positive map, and a potential of its own."""
    coarse = np.abs(signed().coarse.numpy())
    return usu.upsample(coarse, picture(), small_cnn(), 1, mode="hybrid", potential="power", **MASKED)


@cache
def several_grids() -> usu.Explanation:
    """Maps on two grids, of which the second has cells that do not divide the picture evenly."""
    generator = torch.Generator().manual_seed(3)
    further = torch.randn(5, 7, generator=generator)
    found = usu.upsample(
        torch.randn(4, 4, generator=generator),
        picture(),
        small_cnn(),
        0,
        mode="usu",
        mass="total",
        **MASKED,
        negative="opposite",
    )
    whole = replace(found, further=(further,))
    return replace(whole, attribution=whole.upsampled_by("usu"))


@cache
def superpixels() -> usu.Explanation:
    """Superpixels as cells; depths mixed by segment, and a threshold that keeps some segments whole."""
    cells = usu.segment(picture(), (12,), "slic").levels[0]
    return usu.upsample(
        torch.randn(int(cells.max()) + 1, generator=torch.Generator().manual_seed(4)),
        picture(),
        small_cnn(),
        2,
        mode="usu",
        mass="total",
        neighbourhoods=cells,
        segmentation=HIERARCHIES,
        mixing="segment",
        threshold=0.3,
        kernel="gradient",
    )
