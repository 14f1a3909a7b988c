"""Which attribution source works on which network, and what it costs: the table of docs/sources-table.md.

    python -m benchmarks.performance.sources [--sources gradcam rise] [--models vgg16 resnet50]

Each source runs as it is registered, on one photograph at 96 × 96, for the predicted class. The networks
are torchvision's with seeded random weights: whether a source works, its grid and its cost do not depend on
them. Seconds are the processor's, which other work on the machine does not change; with OMP_NUM_THREADS=1
they are those of one core.

A source that fails is in the table with its error. A run replaces the entries that it measures in the file of
results and draws the table from all of that file; what was never measured is in the table as such.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import skimage.data
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn

from usu.models.classifier import Preparation
from usu.runtime.files import written_whole
from usu.sources.coarse_map import CoarseMap, check_coarse_map
from usu.sources.registry import SOURCES, find_source

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results" / "sources.json"
TABLE = ROOT / "docs" / "sources-table.md"
# At 224 × 224 the sources that take a thousand passes or more would take an hour.
SIZE = 96
PREPARE = Preparation(110, (SIZE, SIZE), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# The heading of what `benchmarks.studies.architectures` writes below the table.
ARCHITECTURES = "## Architectures"
NOT_MEASURED = "not measured"
UNMEASURED = f"{NOT_MEASURED.capitalize()}: the script was ended before it came to this pair."

Entry: TypeAlias = "dict[str, Any]"
Entries: TypeAlias = "dict[str, dict[str, Entry]]"


def vit_b_16() -> nn.Module:
    """Return the transformer, whose head torchvision would leave at 0: no answer would depend on anything."""
    model = torchvision.models.vit_b_16(weights=None, image_size=SIZE)
    nn.init.normal_(model.heads.head.weight, std=0.02)
    return model


MODELS: dict[str, tuple[str, Callable[[], nn.Module]]] = {
    "vgg16": ("VGG16", torchvision.models.vgg16),
    "resnet50": ("ResNet50", torchvision.models.resnet50),
    "vit_b_16": ("ViT-B-16", vit_b_16),
}


def cells_of(found: CoarseMap) -> str:
    """Return "7 × 7" for a grid, or how many segments there are."""
    shape = tuple(found.values[0].shape)
    return " × ".join(map(str, shape)) if len(shape) == 2 else f"{shape[0]} segments"


def measure(name: str, model: nn.Module, inputs: Tensor) -> Entry:
    """Return what a source gives for the predicted class, or the error that it ends in."""
    source = find_source(name)
    with torch.no_grad():
        target = int(model(inputs).argmax())
    start = time.process_time()
    try:
        found = check_coarse_map(source(model, inputs, [target], None), 1)
    except Exception as problem:  # whatever it is, it is this table's answer
        return {"error": f"{type(problem).__name__}: {problem}"}
    return {
        "cells": cells_of(found),
        "further": [" × ".join(map(str, maps.shape[-2:])) for maps in found.further],
        "mass": found.mass,
        "layer": found.layer,
        "forward_passes": found.forward_passes[0] if found.forward_passes else None,
        "seconds": round(time.process_time() - start, 2),
    }


def described(entry: Entry | None, errors: list[str]) -> str:
    """Return a cell of the table; an error goes to the notes below it, once."""
    if entry is None:
        return NOT_MEASURED
    if "error" in entry:
        if entry["error"] not in errors:
            errors.append(entry["error"])
        return f"no ({errors.index(entry['error']) + 1})"
    more = len(entry["further"])
    grids = f" and {more} further grid{'s' * (more > 1)}" if more else ""
    spent = entry["forward_passes"]
    passes = "passes not known" if spent is None else f"{spent:,} pass{'es' * (spent != 1)}"
    return f"{entry['cells']}{grids}, {entry['mass']}, {passes}, {entry['seconds']:.2f}\N{NO-BREAK SPACE}s"


def table(entries: Entries) -> str:
    """Return the page: a row for each source, then the errors in full."""
    errors: list[str] = []
    rows = [
        [f"`{source}`", *(described(entries.get(source, {}).get(model), errors) for model in MODELS)]
        for source in SOURCES
    ]
    header = ["source", *(title for title, _ in MODELS.values())]
    lines = [header, ["---"] * len(header), *rows]
    notes = [f"{number}. {' '.join(error.split())}" for number, error in enumerate(errors, 1)]
    return "\n".join(
        [
            "# Sources and networks",
            "",
            f"What each source gives for one photograph at {SIZE} × {SIZE}, on torchvision's networks "
            "with random",
            "weights: its cells, its mass convention, the forward passes, and the seconds that they took on",
            "one core of a CPU. At 224 × 224 a grid has 7 cells where it has 3 here, 14 where it has 6. "
            "Made by",
            "`OMP_NUM_THREADS=1 python -m benchmarks.performance.sources`.",
            "",
            *(f"| {' | '.join(line)} |" for line in lines),
            *(["", UNMEASURED] if any(NOT_MEASURED in row for row in rows) else []),
            *(["", "Where it says no, the source refuses, in these words:", "", *notes] if notes else []),
            "",
        ]
    )


def save(entries: Entries) -> None:
    """Write the results and the table drawn from them."""
    after = TABLE.read_text().partition(ARCHITECTURES)[1:] if TABLE.exists() else ()
    page = "\n".join([table(entries), "".join(after)]) if any(after) else table(entries)
    for path, text in ((RESULTS, json.dumps(entries, indent=1) + "\n"), (TABLE, page)):
        with written_whole(path) as file:
            file.write(text.encode())


def run(sources: Sequence[str], models: Sequence[str]) -> Entries:
    """Measure each source on each network, saving after each."""
    entries: Entries = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    inputs = PREPARE(Image.fromarray(skimage.data.chelsea()))[0][None]
    for name in models:
        torch.manual_seed(0)
        model = MODELS[name][1]().eval()
        for source in sources:
            entry = measure(source, model, inputs)
            entries.setdefault(source, {})[name] = entry
            print(f"{source} on {name}: {entry}", flush=True)
            save(entries)
    return entries


def main() -> None:
    """Measure, save and print the table."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--sources", nargs="+", choices=SOURCES, default=list(SOURCES), metavar="NAME")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    arguments = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads\n")
    print("\n" + table(run(arguments.sources, arguments.models)))


if __name__ == "__main__":
    main()
