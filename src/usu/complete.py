"""A map that accounts for the prediction: Owen values on the players that the budget reached, shared out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from usu.arrays import as_labels, as_tensor
from usu.refinement import Refinement


def owen_map(refinements: Sequence[Refinement]) -> tuple[Tensor, Tensor]:
    """Return Owen values as a coarse map with cells of its own.

    Several trees are averaged: a cell lies in one player of each, and its mass is the mean of its shares of
    them by area, so that the masses still sum to f(x) - f(fill).

    Args:
        refinements: of one image, with `players`.

    Returns:
        Masses (K,) in float64, and the cells' label map (H, W), 0..K-1.
    """
    players = [as_labels(refined.players, "players") for refined in refinements]
    together = torch.stack([labels.flatten() for labels in players])
    _, cells = together.unique(dim=1, return_inverse=True)
    density = torch.stack([_density(refined) for refined in refinements]).mean(0)
    masses = torch.zeros(int(cells.max()) + 1, dtype=torch.float64, device=cells.device)
    return masses.scatter_add_(0, cells, density.flatten()), cells.reshape(players[0].shape)


def pixel_scores(attribution: Tensor) -> Tensor:
    """Return what a map says of single pixels as scores in [0, 1]: tanh(p / 2σ), σ² the mean of p².

    Here p is the positive part. A pixel that does not speak for the answer has 0, and no single pixel sets
    the scale, as the largest would.

    Args:
        attribution: (H, W), signed, of any scale.

    >>> pixel_scores(torch.tensor([[-3.0, 0.0, 2.0, 4.0]]))
    tensor([[0.0000, 0.0000, 0.4196, 0.7136]])
    """
    tiny = torch.finfo(attribution.dtype).tiny
    positive = attribution.clamp(min=0)
    scaled = positive / positive.max().clamp(min=tiny)
    return (scaled / scaled.square().mean().sqrt().clamp(min=tiny) / 2).tanh()


def _density(refined: Refinement) -> Tensor:
    """Return each pixel's even share of its segment's value, (H, W) in float64."""
    labels = as_labels(refined.partitions[-1], "partitions").to(torch.int64)
    values = as_tensor(refined.raw_scores[-1], "raw_scores").to(torch.float64)
    return (values / torch.bincount(labels.flatten()))[labels]
