"""Scenes that are drawn by a rule and a seed, one class after the other, and their split into three parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import overload

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from usu.worlds.scene import Scene

# Takes the random numbers of one scene and the pixels of a side; returns a boolean mask (size, size).
Figure = Callable[[Generator, int], Tensor]

# The range of background and figure, out of 255: the paper leaves it open. The figure is always brighter.
_GREYS = (0, 76), (153, 255)


@dataclass(frozen=True)
class Drawings(Sequence[Scene]):
    """Scenes that are drawn when they are needed: 2,000 of them as tensors would fill 800 MB.

    Inputs are the picture, (1, size, size) in [0, 1] with the grey values of an 8-bit image; the truth is the
    mask of the figure. A scene depends on the seed and its own number only, its class on the number alone.
    """

    figures: dict[str, Figure]  # one drawing rule for each class, by name
    numbers: tuple[int, ...]  # of the scenes in this sequence
    seed: int  # of all of them
    size: int  # pixels of a side

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the class names in the order of the targets."""
        return tuple(self.figures)

    def target(self, index: int) -> int:
        """Return the class of one scene without drawing it."""
        return self.numbers[index] % len(self.figures)

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> Scene: ...
    @overload
    def __getitem__(self, index: slice) -> Drawings: ...
    def __getitem__(self, index: int | slice) -> Scene | Drawings:
        """Draw one scene, or select some."""
        if isinstance(index, slice):
            return replace(self, numbers=self.numbers[index])
        random = np.random.default_rng([self.seed, self.numbers[index]])
        background, foreground = (int(random.integers(*greys, endpoint=True)) for greys in _GREYS)
        target = self.target(index)
        mask = self.figures[self.classes[target]](random, self.size)
        picture = torch.where(mask, foreground / 255, background / 255)[None]
        return Scene(picture, picture, mask.to(torch.float32), target)


def draw(figures: dict[str, Figure], count: int, seed: int, size: int) -> Drawings:
    """Return `count` scenes, with the classes in turn.

    Raises:
        ValueError: a count or size below 1, or a negative seed.
    """
    if count < 1 or size < 1 or seed < 0:
        raise ValueError(
            f"count and size must be at least 1 and seed at least 0, got {count}, {size} and {seed}"
        )
    return Drawings(figures, tuple(range(count)), seed, size)


@dataclass(frozen=True)
class Split:
    """Scenes to train on, to choose settings by, and to report on; none is in two parts."""

    train: Drawings
    validation: Drawings
    test: Drawings


def split(scenes: Drawings, seed: int = 0) -> Split:
    """Divide scenes 70/15/15 into train, validation and test, each class by itself (paper, supplement E).

    Raises:
        ValueError: fewer than 4 scenes of a class, so that a part would have none.

    >>> from usu.worlds.shapes import shapes
    >>> parts = split(shapes(60))
    >>> len(parts.train), len(parts.validation), len(parts.test)
    (42, 9, 9)
    """
    chosen: tuple[list[int], list[int], list[int]] = ([], [], [])
    for category in range(len(scenes.figures)):
        members = [number for number in scenes.numbers if number % len(scenes.figures) == category]
        if len(members) < 4:
            raise ValueError(f"scenes must hold at least 4 of each class to be split, got {len(members)}")
        shuffled = np.random.default_rng([seed, category]).permutation(members).tolist()
        held_out = max(1, round(0.15 * len(members)))
        chosen[0].extend(shuffled[2 * held_out :])
        chosen[1].extend(shuffled[:held_out])
        chosen[2].extend(shuffled[held_out : 2 * held_out])
    return Split(*(replace(scenes, numbers=tuple(sorted(numbers))) for numbers in chosen))


def axes(size: int) -> tuple[Tensor, Tensor]:
    """Return the rows (size, 1) and columns (size,) of the pixels' centres, from the middle, in pixels."""
    centres = torch.arange(size, dtype=torch.float64) + 0.5 - size / 2
    return centres[:, None], centres
