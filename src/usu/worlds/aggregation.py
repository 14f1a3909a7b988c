"""Exact aggregation: truth maps summed into cells, to be brought back to pixels; no model is needed.

Since the coarse masses are the truth's own sums, α- and β-errors come from the upsampler alone (paper,
supplement D: with M_k = Σ A*, an operator that conserves each M_k has no deficit and no excess).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import cycle

import numpy as np
import torch
from torch import Tensor

from usu.operators.lattice import grid as cells_of
from usu.operators.lattice import lattice_size
from usu.worlds.patterns import patterns
from usu.worlds.shapes import shapes

# In sides of the image: structures from smaller than a cell of a 14 × 14 grid to larger than one of 4 × 4.
_FIELD_SCALES = (0.03, 0.08, 0.2)


@dataclass(frozen=True, eq=False)
class TruthMap:
    """A pixel map that is taken as the true attribution."""

    kind: str  # "mask", "pattern" or "field"
    name: str  # unique in its kind
    values: Tensor  # A*, (H, W) float32, at least 0

    @property
    def scores(self) -> Tensor:
        """Return the scores of an oracle, Φ = A* / max A*, (H, W) in [0, 1]."""
        return self.values / self.values.max()


def aggregate(truth: Tensor, grid: tuple[int, int]) -> Tensor:
    """Sum a pixel map into the cells of a grid, (..., H, W) to (..., gh, gw); masses of kind "total".

    Raises:
        ValueError: more cells than pixels.

    >>> aggregate(torch.arange(8.0).reshape(2, 4), (1, 2))
    tensor([[10., 18.]])
    """
    return cells_of(tuple(grid), lattice_size(truth, 2, "truth")).sum(truth.contiguous())


def smooth_field(size: int, scale: float, seed: int) -> Tensor:
    """Return a smooth random field (size, size) in [0, 1]: filtered noise, exponentiated, with maximum 1.

    The width of its structures, `scale`, is the filter's standard deviation, in sides of the image.

    Raises:
        ValueError: a scale that is not positive, a size below 2.
    """
    if size < 2:
        raise ValueError(f"size must be at least 2, got {size!r}")
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"scale must be above 0, got {scale!r}")
    noise = np.random.default_rng(seed).standard_normal((size, size))
    squares = np.fft.fftfreq(size) ** 2
    squares = squares[:, None] + squares
    squares[0, 0] = math.inf  # drops the mean, which would exceed all waves of a wide filter
    # Relative to the slowest wave's response, so that some response is left at any scale.
    response = np.exp(-2 * (math.pi * scale * size) ** 2 * (squares - squares.min()))
    filtered = np.fft.ifft2(np.fft.fft2(noise) * response).real
    peaked = np.exp(filtered / filtered.std())  # positive, most of it in a few pixels, as in saliency maps
    return torch.from_numpy(peaked / peaked.max()).to(torch.float32)


def truth_maps(count: int = 20, seed: int = 0, size: int = 224) -> list[TruthMap]:
    """Return `count` truth maps of each kind: masks of shapes, patterns, smooth random fields.

    Masks and patterns weigh all of their pixels equally.

    Raises:
        ValueError: a count below 1, a size below 2.
    """
    maps = []
    for kind, drawings in (("mask", shapes(count, seed, size)), ("pattern", patterns(count, seed, size))):
        for index, scene in enumerate(drawings):
            maps.append(TruthMap(kind, drawings.classes[scene.target] + f" {index}", scene.truth))
    for index, scale in zip(range(count), cycle(_FIELD_SCALES)):
        field = smooth_field(size, scale, seed=seed * 1_000_003 + index)
        maps.append(TruthMap("field", f"scale {scale:g} {index}", field))
    return maps
