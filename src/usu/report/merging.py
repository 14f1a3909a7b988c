"""The depths of a score map, as the page explains them: what was split, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from usu.arrays.convert import as_labels, as_numpy, as_tensor
from usu.record import Record
from usu.report.packing import pack
from usu.scoring.h_map import strongest_in
from usu.scoring.refinement import Refinement

Values: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"


def partitions(record: Record) -> Iterator[dict[str, Any]]:
    """Yield each partition with its hierarchy, its depth, its scores, and what the next depth did to it."""
    names = _names(record.settings.get("segmentation"), record.refinements)
    for number, (name, refined) in enumerate(zip(names, record.refinements, strict=True)):
        for depth, labels in enumerate(refined.partitions):
            scores, raw = refined.scores[depth], refined.raw_scores[depth]
            yield {
                "tree": name,
                "number": number,
                "depth": depth,
                "count": len(scores),
                "labels": pack(as_numpy(labels)),
                "scores": pack(as_numpy(scores).astype(np.float64)),
                "raw": pack(as_numpy(raw).astype(np.float64)),
                **(_step(refined, depth, record.settings) if depth < len(refined.h_maps) else {}),
            }


def merged(record: Record) -> Values | None:
    """Return the score map (H, W) that the refinements give together; None if the rule is not known."""
    mixing = record.settings.get("mixing")
    together = any(len(each.partitions) != len(each.mixings) + 1 for each in record.refinements)
    if not record.refinements or mixing is None or together:  # depths fitted together have no merge
        return None
    weights = [len(refined.partitions) if mixing == "mean" else 1 for refined in record.refinements]
    maps = [as_numpy(refined.score_map).astype(np.float64) for refined in record.refinements]
    mean: Values = np.clip(np.average(maps, axis=0, weights=weights), 0, 1)
    return mean


def _names(segmentation: Any, refinements: Sequence[Refinement]) -> list[str]:
    names = list(segmentation) if isinstance(segmentation, Mapping) else []
    return (
        names if len(names) == len(refinements) else [f"hierarchy {n + 1}" for n in range(len(refinements))]
    )


def _step(refined: Refinement, depth: int, rules: Mapping[str, Any]) -> dict[str, Any]:
    """Return what happened to each segment (P,), packed: its parts at the next depth, its max |H|, and α."""
    coarse, fine = (as_numpy(labels) for labels in refined.partitions[depth : depth + 2])
    pairs = np.unique(np.stack([coarse.ravel(), fine.ravel()]), axis=1)
    labels = as_labels(coarse, "partitions")
    alpha = np.round(255 * as_numpy(refined.mixings[depth]).astype(np.float64))
    return {
        "parts": pack(np.bincount(pairs[0], minlength=int(coarse.max()) + 1)),
        "strongest": pack(
            strongest_in(as_tensor(as_numpy(refined.h_maps[depth]), "h_maps"), labels).double().numpy()
        ),
        "alpha": None if rules.get("mixing") == "mean" else pack(alpha.astype(np.uint8)),
    }
