"""What the maps of a scene are made from: gradients and score maps, made once for all grids and methods."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import usu
from usu.reproduce.methods import Case
from usu.scoring.controls import mean_map, scattered_segments, shuffled
from usu.segmentation.hierarchy import Hierarchy
from usu.sources.registry import find_source
from usu.worlds.aggregation import aggregate
from usu.worlds.gradients import attribution
from usu.worlds.scene import Scene

GRIDS = (4, 7, 14)


@dataclass(frozen=True)
class Scoring:
    """How segments are made and scored: in the same way for all networks."""

    # Numbers of segments by method, as `usu.Settings` takes it.
    segmentation: Mapping[str, tuple[int, ...]] = field(default_factory=lambda: {"watershed": (2, 8)})
    method: str = "mask"  # "mask", "keep" or "both"
    baselines: str = "zeros"  # what replaces masked pixels
    output: str = "probability"  # "probability" or "logit"

    def options(self) -> dict[str, Any]:
        """Return the options that `usu.refine` and `usu.upsample` share."""
        return {"scoring": self.method, "baselines": self.baselines, "output": self.output}

    def plain(self) -> dict[str, Any]:
        """Return the settings as values that JSON can hold."""
        segmentation = {name: list(counts) for name, counts in self.segmentation.items()}
        return {"segmentation": segmentation, **self.options()}


@dataclass(frozen=True, eq=False)
class Evidence:
    """A scene as a network sees it."""

    truth: Tensor  # (H, W)
    # Fine attribution maps by source, (h, w), to be summed into cells: "gradient" |∇ₓ s_y| of every pixel;
    # "gradcam" the positive part of Grad-CAM at the CNN's third convolution.
    maps: Mapping[str, Tensor]
    # Score maps (H, W) in [0, 1]: "model" the pipeline's; "shuffled" the same scores given to other segments;
    # "random segments" the model's for segments that ignore the image; "true segments" the model's for
    # foreground and background; "true scores" the share of each of the pipeline's segments that is
    # foreground; "truth" the foreground.
    scores: Mapping[str, Tensor]
    forward_passes: int  # of the pipeline's scores

    def case(self, source: str, grid: int) -> Case:
        """Return what a map on a grid of `grid` × `grid` cells is made from."""
        coarse, true_coarse = (aggregate(fine, (grid, grid)) for fine in (self.maps[source], self.truth))
        return Case(coarse, true_coarse, self.scores)


def segmented(scenes: Sequence[Scene], scoring: Scoring) -> list[list[Hierarchy]]:
    """Return the hierarchies of each scene's picture; they do not depend on the network."""
    wanted = scoring.segmentation.items()
    return [[usu.segment(scene.picture, counts, name) for name, counts in wanted] for scene in scenes]


def scored(
    model: nn.Module, scenes: Sequence[Scene], hierarchies: Sequence[Sequence[Hierarchy]], scoring: Scoring
) -> list[usu.Explanation]:
    """Run the pipeline on a batch of scenes for its score maps, which depend on no coarse map."""
    inputs = torch.stack([scene.inputs for scene in scenes])
    explanations: list[usu.Explanation] = usu.upsample(
        inputs.new_zeros(len(scenes), 1, 1),
        inputs,
        model,
        [scene.target for scene in scenes],
        images=torch.stack([scene.picture for scene in scenes]),
        segmentation=[list(several) for several in hierarchies],
        **scoring.options(),
    )
    return explanations


def gather(
    model: nn.Module,
    scenes: Sequence[Scene],
    numbers: Sequence[int],
    hierarchies: Sequence[Sequence[Hierarchy]],
    scoring: Scoring,
    sources: Sequence[str] = ("gradient",),
    seed: int = 0,
) -> list[Evidence]:
    """Return the evidence of a batch of scenes of one size for one network, in evaluation mode.

    The numbers of the scenes seed their random controls, the same for every network; `hierarchies` are those
    of each scene, from `segmented`.
    """
    inputs = torch.stack([scene.inputs for scene in scenes])
    targets = [scene.target for scene in scenes]
    truths = [scene.truth for scene in scenes]
    random = [np.random.default_rng([seed, number]) for number in numbers]
    explanations = scored(model, scenes, hierarchies, scoring)
    finest = max(count for counts in scoring.segmentation.values() for count in counts)
    chance = [
        Hierarchy((scattered_segments((truth.shape[0], truth.shape[1]), finest, generator),))
        for truth, generator in zip(truths, random, strict=True)
    ]
    halves = [Hierarchy(((truth > 0).long(),)) for truth in truths]
    by_chance, by_truth = (
        usu.refine(model, inputs, several, targets, **scoring.options()) for several in (chance, halves)
    )
    maps = {source: SOURCES[source](model, inputs, targets) for source in sources}
    return [
        Evidence(
            truth=truth,
            maps={source: values[index] for source, values in maps.items()},
            scores={
                "model": torch.as_tensor(explanation.score_map),
                "shuffled": shuffled(explanation, random[index]),
                "random segments": by_chance[index].score_map,
                "true segments": by_truth[index].score_map,
                "true scores": true_scores(explanation, truth),
                "truth": (truth > 0).to(truth),
            },
            forward_passes=explanation.forward_passes,
        )
        for index, (truth, explanation) in enumerate(zip(truths, explanations, strict=True))
    ]


# Of the CNN, after its ReLU: 56 × 56 values of an image of 224 × 224 pixels.
_THIRD_CONVOLUTION = "features.7"


def _gradcam(model: nn.Module, inputs: Tensor, targets: list[int]) -> Tensor:
    found = find_source("gradcam")(model, inputs, targets, _THIRD_CONVOLUTION)
    return torch.as_tensor(found.values).clamp(min=0)


# From a network, a batch of inputs and the class of each to fine maps (B, h, w).
SOURCES: Mapping[str, Callable[[nn.Module, Tensor, list[int]], Tensor]] = {
    "gradient": attribution,
    "gradcam": _gradcam,
}


def true_scores(explanation: usu.Explanation, truth: Tensor) -> Tensor:
    """Return the score map with each segment's score replaced by its share of foreground."""
    inside = (truth > 0).to(torch.float32).flatten()
    shares = []
    for labels in explanation.partitions:
        flat = torch.as_tensor(labels).flatten()
        shares.append(torch.bincount(flat, weights=inside) / torch.bincount(flat))
    return mean_map(explanation, shares)
