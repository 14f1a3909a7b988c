"""Mosaics of four photographs whose borders cut the cells of a grid (grid pointing game, Böhle et al., 2021).

Cells inside one tile cannot tell mass-conserving upsamplers apart; those that straddle a border can.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from usu.models.classifier import Classifier
from usu.worlds.aggregation import aggregate
from usu.worlds.photographs import Photograph, between_borders, covering, normalised, probabilities
from usu.worlds.scene import Scene


@dataclass(frozen=True, eq=False)
class Mosaic:
    """Four photographs side by side; the truth is the tile of one of them."""

    scene: Scene  # inputs, picture, the target's tile as a mask, and its class
    border: tuple[int, int]  # row and column where the lower and the right tiles begin
    straddling: Tensor  # (gh, gw) bool, the cells with pixels both inside and outside the target's tile
    probability: float  # of the target in the whole mosaic, by the classifier


def mosaics(
    classifier: Classifier,
    photographs: Sequence[Photograph],
    count: int,
    grid: tuple[int, int],
    *,
    size: tuple[int, int] | None = None,
    seed: int = 0,
) -> list[Mosaic]:
    """Return mosaics of 2 × 2 photographs of four classes, with both borders inside cells of `grid`.

    Args:
        classifier: asked once per mosaic; must take images of `size`.
        photographs: of at least four classes, as `confident` returns them.
        count: number of mosaics.
        grid: (rows, columns) of the coarse maps to be judged.
        size: (H, W) pixels; twice the classifier's crop if None, so that tiles keep roughly their size.
        seed: of photographs, their places, the borders and the targets.

    Raises:
        ValueError: fewer than four classes, or a grid so fine that no border can lie inside a cell.
    """
    classes = sorted({photograph.target for photograph in photographs})
    if len(classes) < 4:
        raise ValueError(f"photographs must be of at least 4 classes, got {len(classes)}")
    height, width = tuple(2 * length for length in classifier.prepare.crop) if size is None else size
    # Within one cell of the middle, so that all tiles are of similar size.
    places = [
        between_borders(length, cells, length // 2 - length // cells, length // 2 + length // cells)
        for length, cells in ((height, grid[0]), (width, grid[1]))
    ]
    if not all(places):
        raise ValueError(f"grid {grid} over {(height, width)} pixels has no cell that a border could cut")
    random = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        border = (int(random.choice(places[0])), int(random.choice(places[1])))
        chosen = []
        for target in random.choice(classes, 4, replace=False):
            alike = [photograph for photograph in photographs if photograph.target == target]
            chosen.append(alike[random.integers(len(alike))])
        made.append(_compose(classifier, chosen, int(random.integers(4)), (height, width), border, grid))
    return made


def _compose(
    classifier: Classifier,
    chosen: Sequence[Photograph],
    truth_tile: int,
    size: tuple[int, int],
    border: tuple[int, int],
    grid: tuple[int, int],
) -> Mosaic:
    picture = torch.empty(3, *size)
    truth = torch.zeros(size)
    halves = [(slice(0, cut), slice(cut, length)) for cut, length in zip(border, size, strict=True)]
    for tile, photograph in enumerate(chosen):
        rows, columns = halves[0][tile // 2], halves[1][tile % 2]
        size_of_tile = rows.stop - rows.start, columns.stop - columns.start
        picture[:, rows, columns] = covering(photograph.picture, size_of_tile)
        if tile == truth_tile:
            truth[rows, columns] = 1
    inputs = normalised(classifier, picture)
    target = chosen[truth_tile].target
    probability = float(probabilities(classifier, inputs[None])[0, target])
    return Mosaic(Scene(inputs, picture, truth, target), border, straddling(truth, grid), probability)


def straddling(truth: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return the cells (gh, gw) with pixels both inside and outside a mask (H, W).

    >>> straddling(torch.tensor([[1.0, 1.0, 1.0, 0.0, 0.0, 0.0]]), (1, 3))
    tensor([[False,  True, False]])
    """
    inside, outside = aggregate(truth, grid), aggregate(1 - truth, grid)
    return (inside > 0) & (outside > 0)
