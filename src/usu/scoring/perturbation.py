"""A model, its inputs and what replaces masked pixels: the one place that runs masked copies."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple, TypedDict, cast

import torch
from torch import Tensor, nn
from tqdm import tqdm

from usu.arrays.checks import check_count
from usu.arrays.convert import Array, as_tensor, check_finite, is_finite, like
from usu.models.baselines import Baselines, make_fill
from usu.models.compiled import faster, masked_examples
from usu.models.contexts import differentiable
from usu.models.diagnosis import as_written, is_quantised, uncompiled
from usu.models.forward import ForwardFunc, as_given, check_evaluation_mode, check_inputs, integers_of, run
from usu.models.outputs import Kind, Watch, can_be_watched, kind_of, scores_of, tell_unclear
from usu.models.targets import Output, Targets, answers, check_targets, find_link, probabilities
from usu.operators.coarse import Coarse


@dataclass(frozen=True, eq=False)
class Request:
    """Segments to score: the labels `segments` of the map `labels` (H, W) over image number `image`."""

    image: int
    labels: Tensor
    segments: Tensor


class Coalition(NamedTuple):
    """A masked copy of image number `image`: its own pixels where `present` (H, W), the fill elsewhere."""

    image: int
    present: Tensor


class Asking(TypedDict, total=False):
    """How a model is asked: what `Perturbation` takes besides the model, its inputs and targets."""

    baselines: Baselines
    output: Output
    perturbations_per_eval: int
    show_progress: bool
    class_names: Sequence[str] | None
    ndim: int


class Perturbation:
    """A model, its inputs and targets, and the one way in which masked copies go through it.

    A context manager, which closes its progress bar at the end.

    Attributes:
        inputs: (B, C, H, W), as floats; signals (B, C, L), volumes (B, C, D, H, W).
        integers: the dtype in which the model is called, if the caller's inputs are integers.
        targets: one per image.
        fills: (B, C, H, W), what replaces masked pixels.
        output: what is scored; of "probability", how it is read off the model's outputs: as their "softmax",
            their "sigmoid", or "given" if they already are probabilities.
        is_tensor: whether the model returns one.
        kind: how the probability of a class is read off, whatever is scored; None if that is not clear.
        references: (B,), f_t of each image as it is.
        probabilities: of each image's target, or None; see `usu.models.targets.probabilities`.
        passes: forward passes of each image so far.
        coarse: the coarse map of an image by its number, for scorings that start from it; None if unknown.
        backend: what answers for masked copies, one of `usu.models.backends.BACKENDS`; never "auto".
        versions: of the software behind it, by name.
    """

    def __init__(
        self,
        forward_func: ForwardFunc,
        inputs: Array,
        target: Targets,
        *,
        baselines: Baselines = "blur",
        output: Output = "probability",
        perturbations_per_eval: int = 16,
        show_progress: bool = False,
        class_names: Sequence[str] | None = None,
        ndim: int = 2,
    ) -> None:
        check_evaluation_mode(forward_func)
        check_count(perturbations_per_eval, "perturbations_per_eval", 1)
        self.inputs, self.batched = check_inputs(inputs, ndim)
        self.integers = integers_of(inputs)
        self.targets = check_targets(target, len(self.inputs), self.batched, class_names)
        self.output, self._link = output, find_link(output)
        self.kind: Kind | None = None
        self.is_tensor = False
        self._forward_func, self._caller = forward_func, inputs
        self.backend, self.versions = "eager", dict[str, str]()
        self._copy: nn.Module | None = None
        self._chunk = perturbations_per_eval
        self.fills = make_fill(self.inputs, baselines)
        self.passes = [0] * len(self.inputs)
        self.coarse: Callable[[int], Coarse] | None = None
        self._floors: dict[int, Tensor] = {}
        self._differentiable = False  # whether a gradient was seen
        self._ready = False  # whether the model is as gradients need it
        self._last: tuple[list[int], tuple[Tensor, Tensor, Tensor]] | None = None  # see `_ends`
        self._bar: Any = tqdm(
            total=0, desc="scoring segments", unit="pass", disable=not show_progress, leave=False
        )
        references, start = [], time.thread_time()
        self.probabilities: list[float | None] = []
        for part in _chunks(list(range(len(self.inputs))), self._chunk):
            wanted = [self.targets[image] for image in part]
            first = self.kind is None and any(isinstance(target, int) for target in wanted)
            outputs = self._watched(part) if first else self._run(self.inputs[part], part)
            self.is_tensor = isinstance(outputs, Tensor)
            references.append(self._values(outputs, part))
            self.probabilities += probabilities(outputs, wanted, self.kind)
        self.references = torch.cat(references)
        self._seconds = (time.thread_time() - start) / len(self.inputs)

    def _watched(self, images: list[int]) -> Any:
        """Return the outputs for images as they are, and settle what a probability is from them."""
        watch = Watch() if can_be_watched(self._forward_func) else None
        with watch or nullcontext():
            outputs = self._run(self.inputs[images], images)
            scores = scores_of(outputs, len(images))
        self._settle(scores, watch)
        return outputs

    def _settle(self, scores: Tensor, watch: Watch | None) -> None:
        """Settle what a probability is: by the caller's word, the end of the model, or the scores."""
        if self.output in ("softmax", "sigmoid", "given"):
            self.kind = cast(Kind, self.output)
            return
        self.kind = kind_of(scores, None if watch is None else watch.saw(scores))
        if self.output == "probability":
            if self.kind is None and scores.shape[1] > 1:
                self.kind = "given"
                tell_unclear()
            self.output = self.kind or "softmax"
            self._link = find_link(self.output)

    def __enter__(self) -> Perturbation:
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.close()

    def speed_up(self, backend: str, passes: int) -> nn.Module | None:
        """Let a compiled copy of the model answer for masked copies where it does as well; return it.

        Gradients are still the model's. The images on which both are compared are not counted as passes.

        Args:
            backend: see `usu.models.compiled.faster`.
            passes: images that will go through the model.

        Raises:
            ImportError: a backend that is named is not installed.
            ValueError: a backend that is named does not take the model, or its answers differ.
        """
        if backend == "eager" or (backend == "auto" and not (self.is_tensor and self.integers is None)):
            return None
        examples = as_given(masked_examples(self.inputs[:1], self.fills[:1]), self.integers)
        self._copy = faster(self._forward_func, backend, examples, passes, self._seconds)
        if self._copy is not None:
            self.backend, self.versions = str(self._copy.backend), cast(Any, self._copy.versions)
        return self._copy

    def give(self, tensor: Tensor) -> Any:
        """Return a tensor in the kind and on the device of the caller's inputs."""
        return like(tensor.to(self.inputs.device), self._caller)

    def filled(self, images: Sequence[int]) -> list[Tensor]:
        """Return f_t of the fill alone, a scalar per entry; one pass per image, however often called."""
        missing = sorted(set(images) - self._floors.keys())
        for part in _chunks(missing, self._chunk):
            values = self._ask(self.fills[part], part)
            self._floors.update(zip(part, values, strict=True))
        return [self._floors[image] for image in images]

    def first_order(self) -> Tensor:
        """Return each pixel's effect on f_t against the fill, to first order: Σ_c ∂f_t/∂x_c · (x_c - fill_c).

        A forward and a backward pass per image, one image at a time, since the second needs all activations.

        Returns:
            (B, H, W).

        Raises:
            ValueError: the answers have no gradient with respect to the inputs, or one that is not finite.
        """
        return torch.cat([self._first_order(image) for image in range(len(self.inputs))])

    def _first_order(self, image: int) -> Tensor:
        gradient = self._gradient(
            self.inputs[[image]], [image], "name a source that needs none, such as 'occlusion'"
        )
        self.passes[image] += 1
        return check_finite(gradient * (self.inputs[[image]] - self.fills[[image]]), "the gradient").sum(1)

    def has_gradients(self) -> bool:
        """Return whether f_t of the first image has a gradient, which is finite; three passes, if tried."""
        model = self._forward_func
        known = is_quantised(model) if isinstance(model, nn.Module) else not isinstance(self._caller, Tensor)
        if known or self.integers is not None:
            return False
        self.passes[0] += 3
        try:
            return is_finite(self._gradient(self.inputs[[0]], [0], "name a scoring"))
        except ValueError:
            return False

    def start(self, image: int) -> Tensor:
        """Return an image's coarse map at its pixels (H, W): bilinear, or even in each cell if not on a grid.

        0 everywhere if it is not known.
        """
        size = self.inputs.shape[2:]
        even = torch.zeros(size, dtype=torch.float64, device=self.inputs.device)
        if self.coarse is None:
            return even
        coarse = self.coarse(image)
        upsampler = "bilinear" if coarse.neighbourhoods is None else "nearest"
        return as_tensor(coarse.upsample(upsampler, even), "coarse").detach().to(even)

    def slopes(self, images: Sequence[int], kept: Tensor) -> Tensor:
        """Return how f_t of soft-masked copies changes with each pixel's share of the image.

        At most one batch of the copies, fill + kept · (image - fill), exists at a time. Each counts three
        passes: forwards, and two for its gradient.

        Args:
            images: number of each copy's image.
            kept: (n, H, W) in [0, 1], the share of the image at each pixel.

        Returns:
            (n, H, W), ∂f_t/∂kept.

        Raises:
            ValueError: the answers have no gradient with respect to the inputs, or one that is not finite.
        """
        self._bar.total = (self._bar.total or 0) + 3 * len(images)
        found = []
        for own, shares in zip(_chunks(list(images), self._chunk), kept.split(self._chunk), strict=True):
            inputs, fills, differences = self._ends(own)
            copies = torch.lerp(fills, inputs, shares[:, None].to(inputs))
            gradient = self._gradient(copies, own, "use scoring='mask' or 'owen', which need none")
            found.append((check_finite(gradient, "the gradient") * differences).sum(1))
            for image in own:
                self.passes[image] += 3
            self._bar.update(3 * len(own))
        return torch.cat(found)

    def _ends(self, images: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Return images, their fills and the differences, each (n, C, H, W); kept for the next call."""
        if self._last is None or self._last[0] != images:
            inputs, fills = self.inputs[images], self.fills[images]
            self._last = images, (inputs, fills, inputs - fills)
        return self._last[1]

    @contextmanager
    def differentiating(self) -> Iterator[None]:
        """Make the model ready for gradients: once for all that are asked for inside, each of which would."""
        if self._ready:
            yield
            return
        model = self._forward_func
        written = uncompiled(model) if isinstance(model, nn.Module) else nn.Identity()
        with as_written(written), differentiable(written):
            self._ready = True
            try:
                yield
            finally:
                self._ready, self._last = False, None

    def _gradient(self, batch: Tensor, images: Sequence[int], advice: str) -> Tensor:
        """Return the gradient (n, C, H, W) of each copy's f_t, 0 where it is a constant.

        Where there never was one, the error gives the advice.
        """
        model, targets = self._forward_func, [self.targets[image] for image in images]
        module = isinstance(model, nn.Module)
        if isinstance(model, nn.Module):
            model = uncompiled(model)
        with self.differentiating():
            inputs = batch.detach().requires_grad_()
            answer, found, cause = None, None, None
            if module or isinstance(self._caller, Tensor):
                try:
                    answer = answers(model(inputs.clone()), targets, self._link)
                except RuntimeError as problem:  # PyTorch's, where a callable leaves it for NumPy
                    if module:
                        raise
                    cause = problem
            if answer is not None and answer.requires_grad:
                try:
                    (found,) = torch.autograd.grad(answer.sum(), inputs, allow_unused=True)
                except torch.OutOfMemoryError:
                    raise
                except RuntimeError as problem:  # an operation without a derivative
                    cause = problem
        if found is None and cause is None and self._differentiable:
            return torch.zeros_like(batch)
        if found is None:
            raise ValueError(
                f"the model's outputs have no gradient with respect to its inputs: {advice}"
            ) from cause
        self._differentiable = True
        return found

    def evaluate(self, coalitions: Iterable[Coalition], count: int) -> Tensor:
        """Return f_t of `count` masked copies, (count,); at most one batch of them exists at a time."""
        self._bar.total = (self._bar.total or 0) + count
        remaining, values = iter(coalitions), [self.references.new_empty(0)]
        while part := list(islice(remaining, self._chunk)):
            batch = self.inputs.new_empty((len(part), *self.inputs.shape[1:]))
            for row, (image, present) in zip(batch, part, strict=True):
                torch.where(present, self.inputs[image], self.fills[image], out=row)
            values.append(self._ask(batch, [coalition.image for coalition in part]))
            self._bar.update(len(part))
        return torch.cat(values)

    def one_by_one(self, requests: Sequence[Request], *, alone: bool) -> list[Tensor]:
        """Return f_t of each image with one segment replaced (all but one if `alone`), (P,) per request."""
        counts = [len(request.segments) for request in requests]
        coalitions = (
            Coalition(request.image, (request.labels == segment) == alone)
            for request in requests
            for segment in request.segments.tolist()
        )
        return list(self.evaluate(coalitions, sum(counts)).split(counts))

    def _ask(self, batch: Tensor, images: list[int]) -> Tensor:
        """Return f_t of a batch made of these images, (n,)."""
        return self._values(self._run(batch, images), images)

    def _run(self, batch: Tensor, images: list[int]) -> Any:
        batch = as_given(batch, self.integers)
        model = self._copy or self._forward_func
        given = batch if isinstance(model, nn.Module) else self.give(batch)
        outputs = run(model, given)
        for image in images:
            self.passes[image] += 1
        return outputs

    def _values(self, outputs: Any, images: list[int]) -> Tensor:
        values = answers(outputs, [self.targets[image] for image in images], self._link)
        return values.detach().to(self.inputs.device)


def _chunks(items: list[Any], length: int) -> list[list[Any]]:
    return [items[start : start + length] for start in range(0, len(items), length)]
