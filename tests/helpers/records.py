"""Refinements made by hand, for records that no model made."""

import numpy as np

from usu import Refinement


def refinement(partitions, raw_scores=None, scores=None, score_map=None):
    """Return a refinement of these partitions (H, W); scores (P,) are zero where none are given."""
    zeros = tuple(np.zeros(int(np.asarray(labels).max()) + 1) for labels in partitions)
    return Refinement(
        partitions=tuple(partitions),
        raw_scores=tuple(zeros if raw_scores is None else raw_scores),
        scores=tuple(zeros if scores is None else scores),
        h_maps=(),
        mixings=(),
        score_map=np.zeros(np.asarray(partitions[0]).shape) if score_map is None else score_map,
        forward_passes=0,
    )
