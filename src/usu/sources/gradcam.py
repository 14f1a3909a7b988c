"""Raw maps of pytorch-grad-cam's methods, before its ReLU, min-max scaling and resizing.

A value of such a map belongs to a cell and is shared by the cell's pixels, hence `mass="total"` for all of
them. For Grad-CAM, HiResCAM and XGrad-CAM this is more than a convention: at the last layer of a network that
ends in global average pooling and one linear layer, the cells sum to the logit less its bias.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import FunctionType, SimpleNamespace
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from usu.models.contexts import counted, differentiable, kept_apart
from usu.models.forward import check_evaluation_mode
from usu.models.layers import SpatialLayer, find_layer
from usu.models.targets import Output, Target, answers, check_outputs, check_targets
from usu.runtime.lazy import needed
from usu.sources.coarse_map import CoarseMap

with needed("CAM methods need pytorch-grad-cam", "cam"):
    import pytorch_grad_cam as library
    from pytorch_grad_cam.ablation_layer import AblationLayer
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget, FinerWeightedTarget
    from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection


Score: TypeAlias = Callable[[Any, Sequence[Target]], Tensor]


@dataclass(frozen=True, eq=False)
class _Job:
    """One call: the library's object with its hooks in place, and what to explain."""

    cam: Any
    found: SpatialLayer
    inputs: Tensor
    targets: list[Target]
    score: Score


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
        _total(job).backward()
    activations, gradients = (tensor.numpy() for tensor in _recorded(job))
    return job.cam.get_cam_image(job.inputs, job.found.module, job.targets, activations, gradients, False)


def _by_curvature(job: _Job) -> Any:
    """Return maps whose weights also use second derivatives, from the layer's output as it is."""
    # Fused attention cannot be differentiated twice.
    with differentiable(job.cam.model), sdpa_kernel(SDPBackend.MATH):
        torch.autograd.grad(_total(job), job.inputs, create_graph=True, allow_unused=True)
        return curved_map(job.cam, job.inputs, job.found.module, job.targets, *_recorded(job))


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


def _total(job: _Job) -> Tensor:
    """Run the model on the inputs; return the sum of the images' scores."""
    outputs = job.cam.activations_and_grads(job.inputs.requires_grad_())
    return job.score(outputs, job.targets).sum()


def _recorded(job: _Job) -> tuple[Tensor, Tensor]:
    recorded = job.cam.activations_and_grads
    if not recorded.gradients:
        raise ValueError(f"the answer does not depend on layer {job.found.name!r}; name an earlier one")
    # Of a module that runs several times, such as a shared activation, the last run counts.
    return recorded.activations[-1], recorded.gradients[-1]


def _by_activations(job: _Job) -> Any:
    """Return maps made of the layer's activations and, for some methods, of more forward passes."""
    recorded = job.cam.activations_and_grads
    with torch.no_grad():
        answers(recorded(job.inputs), job.targets)
        if not recorded.activations:
            raise ValueError(f"the model does not run layer {job.found.name!r}; name another one")
        activations = recorded.activations[-1].numpy()
        _release(job.cam)  # or the activations of every later pass would be kept too
        # One image at a time bounds the memory: these methods make a copy of it per channel.
        values = [
            job.cam.get_cam_image(image, job.found.module, [_of_one_image(target)], cells[None], None, False)
            for image, target, cells in zip(job.inputs.split(1), job.targets, activations, strict=True)
        ]
    return np.concatenate(values)


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
        output: "logit" if its values are shares of one.
    """

    name: str
    method: Callable[..., Any]
    strategy: Callable[[_Job], Any] = _by_gradients
    score: Score = answers
    tokens: bool = True
    output: Output | None = None

    def __call__(
        self, model: nn.Module, inputs: Tensor, targets: Sequence[Target], layer: str | nn.Module | None
    ) -> CoarseMap:
        """Return the method's signed maps (B, gh, gw) of a layer, by default the last one with cells.

        For the arguments see `usu.sources.find_source`.

        Raises:
            ValueError: no such layer, or one without cells; targets that do not fit; a model in training mode
                or without parameters; tokens, for a method that needs channels; one output, for a method that
                compares classes.
        """
        check_evaluation_mode(model, "model")
        if next(model.parameters(), None) is None:
            raise ValueError(
                f"{self.name} needs a model with parameters, from which pytorch-grad-cam takes the device; "
                "name another source, such as 'occlusion'"
            )
        chosen = check_targets(targets, len(inputs), batched=True)
        first = chosen[:1]
        found, search = find_layer(model, inputs[:1], layer, lambda outputs: self.score(outputs, first))

        def grid(output: Tensor) -> Tensor:
            cells = found.grid_of(output, inputs.shape[-2:])
            if not self.tokens and cells is not output:  # axes were moved: tokens, or channels that come last
                raise ValueError(
                    f"{self.name} needs a layer of shape (B, C, h, w), {found.name!r} gives tokens of shape "
                    f"{tuple(output.shape)}: it replaces whole channels, on the axis after the batch's"
                )
            return cells.to(torch.promote_types(cells.dtype, torch.float32))  # half has no NumPy routines

        with ExitStack() as undo:
            seen = undo.enter_context(counted(model, inputs.dtype))
            undo.enter_context(put_back(model, found.module))
            cam = self.method(model, [found.module], grid)
            undo.callback(_release, cam)
            undo.enter_context(kept_apart([found.module]))
            values = self.strategy(_Job(cam, found, inputs.detach(), chosen, self.score))
        spent = sum(seen) // len(inputs)
        return CoarseMap(
            values=torch.from_numpy(np.ascontiguousarray(values)).to(inputs),
            mass="total",
            source=self.name,
            layer=found.name,
            forward_passes=(spent + search, *[spent] * (len(inputs) - 1)),
            output=self.output,
        )


def _release(cam: Any) -> None:
    """Remove the library's hooks and what they kept, which it cannot do itself if the output is a view."""
    recorded = cam.activations_and_grads
    recorded.activations, recorded.gradients = [], []
    recorded.release()


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
shapleycam = CamSource("shapleycam", library.ShapleyCAM, _by_curvature)
finercam = CamSource("finercam", library.GradCAM, score=_finer)
eigencam = CamSource("eigencam", library.EigenCAM, _by_activations)
scorecam = CamSource("scorecam", _ScoreCAM, _by_activations)
ablationcam = CamSource("ablationcam", _ablation, _by_activations, tokens=False)
