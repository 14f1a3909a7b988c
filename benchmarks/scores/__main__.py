"""Which scores earn their forward passes: pixel maps of this library and of others, judged at equal prices.

    python -m benchmarks.scores DATA [--images 60] [--methods NAME...] [--half reporting] [--tie-seeds 5]
        [--out results/scores] [--cache DIR] [--table FILE]

DATA is a folder of photographs, taken in the order of a hash of their names. The first, third, ... form the
choosing half, on which settings may be chosen; the second, fourth, ... the reporting half, on which nothing
was chosen. EfficientNet-Lite0 explains its own class. Methods stand in `candidates.CANDIDATES` (this
library's), `peers.PEERS` and `peers.DEAR`; without `--methods`, all but the dear ones run. Every method that
masks pixels replaces them by the same blurred image. A map is judged by deletion (MoRF) and insertion curves
of 14 steps on whole pixels, with a blurred fill (what the methods used) and with the mean colour (what they
did not). The area of LeRF is that of insertion; insertion − deletion is thus LeRF − MoRF.

One JSON file per photograph and method is written whole; a second run measures what is missing, more tie
seeds included, and runs of different methods may share the folders. `--cache` keeps the maps themselves.
`--images 0` only prints the tables. On Linux with glibc, forward passes run 2 to 3 times as fast with
MALLOC_MMAP_THRESHOLD_, MALLOC_TRIM_THRESHOLD_ and MALLOC_TOP_PAD_ set to a gigabyte.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.integrate import trapezoid
from torch import nn
from tqdm import tqdm

from benchmarks.scores.candidates import CANDIDATES
from benchmarks.scores.curves import Curves, ranks
from benchmarks.scores.peers import DEAR, PEERS
from benchmarks.scores.photographs import Photograph, photographs
from benchmarks.scores.score_tables import FILLS, HALVES, gather, tables
from benchmarks.scores.tasks import Costed, Made, Method, Task, make
from usu.models.baselines import make_fill
from usu.models.compiled import quickened
from usu.models.loading import load_classifier
from usu.runtime.files import written_whole

STEPS = 14
METHODS: dict[str, Method] = {**PEERS, **DEAR, **CANDIDATES}


@dataclass(frozen=True)
class Study:
    """One photograph under measurement, and where its results and maps are kept."""

    photograph: Photograph
    position: int
    model: nn.Module
    quick: nn.Module
    out: Path
    cache: Path | None
    fresh: frozenset[str] = frozenset()

    @cached_property
    def judges(self) -> dict[str, Curves]:
        """The curves by fill."""
        inputs, target = self.photograph.inputs, self.photograph.target
        fills = {fill: make_fill(inputs[None], fill)[0] for fill in FILLS}
        return {name: Curves(self.quick, inputs, fill, target, STEPS) for name, fill in fills.items()}

    def measure(self, name: str, seeds: int) -> None:
        """Make a method's maps, judge them under every tie seed, and write what is new."""
        path = _file(self.out, self.photograph, name, "json")
        known = json.loads(path.read_text()) if path.exists() and name not in self.fresh else None
        if known and all(len(entry["seeds"]) >= seeds for entry in known["maps"].values()):
            return
        made = self.maps(name)
        before = {key: entry["seeds"] for key, entry in known["maps"].items()} if known else {}
        record = {
            "photograph": self.photograph.name,
            "position": self.position,
            "half": HALVES[self.position % 2],
            "target": self.photograph.target,
            "probability": self.photograph.probability,
            "method": name,
            "seconds_outside": round(made.seconds_outside, 4),
            "maps": {
                key: {"passes": one.passes, "seeds": self._judge(one.values, before.get(key, {}), seeds)}
                for key, one in made.maps.items()
            },
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as file:
            file.write(json.dumps(record).encode())

    def maps(self, name: str) -> Made:
        """Return a method's maps, from the cache where they are in it."""
        path = _file(self.cache, self.photograph, name, "npz") if self.cache else None
        if path and path.exists() and name not in self.fresh:
            return _read(path)
        calm = replace(self, fresh=frozenset())
        made = make(name, METHODS[name], Task(self.photograph, self.model, self.quick, calm.maps))
        if path:
            _write(path, made)
        return made

    def _judge(self, values: np.ndarray, known: dict[str, Any], seeds: int) -> dict[str, Any]:
        judged = dict(known)
        for seed in (seed for seed in range(seeds) if str(seed) not in judged):
            rank = ranks(values, seed)
            judged[str(seed)] = {
                f"{name}, {fill}": {
                    "area": round(float(trapezoid(curve) / STEPS), 6),
                    "curve": [round(value, 5) for value in curve.tolist()],
                }
                for fill, judge in self.judges.items()
                for name, curve in zip(("deletion", "insertion"), judge.curves(rank), strict=True)
            }
        return judged


def _file(folder: Path, photograph: Photograph, method: str, suffix: str) -> Path:
    name = re.sub(r"[^a-z0-9.]+", "-", method.lower()).strip("-")
    return folder / Path(photograph.name).stem / f"{name}.{suffix}"


def _read(path: Path) -> Made:
    with np.load(path) as file:
        costs = json.loads(str(file["costs"]))
        maps = {key: Costed(file[f"map {key}"], passes) for key, passes in costs["passes"].items()}
    return Made(maps, costs["seconds_outside"])


def _write(path: Path, made: Made) -> None:
    costs = {
        "passes": {key: one.passes for key, one in made.maps.items()},
        "seconds_outside": made.seconds_outside,
    }
    # float32: in half precision neighbouring pixels would tie.
    arrays = {f"map {key}": one.values for key, one in made.maps.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as file:
        np.savez_compressed(file, costs=np.array(json.dumps(costs)), **arrays)


def _arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder of photographs")
    parser.add_argument("--images", type=int, default=60, help="number of photographs (default: 60)")
    parser.add_argument(
        "--methods",
        "--maps",
        nargs="+",
        choices=METHODS,
        metavar="NAME",
        default=[*PEERS, *CANDIDATES],
        help=f"of {', '.join(METHODS)} (default: all but {', '.join(DEAR)})",
    )
    parser.add_argument("--half", choices=HALVES, help="only this half of the photographs")
    parser.add_argument("--tie-seeds", type=int, default=1, help="orders of tied pixels (default: 1)")
    parser.add_argument("--fresh", action="store_true", help="measure the named methods again")
    parser.add_argument("--out", type=Path, default=Path("results/scores"), help="results folder")
    parser.add_argument("--cache", type=Path, help="folder for the maps themselves")
    parser.add_argument("--table", type=Path, help="write the tables to this file")
    parser.add_argument(
        "--gathered", type=Path, help="one file for all results: written, or with --images 0 read"
    )
    return parser.parse_args(given)


def main() -> None:
    """Measure what is missing, then print the tables."""
    arguments = _arguments()
    classifier = load_classifier("efficientnet-lite0")
    quick = quickened(classifier.model, torch.rand(3, *classifier.prepare.crop))
    chosen = photographs(arguments.data, classifier, arguments.images)
    fresh = frozenset(arguments.methods if arguments.fresh else ())
    for position, photograph in enumerate(tqdm(chosen, total=arguments.images, desc="photographs")):
        if arguments.half not in (None, HALVES[position % 2]):
            continue
        study = Study(photograph, position, classifier.model, quick, arguments.out, arguments.cache, fresh)
        for name in arguments.methods:
            study.measure(name, arguments.tie_seeds)
    if arguments.gathered and arguments.images:
        gather(arguments.out, arguments.gathered)
    text = tables(arguments.gathered or arguments.out)
    print(text)
    if arguments.table:
        title = "# Measurements of the scores"
        given = f"--images {arguments.images}"
        given += f" --gathered {arguments.gathered}" if arguments.gathered else ""
        command = f"Made by `python -m benchmarks.scores DATA {given} --table {arguments.table}`."
        arguments.table.write_text(f"{title}\n\n{command}\n\n{text}\n")


if __name__ == "__main__":
    main()
