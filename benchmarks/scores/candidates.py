"""This library's own maps, as `benchmarks/scores` compares them: one entry each in `CANDIDATES`."""

from __future__ import annotations

from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

import usu
import usu.scoring.owen
from benchmarks.scores.contexts import one_context
from benchmarks.scores.hierarchies import FINE, TREES, even_map, segmentation
from benchmarks.scores.shifts import SHIFTED
from benchmarks.scores.tasks import Method, Pixels, Task
from usu.operators.upsamplers import find_upsampler
from usu.scoring.owen import pixel_scores
from usu.settings import Settings

# The defaults of version 0.1.0, written out: they stay what they were when the library's change.
MASKING: dict[str, Any] = {
    "segmentation": {"watershed": (16, 32), "slic": (16, 32), "quadtree": (16, 32)},
    "scoring": "mask",
    "temperature": 0.2,
}


def masking(task: Task) -> dict[str, Pixels]:
    """Masked perturbation of six partitions: the scores, strict USU and the hybrid, from the same passes."""
    coarse, photograph = task.coarse("gradcam"), task.photograph
    found = usu.upsample(
        coarse.values[0],
        photograph.inputs,
        task.model,
        photograph.target,
        mass=coarse.mass,
        images=photograph.picture,
        mode="usu",
        **MASKING,
    )
    temperature = Settings.of(**MASKING).temperature
    hybrid = find_upsampler("hybrid", temperature=temperature, mass=coarse.mass)
    return {
        "scores masking": found.score_map,
        "usu masking": found.attribution,
        "hybrid masking": hybrid(coarse.values[0], found.score_map),
    }


# Of the complete map.
TEMPERATURE = 1.0


def valued(task: Task, tree: str, method: str = "owen", passes: int = 158) -> dict[str, Pixels]:
    """Owen values, or a fit to random coalitions, on one tree or on several that share the passes."""
    coarse, photograph = task.coarse("gradcam"), task.photograph
    found = usu.upsample(
        coarse.values[0],
        photograph.inputs,
        task.model,
        photograph.target,
        mass=coarse.mass,
        images=photograph.picture,
        segmentation=segmentation(task, tree),
        scoring=method,
        passes=passes,
        mode="usu",
    )
    return {f"scores {method} {tree}": found.score_map}


def owen(task: Task, passes: int = 160) -> dict[str, Pixels]:
    """Owen values on one tree, and what is made of them: complete maps, and scores to redistribute by.

    The control shares each player's mass by gradients that were shuffled over the image: what pixels gain by
    being told apart at all, and by holes that are scattered.
    """
    coarse, photograph = task.coarse("gradcam"), task.photograph
    task.model.passes -= 1  # what the complete map alone does not need
    found = _complete(task, passes)
    scores = found.scores[0][found.partitions[0]]
    cam = usu.interpolate(coarse.values[0], tuple(photograph.inputs.shape[-2:]), "bilinear")
    random = torch.Generator().manual_seed(0)
    shuffled = found.score_map.flatten()[torch.randperm(found.score_map.numel(), generator=random)]
    maps: dict[str, Pixels] = {
        f"complete {passes}": found.attribution,
        f"complete, even, {passes}": found.upsampled_by("nearest"),
        f"complete by Grad-CAM {passes}": _shared(found, pixel_scores(cam)),
        f"complete by shuffled gradients {passes}": _shared(found, shuffled.view_as(cam)),
        f"complete, ε = 1.5, {passes}": _shared(found, found.score_map, temperature=1.5),
        f"scores owen {passes}": scores,
    }
    for name in ("usu", "hybrid"):
        upsampler = find_upsampler(name, temperature=0.2, mass=coarse.mass)
        maps[f"{name} owen {passes}"] = upsampler(coarse.values[0], torch.as_tensor(scores))
    return maps


def sharing(task: Task) -> dict[str, Pixels]:
    """Return complete maps of the same players, shared by other pixel scores and at other temperatures."""
    found = _complete(task, 160)
    gradient = _first_order(task)
    random = torch.Generator().manual_seed(0)
    shuffled = gradient.flatten()[torch.randperm(gradient.numel(), generator=random)].view_as(gradient)
    local = pixel_scores(_blurred(gradient.abs(), 3.0))
    scores = {
        "gradient": pixel_scores(gradient),
        "both signs": (gradient / gradient.square().mean().sqrt()).sigmoid(),
        "|gradient|": pixel_scores(gradient.abs()),
        "gradient, blurred by 1": pixel_scores(_blurred(gradient, 1.0)),
        "gradient, blurred by 4": pixel_scores(_blurred(gradient, 4.0)),
        "gradient and |gradient| blurred by 3": (pixel_scores(gradient) + local) / 2,
        "gradient, shuffled": pixel_scores(shuffled),
        "noise": pixel_scores(torch.randn(gradient.shape, generator=random)),
    }
    maps = {f"complete by {name}": _shared(found, score) for name, score in scores.items()}
    for temperature in (0.5, 0.75, 1.5, 2.0):
        name = f"complete by gradient, ε = {temperature}"
        maps[name] = _shared(found, scores["gradient"], temperature)
    return maps


def _first_order(task: Task) -> Tensor:
    """Return the gradient of the probability times the difference from the fill, (H, W)."""
    inputs = task.inputs[None].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(task.model(inputs).softmax(1)[0, task.target], inputs)
    return (gradient[0] * (task.inputs - task.fill)).sum(0)


def _blurred(values: Tensor, sigma: float) -> Tensor:
    from torchvision.transforms.functional import gaussian_blur

    blurred: Tensor = gaussian_blur(values[None], [2 * round(3 * sigma) + 1] * 2, [sigma] * 2)[0]
    return blurred


def _complete(task: Task, passes: int) -> usu.Explanation:
    """Return the complete map at a number of passes, two of them for the gradient: there and back."""
    photograph = task.photograph
    found: usu.Explanation = usu.explain(
        task.model,
        photograph.inputs,
        photograph.target,
        mode="complete",
        images=photograph.picture,
        segmentation={"slic": FINE},
        scoring="owen",
        temperature=TEMPERATURE,
        passes=passes - 2,
    )
    task.model.passes += 1
    return found


def _shared(found: usu.Explanation, scores: Tensor, temperature: float = TEMPERATURE) -> Pixels:
    shared: Tensor = usu.redistribute(
        found.coarse,
        scores,
        neighbourhoods=found.neighbourhoods,
        mass="total",
        temperature=temperature,
        negative="opposite",
    )
    return shared


def budget(task: Task, passes: int) -> dict[str, Pixels]:
    """Return the complete map alone, at another number of passes."""
    return {f"complete {passes}": _complete(task, passes).attribution}


def complete(task: Task, tree: str, power: float = 0.0) -> dict[str, Pixels]:
    """Other trees and turns: the complete map, spread evenly, and smoothed along the photograph's edges."""
    with patch.object(usu.scoring.owen, "_AREA_POWER", power):
        found = even_map(task, segmentation(task, tree), passes=160)
    even = torch.as_tensor(found.upsampled_by("nearest"))
    smooth = _along_edges(even, task.picture)
    name = f"{tree}, power {power}"
    return {f"even, {name}": even, f"guided, {name}": smooth}


def finished(task: Task, tree: str) -> dict[str, Pixels]:
    """Owen values smoothed along the photograph's edges, and mixed with Grad-CAM: no further pass but one."""
    scores = torch.from_numpy(task.made_by(f"owen {tree}")[f"scores owen {tree}"])
    coarse = torch.as_tensor(task.coarse("gradcam").values[0])[None, None].clamp(min=0)
    cam = torch.nn.functional.interpolate(coarse, scores.shape, mode="bilinear", align_corners=False)[0, 0]
    cam = cam / cam.max().clamp(min=1e-12)
    smooth = _along_edges(scores, task.photograph.picture)
    return {
        f"guided owen {tree}": smooth,
        f"owen {tree} + 0.3 cam": scores / scores.mean() + 0.3 * cam / cam.mean(),
        f"owen {tree} + cam": scores / scores.mean() + cam / cam.mean(),
        f"owen {tree} x cam": scores * (cam + 0.3),
        f"guided owen {tree} + 0.5 cam": smooth / smooth.mean() + 0.5 * cam / cam.mean(),
    }


def _along_edges(scores: Tensor, picture: Tensor, radius: int = 16, eps: float = 1e-3) -> Tensor:
    from kornia.filters import guided_blur

    return guided_blur(picture[None], scores[None, None], 2 * radius + 1, eps)[0, 0]


FINISHED = ("slic, watershed", "halved slic", "slic, watershed, quadtree")

CANDIDATES: dict[str, Method] = {
    "masking": masking,
    "owen": owen,
    "sharing": sharing,
    **{f"complete {tree}": partial(complete, tree=tree) for tree in TREES},
    **{f"complete 0.5 {tree}": partial(complete, tree=tree, power=0.5) for tree in TREES},
    **{f"complete {passes}": partial(budget, passes=passes) for passes in (40, 80, 320)},
    **{f"finished {tree}": partial(finished, tree=tree) for tree in FINISHED},
    **{f"owen {tree}": partial(valued, tree=tree) for tree in TREES},
    "one context": partial(one_context, tree="halved slic"),
    **{
        f"random {tree}": partial(valued, tree=tree, scoring="regression") for tree in ("slic", "halved slic")
    },
    **SHIFTED,
}
