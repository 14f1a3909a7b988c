"""What a map should look like by default: patchwork or continuous, scores along edges or not, and which ε.

    python -m benchmarks.studies.looks DATA [--scenes 24] [--worlds NAME...] [--out DIR] [--table PAGE]

DATA is a folder of photographs, taken in the order of a hash of their names. The first, third, ... form the
choosing half, on which each way's ε is chosen; the second, fourth, ... the reporting half, with `--scenes`
scenes of each world, twice as many as the choosing half has. EfficientNet-Lite0 explains by its raw Grad-CAM;
scores are the pipeline's. "filtered" scores went through a guided filter by the picture.

* pasted, mosaics: composed photographs, whose truth is known (`benchmarks.studies.known_truth`): the share of
  the positive mass on it (relevance mass accuracy) and the IoU, over the image and over the cells that its
  border cuts.
* curves: photographs. Areas of deletion and insertion over the class's probability, with two fills, of the
  map as it is and of the band-limited map, smoothed by a Gaussian of 6 pixels at 224.

A scene's rows are written when all its maps are judged, and a second run judges what is missing. `--scenes 0`
only makes the tables, which are printed or become a page.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pandas as pd
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn
from tqdm import tqdm

from benchmarks.scores.curves import Curves, ranks
from benchmarks.scores.photographs import Photograph, photographs
from benchmarks.scores.score_tables import FILLS, HALVES
from benchmarks.studies.known_truth import CELL, GRID, found
from benchmarks.studies.look_tables import EPSILONS, FIXED, SCORED, SQUARED, page
from usu.bench.datasets.files import image_names
from usu.bench.methods.image import Subject
from usu.bench.methods.peers import guided_by
from usu.bench.methods.registry import CONTESTANTS
from usu.models.baselines import make_fill
from usu.models.classifier import Classifier
from usu.models.compiled import quickened
from usu.models.loading import load_classifier
from usu.runtime.files import written_whole
from usu.worlds.mosaics import mosaics
from usu.worlds.pasted import pasted
from usu.worlds.scene import Scene

# Of the scores' guided filter, at 224 pixels; and of the Gaussian that removes grain.
RADIUS, BAND = 8, 6
MASKED = {"scoring": "mask"}  # whatever the pipeline's default
SURE = 0.5  # least probability of a photograph that becomes part of a scene

# From maps (H, W) to their measures.
Judge: TypeAlias = "Callable[[Tensor], dict[str, float]]"


@dataclass(frozen=True)
class Look:
    """One way to make a map: a name and, for those with scores, ε and whether the scores are filtered."""

    name: str
    epsilon: float = np.nan
    filtered: bool = False

    def draw(self, subject: Subject) -> Tensor:
        """Return the map (H, W)."""
        if self.name == SQUARED:
            pixels = Look("bilinear").draw(subject)
            return pixels * pixels.abs()
        if self.name in CONTESTANTS and self.name not in SCORED:
            return CONTESTANTS[self.name].draw(subject, "gradcam").values
        scores = torch.as_tensor(subject.scoring().score_map)
        if self.filtered:
            scores = subject.share("filtered", lambda: along_edges(scores, subject.picture)).made
        pixels = subject.coarse("gradcam").upsample(
            self.name, scores, **({"temperature": self.epsilon} if self.name in SCORED else {})
        )
        return pixels.double()


LOOKS = (
    *map(Look, FIXED),
    *(Look(name, epsilon, kind) for name in SCORED for kind in (False, True) for epsilon in EPSILONS),
)


def along_edges(scores: Tensor, picture: Tensor) -> Tensor:
    """Return a score map (H, W) after a guided filter by its picture (3, H, W), still in [0, 1]."""
    radius = round(RADIUS * max(scores.shape) / 224)
    return guided_by(picture, scores, radius).clamp(0, 1)


# ------------------------------------------------------------------------------------------------- worlds


@dataclass(frozen=True)
class Case:
    """What is explained, and how its maps are judged."""

    subject: Subject
    judge: Judge


@dataclass(frozen=True)
class Studied:
    """The network and the photographs of one half."""

    classifier: Classifier
    quick: nn.Module
    photographs: Sequence[Photograph]

    @property
    def sure(self) -> list[Photograph]:
        """Those of which scenes are composed."""
        return [one for one in self.photographs if one.probability >= SURE]

    def subject(self, one: Photograph | Scene) -> Subject:
        """Return what maps are made of."""
        return Subject(
            self.classifier.model, one.inputs, one.picture, one.target, quick=self.quick, settings=MASKED
        )


def _pasted(studied: Studied, count: int) -> Iterator[Case]:
    for one in pasted(studied.classifier, studied.sure, count, GRID):
        yield _composed(studied, one.scene)


def _mosaics(studied: Studied, count: int) -> Iterator[Case]:
    height, width = (2 * side // CELL for side in studied.classifier.prepare.crop)
    for one in mosaics(studied.classifier, studied.sure, count, (height, width)):
        yield _composed(studied, one.scene)


def _composed(studied: Studied, scene: Scene) -> Case:
    subject = studied.subject(scene)
    grid = (subject.size[0] // CELL, subject.size[1] // CELL)

    def judge(pixels: Tensor) -> dict[str, float]:
        measures = found(pixels, scene.truth, grid)
        del measures["pointing"]  # nearly every map hits
        return measures

    return Case(subject, judge)


def _curves(studied: Studied, count: int) -> Iterator[Case]:
    for one in studied.photographs[:count]:
        fills = {fill: make_fill(one.inputs[None], fill)[0] for fill in FILLS}
        judges = {name: Curves(studied.quick, one.inputs, fill, one.target) for name, fill in fills.items()}
        yield Case(studied.subject(one), partial(areas, judges))


def areas(judges: Mapping[str, Curves], pixels: Tensor) -> dict[str, float]:
    """Return a map's areas of deletion and insertion by fill, as it is and band-limited."""
    values = pixels.numpy()
    limited = gaussian_filter(values, BAND * max(values.shape) / 224)
    return {
        f"{curve}, {fill}{kind}": area
        for kind, one in (("", values), (", band-limited", limited))
        for fill, judge in judges.items()
        for curve, area in zip(("deletion", "insertion"), judge.areas(ranks(one)), strict=True)
    }


WORLDS: Mapping[str, Callable[[Studied, int], Iterator[Case]]] = {
    "pasted": _pasted,
    "mosaics": _mosaics,
    "curves": _curves,
}


def measure(world: str, studied: Studied, half: str, count: int, path: Path) -> None:
    """Judge all looks on the scenes of one half that a file of rows lacks, and write it after each scene."""
    rows = pd.read_parquet(path) if path.exists() else pd.DataFrame(columns=["half", "scene"])
    done = set(rows[rows["half"] == half]["scene"])
    if done >= set(range(count)):
        return
    cases = tqdm(WORLDS[world](studied, count), f"{world}, {half}", total=count)
    for scene, case in enumerate(cases):
        if scene in done:
            continue
        judged = [
            {"half": half, "scene": scene, "map": look.name, "filtered": look.filtered}
            | {"epsilon": look.epsilon}
            | case.judge(look.draw(case.subject).cpu())
            for look in LOOKS
        ]
        rows = pd.concat([rows, pd.DataFrame(judged)]) if len(rows) else pd.DataFrame(judged)
        with written_whole(path) as file:
            rows.to_parquet(file, index=False)


def main() -> None:
    """Judge what is missing, and print or write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder of photographs")
    parser.add_argument("--scenes", type=int, default=24, help="of the reporting half (default: 24)")
    parser.add_argument("--worlds", nargs="+", choices=WORLDS, default=list(WORLDS), metavar="NAME")
    parser.add_argument("--out", type=Path, default=Path("results/looks"))
    parser.add_argument("--table", type=Path, help="write the tables to this page")
    options = parser.parse_args()
    if options.scenes:
        options.out.mkdir(parents=True, exist_ok=True)
        classifier = load_classifier("efficientnet-lite0")
        every = list(photographs(options.data, classifier, len(image_names(options.data))))
        quick = quickened(classifier.model, every[0].inputs)
        for world in options.worlds:
            for number, half in enumerate(HALVES):
                studied = Studied(classifier, quick, every[number::2])
                count = options.scenes if half == "reporting" else options.scenes // 2
                measure(world, studied, half, count, options.out / f"{world}.parquet")
    text = page({name: path for name in WORLDS if (path := options.out / f"{name}.parquet").exists()})
    if options.table is None:
        print(text, end="")
    else:
        with written_whole(options.table) as file:
            file.write(text.encode())


if __name__ == "__main__":
    main()
