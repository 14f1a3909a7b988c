"""A benchmark run: what to measure, with which engine, into which folder, and what came of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from usu.arrays.checks import check_choice, check_count, suggestion
from usu.bench.datasets.files import Dataset
from usu.bench.datasets.registry import chosen
from usu.bench.engines.base import Engine
from usu.bench.methods.peers import LIBRARIES, library
from usu.bench.methods.registry import CONTESTANTS
from usu.bench.networks import check_labels
from usu.bench.results.folder import Results
from usu.bench.results.schema import NO_SOURCE
from usu.bench.worker import Spec, Worker, combinations, missing
from usu.metrics.faithfulness import METRICS
from usu.metrics.faithfulness.examiner import check_seed
from usu.runtime.files import read_json, written_whole
from usu.sources.registry import SOURCES, find_source

PROBLEMS = "problems.json"


@dataclass(frozen=True)
class Plan:
    """What a run is to measure."""

    spec: Spec  # what all of it has in common
    models: Sequence[str]  # names of networks
    sources: Sequence[str]  # of coarse maps
    upsamplers: Sequence[str]  # names of contestants
    metrics: Sequence[str]  # names of metrics
    images: int | None = None  # how many, chosen by the spec's seed; None takes all
    correct: bool = False  # take only images that each model classifies correctly, and as many of these

    @property
    def rows(self) -> list[tuple[str, str, str]]:
        """Return (source, upsampler, metric) of all rows of an image and a model."""
        return combinations(self.sources, self.upsamplers, self.metrics)


@dataclass(frozen=True)
class Summary:
    """What came of a run."""

    images: Mapping[str, int]  # how many have rows now, by model
    new: int  # number of rows that this run wrote
    problems: Mapping[str, str]  # why an image has none, by "model: image"


def run(plan: Plan, engine: Engine, folder: Path, *, show_progress: bool = True) -> Summary:
    """Measure what is missing in a results folder.

    Rows are written image by image, so that a run that was stopped can continue. An image that cannot be read
    or explained is reported, left out, and tried again by the next run. One bar on standard error shows the
    progress of all workers.

    Raises:
        ValueError: names, settings or a data set that do not fit; results of another protocol, of other
            weights or of other images with the same names.
        TypeError: a number of images or a seed that is not an integer.
        BlockingIOError: another run is writing to the folder.
        ImportError: a library that a source, a contestant or an engine needs is missing; the extra is named.
    """
    _check(plan)
    worker = Worker(plan.spec)
    dataset = worker.dataset
    problems: dict[str, str] = {}
    images, weights = {}, {}
    for model in plan.models:  # which the worker keeps one at a time
        images[model] = _images_of(model, plan, worker, problems)
        weights[model] = worker.network(model).weights_hash
    protocol = plan.spec.protocol(plan.upsamplers, plan.metrics, weights)
    with Results.open(folder, protocol) as results:
        _check_images(set().union(*images.values()), dataset, results)
        jobs = [
            job for model, names in images.items() for job in missing(names, [model], plan.rows, results.done)
        ]
        new = 0
        try:
            with (
                closing(engine.run(partial(Worker, plan.spec), jobs)) as outcomes,
                tqdm(total=len(jobs), desc="images", unit="image", disable=not show_progress) as bar,
            ):
                if dataset.absent:
                    bar.write(
                        f"{dataset.name}: {dataset.absent} images are listed, but their files are not there"
                    )
                for outcome in outcomes:
                    results.add(outcome.rows)
                    new += len(outcome.rows)
                    if outcome.problem is not None:
                        name = f"{outcome.job.model}: {outcome.job.image}"
                        problems[name] = outcome.problem
                        bar.write(f"left out, {name}: {outcome.problem}")
                    bar.update()
        finally:  # also when the run is stopped
            text = json.dumps(problems, indent=1, sort_keys=True, ensure_ascii=False)
            with written_whole(results.folder / PROBLEMS) as file:
                file.write(text.encode() + b"\n")
        results.compact()
        have = {(cell.model, cell.image) for cell in results.done}
    counts = {model: sum((model, name) in have for name in names) for model, names in images.items()}
    return Summary(counts, new, problems)


def _check(plan: Plan) -> None:
    """Refuse a plan that no job could carry out, and import what its jobs need."""
    for argument, registry in (("sources", SOURCES), ("upsamplers", CONTESTANTS), ("metrics", METRICS)):
        for name in getattr(plan, argument):
            check_choice(name, tuple(registry), argument)
    for name in plan.spec.weights:
        if name not in plan.models:
            known = f"({', '.join(plan.models)}){suggestion(name, plan.models)}"
            raise ValueError(f"weights are given for {name!r}, which is not one of the models {known}")
    if plan.images is not None:
        check_count(plan.images, "images", 1)
    check_seed(plan.spec.seed)
    for source in {source for source, *_ in plan.rows} - {NO_SOURCE}:
        find_source(source)
    for module in {LIBRARIES[name] for name in plan.upsamplers if name in LIBRARIES}:
        library(module)


def _check_images(names: AbstractSet[str], dataset: Dataset, results: Results) -> None:
    """Refuse images that differ from those of the same name in the rows."""
    known = results.image_hashes()
    shared = names & known.keys()
    for item in (item for item in dataset.items if item.name in shared):
        try:
            found = dataset.image_hash(item)
        except OSError:
            continue  # it can no longer be read, which its job will report if there is one
        if known[item.name] != {found}:
            raise ValueError(
                f"{results.folder} has rows of another image by the name of {item.name}: its hash was "
                f"{', '.join(sorted(known[item.name]))}, is {found}; begin a new folder"
            )


def _images_of(model: str, plan: Plan, worker: Worker, problems: dict[str, str]) -> list[str]:
    """Return the images to explain, in the order of the seed."""
    dataset, network = worker.dataset, worker.network(model)
    check_labels(network, dataset)
    if not plan.correct:
        return [item.name for item in chosen(dataset, plan.images, plan.spec.seed)]
    right: list[str] = []
    for item in chosen(dataset, None, plan.spec.seed):
        if len(right) == plan.images:
            break
        try:
            *_, target, _ = worker.predicted(network, item)
        except (ValueError, OSError) as problem:
            problems[f"{model}: {item.name}"] = str(problem)
            continue
        if target == item.label:
            right.append(item.name)
    if plan.images is not None and len(right) < plan.images:
        raise ValueError(
            f"images must be at most {len(right)}, as many as {model} classifies correctly, got {plan.images}"
        )
    return right


def read_problems(folder: Path) -> dict[str, Any]:
    """Return what the last run in a folder left out, and why.

    Raises:
        ValueError: the file is damaged.
    """
    path = folder / PROBLEMS
    try:
        problems = read_json(path) if path.exists() else {}
        if not isinstance(problems, dict):
            raise ValueError("not a mapping")
    except ValueError as problem:
        raise ValueError(
            f"{path} is damaged ({problem}): delete it, and the next run writes it again"
        ) from None
    return problems
