"""Controls that show what a map owes to the model: scores and segments that know less."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from usu.arrays.convert import Array, as_labels, as_tensor


class Scored(Protocol):
    """The part of a record that holds its scores."""

    @property
    def partitions(self) -> tuple[Array, ...]:
        """Label maps (H, W)."""

    @property
    def scores(self) -> tuple[Array, ...]:
        """Of each partition (P,), in [0, 1]."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """By name, including "mixing"."""


def mean_map(explanation: Scored, scores: Sequence[Tensor]) -> Tensor:
    """Average `scores`, (P,) for each partition, to a map (H, W) as the pipeline does with mixing="mean".

    Raises ValueError if the explanation merged the scores of several partitions by another rule.
    """
    mixing = explanation.settings["mixing"]
    if mixing != "mean" and len(explanation.partitions) > 1:
        raise ValueError(
            f"explanation has {len(explanation.partitions)} partitions, merged with mixing={mixing!r}: their "
            "mean cannot be compared with its score map; make it with mixing='mean'"
        )
    labels = [as_labels(each, "partitions") for each in explanation.partitions]
    maps = [own[each] for each, own in zip(labels, scores, strict=True)]
    return torch.stack(maps).mean(0).clamp(0, 1)


def shuffled(explanation: Scored, random: np.random.Generator) -> Tensor:
    """Return the `mean_map` (H, W) after the scores of each partition were shuffled among its segments."""
    known = [as_tensor(own, "scores") for own in explanation.scores]
    return mean_map(explanation, [own[torch.from_numpy(random.permutation(len(own)))] for own in known])


def scattered_segments(size: tuple[int, int], count: int, random: np.random.Generator) -> Tensor:
    """Return `count` segments (H, W) that know nothing of the image: the Voronoi cells of random pixels."""
    height, width = size
    sites = random.choice(height * width, count, replace=False)
    rows, columns = np.divmod(sites, width)
    y, x = np.mgrid[:height, :width]
    distances = (y[..., None] - rows) ** 2 + (x[..., None] - columns) ** 2
    return torch.from_numpy(distances.argmin(-1))


def blurred(pixels: Tensor, cells: Sequence[int]) -> Tensor:
    """Return a map (H, W) blurred by a Gaussian with half a cell of a grid (gh, gw) as its deviation."""
    from scipy.ndimage import gaussian_filter

    deviation = [length / count / 2 for length, count in zip(pixels.shape, cells, strict=True)]
    return pixels.new_tensor(gaussian_filter(pixels.cpu().numpy(), deviation, mode="nearest"))
