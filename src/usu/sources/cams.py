"""Raw maps of pytorch-grad-cam's other methods, before its ReLU, min-max scaling and resizing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FunctionType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from usu.models.contexts import differentiable
from usu.models.runs import checked_run, choose_run
from usu.models.targets import Target, answers, check_outputs
from usu.runtime.lazy import needed
from usu.sources.gradcam import CamSource, Job, gradients_at, gradients_of, pair

with needed("CAM methods need pytorch-grad-cam", "cam"):
    import pytorch_grad_cam as library
    from pytorch_grad_cam.ablation_layer import AblationLayer
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget, FinerWeightedTarget
    from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection


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


def _by_gradients(job: Job) -> Any:
    """Return maps made of the layer's activations and the gradients of the scores."""
    return job.cam.get_cam_image(job.inputs, job.found.module, job.targets, *gradients_at(job), False)


def _by_curvature(job: Job) -> Any:
    """Return maps whose weights also use second derivatives, from the layer's output as it is."""
    # Fused attention cannot be differentiated twice.
    with differentiable(job.model), sdpa_kernel(SDPBackend.MATH):
        both = pair(job, create_graph=True)
        return curved_map(job.cam, job.inputs, job.found.module, job.targets, *both)


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


def _by_activations(job: Job) -> Any:
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


def _run_of_activations(job: Job, runs: Sequence[Tensor]) -> tuple[int, bool]:
    """Return which run counts, for methods that take no gradients, and whether it follows from the others."""
    if len(runs) == 1 or job.run is not None:
        return checked_run(job.run or 0, len(runs), job.name), False
    if job.channels:
        raise ValueError(
            f"ablationcam replaces layer {job.name!r} in all of its {len(runs)} runs at once: name a layer "
            "that runs once"
        )
    with differentiable(job.model):
        job.inputs.requires_grad_()
        again, outputs, _ = job.forward()
        gradients = gradients_of(job.score(outputs, job.targets).sum(), again)
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
class LibraryCam(CamSource):
    """An attribution source made of one of pytorch-grad-cam's methods.

    Attributes:
        method: the library's class.
    """

    strategy: Callable[[Job], Any] = _by_gradients
    method: Callable[..., Any] = library.GradCAM

    @contextmanager
    def opened(self, model: nn.Module, layer: nn.Module) -> Iterator[Any]:
        """Give the library's object, without its hooks, which do not pair runs."""
        with put_back(model, layer):
            cam = self.method(model, [layer], None)
            cam.activations_and_grads.release()
            yield cam


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

hirescam = LibraryCam("hirescam", method=library.HiResCAM, output="logit")
gradcam_plus_plus = LibraryCam("gradcam++", method=library.GradCAMPlusPlus)
xgradcam = LibraryCam("xgradcam", method=library.XGradCAM, output="logit")
layercam = LibraryCam("layercam", method=library.LayerCAM)
shapleycam = LibraryCam("shapleycam", _by_curvature, planar=True, method=library.ShapleyCAM)
finercam = CamSource("finercam", score=_finer)
eigencam = LibraryCam("eigencam", _by_activations, gradients=False, method=library.EigenCAM)
scorecam = LibraryCam("scorecam", _by_activations, planar=True, gradients=False, method=_ScoreCAM)
ablationcam = LibraryCam(
    "ablationcam", _by_activations, tokens=False, planar=True, gradients=False, method=_ablation
)
