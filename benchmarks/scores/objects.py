"""Whether maps by scores lie on the thing: photographs with masks, pasted photographs and mosaics.

    python -m benchmarks.scores.objects DATA --out ROWS [--worlds ecssd pasted mosaics] [--scenes 48]
        [--half choosing] [--maps NAME...] [--model NAME]

DATA holds `imagenet-sample`, of which scenes are composed, and `ecssd`. Maps are those of
`benchmarks.scores.order`. Measured are relevance mass accuracy (localisation), IoU at the mask's area and the
pointing game, for composed scenes also within the cells that the truth's border cuts. Of ECSSD a photograph
counts where the class is more probable on the thing alone than on the rest alone. Scenes are of the choosing
and the reporting half in turn. What is in ROWS is not measured again; `--scenes 0` only prints the table:
differences from bilinear, with 95 % intervals (BCa).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from benchmarks.scores.order import MAPS, Asked
from benchmarks.scores.order_tables import read
from benchmarks.scores.photographs import Photograph, photographs
from benchmarks.scores.score_tables import HALVES, line
from benchmarks.studies.known_truth import CELL, found
from benchmarks.studies.objects import LEAST, MOST, object_in_crop
from usu.bench.datasets.ecssd import read_ecssd
from usu.bench.datasets.files import Item
from usu.metrics.statistics import bootstrap_interval
from usu.models.baselines import make_fill
from usu.models.classifier import Classifier
from usu.models.compiled import quickened
from usu.models.loading import load_classifier
from usu.worlds.mosaics import mosaics
from usu.worlds.pasted import pasted
from usu.worlds.scene import Scene

SQUARED = "bilinear, squared"
DEFAULT = ("bilinear", SQUARED, "guided filter", "SHAP partition 160", "strict, mask")
DEFAULT += ("total, mask filtered", "strict, order", "total, order filtered", "total, mask+order")
SURE = 0.5  # least probability of a photograph that becomes part of a scene


def _composed(kind: str, classifier: Classifier, data: Path, count: int) -> Iterator[tuple[str, Scene]]:
    chosen = list(photographs(data / "imagenet-sample", classifier, 200, SURE))
    grid = (classifier.prepare.crop[0] // CELL, classifier.prepare.crop[1] // CELL)
    # Each half has photographs of its own.
    several = []
    for half, size in ((0, count - count // 2), (1, count // 2)):
        own = chosen[half::2]
        if kind == "pasted":
            made = [one.scene for one in pasted(classifier, own, size, grid)]
        else:
            made = [one.scene for one in mosaics(classifier, own, size, (2 * grid[0], 2 * grid[1]))]
        several.append(made)
    for number in range(max(map(len, several))):
        for half, scenes in zip(HALVES, several, strict=True):
            if number < len(scenes):
                yield f"{half} {number}", scenes[number]


def _masked(classifier: Classifier, data: Path, count: int) -> Iterator[tuple[str, Scene]]:
    dataset = read_ecssd(data / "ecssd")
    kept = 0
    for position, one in enumerate(photographs(dataset.root, classifier, len(dataset.items))):
        truth = object_in_crop(classifier, dataset, Item(one.name))
        if LEAST <= float(truth.float().mean()) <= MOST and answered(classifier.model, one, truth):
            yield (
                f"{HALVES[position % 2]} {one.name}",
                Scene(one.inputs, one.picture, truth.float(), one.target),
            )
            kept += 1
        if kept == count:
            return


def answered(model: nn.Module, one: Photograph, truth: Tensor) -> bool:
    """Return whether the class is more probable on the thing alone than on the rest alone."""
    fill = make_fill(one.inputs[None], "blur")[0]
    parts = torch.stack([torch.where(kept, one.inputs, fill) for kept in (truth, ~truth)])
    with torch.no_grad():
        thing, rest = model(parts).softmax(1)[:, one.target]
    return bool(thing > rest)


WORLDS = ("ecssd", "pasted", "mosaics")


def scenes(world: str, classifier: Classifier, data: Path, count: int) -> Iterator[tuple[str, Scene]]:
    """Yield the name, which begins with the half, and the scene."""
    if world == "ecssd":
        return _masked(classifier, data, count)
    return _composed(world, classifier, data, count)


def drawn(asked: Asked, name: str) -> Tensor:
    """Return a map (H, W)."""
    if name == SQUARED:
        pixels = drawn(asked, "bilinear")
        return pixels * pixels.abs()
    return torch.as_tensor(MAPS[name](asked)).detach().double().cpu()


def table(rows: Sequence[dict], half: str) -> list[str]:
    """Return differences from bilinear by world and map."""
    lines = []
    for world in WORLDS:
        own = [row for row in rows if row["world"] == world and row["half"] == half]
        base = {row["photograph"]: row["scores"] for row in own if row["map"] == "bilinear"}
        if not base:
            continue
        measures = list(next(iter(base.values())))
        lines += ["", line(f"{world}, less bilinear", "n", *measures), "|---" * (2 + len(measures)) + "|"]
        means = [np.mean([one[measure] for one in base.values()]) for measure in measures]
        lines.append(line("bilinear itself", len(base), *(f"{mean:.3f}" for mean in means)))
        for name in dict.fromkeys(row["map"] for row in own if row["map"] != "bilinear"):
            pairs = [
                (row["scores"], base[row["photograph"]])
                for row in own
                if row["map"] == name and row["photograph"] in base
            ]
            cells = [
                told(np.array([one[measure] - other[measure] for one, other in pairs]))
                for measure in measures
            ]
            lines.append(line(name, len(pairs), *cells))
    return lines[1:]


def told(differences: np.ndarray) -> str:
    """Return a mean with its interval, bold where 0 lies outside."""
    differences = differences[np.isfinite(differences)]
    if len(differences) < 2 or np.ptp(differences) == 0:
        return f"{differences.mean():+.3f}" if len(differences) else ""
    interval = bootstrap_interval(differences)
    text = f"{differences.mean():+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"
    return text if interval.low <= 0 <= interval.high else f"**{text}**"


def measure(world: str, classifier: Classifier, quick: nn.Module, arguments: argparse.Namespace) -> None:
    """Judge what the file of rows lacks of a world."""
    known = {(row["world"], *key) for key, row in read(arguments.out).items()}
    grid = (classifier.prepare.crop[0] // CELL, classifier.prepare.crop[1] // CELL)
    for name, scene in tqdm(scenes(world, classifier, arguments.data, arguments.scenes), world):
        half = name.split()[0]
        place = f"{world} {name}"
        missing = [one for one in arguments.maps if (world, place, one) not in known]
        if arguments.half not in (None, half) or not missing:
            continue
        asked = Asked(
            Photograph(name, scene.inputs, scene.picture, scene.target, 1.0), classifier.model, quick
        )
        for one in missing:
            scores = found(drawn(asked, one), scene.truth, grid)
            row = {"world": world, "half": half, "photograph": place, "map": one, "scores": scores}
            with arguments.out.open("a") as file:
                file.write(json.dumps(row) + "\n")


def main(given: Sequence[str] | None = None) -> None:
    """Measure what is missing, then print the table."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--worlds", nargs="+", choices=WORLDS, default=WORLDS, metavar="NAME")
    parser.add_argument("--scenes", type=int, default=48, help="number of scenes, of both halves")
    parser.add_argument("--half", choices=HALVES, help="only this half")
    parser.add_argument("--maps", nargs="+", choices=(SQUARED, *MAPS), metavar="NAME", default=DEFAULT)
    parser.add_argument("--model", default="efficientnet-lite0")
    parser.add_argument("--out", type=Path, required=True, help="file of rows")
    arguments = parser.parse_args(given)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    if arguments.scenes:
        classifier = load_classifier(arguments.model)
        quick = quickened(classifier.model, torch.rand(3, *classifier.prepare.crop))
        for world in arguments.worlds:
            measure(world, classifier, quick, arguments)
    rows = list(read(arguments.out).values())
    for half in HALVES:
        if lines := table(rows, half):
            print(f"## {half.capitalize()} half\n\n" + "\n".join(lines))


if __name__ == "__main__":
    main()
