"""A number of forward passes, shared among what is scored for one image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from usu.arrays.checks import check_count
from usu.segmentation.hierarchy import Hierarchy


@dataclass(frozen=True)
class Budgeted:
    """A scoring that itself chooses what to evaluate, within a number of passes.

    Attributes:
        passes: at least 2; forward passes per image, including the image itself and its fill.

    Raises:
        TypeError: `passes` is not an integer.
        ValueError: fewer than 2.
    """

    passes: int = 156
    segmentation: ClassVar[Mapping[str, tuple[int, ...]]] = {"slic": (256,)}

    def __post_init__(self) -> None:
        check_count(self.passes, "passes", 2)

    def pairs(self, tasks: Sequence[tuple[int, Hierarchy]]) -> list[int]:
        """Return how many pairs of masked copies each task gets: its image's tasks share `passes` evenly."""
        images = [image for image, _ in tasks]
        return [(self.passes - 2) // images.count(image) // 2 for image in images]

    def masked_passes(self, hierarchies: Sequence[Hierarchy]) -> int:
        """Return how many masked copies of an image are asked for."""
        return self.passes
