"""Segment scores: how much the model's answer depends on each segment, by masked perturbation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from usu.arrays import Array, as_floats, as_labels, check_choice, check_finite, like
from usu.fill import Baselines, make_fill
from usu.lattice import check_labels

ForwardFunc: TypeAlias = Callable[[Any], Any]
Output: TypeAlias = "str | Callable[[Tensor], Tensor]"


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
    target: int | Sequence[int] | Array,
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
        target: class index, or one per image.
        method: "mask": f_t(x) - f_t(x without the segment); "keep": f_t(the segment alone) - f_t(fill);
            "both": the mean of the two.
        baselines: what replaces masked pixels; see `usu.fill.make_fill`.
        output: f_t is the target's softmax "probability", its "logit" (the output as it is), or its entry of
            what a callable makes of the (B, classes) outputs.
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


@dataclass(frozen=True, eq=False)
class Request:
    """Segments to score: the labels `segments` of the map `labels` (H, W) over image number `image`."""

    image: int
    labels: Tensor
    segments: Tensor


class Perturbation:
    """A model, its inputs and targets, and the one way in which masked copies go through it.

    A context manager, that its progress bar may end with it. `passes` counts forward passes per image.
    """

    def __init__(
        self,
        forward_func: ForwardFunc,
        inputs: Array,
        target: int | Sequence[int] | Array,
        *,
        baselines: Baselines,
        output: Output,
        perturbations_per_eval: int,
        show_progress: bool,
    ) -> None:
        check_evaluation_mode(forward_func)
        if isinstance(perturbations_per_eval, bool) or not isinstance(perturbations_per_eval, int):
            raise TypeError(f"perturbations_per_eval must be an integer, got {perturbations_per_eval!r}")
        if perturbations_per_eval < 1:
            raise ValueError(f"perturbations_per_eval must be at least 1, got {perturbations_per_eval}")
        self.inputs, self.batched = check_inputs(inputs)
        self.targets = check_targets(target, len(self.inputs), self.batched)
        self._link = _find_link(output)
        self._forward_func, self._caller = forward_func, inputs
        self._chunk = perturbations_per_eval
        self.fills = make_fill(self.inputs, baselines)
        self.passes = [0] * len(self.inputs)
        self._floors: dict[int, Tensor] = {}
        self._bar = _progress_bar(show_progress)
        images = list(range(len(self.inputs)))
        outputs = torch.cat([self._run(self.inputs[part], part) for part in _chunks(images, self._chunk)])
        self.references = self._of_target(outputs, images)
        self.probabilities = outputs.softmax(1)[images, self.targets]

    def __enter__(self) -> Perturbation:
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.close()

    def give(self, tensor: Tensor) -> Any:
        """Return a tensor in the kind of the caller's inputs."""
        return like(tensor, self._caller)

    def without(self, requests: Sequence[Request]) -> list[Tensor]:
        """Return f_t of each image with one segment replaced, (P,) per request."""
        return self._evaluate(requests, keep=False)

    def alone(self, requests: Sequence[Request]) -> list[Tensor]:
        """Return f_t of each image with all but one segment replaced, (P,) per request."""
        return self._evaluate(requests, keep=True)

    def filled(self, requests: Sequence[Request]) -> list[Tensor]:
        """Return f_t of the fill alone, a scalar per request; one pass per image, whatever the depths."""
        missing = sorted({request.image for request in requests} - self._floors.keys())
        for part in _chunks(missing, self._chunk):
            values = self._of_target(self._run(self.fills[part], part), part)
            self._floors.update(zip(part, values, strict=True))
        return [self._floors[request.image] for request in requests]

    def _evaluate(self, requests: Sequence[Request], keep: bool) -> list[Tensor]:
        jobs = [(request, segment) for request in requests for segment in request.segments.tolist()]
        if not jobs:
            return [self.references.new_empty(0) for _ in requests]
        self._bar.total = (self._bar.total or 0) + len(jobs)
        values = []
        for part in _chunks(jobs, self._chunk):
            batch = self.inputs.new_empty((len(part), *self.inputs.shape[1:]))
            for row, (request, segment) in zip(batch, part, strict=True):
                own, fill = self.inputs[request.image], self.fills[request.image]
                inside, outside = (own, fill) if keep else (fill, own)
                torch.where(request.labels == segment, inside, outside, out=row)
            images = [request.image for request, _ in part]
            values.append(self._of_target(self._run(batch, images), images))
            self._bar.update(len(part))
        return list(torch.cat(values).split([len(request.segments) for request in requests]))

    def _run(self, batch: Tensor, images: list[int]) -> Tensor:
        """Return the model's checked outputs (n, classes) in float32 or wider."""
        with torch.no_grad():
            outputs = self._forward_func(self.give(batch))
        for image in images:
            self.passes[image] += 1
        return check_outputs(outputs, len(batch), [self.targets[image] for image in images]).to(batch.device)

    def _of_target(self, outputs: Tensor, images: list[int]) -> Tensor:
        linked = self._link(outputs)
        if not isinstance(linked, Tensor) or linked.shape != outputs.shape:
            raise ValueError(f"output must keep the shape {tuple(outputs.shape)} of the model's outputs")
        if linked.is_complex() or not bool(linked.isfinite().all()):
            raise ValueError("output must make finite real numbers of the model's outputs")
        rows = torch.arange(len(images), device=linked.device)
        return linked[rows, torch.tensor([self.targets[image] for image in images], device=linked.device)]


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


_LINKS: dict[str, Callable[[Tensor], Tensor]] = {
    "probability": lambda outputs: outputs.softmax(dim=1),
    "logit": lambda outputs: outputs,
}


def _find_link(output: Output) -> Callable[[Tensor], Tensor]:
    if callable(output):
        return output
    if not isinstance(output, str) or output not in _LINKS:
        raise ValueError(f"output must be one of {tuple(_LINKS)} or a callable, got {output!r}")
    return _LINKS[output]


def check_evaluation_mode(forward_func: Any, name: str = "forward_func") -> None:
    """Refuse what cannot be called, and a model with a part in training mode.

    Raises:
        TypeError: not callable.
        ValueError: dropout or batch statistics would make every score noise.
    """
    if not callable(forward_func):
        raise TypeError(f"{name} must be callable, got {type(forward_func).__name__}")
    if isinstance(forward_func, nn.Module):
        training = [
            path or "the model itself" for path, part in forward_func.named_modules() if part.training
        ]
        if training:
            raise ValueError(
                f"{name} is in training mode ({len(training)} modules, the first is {training[0]}); "
                "call model.eval() first"
            )


def check_inputs(inputs: Array) -> tuple[Tensor, bool]:
    """Return inputs as (B, C, H, W) and whether they came as a batch.

    Raises:
        ValueError: another rank, nothing in it, values that are not finite.
    """
    tensor = check_finite(as_floats(inputs, "inputs").detach(), "inputs")
    if tensor.dim() not in (3, 4):
        raise ValueError(f"inputs must be (C, H, W) or a batch (B, C, H, W), got {tuple(tensor.shape)}")
    return (tensor, True) if tensor.dim() == 4 else (tensor[None], False)


def check_targets(target: int | Sequence[int] | Array, count: int, batched: bool) -> list[int]:
    """Return one class index per image.

    Raises:
        TypeError: not integers.
        ValueError: negative, or not as many as images.
    """
    array = np.asarray(target.detach().cpu() if isinstance(target, Tensor) else target)
    if array.dtype.kind not in "iu":
        raise TypeError(f"target must be a class index or one per image, got {target!r}")
    if array.ndim > 1 or (array.ndim == 1 and (len(array) != count or not batched)):
        expected = f"one index or {count}, one per image" if batched else "one index for one image"
        raise ValueError(f"target must be {expected}, got shape {array.shape}")
    targets = [int(index) for index in np.broadcast_to(array, count)]
    if min(targets) < 0:
        raise ValueError(f"target must be a class index from 0 up, got {min(targets)}")
    return targets


def check_outputs(outputs: Any, count: int, targets: Sequence[int]) -> Tensor:
    """Return a model's outputs as a tensor (count, classes).

    Raises:
        TypeError: not an array of numbers.
        ValueError: the wrong shape, values that are not finite, a target beyond the classes.
    """
    scores = as_floats(outputs, "the result of forward_func").detach()
    if scores.dim() != 2 or len(scores) != count:
        raise ValueError(f"forward_func must return ({count}, classes) outputs, got {tuple(scores.shape)}")
    if not bool(scores.isfinite().all()):
        raise ValueError("forward_func returned NaN or infinite outputs; no score can be made of them")
    if max(targets) >= scores.shape[1]:
        raise ValueError(f"target must be below the model's {scores.shape[1]} classes, got {max(targets)}")
    return scores.to(torch.promote_types(scores.dtype, torch.float32))


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


def _chunks(items: list[Any], length: int) -> list[list[Any]]:
    return [items[start : start + length] for start in range(0, len(items), length)]


def _progress_bar(show: bool) -> Any:
    from tqdm import tqdm

    return tqdm(total=0, desc="scoring segments", unit="pass", disable=not show, leave=False)
