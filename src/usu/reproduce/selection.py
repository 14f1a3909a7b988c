"""The choice of how segments are made and scored: on validation scenes, never on those that are reported."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from usu.reproduce.evidence import GRIDS, Evidence, Scoring, scored, segmented
from usu.reproduce.measured import MEASURES
from usu.reproduce.methods import UPSAMPLED
from usu.reproduce.subjects import FULL, QUICK, SUBJECTS, validation_scenes
from usu.runtime.files import written_whole
from usu.worlds.gradients import attribution
from usu.worlds.scene import Scene

# Numbers of segments by method, from one segment for the whole object to the pipeline's own default.
SEGMENTATIONS: tuple[Mapping[str, tuple[int, ...]], ...] = (
    {"watershed": (2, 8)},
    {"watershed": (2, 8), "slic": (2, 8)},
    {"watershed": (4, 16), "slic": (4, 16)},
    {"watershed": (16, 32), "slic": (16, 32), "quadtree": (16, 32)},
)
BASELINES = ("blur", "mean", "zeros")
OUTPUTS = ("probability", "logit")
METHODS = ("mask", "both")

_SCENES = 12
_JUDGED = ("usu", "iwmr")
_BY = ("iou_area", "concentration")


@dataclass(frozen=True)
class Candidate:
    """One way to score and how it did."""

    scoring: Scoring  # the settings
    figures: Mapping[str, Mapping[str, float]]  # mean over scenes and grids by network and "method measure"
    forward_passes: float  # mean per scene

    @property
    def merit(self) -> float:
        """Return the mean of IoU at area and concentration, of USU and IWMR, over all networks."""
        return float(np.mean([list(figures.values()) for figures in self.figures.values()]))

    def plain(self) -> dict[str, Any]:
        """Return the record as values that JSON can hold."""
        return {
            **self.scoring.plain(),
            "merit": self.merit,
            "forward_passes": self.forward_passes,
            "figures": {name: dict(figures) for name, figures in self.figures.items()},
        }


def choose(folder: Path, quick: bool) -> list[str]:
    """Try ways of scoring on the few segments, then other segments with the best way; write the ranking."""
    effort = QUICK if quick else FULL
    networks = {
        subject.name: subject.trained(effort).model
        for subject in SUBJECTS
        if subject.strong and subject.paper  # the vision transformer is not the paper's
    }
    scenes = list(validation_scenes(effort)[:_SCENES])
    few, *others = SEGMENTATIONS
    ways = [Scoring(few, *way) for way in itertools.product(METHODS, BASELINES, OUTPUTS)]
    bar = partial(tqdm, unit="candidate", disable=None)
    results = [judge(networks, scenes, way) for way in bar(ways, desc="ways of scoring")]
    best = max(results, key=lambda result: result.merit).scoring
    for segmentation in bar(others, desc="other segments"):
        results.append(judge(networks, scenes, replace(best, segmentation=segmentation)))
    results.sort(key=lambda result: -result.merit)
    with written_whole(folder / "settings.json") as file:
        text = json.dumps([result.plain() for result in results], indent=1, ensure_ascii=False)
        file.write(text.encode() + b"\n")
    return render(results, len(scenes))


def judge(networks: Mapping[str, nn.Module], scenes: Sequence[Scene], scoring: Scoring) -> Candidate:
    """Return how one way to score does on some scenes."""
    hierarchies = segmented(scenes, scoring)
    inputs = torch.stack([scene.inputs for scene in scenes])
    figures, passes = {}, []
    for name, model in networks.items():
        explanations = scored(model, scenes, hierarchies, scoring)
        gradients = attribution(model, inputs, [scene.target for scene in scenes])
        passes += [explanation.forward_passes for explanation in explanations]
        found: dict[str, list[float]] = {}
        for scene, explanation, fine in zip(scenes, explanations, gradients, strict=True):
            truth = scene.truth.double().numpy()
            scores = {"model": torch.as_tensor(explanation.score_map)}
            evidence = Evidence(scene.truth, {"gradient": fine}, scores, explanation.forward_passes)
            for grid, method, measure in itertools.product(GRIDS, _JUDGED, _BY):
                pixels = UPSAMPLED[method].draw(evidence.case("gradient", grid)).double().numpy()
                found.setdefault(f"{method} {measure}", []).append(MEASURES[measure](pixels, truth))
        figures[name] = {key: float(np.mean(values)) for key, values in found.items()}
    return Candidate(scoring, figures, float(np.mean(passes)))


def render(results: list[Candidate], scenes: int) -> list[str]:
    """Return the ranking as lines, the best first."""
    lines = [
        f"{len(results)} candidates on {scenes} validation scenes. Merit: mean IoU at the truth's area and",
        "concentration, of USU and IWMR, over grids and the paper's networks with the strongest penalty.",
        "",
        f"{'segments':58}{'method':>7}{'fill':>7}{'output':>13}{'passes':>8}{'merit':>7}",
    ]
    for result in results:
        scoring = result.scoring
        segments = ", ".join(f"{name} {counts}" for name, counts in scoring.segmentation.items())
        lines.append(
            f"{segments:58}{scoring.method:>7}{scoring.baselines:>7}{scoring.output:>13}"
            f"{result.forward_passes:>8.0f}{result.merit:>7.3f}"
        )
    return lines
