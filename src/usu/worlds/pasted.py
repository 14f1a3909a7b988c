"""A shrunken photograph of one class pasted into a photograph of another, with borders inside the cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from usu.models.classifier import Classifier
from usu.worlds.photographs import Photograph, between_borders, covering, normalised, probabilities
from usu.worlds.scene import Scene

# Kept if the network notices: the probability of the pasted class rises from below the first to above the
# second.
_BEFORE, _AFTER = 0.01, 0.2


@dataclass(frozen=True, eq=False)
class Pasted:
    """A photograph with another pasted into it; the truth is the pasted rectangle."""

    scene: Scene  # inputs, picture, the rectangle as a mask, and the pasted photograph's class
    corner: tuple[int, int]  # row and column of the rectangle's first pixel
    before: float  # probability of the pasted class without the paste, below 0.01
    after: float  # the same with the paste, above 0.2


def pasted(
    classifier: Classifier,
    photographs: Sequence[Photograph],
    count: int,
    grid: tuple[int, int],
    *,
    share: float = 0.5,
    tries: int = 20,
    seed: int = 0,
) -> list[Pasted]:
    """Return pasted photographs that the classifier notices, with no side of a paste on a border of `grid`.

    Args:
        classifier: asked once per photograph and once per try.
        photographs: of at least two classes, all of one size, as `confident` returns them.
        count: number wanted.
        grid: (rows, columns) of the coarse maps to be judged.
        share: side of the pasted photograph, in sides of the whole.
        tries: for each one wanted; the pasted class often goes unnoticed.
        seed: of photographs and places.

    Returns:
        At most `count`: fewer if the tries did not suffice.

    Raises:
        ValueError: fewer than two classes, a share outside (0, 1), or no place between the borders.
    """
    if len({photograph.target for photograph in photographs}) < 2:
        raise ValueError("photographs must be of at least 2 classes")
    if not 0 < share < 1:
        raise ValueError(f"share must be between 0 and 1, got {share!r}")
    size = photographs[0].picture.shape[-2:]
    small = (round(share * size[0]), round(share * size[1]))
    corners = [_corners(length, cells, side) for length, cells, side in zip(size, grid, small, strict=True)]
    if not all(corners):
        raise ValueError(f"a paste of {small} pixels finds no place between the borders of grid {grid}")
    inputs = [normalised(classifier, one.picture)[None] for one in photographs]
    alone = torch.cat([probabilities(classifier, one) for one in inputs])
    random = np.random.default_rng(seed)
    kept: list[Pasted] = []
    for _ in range(count * tries):
        if len(kept) == count:
            break
        below, above = random.choice(len(photographs), 2, replace=False)
        corner = (int(random.choice(corners[0])), int(random.choice(corners[1])))
        target = photographs[above].target
        before = float(alone[below, target])
        if before < _BEFORE:
            scene = _paste(classifier, photographs[below], photographs[above], corner, small)
            after = float(probabilities(classifier, scene.inputs[None])[0, target])
            if after > _AFTER:
                kept.append(Pasted(scene, corner, before, after))
    return kept


def _corners(length: int, cells: int, side: int) -> list[int]:
    """Return where a paste may begin along one axis, so that neither of its sides is on a border of cells."""
    inside = set(between_borders(length, cells, 1, length - 1))
    return [start for start in sorted(inside) if start + side in inside]


def _paste(
    classifier: Classifier,
    ground: Photograph,
    motif: Photograph,
    corner: tuple[int, int],
    small: tuple[int, int],
) -> Scene:
    place = tuple(slice(start, start + side) for start, side in zip(corner, small, strict=True))
    picture = ground.picture.clone()
    picture[:, place[0], place[1]] = covering(motif.picture, small)
    truth = torch.zeros(picture.shape[1:])
    truth[place] = 1
    return Scene(normalised(classifier, picture), picture, truth, motif.target)
