"""SHAP's partition explainer: the values of its rectangles brought to pixels."""

from __future__ import annotations

from typing import Any

import numpy as np

from usu import pipeline
from usu.arrays.convert import Array
from usu.models.forward import ForwardFunc, check_inputs
from usu.models.targets import Targets
from usu.sources.shap import leaves


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
        ValueError: an explanation of other images, of several outputs, or without a partition tree.
    """
    batch, batched = check_inputs(inputs)
    if explanation.hierarchical_values is None or explanation.clustering is None:
        raise ValueError("explanation has no partition tree: make it with shap.PartitionExplainer")
    parts = [np.asarray(explanation.values), explanation.hierarchical_values, explanation.clustering]
    single = parts[0].ndim == 3
    shapley, credit, trees = ([part] if single else part for part in parts)
    expected = tuple(batch[0].movedim(0, -1).shape)
    if len(shapley) != len(batch) or any(values.shape != expected for values in shapley):
        raise ValueError(
            f"explanation must have values {expected}, of one output, for each of {len(batch)} images, got "
            f"{parts[0].shape}; of several outputs take one, explanation[..., 0]"
        )
    pairs = [leaves(*each) for each in zip(shapley, credit, trees, strict=True)]
    values, labels = zip(*pairs, strict=True) if batched else pairs[0]
    return pipeline.upsample(
        values, inputs, forward_func, target, neighbourhoods=labels, mass="total", **settings
    )
