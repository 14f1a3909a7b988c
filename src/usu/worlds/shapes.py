"""Grey images with one centred circle, triangle or square; the truth is the foreground (paper, supplement E).

Shapes of one size have the same area, so that neither brightness nor area tells the classes apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from numpy.random import Generator
from torch import Tensor

from usu.worlds.drawings import Drawings, Figure, Split, axes, draw, split

__all__ = ["CLASSES", "Split", "shapes", "split"]

# The paper leaves the sizes open: the radius of the circle of equal area, in sides of the image.
_RADIUS = (0.24, 0.33)


def _circle(rows: Tensor, columns: Tensor, radius: float) -> Tensor:
    return rows**2 + columns**2 <= radius**2


def _triangle(rows: Tensor, columns: Tensor, radius: float) -> Tensor:
    """Return an equilateral triangle of the circle's area, point up, its bounding box in the middle."""
    height = radius * math.sqrt(math.pi * math.sqrt(3))
    below_the_point = rows + height / 2
    return (below_the_point <= height) & (columns.abs() * math.sqrt(3) <= below_the_point)


def _square(rows: Tensor, columns: Tensor, radius: float) -> Tensor:
    half = radius * math.sqrt(math.pi) / 2
    return (rows.abs() <= half) & (columns.abs() <= half)


def _of_any_size(silhouette: Callable[[Tensor, Tensor, float], Tensor]) -> Figure:
    def figure(random: Generator, size: int) -> Tensor:
        return silhouette(*axes(size), random.uniform(*_RADIUS) * size)

    return figure


_FIGURES = {
    "circle": _of_any_size(_circle),
    "triangle": _of_any_size(_triangle),
    "square": _of_any_size(_square),
}
CLASSES = tuple(_FIGURES)


def shapes(count: int = 2000, seed: int = 0, size: int = 224) -> Drawings:
    """Return grey images (1, size, size) in [0, 1] with one shape each; the truth is its mask.

    Classes take turns: 0 circle, 1 triangle, 2 square. Sizes and grey levels are drawn for each image; the
    foreground is always brighter.

    Raises:
        ValueError: a count or size below 1, or a negative seed.

    >>> scene = shapes(3)[1]
    >>> scene.target, scene.inputs.shape
    (1, torch.Size([1, 224, 224]))
    """
    return draw(_FIGURES, count, seed, size)
