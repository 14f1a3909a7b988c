"""Other people's maps, at stated numbers of forward passes: the methods that ours are compared with.

All of them explain the target's softmax probability and replace masked pixels by the same blurred image.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from tasks import BATCH, Method, Task
from torch import Tensor
from torch.nn.functional import interpolate

import usu

# Of the guided filter: the window's radius in pixels, half a Grad-CAM cell, and He et al.'s ε, for pictures
# in [0, 1]: where colours deviate by less than √ε, 3 % of the range, the map is smoothed.
GUIDED_RADIUS, GUIDED_EPS = 16, 1e-3
# RISE: cells per side and the chance that a cell stays, as Petsiuk et al.
RISE_CELLS, RISE_KEPT = 7, 0.5
SEGMENTS = 64


def interpolation(task: Task, mode: usu.Mode) -> Tensor:
    """Grad-CAM, raw and signed, blown up."""
    size = task.photograph.inputs.shape[-2:]
    blown_up: Tensor = usu.interpolate(task.coarse.values[0], size, mode)
    return blown_up


def guided_filter(task: Task) -> Tensor:
    """Bilinear Grad-CAM, filtered with the picture as the guide (He et al.)."""
    from kornia.filters import guided_blur

    guide, map_ = task.photograph.picture[None], interpolation(task, "bilinear")[None, None]
    filtered: Tensor = guided_blur(guide, map_, 2 * GUIDED_RADIUS + 1, GUIDED_EPS)
    return filtered[0, 0]


def rise(task: Task, passes: int) -> Tensor:
    """RISE (Petsiuk et al., 2018): the mean of random smooth masks, weighted by the answer."""
    height, width = task.fill.shape[-2:]
    cell = [-(-side // RISE_CELLS) for side in (height, width)]
    generator = torch.Generator().manual_seed(0)
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
        total += torch.einsum("b,bhw->hw", task.keep(masks).double(), masks.double())
    return total / passes / RISE_KEPT


def captum_surrogate(task: Task, method: str, passes: int) -> Tensor:
    """Captum's KernelShap or Lime, with its defaults: a linear model of random sets of SLIC segments."""
    import captum.attr

    labels = usu.segment(task.photograph.picture, (SEGMENTS,), "slic").levels[0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002 - what the library draws from
        values = getattr(captum.attr, method)(task.answers).attribute(
            task.photograph.inputs[None],
            baselines=task.fill[None],
            feature_mask=labels[None, None],
            n_samples=passes,
            perturbations_per_eval=BATCH,
        )
    result: Tensor = values[0, 0]
    return result


def shap_partition(task: Task, passes: int) -> np.ndarray:
    """SHAP's partition explainer: Owen values on halved rectangles, the most valuable one split first."""
    import shap

    def answers(batch: np.ndarray) -> np.ndarray:
        inputs = torch.from_numpy(np.ascontiguousarray(np.moveaxis(batch, -1, 1))).to(task.fill)
        return task.answers(inputs).numpy()

    image, fill = (one.permute(1, 2, 0).contiguous().numpy() for one in (task.photograph.inputs, task.fill))
    np.random.seed(0)  # noqa: NPY002 - the library breaks ties by it
    masker = shap.maskers.Image(fill, fill.shape)
    found = shap.PartitionExplainer(answers, masker)(image[None], max_evals=passes, silent=True)
    return found.values[0].sum(-1)


def xrai(task: Task) -> np.ndarray:
    """XRAI (Kapishnikov et al., 2019), with its package's defaults: regions by integrated gradients."""
    from saliency.core import INPUT_OUTPUT_GRADIENTS, XRAI

    def gradients(batch: np.ndarray, *_: object, **__: object) -> dict[str, np.ndarray]:
        inputs = torch.from_numpy(np.moveaxis(np.asarray(batch), -1, 1)).to(task.fill).requires_grad_()
        answers = task.model(inputs).softmax(1)[:, task.photograph.target]
        (gradient,) = torch.autograd.grad(answers.sum(), inputs)
        return {INPUT_OUTPUT_GRADIENTS: np.moveaxis(gradient.numpy(), 1, -1)}

    image = task.photograph.inputs.permute(1, 2, 0).numpy()
    found: np.ndarray = XRAI().GetMask(image, gradients, batch_size=BATCH)
    return found


PEERS: dict[str, Method] = {
    "nearest": partial(interpolation, mode="nearest"),
    "bilinear": partial(interpolation, mode="bilinear"),
    "guided filter": guided_filter,
    "RISE 160": partial(rise, passes=160),
    "KernelShap 160": partial(captum_surrogate, method="KernelShap", passes=160),
    "Lime 160": partial(captum_surrogate, method="Lime", passes=160),
    "SHAP partition 160": partial(shap_partition, passes=160),
}
# Measured only when named: they take minutes per photograph and compete at other prices.
DEAR: dict[str, Method] = {
    "RISE 1600": partial(rise, passes=1600),
    "SHAP partition 1000": partial(shap_partition, passes=1000),
    "XRAI": xrai,
}
