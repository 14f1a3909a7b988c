"""Binary trees of segments: a hierarchy whose segments are halved until each is single."""

from __future__ import annotations

import numpy as np
import torch

from usu.arrays.convert import as_labels
from usu.segmentation.hierarchy import Hierarchy, Labels


class Tree:
    """A binary tree over the finest segments of a hierarchy, each node a range of them in the tree's order.

    A segment of one level is divided into those of the next. More than two are first halved, along the longer
    side of their extent and near half of their area: a balanced tree reaches small segments in few steps.

    Attributes:
        order: (P,), the finest level's label at each place in the tree's order.
        places: the size of the levels, each pixel's place in that order.
        areas: (P,), pixels of each place.
        ranges: first and last place (exclusive) of each node; the root is node 0.
        children: the two halves of each node; None for a single segment.
    """

    def __init__(self, hierarchy: Hierarchy) -> None:
        levels = [as_labels(level, "hierarchy").cpu().numpy().astype(np.int64) for level in hierarchy.levels]
        finest = levels[-1]
        _, pixels = np.unique(finest, return_index=True)  # one of each segment: levels are nested
        self._ancestors = np.stack([level.ravel()[pixels] for level in levels])
        self._areas = np.bincount(finest.ravel())
        axes = np.indices(finest.shape)
        self._centres = [np.bincount(finest.ravel(), axis.ravel()) / self._areas for axis in axes]
        self.order: list[int] = []
        self.ranges: list[tuple[int, int]] = []
        self.children: list[tuple[int, int] | None] = []
        self._grow(np.arange(len(self._areas)), 0)
        places = np.empty_like(self._areas)
        places[self.order] = np.arange(len(places))
        self.places = torch.from_numpy(places[finest])
        self.areas = torch.from_numpy(self._areas[self.order]).to(torch.float64)

    def _grow(self, leaves: Labels, depth: int) -> int:
        """Add the node of these segments and all nodes below it; return its number."""
        node, first = len(self.ranges), len(self.order)
        self.ranges.append((first, first + len(leaves)))
        self.children.append(None)
        if len(leaves) == 1:
            self.order.append(int(leaves[0]))
            return node
        while len(names := np.unique(self._ancestors[depth, leaves])) == 1:
            depth += 1
        halves = self._halved(leaves, np.searchsorted(names, self._ancestors[depth, leaves]))
        one, other = (self._grow(half, depth) for half in halves)
        self.children[node] = (one, other)
        return node

    def _halved(self, leaves: Labels, groups: Labels) -> tuple[Labels, Labels]:
        """Divide segments in two without splitting any of the groups (P,) that they belong to."""
        areas = np.bincount(groups, self._areas[leaves])
        centres = [np.bincount(groups, (axis * self._areas)[leaves]) / areas for axis in self._centres]
        along = max(centres, key=np.ptp)
        ranked = np.argsort(along, kind="stable")
        filled = np.cumsum(areas[ranked])
        cut = int(np.abs(filled[:-1] - filled[-1] / 2).argmin()) + 1
        first = np.isin(groups, ranked[:cut])
        return leaves[first], leaves[~first]
