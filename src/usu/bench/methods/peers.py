"""Other people's pixel maps of a subject: the methods that ours are compared with, at stated passes.

All except RefineCAM explain the target's softmax probability, and all that mask pixels replace them by the
same blurred image.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

import usu
from usu.bench.methods.image import BATCH, Subject
from usu.models.contexts import frozen
from usu.models.layers import SpatialLayer, find_layer
from usu.runtime.lazy import needed
from usu.runtime.random import numpy_seeded, torch_seeded

# Of the guided filter: the window's radius in pixels, half a cell of Grad-CAM at 224 pixels, and He et al.'s
# ε for pictures in [0, 1]: where colours deviate by less than √ε, 3 % of the range, the map is smoothed.
GUIDED_RADIUS, GUIDED_EPS = 16, 1e-3
# RISE: cells per side and the probability that a cell stays, as Petsiuk et al.
RISE_CELLS, RISE_KEPT = 7, 0.5
# Occlusion: the side of the window, in strides; above 1 windows overlap, as in Zeiler and Fergus.
OCCLUSION_OVERLAP = 2
SURROGATE_SEGMENTS = 64

# The packages behind contestants, imported when they are needed.
LIBRARIES: Mapping[str, str] = MappingProxyType(
    {
        "guided": "kornia.filters",
        "guided-conserving": "kornia.filters",
        "occlusion": "captum.attr",
        "occlusion-10x": "captum.attr",
        "shap-partition": "shap",
        "xrai": "saliency.core",
        "refinecam": "pytorch_grad_cam",
    }
)


def library(module: str) -> Any:
    """Return a module of another package.

    Raises:
        ImportError: it is not installed; the message names the extra.
    """
    with needed(f"contestants need {module.partition('.')[0]}", "bench"), warnings.catch_warnings():
        # Of matplotlib, for shap's colour maps.
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        found: Any = import_module(module)
    return found


def interpolation(subject: Subject, source: str, mode: str) -> Tensor:
    """Return a coarse map upsampled to (H, W), by the name of an upsampler that needs no scores."""
    even = subject.inputs.new_full(subject.size, 0.5)
    pixels: Tensor = subject.coarse(source).upsample(mode, even)
    return pixels


def guided_filter(subject: Subject, source: str) -> Tensor:
    """Return the bilinear map, filtered with the picture as the guide (He et al., 2010)."""
    return guided_by(subject.picture, interpolation(subject, source, "bilinear"))


def guided_by(picture: Tensor, pixels: Tensor, radius: int = GUIDED_RADIUS) -> Tensor:
    """Return a map (H, W), filtered with the picture (3, H, W) as the guide; the radius is in pixels."""
    filtered: Tensor = library("kornia.filters").guided_blur(
        picture[None].to(pixels), pixels[None, None], 2 * radius + 1, GUIDED_EPS
    )
    return filtered[0, 0]


def rise(subject: Subject, passes: int) -> Tensor:
    """Return RISE's map of pixels: the mean of random smooth masks, by the answer (Petsiuk, 2018)."""
    height, width = subject.size
    cell = [-(-side // RISE_CELLS) for side in (height, width)]
    generator = torch.Generator().manual_seed(subject.seed)
    total = torch.zeros(height, width, dtype=torch.float64)
    for first in range(0, passes, BATCH):
        count = min(BATCH, passes - first)
        coins = torch.rand(count, 1, RISE_CELLS, RISE_CELLS, generator=generator) < RISE_KEPT
        grown = interpolate(
            coins.float(), [(RISE_CELLS + 1) * side for side in cell], mode="bilinear", align_corners=False
        )[:, 0]
        shifts = [torch.randint(side, (count,), generator=generator).tolist() for side in cell]
        masks = torch.stack(
            [mask[y : y + height, x : x + width] for mask, y, x in zip(grown, *shifts, strict=True)]
        )
        answers = subject.keep(masks.to(subject.inputs.device)).cpu()
        total += torch.einsum("b,bhw->hw", answers.double(), masks.double())
    return total / passes / RISE_KEPT


def occlusion(subject: Subject, passes: int) -> Tensor:
    """Return occlusion by a sliding window, by Captum (Zeiler and Fergus, 2014).

    The stride is the smallest that needs at most this many passes; it may need fewer.
    """
    height, width = subject.size
    stride = next(
        step
        for step in range(1, max(height, width) + 1)
        if _windows(height, step) * _windows(width, step) < passes
    )
    side = OCCLUSION_OVERLAP * stride
    inputs = subject.inputs[None]
    method = library("captum.attr").Occlusion(subject.answers)
    values: Tensor = method.attribute(
        inputs,
        sliding_window_shapes=(inputs.shape[1], min(side, height), min(side, width)),
        strides=(inputs.shape[1], stride, stride),
        baselines=subject.fill[None],
        perturbations_per_eval=BATCH,
    )
    return values[0, 0]


def _windows(length: int, stride: int) -> int:
    """Return how many windows Captum places along one axis."""
    return 1 + math.ceil(max(0, length - OCCLUSION_OVERLAP * stride) / stride)


def surrogate(subject: Subject, method: str, passes: int) -> Tensor:
    """Return Captum's "KernelShap" or "Lime", by its defaults: a linear model of random sets of segments."""
    labels = torch.as_tensor(usu.segment(subject.picture, (SURROGATE_SEGMENTS,), "slic").levels[0])
    with torch_seeded(subject.seed), numpy_seeded(subject.seed):  # the library draws from both
        values: Tensor = getattr(library("captum.attr"), method)(subject.answers).attribute(
            subject.inputs[None],
            baselines=subject.fill[None],
            feature_mask=labels[None, None].to(subject.inputs.device),
            n_samples=passes,
            perturbations_per_eval=BATCH,
        )
    return values[0, 0]


def shap_partition(subject: Subject, passes: int) -> Tensor:
    """Return SHAP's partition explainer: Owen values on halved rectangles, the most valuable split first."""
    shap = library("shap")

    def answers(batch: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        inputs = torch.from_numpy(np.ascontiguousarray(np.moveaxis(batch, -1, 1))).to(subject.fill)
        found: np.ndarray[Any, Any] = subject.answers(inputs).cpu().numpy()
        return found

    image, fill = (one.permute(1, 2, 0).contiguous().cpu().numpy() for one in (subject.inputs, subject.fill))
    masker = shap.maskers.Image(fill, fill.shape)
    with numpy_seeded(subject.seed):  # with which the library breaks ties
        found = shap.PartitionExplainer(answers, masker)(image[None], max_evals=passes, silent=True)
    return torch.from_numpy(found.values[0].sum(-1))


def xrai(subject: Subject) -> Tensor:
    """Return XRAI with its package's defaults: regions by integrated gradients (Kapishnikov et al., 2019)."""
    saliency = library("saliency.core")

    def gradients(batch: np.ndarray[Any, Any], *_: object, **__: object) -> dict[str, np.ndarray[Any, Any]]:
        inputs = torch.from_numpy(np.moveaxis(np.asarray(batch), -1, 1)).to(subject.fill).requires_grad_()
        answers = subject.model(inputs).softmax(1)[:, subject.target]
        (gradient,) = torch.autograd.grad(answers.sum(), inputs)
        return {saliency.INPUT_OUTPUT_GRADIENTS: np.moveaxis(gradient.cpu().numpy(), 1, -1)}

    image = subject.inputs.permute(1, 2, 0).cpu().numpy()
    with frozen(subject.model.parameters()):
        found = saliency.XRAI().GetMask(image, gradients, batch_size=BATCH)
    return torch.from_numpy(np.asarray(found))


def refinecam(subject: Subject) -> Tensor:
    """Return RefineCAM by pytorch-grad-cam: Grad-CAM++ of the last layer of each resolution, multiplied."""
    layers = resolutions(subject)
    # Of several, each has a grid of its own; they are of one kind, (B, C, h, w) or (B, h, w, C).
    kind = layers[-1] if len(layers) == 1 else replace(layers[-1], tokens=None)
    inputs = subject.inputs[None].clone().requires_grad_()
    cam = library("pytorch_grad_cam").RefineCAM(
        subject.model,
        [layer.module for layer in layers],
        reshape_transform=lambda output: kind.grid_of(output, subject.size),
    )
    try:
        with frozen(subject.model.parameters()):
            found = cam(inputs, [lambda outputs: outputs[subject.target]])
    finally:
        for one in cam.base_cam_per_layer:
            one.activations_and_grads.release()
    return torch.from_numpy(found[0])


def resolutions(subject: Subject) -> list[SpatialLayer]:
    """Return the last layer of each resolution in the model, from the finest to the coarsest.

    The coarsest is Grad-CAM's layer; what comes after it has no cells.
    """
    model, inputs = subject.model, subject.inputs[None]
    last, _ = find_layer(model, inputs, None)
    seen: list[tuple[SpatialLayer, int]] = []

    def remember(name: str, module: nn.Module) -> Any:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.dim() == 4 and len(output) == 1:
                seen.append((SpatialLayer(name, module), output.shape[-2] * output.shape[-1]))

        return hook

    handles = [module.register_forward_hook(remember(name, module)) for name, module in model.named_modules()]
    try:
        with torch.enable_grad():  # or the quick copy would run, which takes no hooks
            model(inputs)
    finally:
        for handle in handles:
            handle.remove()
    cells = {layer.name: count for layer, count in seen}
    coarsest = cells.get(last.name)
    if coarsest is None:  # tokens: all layers share one resolution
        return [last]
    by_resolution: dict[int, SpatialLayer] = {}
    for layer, count in seen:
        if coarsest < count < subject.size[0] * subject.size[1]:
            by_resolution[count] = layer
    return [*(by_resolution[count] for count in sorted(by_resolution, reverse=True)), last]
