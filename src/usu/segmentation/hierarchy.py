"""Nested segments: label maps from coarse to fine, checked so that users can supply their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from usu.arrays.convert import Array, as_labels, check_labels, like
from usu.segmentation.masks import Background, nested

Labels: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"


@dataclass(frozen=True, eq=False)
class Hierarchy:
    """Nested label maps of one image; also the way to use label maps of your own.

    Attributes:
        levels: (H, W) integer labels 0..P-1 each, coarsest first; every segment lies inside one segment of
            the level before. Of a signal (L,), of a volume (D, H, W).
        method: where the maps come from.

    Raises:
        ValueError: labels with gaps or below 0, sizes that differ, or maps that are not nested.
        TypeError: `levels` is not a sequence of integer maps.

    >>> Hierarchy([[[0, 0, 1, 1]], [[0, 1, 2, 2]]]).counts
    (2, 3)
    """

    levels: tuple[Array, ...]
    method: str = "own"

    def __post_init__(self) -> None:
        if not isinstance(self.levels, Sequence | np.ndarray | Tensor) or isinstance(self.levels, str):
            raise TypeError(f"levels must be a list of label maps, got {type(self.levels).__name__}")
        if len(self.levels) == 0:
            raise ValueError("levels must hold at least one label map")
        maps = [as_labels(level, f"levels[{depth}]") for depth, level in enumerate(self.levels)]
        given = [np.asarray(level) if isinstance(level, list | tuple) else level for level in self.levels]
        for depth, labels in enumerate(maps):
            if labels.dim() not in (1, 2, 3) or labels.shape != maps[0].shape:
                raise ValueError(
                    f"levels[{depth}] must be a label map (H, W) of one size for all levels, got "
                    f"{tuple(labels.shape)} after {tuple(maps[0].shape)}"
                )
            check_labels(labels, f"levels[{depth}]")
            if depth:
                _check_nested(maps[depth - 1], labels, depth)
        object.__setattr__(self, "levels", tuple(given))

    @classmethod
    def from_masks(cls, masks: Any, background: Background = "one") -> Hierarchy:
        """Make a hierarchy of masks that may overlap and leave gaps, such as those of Segment Anything.

        A pixel belongs to the smallest mask that covers it; of masks of one size, to the last. A mask nests
        in the smallest larger one that holds at least nine tenths of it. The coarsest level has the masks
        that nest in none, each with all that nests in it; every further level opens the masks of the one
        before. Masks that are wholly covered by smaller ones have no pixels of their own.

        Args:
            masks: boolean, or 0 and 1: (N, H, W), or a list of maps (H, W), or SAM's list of mappings, of
                which "segmentation" is read.
            background: what pixels outside all masks are: "one" segment together, or one for each of their
                connected "components" (4 neighbours), which may be many.

        Raises:
            ValueError: no mask, sizes that differ, values other than 0 and 1, an unknown background.
            TypeError: run lengths, or no arrays.

        >>> Hierarchy.from_masks(np.array([[[1, 1, 1, 0]], [[1, 0, 0, 0]]])).levels[1]
        array([[1, 0, 0, 2]])
        """
        levels, kind = nested(masks, background)
        return cls(tuple(like(labels, kind) for labels in levels), "masks")

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of segments at each level."""
        return tuple(int(level.max()) + 1 for level in self.levels)


def check_fit(hierarchy: Hierarchy, inputs: Tensor) -> Hierarchy:
    """Return a hierarchy; raise ValueError unless its label maps have the size of inputs (B, C, *size)."""
    found, size = tuple(hierarchy.levels[0].shape), tuple(inputs.shape[2:])
    if found != size:
        raise ValueError(f"hierarchy has label maps {found}, but inputs are {size}")
    return hierarchy


def _check_nested(coarse: Tensor, fine: Tensor, depth: int) -> None:
    """Raise ValueError if a segment of the finer map spans two segments of the coarser one."""
    parents = torch.zeros(int(fine.max()) + 1, dtype=torch.int64, device=fine.device)
    parents.scatter_(0, fine.flatten().to(torch.int64), coarse.flatten().to(torch.int64))
    crossing = parents[fine.to(torch.int64)] != coarse
    if bool(crossing.any()):
        label = int(fine[crossing][0])
        raise ValueError(
            f"levels[{depth}] is not nested in levels[{depth - 1}]: its segment {label} lies in several "
            "segments of the coarser level; intersect the maps, or pass them as separate hierarchies"
        )
