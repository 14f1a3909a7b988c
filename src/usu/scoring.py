"""Segment scores: how much the model's answer depends on each segment, by masked perturbation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from usu.arrays import Array, as_labels, check_choice
from usu.fill import Baselines
from usu.lattice import check_labels
from usu.perturbation import ForwardFunc, Perturbation, Request
from usu.targets import Output, Targets


@dataclass(frozen=True, eq=False)
class SegmentScores:
    """How much an answer depends on each segment of one image.

    Attributes:
        raw_scores: (P,), in the unit of the output, signed.
        scores: (P,) in [0, 1]: raw scores clipped at 0 and divided by the largest; all 0 if none is positive.
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
            "both": the mean of the two.
        baselines: what replaces masked pixels; see `usu.fill.make_fill`.
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
    requests = [
        Request(image, labels, torch.arange(int(labels.max()) + 1)) for image, labels in enumerate(maps)
    ]
    with perturbed:
        raw = find_method(method)(perturbed, requests)
    results = [
        SegmentScores(
            raw_scores=perturbed.give(values),
            scores=perturbed.give(normalise(values)),
            output=float(perturbed.references[image]),
            forward_passes=perturbed.passes[image],
        )
        for image, values in enumerate(raw)
    ]
    return results if perturbed.batched else results[0]


def normalise(raw_scores: Tensor) -> Tensor:
    """Return raw scores clipped at 0 and divided by the largest; all 0 where none is positive.

    >>> normalise(torch.tensor([-1.0, 1.0, 4.0]))
    tensor([0.0000, 0.2500, 1.0000])
    """
    positive = raw_scores.clamp(min=0)
    largest = positive.max()
    return positive / largest if float(largest) > 0 else torch.zeros_like(positive)


Method: TypeAlias = Callable[[Perturbation, Sequence[Request]], "list[Tensor]"]


def _mask(perturbed: Perturbation, requests: Sequence[Request]) -> list[Tensor]:
    outputs = perturbed.without(requests)
    return [perturbed.references[r.image] - values for r, values in zip(requests, outputs, strict=True)]


def _keep(perturbed: Perturbation, requests: Sequence[Request]) -> list[Tensor]:
    floors, outputs = perturbed.filled(requests), perturbed.alone(requests)
    return [values - floor for values, floor in zip(outputs, floors, strict=True)]


def _both(perturbed: Perturbation, requests: Sequence[Request]) -> list[Tensor]:
    pairs = zip(_mask(perturbed, requests), _keep(perturbed, requests), strict=True)
    return [(masked + kept) / 2 for masked, kept in pairs]


_METHODS: dict[str, Method] = {"mask": _mask, "keep": _keep, "both": _both}
METHODS = tuple(_METHODS)


def find_method(name: str) -> Method:
    """Return the scoring method of this name.

    Raises:
        ValueError: there is none.
    """
    check_choice(name, METHODS, "method")
    return _METHODS[name]


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
