"""Three data sets by three kinds of networks: rows of all contestants, image by image, stage by stage.

    OMP_NUM_THREADS=1 python -m benchmarks.studies.nine DATA --out results/nine

DATA holds the data sets and `weights`; the heads are those of `benchmarks.studies.heads`. Rows go to a folder
for each data set, as `usu bench run` writes them; several processes share the work by `--datasets`. A run
that was stopped continues. Each stage takes every configuration in turn with one image, so that what is there
at any time covers them all.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from benchmarks.scores.score_tables import chosen_on
from benchmarks.studies.configurations import CONFIGURATIONS, DATA, MISSING, Configuration
from usu.bench.datasets.registry import chosen
from usu.bench.networks import check_labels
from usu.bench.results.folder import Results
from usu.bench.tables import published
from usu.bench.worker import Spec, Worker, combinations, missing

Rows: TypeAlias = "list[tuple[str, str, str]]"

SEED = 0
# Of these, one set of passes serves all maps of an image, or none is needed.
SHARED = ("infidelity", "infidelity-minmax", "infidelity-sum", "infidelity-scaled", "sparseness")
SQUARES = ("infidelity-squares",)
PAPER = ("pixel-flipping", "road", "irof", "irof-per-segment")
CURVES = ("deletion-blur", "insertion-blur", "deletion-blur-smooth", "insertion-blur-smooth")
OTHER_FILL = tuple(name.replace("blur", "mean") for name in CURVES)
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")
OURS = ("usu", "iwmr", "hybrid", "total-conserving", "complete")
MORE = ("usu-continuous", "conserving")
CONTROLS = ("constant", "shuffled-scores", "blurred-nearest", "guided")


def _rows(upsamplers: Sequence[str], metrics: Sequence[str]) -> Rows:
    return combinations(["gradcam"], upsamplers, metrics)


# The first stage, and what is only in later ones: what decides, since scores by order were not fitted to it
# (the other fill, ROAD, IROF); then all else, with monotonicity, which takes as many passes as all curves.
FIRST = (
    _rows((*INTERPOLATIONS, *OURS, *MORE, "scores", "constant", "zero"), SHARED)
    + _rows((*INTERPOLATIONS, *OURS), ("pixel-flipping",))
    + _rows(("nearest", "bilinear", *OURS, "scores"), CURVES)
)
SOURCES = combinations(published.SOURCES, ("bilinear", "usu", "iwmr", "total-conserving"), SHARED)
DECIDING = _rows((*INTERPOLATIONS, *OURS, "scores"), PAPER) + _rows(
    ("nearest", "bilinear", *OURS, "scores"), OTHER_FILL
)
REST = (
    _rows((*INTERPOLATIONS, *OURS, "scores"), ("monotonicity",))
    + _rows(("bicubic", "lanczos", *MORE, *CONTROLS), CURVES)
    + _rows(("constant",), OTHER_FILL)
    + _rows((*INTERPOLATIONS, *OURS, *MORE, "scores", *CONTROLS, "zero"), SQUARES + SHARED)
)


@dataclass(frozen=True)
class Stage:
    """Rows of the first images of each configuration."""

    images: int
    rows: Rows


STAGES = (
    Stage(30, FIRST),
    Stage(25, SOURCES),
    Stage(100, FIRST),
    Stage(100, DECIDING),
    Stage(100, REST),
)


class Run:
    """One configuration's network, and the names of its images in the order in which they are taken."""

    def __init__(self, one: Configuration, data: Path, cards: Path) -> None:
        self.model = one.model
        weights = {one.model: str(one.write(data, cards))} if one.network else {}
        self.spec = Spec(one.dataset, str((data / DATA[one.dataset]).absolute()), weights, seed=SEED)
        self.worker = Worker(self.spec)
        network, dataset = self.worker.network(one.model), self.worker.dataset
        check_labels(network, dataset)
        self.hash = network.weights_hash
        # Of the photographs those first on which no default was chosen.
        touched = chosen_on() if one.dataset == "imagenet" else set[str]()
        self.images = sorted((item.name for item in chosen(dataset, None, SEED)), key=touched.__contains__)


def main() -> None:
    """Measure what is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("--out", type=Path, metavar="DIR", default=Path("results/nine"))
    parser.add_argument("--datasets", nargs="+", choices=DATA, metavar="NAME", default=list(DATA))
    options = parser.parse_args()
    print(MISSING, flush=True)
    wanted = [one for one in CONFIGURATIONS if one.dataset in options.datasets]
    with tempfile.TemporaryDirectory() as cards, ExitStack() as stack:
        runs = [Run(one, options.data, Path(cards)) for one in wanted]
        folders = {}
        for name in options.datasets:
            own = [run for run in runs if run.spec.dataset == name]
            weights = {run.model: run.hash for run in own}
            protocol = own[0].spec.protocol(*_named(), weights)
            folders[name] = stack.enter_context(Results.open(options.out / name, protocol))
        for number, stage in enumerate(STAGES, 1):
            measure(stage, runs, folders, number)
        for results in folders.values():
            results.compact()


def _named() -> tuple[list[str], list[str]]:
    """Return the upsamplers and metrics of all stages."""
    rows = [row for stage in STAGES for row in stage.rows]
    return list(dict.fromkeys(row[1] for row in rows)), list(dict.fromkeys(row[2] for row in rows))


def measure(stage: Stage, runs: Sequence[Run], folders: dict[str, Results], number: int) -> None:
    """Measure what is missing of a stage, an image of each run in turn; what fails is told and left out."""
    for place, run in _turns(stage.images, runs):
        results, name = folders[run.spec.dataset], run.images[place]
        for job in missing([name], [run.model], stage.rows, results.done):
            start = time.process_time()
            try:
                results.add(run.worker.work(job))
            except (ValueError, OSError) as problem:
                print(f"left out: {run.spec.dataset}, {run.model}, {name}: {problem}", flush=True)
                continue
            seconds = time.process_time() - start
            what = f"{run.spec.dataset}, {run.model}: {len(job.wanted)} rows in {seconds:.1f} s"
            print(f"{time.strftime('%H:%M:%S')} stage {number}, image {place + 1}, {what}", flush=True)


def _turns(images: int, runs: Sequence[Run]) -> Iterator[tuple[int, Run]]:
    for place in range(images):
        for run in runs:
            if place < len(run.images):
                yield place, run


if __name__ == "__main__":
    main()
