"""What a benchmark costs by part, how it grows with workers, and what a large one would take.

    python -m benchmarks.performance.scaling DATA [--images 2] [--model efficientnet-lite0] [--workers 1 2]
        [--price 0.05] [--table docs/scaling-measurements.md]

DATA is a folder of photographs. First each part of one image's work is timed by itself, in seconds of the
processor: reading, the seven sources of the paper's table 8, the scores, the seven upsamplers on each source,
every metric on all maps together, and writing the rows. Then the same few images go through each engine with
each number of workers, start-up counted apart. From the first a line is drawn to 50,000 images × 3 models ×
7 sources × 7 upsamplers; `--price` is what an hour of one core costs.

Set OMP_NUM_THREADS=1 so that a worker is a core.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from usu.bench.datasets.registry import chosen
from usu.bench.engines.registry import find_engine
from usu.bench.methods.image import Subject
from usu.bench.methods.registry import CONTESTANTS
from usu.bench.results.folder import Results
from usu.bench.worker import Job, Spec, Worker, combinations
from usu.metrics import METRICS, Judge

SOURCES = ("gradcam", "hirescam", "gradcam++", "xgradcam", "fullgrad", "shapleycam", "finercam")
UPSAMPLERS = ("nearest", "bilinear", "bicubic", "lanczos", "usu", "iwmr", "hybrid")
LARGE = {"images": 50_000, "models": 3}
# Through the engines: enough work to keep a core busy for seconds, few passes.
LIGHT = combinations(["gradcam"], ["nearest", "usu"], ["infidelity", "pixel-flipping", "sparseness"])


class Clock:
    """Seconds of the processor by part, one value for each time."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time what is done in the block."""
        start = time.process_time()
        yield
        self.seconds.setdefault(name, []).append(time.process_time() - start)


def by_part(spec: Spec, model: str, images: int) -> Clock:
    """Time the parts of the work on some images."""
    clock, worker = Clock(), Worker(spec)
    network = worker.network(model)
    for item in chosen(worker.dataset, images, spec.seed):
        with clock.part("read, prepare, predict"):
            inputs, picture, target, _ = worker.predicted(network, item)
        quick = worker.quick(network, inputs)
        subject = Subject(network.classifier.model, inputs, picture, target, quick=quick)
        for source in SOURCES:
            with clock.part(f"source {source}"):
                subject.coarse(source)
        with clock.part("scores"):
            for source in SOURCES:
                subject.scoring(source)
        maps = []
        for source in SOURCES:
            for upsampler in UPSAMPLERS:
                with clock.part(f"upsampler {upsampler}"):
                    maps.append(CONTESTANTS[upsampler].draw(subject, source).values)
        judge = Judge(quick, inputs, target, image=picture)
        for name, metric in METRICS.items():
            with clock.part(f"metric {name}"):
                metric.measure(judge, torch.stack(maps))
        rows = worker.work(Job(item.name, model, (("none", "zero", "sparseness"),)))
        many = [{**rows[0], "upsampler": str(number)} for number in range(len(maps) * len(METRICS))]
        with (
            tempfile.TemporaryDirectory() as folder,
            Results.open(folder, {}) as results,
            clock.part("write the rows"),
        ):
            results.add(many)
    return clock


def through(engine: Any, spec: Spec, jobs: list[Job]) -> tuple[float, float]:
    """Return the seconds until the first outcome, and those per image after it."""
    start = time.perf_counter()
    ends = []
    with closing(engine.run(partial(Worker, spec), jobs)) as outcomes:
        for outcome in outcomes:
            if outcome.problem:
                raise RuntimeError(outcome.problem)
            ends.append(time.perf_counter() - start)
    return ends[0], (ends[-1] - ends[0]) / (len(ends) - 1)


def table(clock: Clock, price: float) -> list[str]:
    """Return the parts of one image and what a large run would take."""
    lines = ["| part | seconds per image | share |", "|---|---|---|"]
    times = {"upsampler": len(SOURCES)}  # each upsampler ran once for each source
    per_image = {
        name: float(np.mean(values)) * times.get(name.split()[0], 1) for name, values in clock.seconds.items()
    }
    whole = sum(per_image.values())
    for name, seconds in per_image.items():
        lines.append(f"| {name} | {seconds:.3f} | {seconds / whole:.1%} |")
    lines.append(f"| **all** | {whole:.1f} | |")
    hours = whole * LARGE["images"] * LARGE["models"] / 3600
    count = LARGE["images"] * LARGE["models"] * len(SOURCES) * len(UPSAMPLERS)
    lines += [
        "",
        f"{LARGE['images']:,} images × {LARGE['models']} models × {len(SOURCES)} sources × {len(UPSAMPLERS)} "
        f"upsamplers are {count:,} maps and {count * len(METRICS):,} rows: {hours:,.0f} core hours at this "
        f"model's cost, {hours * price:,.0f} at {price} an hour.",
    ]
    return lines


def main() -> None:
    """Measure, print, and write the page if asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder of photographs")
    parser.add_argument("--images", type=int, default=2, help="for the parts (default: %(default)s)")
    parser.add_argument("--model", default="efficientnet-lite0")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="numbers of workers to try")
    parser.add_argument("--each", type=int, default=6, help="images per worker through the engines")
    parser.add_argument("--price", type=float, default=0.05, help="of an hour of one core")
    parser.add_argument("--table", type=Path, help="write the page to this file")
    arguments = parser.parse_args()
    spec = Spec("folder", str(arguments.data.absolute()))
    lines = table(by_part(spec, arguments.model, arguments.images), arguments.price)
    lines += [
        "",
        "| engine | workers | first image, seconds | images per minute after it |",
        "|---|---|---|---|",
    ]
    names = [item.name for item in chosen(Worker(spec).dataset, None, spec.seed)]
    engines: list[tuple[str, Callable[[int], Any]]] = [
        (name, lambda workers, name=name: find_engine(name, workers)) for name in ("local", "ray")
    ]
    for name, make in engines:
        for workers in arguments.workers:
            jobs = [Job(image, arguments.model, tuple(LIGHT)) for image in names[: arguments.each * workers]]
            first, each = through(make(workers), spec, jobs)
            lines.append(f"| {name} | {workers} | {first:.1f} | {60 / each:.1f} |")
    text = "\n".join(lines)
    print(text)
    if arguments.table:
        asked = f"--images {arguments.images} --model {arguments.model}"
        command = f"python -m benchmarks.performance.scaling DATA {asked}"
        arguments.table.write_text(f"# What a benchmark costs\n\nMade by `{command}`.\n\n{text}\n")


if __name__ == "__main__":
    main()
