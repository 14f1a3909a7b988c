"""The `lime` package: its explanations of images, superpixels and their weights, brought to pixels.

The package itself is not imported. For LIME by name, `usu.explain(source="lime")`, see `usu.sources.captum`.
"""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import numpy as np

from usu import pipeline
from usu.arrays.convert import Array, as_labels, check_labels
from usu.models.forward import ForwardFunc, check_inputs
from usu.models.targets import Targets, check_targets
from usu.runtime.renames import renamed


@renamed(classes="class_names")
def upsample(
    explanation: Any, inputs: Array, forward_func: ForwardFunc, target: Targets, **settings: Any
) -> Any:
    """Bring the weights that LIME found for superpixels to pixels.

    Args:
        explanation: what `lime.lime_image.LimeImageExplainer.explain_instance` returned. Superpixels without
            a weight, beyond its `num_features`, get no mass.
        inputs: (C, H, W), or (1, C, H, W); what the network takes.
        forward_func: any callable from a batch to (B, classes) outputs.
        target: class index, or name of `class_names`; one that LIME explained.
        **settings: what `usu.upsample` takes, such as images, mode and temperature.

    Returns:
        An `Explanation`, or a list of one for a batch. Its mass is "total", in the unit of LIME's weights,
        which is that of the output it was given, usually a probability.

    Raises:
        ValueError: a target that was not explained, superpixels of another size than the inputs, or not
            numbered 0..K-1.
        TypeError: a target that is not a class.
    """
    batch, batched = check_inputs(inputs)
    lacking = [name for name in ("segments", "local_exp") if not hasattr(explanation, name)]
    if lacking:
        raise TypeError(f"explanation must be LIME's, with {lacking[0]}, got {type(explanation).__name__}")
    segments = as_labels(explanation.segments, "explanation.segments").to(batch.device)
    if len(batch) != 1 or segments.shape != batch.shape[-2:]:
        raise ValueError(
            f"explanation is of one image of {tuple(segments.shape)} pixels, inputs are {tuple(batch.shape)}"
        )
    (chosen,) = check_targets(target, 1, batched, settings.get("class_names"))
    if chosen not in explanation.local_exp:
        raise ValueError(
            f"target must be one of the classes that LIME explained, {sorted(explanation.local_exp)}, got "
            f"{chosen!r}; pass labels=({chosen!r},) and top_labels=None to explain_instance"
        )
    try:
        check_labels(segments, "explanation.segments")
    except ValueError as problem:
        raise ValueError(
            f"{problem}. LIME takes superpixel k to be the one labelled k, so that its weights are wrong if "
            "labels start at 1: pass start_label=0 to the segmentation"
        ) from None
    weights = np.zeros(int(segments.max()) + 1)
    pairs = explanation.local_exp[chosen]
    if not isinstance(pairs, list | tuple) or not all(_fits(pair, len(weights)) for pair in pairs):
        raise ValueError(
            f"explanation.local_exp must give finite weights of superpixels 0..{len(weights) - 1}, got "
            f"{pairs!r}"
        )
    for superpixel, weight in pairs:
        weights[superpixel] = weight
    return pipeline.upsample(
        weights[None] if batched else weights,
        inputs,
        forward_func,
        target,
        neighbourhoods=segments,
        mass="total",
        **settings,
    )


def _fits(pair: Any, count: int) -> bool:
    """Return whether a pair is a superpixel, of so many, and its weight."""
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        return False
    superpixel, weight = pair
    whole = isinstance(superpixel, int | np.integer) and 0 <= int(superpixel) < count
    return whole and isinstance(weight, Real) and math.isfinite(weight)
