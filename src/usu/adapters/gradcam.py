"""A user's own CAM object of pytorch-grad-cam, its maps redistributed instead of interpolated."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from usu.arrays.checks import check_choice
from usu.models.alone import alone
from usu.models.contexts import differentiable, frozen, kept_apart
from usu.models.forward import check_evaluation_mode, check_inputs
from usu.models.layers import SpatialLayer, placed
from usu.models.passes import Pass, watched
from usu.models.runs import Runs, choose_run
from usu.models.target_objects import EachImage
from usu.models.targets import Target
from usu.models.tokens import Tokens
from usu.operators.registry import MODES as ALL_MODES
from usu.operators.upsamplers import find_upsampler
from usu.pipeline import mode_of, settings_of, upsample
from usu.runtime.lazy import needed
from usu.settings import Settings
from usu.sources.cams import curved_map, put_back
from usu.sources.fullgrad import grids

with needed("CAM methods need pytorch-grad-cam", "cam"):
    from pytorch_grad_cam import FinerCAM, FullGrad
    from pytorch_grad_cam.base_cam import BaseCAM
    from pytorch_grad_cam.utils import model_targets
    from pytorch_grad_cam.utils.image import scale_cam_image


Maps: TypeAlias = "list[np.ndarray[Any, np.dtype[Any]]]"

# Of `usu.explain`'s modes, those that redistribute the object's own map.
MODES = tuple(mode for mode in ALL_MODES if mode != "complete")


def upsampled(
    cam: Any,
    *,
    mode: str | None = None,
    tokens: Tokens | None = None,
    run: int | None = None,
    perturbations_per_eval: int = 16,
    show_progress: bool = False,
    **settings: Any,
) -> UpsampledCam:
    """Wrap a CAM object so that its maps are redistributed; the wrapper is called as the object is called.

    The object is not changed and can be used alongside the wrapper.

    Args:
        cam: of pytorch-grad-cam: a `BaseCAM` such as `GradCAM` or `FullGrad`, or a `FinerCAM`.
        mode: "total-conserving", "usu", "iwmr" or "hybrid"; the default is that of `usu.explain`.
        tokens: where the cells lie in the outputs of its target layers, in place of a `reshape_transform`; if
            there is neither, they are found as in `usu.explain`.
        run: which run of a target layer is described, from 0, if the model runs it on several images.
        perturbations_per_eval: masked images per forward call.
        show_progress: show a bar on standard error.
        **settings: the fields of `usu.Settings`, such as temperature=0.1.

    Raises:
        TypeError: not a CAM object with a map per layer; an unknown setting.
        ValueError: a setting out of its range.
    """
    base = cam.base_cam if isinstance(cam, FinerCAM) else cam
    if not isinstance(base, BaseCAM):
        raise TypeError(
            f"cam must be a BaseCAM or a FinerCAM of pytorch-grad-cam, got {type(cam).__name__}; for maps "
            "from elsewhere, usu.upsample"
        )
    mode = mode_of(mode, settings)
    check_choice(mode, MODES, "mode")
    asking = {"perturbations_per_eval": perturbations_per_eval, "show_progress": show_progress}
    return UpsampledCam(cam, base, mode, settings_of(mode, settings), asking, tokens, run)


@dataclass(frozen=True, eq=False)
class UpsampledCam:
    """What `upsampled` returns: a CAM object's stand-in.

    Attributes:
        cam: the user's object; read its `outputs` and set its options, such as `batch_size`, there.
        base: the `BaseCAM` that makes its maps.
        mode: one of `MODES`.
        settings: of the scores and the redistribution.
        asking: `perturbations_per_eval` and `show_progress` of `upsampled`.
        tokens: of `upsampled`.
        run: of `upsampled`.
    """

    cam: Any
    base: Any
    mode: str
    settings: Settings
    asking: dict[str, Any]
    tokens: Tokens | None = None
    run: int | None = None

    def __enter__(self) -> UpsampledCam:
        self.cam.__enter__()
        return self

    def __exit__(self, *exception: object) -> Any:
        return self.cam.__exit__(*exception)

    def __call__(
        self, input_tensor: Tensor, targets: Sequence[Any] | None = None, *args: Any, **options: Any
    ) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return what `cam(input_tensor, targets)` would, in shape, type and range.

        Each layer's raw, signed map is redistributed, followed by the library's own steps: ReLU and min-max
        per image, the mean over layers, min-max. For `FullGrad`, the maps of all grid sizes are
        redistributed, and their magnitudes added.

        Args:
            input_tensor: (B, C, H, W).
            targets: the library's, one per image; the predicted classes if None.
            *args: the object's other arguments.
            **options: the object's other arguments, such as aug_smooth=True, for which each view is scored.

        Returns:
            (B, H, W) float32 in [0, 1].

        Raises:
            ValueError: targets are not one per image, a model in training mode, a layer that the score does
                not depend on.
        """
        model = self.base.model
        check_evaluation_mode(model, "the model of cam")
        batch, _ = check_inputs(input_tensor)
        if targets is not None and len(targets) != len(batch):
            raise ValueError(f"targets must be one per image, {len(batch)}, got {len(targets)}")
        inputs = batch.to(self.base.device)
        inputs.requires_grad_(self.base.uses_gradients)
        with ExitStack() as undo:
            undo.enter_context(alone(model))
            undo.enter_context(_untouched(model))
            runs = [Runs() for _ in self.base.target_layers]
            for layer, own in zip(self.base.target_layers, runs, strict=True):
                undo.enter_context(layer.register_forward_hook(own.note))
            seen = undo.enter_context(watched(model, inputs))
            undo.enter_context(kept_apart(self.base.target_layers))
            by_gradients = self.base.uses_gradients
            undo.enter_context(differentiable(model) if by_gradients else torch.enable_grad())
            if not self.base.detach:
                undo.enter_context(sdpa_kernel(SDPBackend.MATH))  # fused attention has no second derivatives
            undo.enter_context(_instead_of_its_maps(self.base, partial(self._maps, runs, seen)))
            found: np.ndarray[Any, np.dtype[np.float32]] = self.cam(inputs, targets, *args, **options)
        return found

    def _maps(
        self, runs: list[Runs], seen: Pass, input_tensor: Tensor, targets: Sequence[Any], eigen_smooth: bool
    ) -> Any:
        """Replace the library's `compute_cam_per_layer`, which scales, resizes and scales again."""
        for own in runs:  # the model will run on masked images
            own.listening = False
        try:
            return self._made(runs, seen, input_tensor, targets, eigen_smooth)
        finally:
            for own in runs:
                own.listening = True

    def _made(
        self, runs: list[Runs], seen: Pass, input_tensor: Tensor, targets: Sequence[Any], eigen_smooth: bool
    ) -> Any:
        whole = isinstance(self.base, FullGrad)
        if whole:
            coarse = _raw_terms(self.base, input_tensor, targets, eigen_smooth)
        else:
            _check_hooks(self.base)
            pairs = [
                self._pair(layer, own, seen, input_tensor)
                for layer, own in zip(self.base.target_layers, runs, strict=True)
            ]
            coarse = _raw_maps(self.base, input_tensor, targets, eigen_smooth, pairs)
        # A segment's score is the same for every layer: computed once, for the first, and used for all.
        explanations = upsample(
            coarse[0],
            input_tensor,
            self.base.model,
            [_as_usus(target) for target in targets],
            mode=self.mode,
            mass="total",
            **self.asking,
            **vars(self.settings),
        )
        redistribute = find_upsampler(self.mode, mass="total", **self.settings.redistribution)
        scores = torch.stack([explanation.score_map for explanation in explanations])
        pixels_per_cell = [scores[0].numel() / grid[0].numel() for grid in coarse]
        maps = [redistribute(grid, scores).cpu().numpy() for grid in coarse]
        return (_magnitudes if whole else _scaled)(maps, pixels_per_cell)

    def _pair(self, module: nn.Module, own: Runs, seen: Pass, inputs: Tensor) -> _Pair:
        """Return what a target layer gave in the run that counts, the gradient there, and its cells."""
        name = next((name for name, one in self.base.model.named_modules() if one is module), "")
        layer, (outputs, gradients) = SpatialLayer(name, module), own.take()
        bearing = [run for run, gradient in enumerate(gradients) if gradient is not None]
        if not self.base.uses_gradients:
            bearing = list(range(len(outputs)))
            if len(outputs) > 1 and self.run is None:
                raise ValueError(
                    f"layer {name!r} runs {len(outputs)} times, and cam takes no gradients by which to "
                    "tell on which run the answer depends: say which by run="
                )
        run = choose_run(outputs, bearing, self.run, name)
        if self.tokens is not None:
            return outputs[run], gradients[run], self.tokens.cells
        if self.base.reshape_transform is not None:
            return outputs[run], gradients[run], self.base.reshape_transform
        layer.check(outputs[run])
        shape = tuple(outputs[run].shape)
        crops = len(outputs) > 1 and (self.run is not None or len(bearing) == 1)
        tokens, _ = placed(self.base.model, inputs[:1].detach(), layer, run, shape, seen, crops)
        if tokens is None:
            raise layer.without_cells(shape, seen)
        return outputs[run], gradients[run], None if tokens.is_plain(shape) else tokens.cells


def _check_hooks(base: Any) -> None:
    """Raise ValueError unless the library's own hooks saw each target layer; forget what they saw."""
    recorded, layers = base.activations_and_grads, base.target_layers
    for found in (
        (recorded.activations, recorded.gradients) if base.uses_gradients else (recorded.activations,)
    ):
        if len(found) < len(layers):
            raise ValueError(
                f"the hooks of cam saw {len(found)} of its {len(layers)} target layers: name layers that the "
                "score depends on, and call it inside its `with` block"
            )
    _forget(base)


# What a layer gave in one run, the gradient there, and how the library is to take cells from both.
_Pair: TypeAlias = "tuple[Tensor, Any, Callable[[Tensor], Tensor] | None]"


def _raw_maps(
    base: Any, inputs: Tensor, targets: Sequence[Any], eigen_smooth: bool, pairs: Sequence[_Pair]
) -> list[Tensor]:
    """Return each target layer's map as the library computes it, before ReLU, (B, gh, gw)."""
    maps = []
    for layer, (cells, slope, reshape) in zip(base.target_layers, pairs, strict=True):
        with put_back(base.model, layer), _reshaping(base, reshape):
            if not base.detach and slope is not None:
                found = curved_map(base, inputs, layer, targets, cells, slope, eigen_smooth)
            else:
                arrays = [None if one is None else _array(one, reshape) for one in (cells, slope)]
                found = base.get_cam_image(inputs, layer, targets, *arrays, eigen_smooth)
        maps.append(torch.from_numpy(np.ascontiguousarray(found)).to(inputs))
    return maps


def _array(output: Tensor, reshape: Callable[[Tensor], Tensor] | None) -> Any:
    return (output if reshape is None else reshape(output)).detach().cpu().numpy()


@contextmanager
def _reshaping(base: Any, reshape: Callable[[Tensor], Tensor] | None) -> Iterator[None]:
    """Let the library take cells from a layer's output by `reshape`."""
    kept = base.reshape_transform
    base.reshape_transform = base.activations_and_grads.reshape_transform = reshape
    try:
        yield
    finally:
        base.reshape_transform = base.activations_and_grads.reshape_transform = kept


def _raw_terms(base: Any, inputs: Tensor, targets: Sequence[Any], eigen_smooth: bool) -> list[Tensor]:
    """Return FullGrad's terms, summed for each grid size; the library has no signed ones."""
    if eigen_smooth:
        raise ValueError("eigen_smooth must be False for FullGrad: its terms are added up, not projected")
    _forget(base)

    def score(outputs: Any) -> Tensor:
        return torch.stack([target(one).reshape(()) for target, one in zip(targets, outputs, strict=True)])

    return [grid.to(inputs) for grid in grids(base.model, inputs, score)]


def _scaled(maps: Maps, pixels_per_cell: list[float]) -> Maps:
    """Return maps as the library prepares them for its `aggregate_multi_layers`."""
    # In the unit of cells, as the library's: it adds 1e-7 to the maximum that it divides by.
    in_cells = [one * pixels for one, pixels in zip(maps, pixels_per_cell, strict=True)]
    return [scale_cam_image(np.maximum(one, 0))[:, None] for one in in_cells]


def _magnitudes(maps: Maps, pixels_per_cell: list[float]) -> np.ndarray[Any, np.dtype[Any]]:
    """Return FullGrad's maps as the library prepares them."""
    return np.stack([np.abs(one) * pixels_per_cell[0] for one in maps], axis=1)


_CLASS_OF = {
    model_targets.ClassifierOutputTarget: attrgetter("category"),
    model_targets.ClassifierOutputSoftmaxTarget: attrgetter("category"),
    model_targets.ClassifierOutputReST: attrgetter("category"),
    model_targets.FinerWeightedTarget: attrgetter("main_category"),
}


def _as_usus(target: Callable[[Any], Tensor]) -> Target:
    """Return the class that a target of the library names, or else its score of every image."""
    if type(target) in _CLASS_OF:
        return int(_CLASS_OF[type(target)](target))

    return EachImage(target)


def _forget(base: Any) -> None:
    """Drop what the hooks recorded and will record until the next call, which includes scored images."""
    base.activations_and_grads.activations = deque(maxlen=0)
    base.activations_and_grads.gradients = []


@contextmanager
def _untouched(model: nn.Module) -> Iterator[None]:
    """Give the model copies of its inputs, and restore the gradients, which the library sets to None."""
    gradients = [(parameter, parameter.grad) for parameter in model.parameters()]
    copying = model.register_forward_pre_hook(lambda _, inputs: (inputs[0].clone(), *inputs[1:]))
    try:
        with copying, frozen(model.parameters()):
            yield
    finally:
        for parameter, gradient in gradients:
            parameter.grad = gradient


@contextmanager
def _instead_of_its_maps(base: Any, maps: Callable[..., Any]) -> Iterator[None]:
    base.compute_cam_per_layer = maps
    try:
        yield
    finally:
        del base.compute_cam_per_layer  # uncovers the class's own
        _forget(base)
