"""How much of each map lies on the thing: ECSSD's pixel masks and CUB-200's boxes, by trained networks.

    python -m benchmarks.studies.objects DATA [--images 100] [--out DIR] [--table PAGE]

DATA holds the data sets and `weights`, as for `benchmarks.studies.nine`. The class is the network's own.
ECSSD says where an object is, not what it is, and a network may name something else: a photograph counts
where the class is more probable on the object alone than on the rest alone, the other part blurred. In
CUB-200 it also has to be the right class.

"bilinear-squared" is what is owed to a peaked map alone. A line is written for
each image and network, a second run judges what is missing, and `--images 0` only makes the tables.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.studies.configurations import CONFIGURATIONS, DATA, Configuration
from benchmarks.studies.known_truth import SQUARED, drawn, found_in_image, tested_tables
from usu.bench.datasets.files import Dataset, Item
from usu.bench.datasets.registry import chosen, find_dataset
from usu.bench.methods.image import Subject
from usu.bench.tables.labels import title
from usu.models import load_classifier
from usu.models.classifier import Classifier
from usu.models.compiled import quickened
from usu.runtime.files import written_whole

SEED = 0
FOLDERS = {"ecssd": "ecssd", "cub200": DATA["cub200"]}
# Which networks look at a data set: those of ImageNet at ECSSD.
TRAINED_ON = {"ecssd": "imagenet", "cub200": "cub200"}
MAPS = (
    *("constant", "nearest", "bilinear", SQUARED, "bicubic", "lanczos", "conserving", "guided"),
    *("usu", "usu-continuous", "shuffled-scores", "iwmr", "hybrid", "total-conserving", "scores", "complete"),
    *("shap-partition", "refinecam"),
)
PAIRS = [
    *((name, "bilinear") for name in MAPS if name != "bilinear"),
    *((name, SQUARED) for name in ("usu", "iwmr", "hybrid", "total-conserving", "complete")),
    *(("usu", "shuffled-scores"), ("complete", "shap-partition"), ("total-conserving", "guided")),
]
# Beyond these shares of the crop there is nothing to find.
LEAST, MOST = 0.02, 0.9
MADE = "python -m benchmarks.studies.objects DATA --images 0 --table docs/objects-measurements.md"


def object_in_crop(classifier: Classifier, dataset: Dataset, item: Item) -> Tensor:
    """Return where the object is in the network's crop of a photograph, (H, W) bool."""
    truth = dataset.truth(item)
    if truth is None:
        raise ValueError(f"{dataset.name} does not say where the object of {item.name} is")
    _, mask = classifier.prepare(truth)
    return mask[0] >= 0.5


def judged(subject: Subject, truth: Tensor, names: Sequence[str] = MAPS) -> dict[str, Any]:
    """Return what a line holds of one image: the answers to its parts, and every map's measures."""
    on_object, on_rest = subject.keep(torch.stack([truth, ~truth]).float()).tolist()
    maps = {name: found_in_image(pixels, truth.float()) for name, pixels in drawn(names, subject, "gradcam")}
    return {"on_object": on_object, "on_rest": on_rest, "maps": maps}


class Sight:
    """A network that looks at the photographs of a data set."""

    def __init__(self, dataset: str, one: Configuration, data: Path) -> None:
        self.dataset, self.model = find_dataset(dataset, data / FOLDERS[dataset]), one.model
        if one.network:
            with tempfile.TemporaryDirectory() as folder:
                self.classifier = load_classifier(str(one.write(data, Path(folder))))
        else:
            self.classifier = load_classifier(one.model)
        self.items = chosen(self.dataset, None, SEED)
        example = torch.zeros(3, *self.classifier.prepare.crop)
        self.quick = quickened(self.classifier.model, example)

    def look(self, item: Item) -> dict[str, Any]:
        """Return the line of one photograph; without maps where it has too little or too much object."""
        inputs, picture = self.classifier.prepare(self.dataset.open(item))
        truth = object_in_crop(self.classifier, self.dataset, item)
        with torch.no_grad():
            probability, target = self.classifier.model(inputs[None]).softmax(1)[0].max(0)
        facts = {
            **{"dataset": self.dataset.name, "model": self.model, "image": item.name, "label": item.label},
            **{"target": int(target), "probability": float(probability)},
            "object": float(truth.float().mean()),
        }
        if not LEAST <= facts["object"] <= MOST:
            return facts
        subject = Subject(self.classifier.model, inputs, picture, int(target), quick=self.quick, seed=SEED)
        return facts | judged(subject, truth)


def counts(line: dict[str, Any]) -> bool:
    """Return whether the class of a line is the thing's."""
    return "maps" in line and line["on_object"] > line["on_rest"] and line["label"] in (None, line["target"])


def page(lines: Sequence[dict[str, Any]]) -> str:
    """Return the tables of each data set and network in Markdown."""
    text = [
        "# Measurements of maps on objects",
        "",
        f"Made by `{MADE}`; what can be read of them stands in [the verdict](results/reading.md).",
    ]
    for dataset in FOLDERS:
        for model in dict.fromkeys(line["model"] for line in lines if line["dataset"] == dataset):
            own = [line for line in lines if (line["dataset"], line["model"]) == (dataset, model)]
            kept = [line for line in own if counts(line)]
            if len(kept) < 2:
                continue
            share = sum(line["object"] for line in kept) / len(kept)
            names = f"{title('dataset', dataset)}, {title('model', model)}"
            heading = f"{names}: {len(kept)} of {len(own)} photographs, objects {share:.2f} of them"
            text += ["", tested_tables(heading, MAPS, PAIRS, [line["maps"] for line in kept])]
    return "\n".join(text) + "\n"


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a file; none where there is no file."""
    return [json.loads(one) for one in path.read_text().splitlines()] if path.exists() else []


def _turns(data: Path, images: int) -> Iterator[tuple[Sight, Item]]:
    sights = [
        Sight(dataset, one, data)
        for dataset, trained in TRAINED_ON.items()
        for one in CONFIGURATIONS
        if one.dataset == trained
    ]
    for place in range(images):
        yield from ((sight, sight.items[place]) for sight in sights if place < len(sight.items))


def main() -> None:
    """Judge what is missing, and print or write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("--images", type=int, default=100, help="of each network (default: 100)")
    parser.add_argument("--out", type=Path, default=Path("results/objects"), metavar="DIR")
    parser.add_argument("--table", type=Path, metavar="PAGE")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "maps.jsonl"
    lines = read_lines(path)
    done = {(line["dataset"], line["model"], line["image"]) for line in lines}
    if options.images:
        for sight, item in _turns(options.data, options.images):
            if (sight.dataset.name, sight.model, item.name) not in done:
                lines.append(sight.look(item))
                with written_whole(path) as file:
                    file.write("".join(f"{json.dumps(one)}\n" for one in lines).encode())
                print(len(lines), sight.dataset.name, sight.model, item.name, flush=True)
    if options.table is None:
        print(page(lines), end="")
    else:
        with written_whole(options.table) as file:
            file.write(page(lines).encode())


if __name__ == "__main__":
    main()
