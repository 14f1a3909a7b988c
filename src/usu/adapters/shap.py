"""SHAP's partition explainer: the values of its rectangles brought to pixels."""

from __future__ import annotations

from typing import Any

import numpy as np

from usu import pipeline
from usu.arrays.convert import Array
from usu.models.forward import ForwardFunc, check_inputs
from usu.models.targets import Targets
from usu.sources.shap import Floats, Labels, leaves

_ROUNDING = 1e-6  # of the values' absolute sum, in float64 throughout


def upsample(
    explanation: Any, inputs: Array, forward_func: ForwardFunc, target: Targets, **settings: Any
) -> Any:
    """Bring the SHAP values of images to pixels.

    The neighbourhoods are the rectangles at which the partition explainer stopped; within one, its values are
    constant. Channels are summed.

    Args:
        explanation: what `shap.PartitionExplainer` (or `shap.Explainer`) with a `shap.maskers.Image`
            returned, for one output: (B, H, W, C), or (H, W, C) for one image. Of several outputs take one:
            `explanation[..., 0]`.
        inputs: (B, C, H, W), or (C, H, W) for one image; what the network takes.
        forward_func: any callable from a batch to (B, classes) outputs.
        target: class index, or one per image: the class of that output.
        **settings: what `usu.upsample` takes, such as images, mode and temperature.

    Returns:
        An `Explanation`, or a list of them for a batch; their mass is "total".

    Raises:
        ValueError: an explanation of other images, of several outputs, without a partition tree, or whose
            values are not those of an output in its tree.
    """
    batch, batched = check_inputs(inputs)
    lacking = [
        name for name in ("values", "hierarchical_values", "clustering") if not hasattr(explanation, name)
    ]
    if lacking:
        raise TypeError(f"explanation must be SHAP's, with {lacking[0]}, got {type(explanation).__name__}")
    if explanation.hierarchical_values is None or explanation.clustering is None:
        raise ValueError("explanation has no partition tree: make it with shap.PartitionExplainer")
    values, expected = np.asarray(explanation.values), tuple(batch[0].movedim(0, -1).shape)
    if values.shape[-4:] == (*expected, 1) and values.shape[-3:] != expected:  # one output, with its axis
        values = values[..., 0]
    parts = [values, explanation.hierarchical_values, explanation.clustering]
    shapley, credit, trees = ([part] if values.ndim == 3 else part for part in parts)
    if len(shapley) != len(batch) or any(own.shape != expected for own in shapley):
        raise ValueError(
            f"explanation must have values {expected}, of one output, for each of {len(batch)} images, got "
            f"{np.shape(explanation.values)}; of several outputs take one, explanation[..., 0]"
        )
    pairs = [_rectangles(*each) for each in zip(shapley, credit, trees, strict=True)]
    masses, labels = zip(*pairs, strict=True) if batched else pairs[0]
    return pipeline.upsample(
        masses, inputs, forward_func, target, neighbourhoods=labels, mass="total", **settings
    )


def _rectangles(values: Floats, credit: Any, tree: Any) -> tuple[Floats, Labels]:
    """Return the values and labels of the rectangles of one output; see `usu.sources.shap.leaves`.

    Slicing an explanation to one output leaves the credit of all: (2M - 1, outputs). The output's own is the
    column that gives its values when passed down the tree.
    """
    credit, tree = np.asarray(credit, dtype=np.float64), np.asarray(tree, dtype=np.float64)
    columns = credit.reshape(len(credit), -1)
    if columns.shape[1] > 1:
        scale = max(float(np.abs(values).sum()), np.finfo(np.float64).tiny)
        alike = np.flatnonzero(np.abs(columns.sum(0) - values.sum()) <= _ROUNDING * scale)
        fitting = (
            column
            for column in alike
            if np.abs(_passed_down(columns[:, column], tree) - values.ravel()).sum() <= _ROUNDING * scale
        )
        found = next(fitting, None)
        if found is None:
            raise ValueError(
                f"explanation has a tree of {columns.shape[1]} outputs, and its values are those of none: "
                "take one output as it is, explanation[..., 0]"
            )
        columns = columns[:, [found]]
    return leaves(values, columns[:, 0], tree)


def _passed_down(credit: Floats, tree: Floats) -> Floats:
    """Return what the leaves (M,) get if every node passes its credit to its children by their size."""
    count = len(tree) + 1
    totals = credit.tolist()
    sizes = [1.0] * count + tree[:, 3].tolist()
    children = tree[:, :2].astype(np.int64).tolist()
    for node in range(len(totals) - 1, count - 1, -1):
        share = totals[node] / sizes[node]
        for child in children[node - count]:
            totals[child] += share * sizes[child]
    return np.array(totals[:count])
