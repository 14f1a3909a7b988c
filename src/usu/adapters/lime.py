"""The `lime` package: its explanations of images, superpixels and their weights, brought to pixels.

The package itself is not imported. For LIME by name, `usu.explain(source="lime")`, see `usu.sources.captum`.
"""

from __future__ import annotations

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
    for superpixel, weight in explanation.local_exp[chosen]:
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
