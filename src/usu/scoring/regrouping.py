"""The refinements of a record of format 1, which held the partitions of all hierarchies in one list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import torch

from usu.scoring.h_map import h_map
from usu.scoring.refinement import MIXINGS, Refinement, Rules, merge

Values: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"


def regrouped(
    partitions: Sequence[Values],
    raw_scores: Sequence[Values],
    scores: Sequence[Values],
    settings: Mapping[str, Any],
    forward_passes: int,
) -> list[Refinement]:
    """Cut the list where nesting ends, and merge the depths of each hierarchy again.

    Args:
        partitions: label maps (H, W).
        raw_scores: of each (P,).
        scores: of each (P,), in [0, 1].
        settings: of the record, including the fields of `Rules`.
        forward_passes: of the image.
    """
    rules = Rules(**{item.name: settings[item.name] for item in fields(Rules) if item.name in settings})
    pairs = enumerate(pairwise(partitions), start=1)
    breaks = [index for index, (coarse, fine) in pairs if not _refines(fine, coarse)]
    groups = [slice(*ends) for ends in pairwise([0, *breaks, len(partitions)])]
    return [_merged(partitions[g], raw_scores[g], scores[g], rules, forward_passes) for g in groups]


def _refines(fine: Values, coarse: Values) -> bool:
    """Return whether each fine segment lies in one coarse one, and there are more fine ones."""
    pairs = np.unique(fine.ravel().astype(np.int64) * (int(coarse.max()) + 1) + coarse.ravel())
    return len(pairs) == int(fine.max()) + 1 > int(coarse.max()) + 1


def _merged(
    labels: Sequence[Values],
    raw: Sequence[Values],
    scores: Sequence[Values],
    rules: Rules,
    forward_passes: int,
) -> Refinement:
    matrices = [torch.from_numpy(own[each]) for each, own in zip(labels, scores, strict=True)]
    matrix, h_maps, mixings = matrices[0], [], []
    for depth, (finer, coarse) in enumerate(zip(matrices[1:], labels, strict=False), start=1):
        h = h_map(matrix, rules.kernel)
        alpha = MIXINGS[rules.mixing](h, torch.from_numpy(coarse.astype(np.int64)), depth, rules)
        matrix = merge(matrix, finer, alpha)
        h_maps.append(h.numpy())
        mixings.append(alpha.numpy())
    return Refinement(
        partitions=tuple(labels),
        raw_scores=tuple(raw),
        scores=tuple(scores),
        h_maps=tuple(h_maps),
        mixings=tuple(mixings),
        score_map=matrix.numpy(),
        forward_passes=forward_passes,
    )
