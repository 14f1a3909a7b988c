"""How well pixel maps find a truth that is known: cut tiles, pasted photographs, written weights, cell sums.

    python -m benchmarks.studies.known_truth DATA [--scenes 24] [--worlds NAME...] [--out DIR] [--table PAGE]

DATA is a folder of photographs. The worlds:

* mosaics: four photographs of which EfficientNet-Lite0 is sure (0.5), 448 × 448 pixels. The tile of the class
  that is asked for is the truth (grid pointing game, Böhle et al., 2021). Borders cut the cells of Grad-CAM.
* pasted: a photograph shrunk to half its sides in another of another class, noticed by the network.
* colours: a network whose weights are written down, so that each pixel's share of the logit is known. The
  coarse map is right: the sums of the truth over 7 × 7 cells.
* sums: no network. Truths are summed over 7 × 7 cells and brought back, with the truth or its opposite as
  scores.

"bilinear-squared" is the bilinear map times its absolute value: what is owed to a peaked map alone. A scene's
line is written when all its maps are judged, and a second run judges what is missing. `--scenes 0` only makes
the tables, which are printed or become a page.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from torch import Tensor
from tqdm import tqdm

from benchmarks.scores.score_tables import TESTED, line, tested_cell
from usu.bench.datasets.files import image_names
from usu.bench.methods.image import Subject
from usu.bench.methods.registry import CONTESTANTS
from usu.metrics import alpha_total, correct, iou_area, paired_test, pointing_game, relevance_mass_accuracy
from usu.models.classifier import Classifier
from usu.models.compiled import quickened
from usu.models.images import read_image
from usu.models.loading import load_classifier
from usu.operators.coarse import Coarse
from usu.operators.lattice import grid as cells_of
from usu.operators.upsamplers import find_upsampler
from usu.runtime.files import written_whole
from usu.worlds.aggregation import TruthMap, aggregate, truth_maps
from usu.worlds.handset import ColourCounter, colour_scene
from usu.worlds.mosaics import mosaics, straddling
from usu.worlds.pasted import pasted
from usu.worlds.photographs import Photograph, confident
from usu.worlds.scene import Scene

CELL = 32  # pixels of a side, of Grad-CAM of EfficientNet-Lite0
GRID = (7, 7)
SQUARED = "bilinear-squared"
MASKED = {"scoring": "mask"}  # of our maps, whatever the pipeline's default

# From maps to their measures, by the map's name.
Judged: TypeAlias = "dict[str, dict[str, float]]"
# Judges the named maps of one scene.
Task: TypeAlias = "Callable[[Sequence[str]], Judged]"


def found_in_image(pixels: Tensor, truth: Tensor) -> dict[str, float]:
    """Judge a map by a mask."""
    return {
        "localisation": relevance_mass_accuracy(pixels.clamp(min=0), truth),
        "IoU": iou_area(pixels, truth),
        "pointing": pointing_game(pixels, truth),
    }


def found(pixels: Tensor, truth: Tensor, grid: tuple[int, int]) -> dict[str, float]:
    """Judge a map by a mask: over the image, and over the cells that hold pixels in and out of it."""
    cut = cells_of(grid, tuple(truth.shape)).spread(straddling(truth, grid).float()) > 0
    inside = truth[cut][None]
    return {
        **found_in_image(pixels, truth),
        "localisation, cut cells": relevance_mass_accuracy(pixels.clamp(min=0)[cut][None], inside),
        "IoU, cut cells": iou_area(pixels[cut][None], inside),
    }


def misplaced(pixels: Tensor, truth: Tensor) -> float:
    """Return the share of a map's positive mass that lies at the wrong pixel: α where masses are equal."""
    positive = pixels.double().clamp(min=0)
    total = positive.sum()
    return alpha_total(positive * (truth.double().sum() / total), truth) if total else 1.0


def drawn(names: Sequence[str], subject: Subject, source: str) -> Iterator[tuple[str, Tensor]]:
    """Yield maps (H, W) by name, the squared one among them."""
    for name in names:
        drawn = CONTESTANTS["bilinear" if name == SQUARED else name].draw(subject, source)
        pixels = drawn.values.cpu()
        yield name, pixels * pixels.abs() if name == SQUARED else pixels


# ------------------------------------------------------------------------------------------- photographs

FINDERS = (
    *("constant", "nearest", "bilinear", SQUARED, "guided", "usu", "random-segments", "iwmr", "hybrid"),
    *("scores", "complete", "shap-partition", "rise", "occlusion", "refinecam"),
)


def _mosaics(data: Path, count: int) -> list[Task]:
    classifier, photographs = _sure(data)
    height, width = (2 * side // CELL for side in classifier.prepare.crop)
    made = mosaics(classifier, photographs, count, (height, width))
    return _photographed(classifier, [one.scene for one in made])


def _pasted(data: Path, count: int) -> list[Task]:
    classifier, photographs = _sure(data)
    return _photographed(classifier, [one.scene for one in pasted(classifier, photographs, count, GRID)])


def _sure(data: Path) -> tuple[Classifier, list[Photograph]]:
    classifier = load_classifier("efficientnet-lite0")
    return classifier, confident(classifier, [read_image(data / name) for name in image_names(data)])


def _photographed(classifier: Classifier, scenes: Sequence[Scene]) -> list[Task]:
    quick = quickened(classifier.model, scenes[0].inputs)

    def judged(scene: Scene, names: Sequence[str]) -> Judged:
        subject = Subject(
            classifier.model, scene.inputs, scene.picture, scene.target, quick=quick, settings=MASKED
        )
        grid = (subject.size[0] // CELL, subject.size[1] // CELL)
        return {name: found(pixels, scene.truth, grid) for name, pixels in drawn(names, subject, "gradcam")}

    return [partial(judged, scene) for scene in scenes]


# ---------------------------------------------------------------------------------- numbers known exactly

SHARERS = (
    *("constant", "nearest", "bilinear", SQUARED, "bicubic", "lanczos", "guided", "usu", "random-segments"),
    *("iwmr", "hybrid", "scores", "complete", "shap-partition", "rise", "occlusion"),
)


def _colours(data: Path, count: int) -> list[Task]:
    model = ColourCounter()

    def judged(seed: int, names: Sequence[str]) -> Judged:
        scene = colour_scene(seed)
        subject = Subject(model, scene.inputs, scene.picture, scene.target, settings=MASKED)
        subject.share(("coarse", "exact"), lambda: Coarse(aggregate(scene.truth, GRID), "total"))
        return {
            name: {"misplaced": misplaced(pixels, scene.truth)}
            for name, pixels in drawn(names, subject, "exact")
        }

    return [partial(judged, seed) for seed in range(count)]


KERNELS = ("nearest", "bilinear", "bicubic", "lanczos")
SETTINGS: dict[str, dict[str, Any]] = {
    "ε = 0.2": {"temperature": 0.2},
    "ε = 0.1": {"temperature": 0.1},
    "φ(s) = s": {"potential": "power", "temperature": 1.0},
}
REDISTRIBUTED = {
    f"{method}, {kind} scores, {title}": (method, kind, setting)
    for kind in ("right", "opposite")
    for method in ("usu", "iwmr", "hybrid")
    for title, setting in SETTINGS.items()
}
SUMMED = (*KERNELS, *REDISTRIBUTED)


def _sums(data: Path, count: int) -> list[Task]:
    kinds: dict[str, list[TruthMap]] = {}
    for one in truth_maps(count):
        kinds.setdefault(one.kind, []).append(one)
    return [partial(_summed, several) for several in zip(*kinds.values(), strict=True)]


def _summed(several: Sequence[TruthMap], names: Sequence[str]) -> Judged:
    judged: Judged = {name: {} for name in names}
    for one in several:
        coarse = aggregate(one.values, GRID)
        for name in names:
            method, kind, setting = REDISTRIBUTED.get(name, (name, "right", {}))
            upsample = find_upsampler(method, mass="total", **setting)
            pixels = upsample(coarse, one.scores if kind == "right" else 1 - one.scores)
            judged[name][one.kind] = misplaced(pixels, one.values)
    return judged


# -------------------------------------------------------------------------------------------------- tables


@dataclass(frozen=True)
class World:
    """Where a truth is known.

    Attributes:
        tasks: from the folder of photographs and a count to one task per scene.
        maps: names of all maps.
        pairs: (map, reference), all measures of all pairs tested together.
    """

    tasks: Callable[[Path, int], list[Task]]
    maps: Sequence[str]
    pairs: Sequence[tuple[str, str]]


def _against(reference: str, names: Sequence[str]) -> list[tuple[str, str]]:
    return [(name, reference) for name in names if name != reference]


OTHERS = [
    *(("usu", name) for name in ("nearest", "random-segments")),
    *_against(SQUARED, ("usu", "iwmr", "hybrid")),
    ("complete", "shap-partition"),
]
HEAD = """# Measurements with known truth

Made by `python -m benchmarks.studies.known_truth DATA --scenes 0 --table docs/known-truth-measurements.md`;
what they mean stands in [Known truth](known-truth.md)."""
WORLDS: Mapping[str, World] = {
    "mosaics": World(_mosaics, FINDERS, [*_against("bilinear", FINDERS), *OTHERS]),
    "pasted": World(_pasted, FINDERS, [*_against("bilinear", FINDERS), *OTHERS]),
    "colours": World(_colours, SHARERS, [*_against("bilinear", SHARERS), *OTHERS]),
    "sums": World(_sums, SUMMED, _against("bilinear", SUMMED)),
}


def tables(name: str, records: Sequence[Judged]) -> str:
    """Return the tables of one world in Markdown: means, and paired tests."""
    world = WORLDS[name]
    return tested_tables(f"{name}: {len(records)} scenes", world.maps, world.pairs, records)


def tested_tables(
    heading: str, maps: Sequence[str], pairs: Sequence[tuple[str, str]], records: Sequence[Judged]
) -> str:
    """Return the means of all measures by map, and the tests of pairs, all corrected together."""
    measures = list(records[0][maps[0]])
    values = {
        one: np.array([[record[one][measure] for measure in measures] for record in records]) for one in maps
    }
    tested = [
        [paired_test(*columns) for columns in zip(values[one].T, values[other].T, strict=True)]
        for one, other in pairs
    ]
    corrected = iter(correct([test.p_value for several in tested for test in several]))
    return "\n".join(
        [
            f"## {heading}",
            "",
            line("map", *measures),
            "|---" * (1 + len(measures)) + "|",
            *(line(one, *(f"{mean:.3f}" for mean in own.mean(0))) for one, own in values.items()),
            "",
            TESTED.format(len(pairs) * len(measures)),
            "",
            line("map", "less", *measures),
            "|---" * (2 + len(measures)) + "|",
            *(
                line(*pair, *(tested_cell(test, next(corrected)) for test in several))
                for pair, several in zip(pairs, tested, strict=True)
            ),
        ]
    )


def judge(world: World, data: Path, count: int, path: Path) -> None:
    """Judge the maps that a file of results lacks, of `count` scenes, and write the file after each scene."""
    records = read_records(path)
    records += [{}] * (count - len(records))
    missing = [[name for name in world.maps if name not in record] for record in records[:count]]
    if any(missing):
        tasks = world.tasks(data, count)  # fewer, where fewer scenes were found
        for scene, (task, names) in enumerate(tqdm(list(zip(tasks, missing, strict=False)), path.stem)):
            if names:
                records[scene] = records[scene] | task(names)
                with written_whole(path) as file:
                    file.write("".join(f"{json.dumps(one)}\n" for one in records if one).encode())


def read_records(path: Path) -> list[Judged]:
    """Return the records of one world, a line each; none where there is no file."""
    return [json.loads(one) for one in path.read_text().splitlines()] if path.exists() else []


def page(results: Path) -> str:
    """Return the tables of all scenes whose maps are all judged, as a page."""
    found = []
    for name, world in WORLDS.items():
        records = [one for one in read_records(results / f"{name}.jsonl") if one.keys() >= set(world.maps)]
        if records:
            found.append(tables(name, records))
    return "\n\n".join([HEAD, *found]) + "\n"


def main() -> None:
    """Judge what is missing, and print or write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder of photographs")
    parser.add_argument("--scenes", type=int, default=24, help="of each world (default: 24)")
    parser.add_argument("--worlds", nargs="+", choices=WORLDS, default=list(WORLDS), metavar="NAME")
    parser.add_argument("--out", type=Path, default=Path("results/known-truth"))
    parser.add_argument("--table", type=Path, help="write the tables of all worlds to this page")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.worlds:
        path = arguments.out / f"{name}.jsonl"
        judge(WORLDS[name], arguments.data, arguments.scenes, path)
    text = page(arguments.out)
    if arguments.table is None:
        print(text, end="")
    else:
        with written_whole(arguments.table) as file:
            file.write(text.encode())


if __name__ == "__main__":
    main()
