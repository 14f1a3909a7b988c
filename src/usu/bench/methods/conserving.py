"""Other people's smooth maps that keep each cell's mass; both signs apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import pad

from usu.bench.methods.image import Subject
from usu.bench.methods.peers import guided_by
from usu.operators.interpolation import interpolate
from usu.operators.lattice import Grid, grid

# From masses (gh, gw), at least 0, to a map (H, W), at least 0, of which each cell sums to its mass.
Smooth: TypeAlias = Callable[[Tensor, Grid], Tensor]

# Of a pycnophylactic step: what stays of the pixel itself, as in tobler 0.13; and the largest change of a
# pixel, relative to the highest one, at which the iteration ends.
KEPT, CLOSE = 0.2, 1e-5


def pycnophylactic(subject: Subject, source: str) -> Tensor:
    """Return pycnophylactic interpolation (Tobler, 1979, JASA 74: 519-530), (H, W)."""
    return _by_sign(subject, source, tobler)


def conserving_guided_filter(subject: Subject, source: str) -> Tensor:
    """Return the guided filter of the bilinear map by the picture, each cell of it scaled to its mass."""

    def smooth(masses: Tensor, cells: Grid) -> Tensor:
        bilinear = interpolate(masses / cells.areas(masses), cells.size, "bilinear")
        return _scaled(guided_by(subject.picture, bilinear).clamp(min=0), masses, cells)

    return _by_sign(subject, source, smooth)


def tobler(masses: Tensor, cells: Grid) -> Tensor:
    """Smooth a patchwork and correct its cells in turn, until both agree.

    A step takes each pixel towards the mean of its four neighbours, those beyond the border being the pixel
    itself; adds to each cell evenly what it lacks; cuts values below 0; and scales each cell to its mass.

    Args:
        masses: (gh, gw), finite and at least 0.
        cells: the grid.

    Returns:
        (H, W), at least 0; each cell sums to its mass.
    """
    areas = cells.areas(masses)
    pixels = cells.spread(masses / areas)
    change = highest = float(pixels.max())
    while change > CLOSE * highest:
        before = pixels
        around = pad(before[None, None], (1, 1, 1, 1), mode="replicate")[0, 0]
        mean = (around[:-2, 1:-1] + around[2:, 1:-1] + around[1:-1, :-2] + around[1:-1, 2:]) / 4
        pixels = torch.lerp(mean, before, KEPT)
        pixels = pixels + cells.spread((masses - cells.sum(pixels)) / areas)
        pixels = _scaled(pixels.clamp(min=0), masses, cells)
        change = float((pixels - before).abs().max())
    return pixels


def _by_sign(subject: Subject, source: str, smooth: Smooth) -> Tensor:
    def upsample(densities: Tensor, scores: Tensor) -> Tensor:
        cells = grid(tuple(densities.shape), tuple(scores.shape))
        masses = densities.double() * cells.areas(densities)
        return smooth(masses.clamp(min=0), cells) - smooth((-masses).clamp(min=0), cells)

    found: Tensor = subject.coarse(source).upsample(upsample, subject.inputs.new_zeros(subject.size))
    return found


def _scaled(pixels: Tensor, masses: Tensor, cells: Grid) -> Tensor:
    """Scale each cell of a map, at least 0, to its mass; a cell of zeros is filled evenly."""
    filled = torch.where(cells.spread(cells.sum(pixels) > 0), pixels, 1.0)
    return cells.scale(filled, masses / cells.sum(filled))
