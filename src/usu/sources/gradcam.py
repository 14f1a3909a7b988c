"""Grad-CAM, and what all CAMs share: which layer, which of its runs, and where its cells lie.

A value of such a map belongs to a cell and is shared by the cell's pixels, hence `mass="total"` for all of
them. For Grad-CAM, HiResCAM and XGrad-CAM this is more than a convention: at the last layer of a network that
ends in global average pooling and one linear layer, the cells sum to the logit less its bias.

Grad-CAM is three lines, and stands here without pytorch-grad-cam, whose import takes longer than torch's; the
methods that the library runs are in `usu.sources.cams`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from usu.models.contexts import counted, differentiable, kept_apart
from usu.models.diagnosis import (
    as_written,
    check_differentiable,
    check_watchable,
    uncompiled,
    why_no_gradient,
)
from usu.models.forward import check_evaluation_mode, check_planar
from usu.models.layers import SpatialLayer, find_cells, find_layer, placed
from usu.models.passes import Pass, watched
from usu.models.runs import choose_run, recorded
from usu.models.targets import Output, Target, answers, check_targets
from usu.models.tokens import Tokens
from usu.sources.coarse_map import CoarseMap

Score: TypeAlias = Callable[[Any, Sequence[Target]], Tensor]


@dataclass(eq=False)
class Job:
    """One call: what to explain, and the object of a library that is asked.

    Attributes:
        model: what is explained.
        found: the layer, with its tokens once they are known.
        inputs: (B, C, H, W).
        targets: one per image.
        score: from outputs and targets to (B,).
        run: which of the layer's runs is asked for.
        channels: whether the method needs channels on the axis after the batch's.
        cam: the library's object, its hooks removed; None for a method that needs none.
        probes: passes of the first image that were spent on finding its cells.
    """

    model: nn.Module
    found: SpatialLayer
    inputs: Tensor
    targets: list[Target]
    score: Score
    run: int | None
    channels: bool
    cam: Any = None
    probes: int = 0

    @property
    def name(self) -> str:
        """The layer's name."""
        return self.found.name

    def forward(self) -> tuple[list[Any], Any, Pass]:
        """Run the model; return what the layer gave in each run, the model's output, and what it showed."""
        with watched(self.model, self.inputs) as seen, recorded(self.found.module) as runs:
            outputs = self.model(self.inputs)
        if not runs:
            raise ValueError(f"the model does not run layer {self.name!r}; name another one")
        for one in runs:
            self.found.check(one)
        return runs, outputs, seen

    def place(self, runs: Sequence[Tensor], run: int, seen: Pass, chain: bool) -> None:
        """Make sure where the cells lie in the output of a run, and let the library take them from there."""
        if self.found.tokens is None:
            shape, image = tuple(runs[run].shape), self.inputs[:1].detach()
            crops = len(runs) > 1 and not chain
            tokens, self.probes = placed(self.model, image, self.found, run, shape, seen, crops)
            if tokens is None:
                raise self.found.without_cells(shape, seen)
            self.found = replace(self.found, tokens=tokens)
        if self.cam is not None:
            self.cam.reshape_transform = self.cam.activations_and_grads.reshape_transform = self.cells

    def let_go(self) -> None:
        """Part from the library's object, so that neither keeps the other alive."""
        if self.cam is not None:
            self.cam.reshape_transform = self.cam.activations_and_grads.reshape_transform = None

    def cells(self, output: Tensor) -> Tensor:
        """Return an output, or its gradient, as (B, C, *grid); of signals (B, C, 1, cells)."""
        assert self.found.tokens is not None
        cells = self.found.tokens.cells(output)
        if self.channels and not self.found.tokens.is_plain(output.shape):
            raise ValueError(
                f"ablationcam needs a layer of shape (B, C, h, w), {self.name!r} gives tokens of shape "
                f"{tuple(output.shape)}: it replaces whole channels, on the axis after the batch's"
            )
        wide = cells.to(torch.promote_types(cells.dtype, torch.float32))  # half has no NumPy routines
        return wide[:, :, None] if wide.dim() == 3 else wide


def gradients_at(job: Job) -> list[np.ndarray[Any, Any]]:
    """Return the layer's activations and the gradients of the scores at them, (B, C, gh, gw) each."""
    with differentiable(job.model):
        return [job.cells(one.detach()).cpu().numpy() for one in pair(job)]


def weighted_by_means(job: Job) -> Any:
    """Return Grad-CAM's maps (B, gh, gw): activations, weighted by the mean gradient of their channel."""
    activations, gradients = gradients_at(job)
    return (gradients.mean(tuple(range(2, gradients.ndim)), keepdims=True) * activations).sum(1)


def pair(job: Job, create_graph: bool = False) -> tuple[Tensor, Tensor]:
    """Return what the layer gave in the run that counts, and the gradient of the scores at that output."""
    job.inputs.requires_grad_()
    runs, outputs, seen = job.forward()
    total = job.score(outputs, job.targets).sum()
    gradients = gradients_of(total, runs, create_graph)
    if not total.requires_grad:
        raise ValueError(
            f"layer {job.name!r} has no gradient, as the answer has none by the inputs; "
            f"{why_no_gradient(job.model)}"
        )
    bearing = [run for run, gradient in enumerate(gradients) if gradient is not None]
    run = choose_run(runs, bearing, job.run, job.name)
    job.place(runs, run, seen, chain=job.run is None and len(bearing) > 1)
    return runs[run], gradients[run]


def gradients_of(total: Tensor, runs: Sequence[Tensor], create_graph: bool = False) -> list[Any]:
    """Return the gradient at each run's output; None where the total does not depend on it."""
    found: list[Any] = [None] * len(runs)
    able = [run for run, output in enumerate(runs) if output.requires_grad]
    if able and total.requires_grad:
        gradients = torch.autograd.grad(
            total, [runs[run] for run in able], None, True, create_graph, allow_unused=True
        )
        for run, gradient in zip(able, gradients, strict=True):
            found[run] = gradient
    return found


@dataclass(frozen=True)
class CamSource:
    """An attribution source that describes a layer by its activations.

    Attributes:
        name: of the source.
        strategy: computes the maps of a job.
        score: what is differentiated, from the model's outputs and the targets to (B,); gradient-free
            methods use the targets' logits.
        tokens: whether the method works on the tokens of a vision transformer, whose channels come last.
        planar: whether it is for pictures only, not for signals and volumes.
        output: "logit" if its values are shares of one.
        gradients: whether the method needs them.
    """

    name: str
    strategy: Callable[[Job], Any] = weighted_by_means
    score: Score = answers
    tokens: bool = True
    output: Output | None = None
    planar: bool = False
    gradients: bool = True

    @contextmanager
    def opened(self, model: nn.Module, layer: nn.Module) -> Iterator[Any]:
        """Give the object of a library that the strategy asks, if any, and undo what it did."""
        yield None

    def __call__(
        self,
        model: nn.Module,
        inputs: Tensor,
        targets: Sequence[Target],
        layer: str | nn.Module | None,
        *,
        tokens: Tokens | None = None,
        run: int | None = None,
    ) -> CoarseMap:
        """Return the method's signed maps (B, *grid) of a layer, by default the last one with cells.

        For the arguments see `usu.sources.find_source`, and for `tokens` and `run` `usu.explain`.

        Raises:
            ValueError: no such layer, or one without cells; targets that do not fit; a model in training mode
                or without parameters; tokens, for a method that needs channels; one output, for a method that
                compares classes; a layer that runs on several images, without `run`.
        """
        check_evaluation_mode(model, "model")
        if self.planar:
            check_planar(inputs, f"source {self.name!r}")
        model = uncompiled(model)
        check_watchable(model, self.name)
        if layer is None or self.gradients:
            check_differentiable(model, self.name)
        if next(model.parameters(), None) is None:
            raise ValueError(
                f"{self.name} needs a model with parameters, from which the device is taken; name another "
                "source, such as 'occlusion'"
            )
        chosen = check_targets(targets, len(inputs), batched=True)
        with as_written(model):
            return self._map(model, inputs, chosen, layer, tokens, run)

    def _map(
        self,
        model: nn.Module,
        inputs: Tensor,
        chosen: list[Target],
        layer: str | nn.Module | None,
        tokens: Tokens | None,
        run: int | None,
    ) -> CoarseMap:
        found, search = self._layer(model, inputs[:1], chosen[:1], layer, tokens)
        with ExitStack() as undo:
            seen = undo.enter_context(counted(model, inputs.dtype))
            cam = undo.enter_context(self.opened(model, found.module))
            undo.enter_context(kept_apart([found.module]))
            job = Job(model, found, inputs.detach(), chosen, self.score, run, not self.tokens, cam)
            undo.callback(job.let_go)
            values = self.strategy(job)
        values = values[:, 0] if inputs.dim() == 3 else values
        spent = (sum(seen) - job.probes) // len(inputs)
        return CoarseMap(
            values=torch.from_numpy(np.ascontiguousarray(values)).to(inputs),
            mass="total",
            source=self.name,
            layer=found.name,
            forward_passes=(spent + search + job.probes, *[spent] * (len(inputs) - 1)),
            output=self.output,
        )

    def _layer(
        self,
        model: nn.Module,
        image: Tensor,
        targets: list[Target],
        layer: str | nn.Module | None,
        tokens: Tokens | None,
    ) -> tuple[SpatialLayer, int]:
        if layer is None:
            return find_cells(model, image, lambda outputs: self.score(outputs, targets), tokens)
        found, search = find_layer(model, image, layer)
        return replace(found, tokens=tokens), search


gradcam = CamSource("gradcam", output="logit")
