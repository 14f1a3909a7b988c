"""The depths behind a score map: which partitions belong together, what was split, and why.

A record holds the partitions of all hierarchies in one row. Here the row is cut where nesting ends, and the
merging of supplement C is done once more, in float64, for what a record leaves out: the H-map and α of each
step from one depth to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch

from usu.report.packing import pack
from usu.scoring.refinement import h_map, merge, mixing_coefficient

Values: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"


@dataclass(frozen=True)
class Tree:
    """One hierarchy: its name and the positions of its partitions in the record, coarsest first."""

    name: str
    members: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class _Step:
    """From one depth to the next: max |H| of each segment (P,), α and the merged matrix (H, W)."""

    strongest: Values
    alpha: Values
    matrix: Values


def trees(labels: Sequence[Values], segmentation: Any) -> list[Tree]:
    """Cut the row of partitions into hierarchies: a partition that refines the one before belongs to it."""
    groups: list[list[int]] = []
    for index, fine in enumerate(labels):
        if index and _refines(fine, labels[index - 1]):
            groups[-1].append(index)
        else:
            groups.append([index])
    names = list(segmentation) if isinstance(segmentation, Mapping) else []
    if len(names) != len(groups):
        names = [f"hierarchy {number + 1}" for number in range(len(groups))]
    return [Tree(name, tuple(group)) for name, group in zip(names, groups, strict=True)]


def _refines(fine: Values, coarse: Values) -> bool:
    pairs = np.unique(fine.ravel().astype(np.int64) * (int(coarse.max()) + 1) + coarse.ravel())
    return len(pairs) == int(fine.max()) + 1 > int(coarse.max()) + 1


def rebuild(
    found: Sequence[Tree], labels: Sequence[Values], scores: Sequence[Values], rules: Mapping[str, Any]
) -> Values | None:
    """Merge the score map (H, W) again; None where the rules of refinement are not known."""
    if not found or rules.get("mixing") not in _MIXINGS:
        return None
    weights = [len(tree.members) if rules["mixing"] == "mean" else 1 for tree in found]
    maps = [_matrix(tree, labels, scores, rules) for tree in found]
    merged: Values = np.clip(np.average(maps, axis=0, weights=weights), 0, 1)
    return merged


def _matrix(
    tree: Tree, labels: Sequence[Values], scores: Sequence[Values], rules: Mapping[str, Any]
) -> Values:
    steps = _steps(tree, labels, scores, rules)
    first = tree.members[0]
    return steps[-1].matrix if steps else scores[first][labels[first]]


def transitions(
    found: Sequence[Tree], labels: Sequence[Values], scores: Sequence[Values], rules: Mapping[str, Any]
) -> dict[int, dict[str, Any]]:
    """Return by partition what its refinement did: parts per segment, max |H| per segment, and α packed."""
    told = {}
    for tree in found:
        for index, finer, step in zip(
            tree.members, tree.members[1:], _steps(tree, labels, scores, rules), strict=False
        ):
            parts = _parts(labels[index], labels[finer])
            alpha = None if rules["mixing"] == "mean" else pack(np.round(255 * step.alpha).astype(np.uint8))
            told[index] = {"parts": pack(parts), "strongest": pack(step.strongest), "alpha": alpha}
    return told


def _parts(coarse: Values, fine: Values) -> Values:
    """Count the finer segments inside each segment."""
    pairs = np.unique(np.stack([coarse.ravel(), fine.ravel()]), axis=1)
    return np.bincount(pairs[0], minlength=int(coarse.max()) + 1)


def _steps(
    tree: Tree, labels: Sequence[Values], scores: Sequence[Values], rules: Mapping[str, Any]
) -> list[_Step]:
    first, *finer = tree.members
    matrix = scores[first][labels[first]]
    steps = []
    for depth, (index, before) in enumerate(zip(finer, tree.members, strict=False), start=1):
        h = np.abs(h_map(matrix, rules["kernel"]))
        strongest = np.zeros(len(scores[before]))
        np.maximum.at(strongest, labels[before].ravel(), h.ravel())
        alpha = _MIXINGS[rules["mixing"]](h, strongest[labels[before]], depth, rules)
        matrix = merge(matrix, scores[index][labels[index]], alpha)  # type: ignore[assignment, arg-type]
        steps.append(_Step(strongest, alpha, matrix))
    return steps


def _coefficient(h: Values, rules: Mapping[str, Any]) -> Values:
    found: Values = mixing_coefficient(torch.from_numpy(h), rules["centre"], rules["sharpness"]).numpy()
    return found


_MIXINGS: dict[str, Callable[[Values, Values, int, Mapping[str, Any]], Values]] = {
    "pixel": lambda h, strongest, depth, rules: _coefficient(h, rules),
    "segment": lambda h, strongest, depth, rules: _coefficient(strongest, rules),
    "mean": lambda h, strongest, depth, rules: np.full_like(h, depth / (depth + 1)),
}
