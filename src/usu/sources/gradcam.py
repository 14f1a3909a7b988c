"""Raw maps of pytorch-grad-cam's methods, before its ReLU, min-max scaling and resizing.

A value of such a map belongs to a cell and is shared by the cell's pixels, hence `mass="total"` for all of
them. For Grad-CAM, HiResCAM and XGrad-CAM this is more than a convention: at the last layer of a network that
ends in global average pooling and one linear layer, the cells sum to the logit less its bias.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from types import FunctionType, SimpleNamespace
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

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
from usu.models.runs import checked_run, choose_run, recorded
from usu.models.targets import Output, Target, answers, check_outputs, check_targets
from usu.models.tokens import Tokens
from usu.runtime.lazy import needed
from usu.sources.coarse_map import CoarseMap

with needed("CAM methods need pytorch-grad-cam", "cam"):
    import pytorch_grad_cam as library
    from pytorch_grad_cam.ablation_layer import AblationLayer
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget, FinerWeightedTarget
    from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection

Score: TypeAlias = Callable[[Any, Sequence[Target]], Tensor]


@dataclass(eq=False)
class _Job:
    """One call: the library's object, and what to explain.

    Attributes:
        cam: the library's object, its hooks removed.
        found: the layer, with its tokens once they are known.
        inputs: (B, C, H, W).
        targets: one per image.
        score: from outputs and targets to (B,).
        run: which of the layer's runs is asked for.
        channels: whether the method needs channels on the axis after the batch's.
        probes: passes of the first image that were spent on finding its cells.
    """

    cam: Any
    found: SpatialLayer
    inputs: Tensor
    targets: list[Target]
    score: Score
    run: int | None
    channels: bool
    probes: int = 0

    @property
    def name(self) -> str:
        return self.found.name

    def forward(self) -> tuple[list[Any], Any, Pass]:
        """Run the model; return what the layer gave in each run, the model's output, and what it showed."""
        with watched(self.cam.model, self.inputs) as seen, recorded(self.found.module) as runs:
            outputs = self.cam.model(self.inputs)
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
            tokens, self.probes = placed(self.cam.model, image, self.found, run, shape, seen, crops)
            if tokens is None:
                raise self.found.without_cells(shape, seen)
            self.found = replace(self.found, tokens=tokens)
        self.cam.reshape_transform = self.cam.activations_and_grads.reshape_transform = self.cells

    def let_go(self) -> None:
        """Part from the library's object, so that neither keeps the other alive."""
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


def _finer(outputs: Any, targets: Sequence[Target]) -> Tensor:
    """Return how far each target's logit is above those of the classes nearest to it, (B,)."""
    classes = [target for target in targets if isinstance(target, int)]
    if len(classes) < len(targets):
        raise ValueError("finercam compares classes: its targets must be class indices, not callables")
    logits = check_outputs(outputs, len(targets), classes)
    if logits.shape[1] < 2:
        raise ValueError("finercam compares classes: the model has one output; name another source")
    return torch.stack([_lead(*each) for each in zip(logits, classes, strict=True)])


def _lead(logits: Tensor, target: int, most: int = 3) -> Tensor:
    distances = (logits - logits[target]).detach().abs()
    distances[target] = -1  # the target comes first, even if another class has the same logit
    nearest = distances.argsort()[1 : most + 1].tolist()
    compared: Tensor = FinerWeightedTarget(target, nearest, 1)(logits)
    return compared


def _by_gradients(job: _Job) -> Any:
    """Return maps made of the layer's activations and the gradients of the scores."""
    with differentiable(job.cam.model):
        activations, gradients = _pair(job)
    arrays = [job.cells(one.detach()).cpu().numpy() for one in (activations, gradients)]
    return job.cam.get_cam_image(job.inputs, job.found.module, job.targets, *arrays, False)


def _by_curvature(job: _Job) -> Any:
    """Return maps whose weights also use second derivatives, from the layer's output as it is."""
    # Fused attention cannot be differentiated twice.
    with differentiable(job.cam.model), sdpa_kernel(SDPBackend.MATH):
        pair = _pair(job, create_graph=True)
        return curved_map(job.cam, job.inputs, job.found.module, job.targets, *pair)


def curved_map(
    cam: Any,
    inputs: Tensor,
    layer: nn.Module,
    targets: Sequence[Any],
    activations: Tensor,
    gradients: Tensor,
    eigen_smooth: bool = False,
) -> Any:
    """Return the map (B, gh, gw) of a method whose weights take second derivatives, such as Shapley-CAM.

    The library's own `get_cam_image` does not bring the activations of a transformer to their grid.
    """
    if not gradients.requires_grad:  # the rest of the network is linear: no curvature
        gradients = gradients + 0 * activations
    weights = cam.get_cam_weights(inputs, layer, targets, activations, gradients)
    cells = activations if cam.reshape_transform is None else cam.reshape_transform(activations)
    weighted = weights[:, :, None, None] * cells.detach().cpu().numpy()
    return get_2d_projection(weighted) if eigen_smooth else weighted.sum(1)


def _pair(job: _Job, create_graph: bool = False) -> tuple[Tensor, Tensor]:
    """Return what the layer gave in the run that counts, and the gradient of the scores at that output."""
    job.inputs.requires_grad_()
    runs, outputs, seen = job.forward()
    total = job.score(outputs, job.targets).sum()
    gradients = _gradients(total, runs, create_graph)
    if not total.requires_grad:
        raise ValueError(
            f"layer {job.name!r} has no gradient, as the answer has none by the inputs; "
            f"{why_no_gradient(job.cam.model)}"
        )
    bearing = [run for run, gradient in enumerate(gradients) if gradient is not None]
    run = choose_run(runs, bearing, job.run, job.name)
    job.place(runs, run, seen, chain=job.run is None and len(bearing) > 1)
    return runs[run], gradients[run]


def _gradients(total: Tensor, runs: Sequence[Tensor], create_graph: bool = False) -> list[Any]:
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


def _by_activations(job: _Job) -> Any:
    """Return maps made of the layer's activations and, for some methods, of more forward passes."""
    with torch.no_grad():
        runs, outputs, seen = job.forward()
        answers(outputs, job.targets)
    run, chain = _run_of_activations(job, runs)
    with torch.no_grad():
        job.place(runs, run, seen, chain)
        activations = job.cells(runs[run]).cpu().numpy()
        # One image at a time bounds the memory: these methods make a copy of it per channel.
        values = [
            job.cam.get_cam_image(image, job.found.module, [_of_one_image(target)], cells[None], None, False)
            for image, target, cells in zip(job.inputs.split(1), job.targets, activations, strict=True)
        ]
    return np.concatenate(values)


def _run_of_activations(job: _Job, runs: Sequence[Tensor]) -> tuple[int, bool]:
    """Return which run counts, for methods that take no gradients, and whether it follows from the others."""
    if len(runs) == 1 or job.run is not None:
        return checked_run(job.run or 0, len(runs), job.name), False
    if job.channels:
        raise ValueError(
            f"ablationcam replaces layer {job.name!r} in all of its {len(runs)} runs at once: name a layer "
            "that runs once"
        )
    with differentiable(job.cam.model):
        job.inputs.requires_grad_()
        again, outputs, _ = job.forward()
        gradients = _gradients(job.score(outputs, job.targets).sum(), again)
        job.inputs.requires_grad_(False)
        bearing = [run for run, gradient in enumerate(gradients) if gradient is not None]
        if not bearing:
            raise ValueError(
                f"layer {job.name!r} runs {len(runs)} times, and without gradients nothing tells on which "
                "run the answer depends: say which by run="
            )
        return choose_run(again, bearing, None, job.name), len(bearing) > 1


def _of_one_image(target: Target) -> Callable[[Tensor], Tensor]:
    """Return a target as the library takes it: a callable on one image's outputs."""
    if isinstance(target, int):
        found: Callable[[Tensor], Tensor] = ClassifierOutputTarget(target)
        return found

    def score(output: Any) -> Tensor:
        if isinstance(output, str):
            raise TypeError(
                "this method reads the images' outputs one by one, which a dictionary does not allow: wrap "
                "the model so that it returns a tensor"
            )
        return answers(output[None] if isinstance(output, Tensor) else [output], [target])[0]

    return score


@dataclass(frozen=True)
class CamSource:
    """An attribution source made of one of pytorch-grad-cam's methods.

    Attributes:
        name: of the source.
        method: the library's class.
        strategy: computes the maps of a job.
        score: what is differentiated, from the model's outputs and the targets to (B,); gradient-free
            methods use the targets' logits.
        tokens: whether the method works on the tokens of a vision transformer, whose channels come last.
        planar: whether it is for pictures only, not for signals and volumes.
        output: "logit" if its values are shares of one.
    """

    name: str
    method: Callable[..., Any]
    strategy: Callable[[_Job], Any] = _by_gradients
    score: Score = answers
    tokens: bool = True
    output: Output | None = None
    planar: bool = False

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
        if layer is None or self.strategy is not _by_activations:
            check_differentiable(model, self.name)
        if next(model.parameters(), None) is None:
            raise ValueError(
                f"{self.name} needs a model with parameters, from which pytorch-grad-cam takes the device; "
                "name another source, such as 'occlusion'"
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
            undo.enter_context(put_back(model, found.module))
            cam = self.method(model, [found.module], None)
            cam.activations_and_grads.release()  # its hooks do not pair runs
            undo.enter_context(kept_apart([found.module]))
            job = _Job(cam, found, inputs.detach(), chosen, self.score, run, not self.tokens)
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


@contextmanager
def put_back(model: nn.Module, layer: nn.Module) -> Iterator[None]:
    """Undo what Ablation-CAM leaves behind if a pass fails: a hook, and its own layer in the model."""
    hooks = set(layer._forward_hooks)
    try:
        yield
    finally:
        for hook in set(layer._forward_hooks) - hooks:
            del layer._forward_hooks[hook]
        for parent in list(model.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, AblationLayer):
                    setattr(parent, name, layer)


def _without_bar(method: Any) -> Any:
    """Return a subclass of `method` that shows no progress bar; the library itself is not changed."""
    loud = method.get_cam_weights
    silent = SimpleNamespace(tqdm=lambda steps: steps)
    quiet = FunctionType(
        loud.__code__, {**loud.__globals__, "tqdm": silent}, loud.__name__, loud.__defaults__
    )
    return type(method.__name__, (method,), {"get_cam_weights": quiet})


def _ablation(model: nn.Module, layers: list[nn.Module], grid: Callable[[Tensor], Tensor]) -> Any:
    """Return an Ablation-CAM with its own layer: the library's default one outlives the call."""
    return _AblationCAM(model, layers, grid, ablation_layer=AblationLayer())


# They run 16 and 32 images at a time, the library's defaults.
_ScoreCAM, _AblationCAM = _without_bar(library.ScoreCAM), _without_bar(library.AblationCAM)

gradcam = CamSource("gradcam", library.GradCAM, output="logit")
hirescam = CamSource("hirescam", library.HiResCAM, output="logit")
gradcam_plus_plus = CamSource("gradcam++", library.GradCAMPlusPlus)
xgradcam = CamSource("xgradcam", library.XGradCAM, output="logit")
layercam = CamSource("layercam", library.LayerCAM)
shapleycam = CamSource("shapleycam", library.ShapleyCAM, _by_curvature, planar=True)
finercam = CamSource("finercam", library.GradCAM, score=_finer)
eigencam = CamSource("eigencam", library.EigenCAM, _by_activations)
scorecam = CamSource("scorecam", _ScoreCAM, _by_activations, planar=True)
ablationcam = CamSource("ablationcam", _ablation, _by_activations, tokens=False, planar=True)
