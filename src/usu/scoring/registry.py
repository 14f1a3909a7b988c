"""Segment scores by any method: how much the model's answer depends on each segment."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, TypeAlias

from torch import Tensor

from usu.arrays.checks import check_choice
from usu.arrays.convert import Array, as_labels, check_labels
from usu.models.baselines import Baselines
from usu.models.forward import ForwardFunc
from usu.models.targets import Output, Targets
from usu.scoring.masking import MASKINGS
from usu.scoring.owen import owen_values
from usu.scoring.perturbation import Perturbation
from usu.scoring.refinement import Refinement, Rules, refine_all
from usu.scoring.regression import fit_random
from usu.segmentation.hierarchy import Hierarchy

Tasks: TypeAlias = Sequence[tuple[int, Hierarchy]]
Method: TypeAlias = Callable[[Perturbation, Tasks, Rules], "list[Refinement]"]

# From a model and (image number, hierarchy) pairs to one record per pair, in order.
METHODS: Mapping[str, Method] = MappingProxyType(
    {name: partial(refine_all, masking=name) for name in MASKINGS}
    | {"owen": owen_values, "random": fit_random}
)


def find_method(name: str) -> Method:
    """Return the scoring method of this name.

    Raises:
        ValueError: there is none.
    """
    check_choice(name, tuple(METHODS), "method")
    return METHODS[name]


@dataclass(frozen=True, eq=False)
class SegmentScores:
    """How much an answer depends on each segment of one image.

    Attributes:
        raw_scores: (P,), in the unit of the output, signed.
        scores: (P,) in [0, 1]: raw scores clipped at 0 and divided by the largest; all 0 if none is positive.
            The values of "owen" and "random" add up over segments: their scores are made of values per pixel.
        output: f_t(x), the output for the whole image.
        forward_passes: images that went through the model, this image's own share.
    """

    raw_scores: Array
    scores: Array
    output: float
    forward_passes: int


def score_segments(
    forward_func: ForwardFunc,
    inputs: Array,
    segments: Array | Sequence[Array],
    target: Targets,
    *,
    method: str = "mask",
    passes: int = 156,
    baselines: Baselines = "blur",
    output: Output = "probability",
    perturbations_per_eval: int = 16,
    show_progress: bool = False,
) -> Any:
    """Score each segment by what its removal does to the model's answer.

    Args:
        forward_func: any callable from a batch (B, C, H, W) of the caller's kind to (B, classes) outputs: a
            model in evaluation mode, an ONNX session, a remote model.
        inputs: (C, H, W), or a batch (B, C, H, W); what the network takes.
        segments: (H, W) integer labels 0..P-1 without gaps; for a batch (B, H, W), a list of label maps, or
            one map for all.
        target: class index, or one per image; or a callable from what `forward_func` returns, of any kind,
            to one score per image (B,).
        method: "mask": f_t(x) - f_t(x without the segment); "keep": f_t(the segment alone) - f_t(fill);
            "both": the mean of the two; "owen": Owen values, which sum to f_t(x) - f_t(fill);
            "random": coefficients of a ridge regression on random coalitions.
        passes: forward passes per image for "owen" and "random", at least 2.
        baselines: what replaces masked pixels; see `usu.models.baselines.make_fill`.
        output: f_t is the target's softmax "probability", its "logit" (the output as it is), or its entry of
            what a callable makes of the (B, classes) outputs; a target that is a callable goes without.
        perturbations_per_eval: masked images per call of `forward_func`; bounds the memory, whatever the
            number of segments. Batches are filled across images.
        show_progress: show a bar on standard error.

    Returns:
        `SegmentScores`, or a list of them for a batch.

    Raises:
        ValueError: shapes that do not fit, labels with gaps, a target out of range, a model in training mode,
            outputs of the wrong shape or not finite.
        TypeError: an argument of the wrong kind.

    >>> import torch
    >>> def left_half(batch):  # class 0 counts the pixels of the left half, class 1 is always 0
    ...     return torch.stack([batch[:, 0, :, :2].sum((1, 2)), torch.zeros(len(batch))], dim=1)
    >>> rows = torch.tensor([[0, 0, 1, 1], [2, 2, 3, 3]])
    >>> result = score_segments(
    ...     left_half, torch.ones(1, 2, 4), rows, target=0, baselines="zeros", output="logit"
    ... )
    >>> result.raw_scores, result.forward_passes
    (tensor([2., 0., 2., 0.]), 5)
    """
    perturbed = Perturbation(
        forward_func,
        inputs,
        target,
        baselines=baselines,
        output=output,
        perturbations_per_eval=perturbations_per_eval,
        show_progress=show_progress,
    )
    maps = _label_maps(segments, perturbed.inputs)
    tasks = [(image, Hierarchy((labels,))) for image, labels in enumerate(maps)]
    with perturbed:
        found = find_method(method)(perturbed, tasks, Rules(passes=passes))
    results = [
        SegmentScores(
            raw_scores=refined.raw_scores[0],
            scores=refined.scores[0],
            output=float(perturbed.references[image]),
            forward_passes=refined.forward_passes,
        )
        for image, refined in enumerate(found)
    ]
    return results if perturbed.batched else results[0]


def _label_maps(segments: Array | Sequence[Array], inputs: Tensor) -> list[Tensor]:
    given = list(segments) if isinstance(segments, list | tuple) else as_labels(segments, "segments")
    if isinstance(given, Tensor):
        if given.dim() not in (2, 3):
            raise ValueError(f"segments must be (H, W) or (B, H, W), got {tuple(given.shape)}")
        given = [given] * len(inputs) if given.dim() == 2 else list(given)
    maps = [as_labels(labels, "segments").to(inputs.device) for labels in given]
    if len(maps) != len(inputs):
        raise ValueError(f"segments has {len(maps)} label maps for {len(inputs)} inputs")
    for labels in maps:
        if labels.shape != inputs.shape[-2:]:
            raise ValueError(
                f"segments must be a label map of the inputs' size {tuple(inputs.shape[-2:])}, got "
                f"{tuple(labels.shape)}"
            )
        check_labels(labels, "segments")
    return maps
