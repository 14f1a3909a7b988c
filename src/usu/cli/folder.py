"""`usu explain FOLDER`: every photograph of a folder, one record each, here, in processes or on Ray."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from usu.cli._output import BAD_INPUT, complain

if TYPE_CHECKING:
    from usu.models.classifier import Classifier

_TOGETHER = 8  # photographs whose masked copies fill the same batches


@dataclass(frozen=True)
class Batch:
    """Photographs that are explained together, by their names in the folder."""

    names: tuple[str, ...]
    missing: frozenset[str]  # those that have no record yet


class Explainer:
    """Explains batches of a folder's photographs, by a network of its own."""

    def __init__(
        self,
        load: Callable[[], Classifier],
        folder: Path,
        limits: tuple[float, float] | None,
        options: Mapping[str, Any],
    ) -> None:
        self.classifier, self.folder, self.limits = load(), folder, limits
        self.options = {**options, "class_names": self.classifier.class_names}

    def work(self, batch: Batch) -> list[dict[str, Any]]:
        """Return "row" and "record" of each missing photograph; of one that failed a row with an "error"."""
        from usu.dataset import packed, reason, together

        classifier, rows = self.classifier, list[dict[str, Any]]()
        samples = {name: self._read(name) for name in batch.names}
        outcomes = together(classifier.model, samples, batch.missing, classifier.name, self.options)
        for name, outcome, seconds in outcomes:
            if isinstance(outcome, Exception):
                rows.append({"row": {"image": name, "error": reason(outcome)}})
            else:
                row, record = packed(name, outcome, seconds)
                rows.append({"row": row, "record": record})
        return rows

    def _read(self, name: str) -> Any:
        from usu.dataset import read_photograph

        try:
            return read_photograph(name, self.folder / name, self.classifier.prepare, self.limits)
        except (ValueError, OSError) as problem:
            return problem


def explain_folder(options: argparse.Namespace, classifier: Classifier, keywords: dict[str, Any]) -> int:
    """Explain the photographs of a folder that have no record yet; a bad one is reported, the rest go on.

    Raises:
        ValueError: the folder holds no image; the output folder holds something else, or another run.
        BlockingIOError: another run is writing to the output folder.
    """
    from tqdm import tqdm

    from usu.bench.datasets.files import image_names
    from usu.bench.engines.registry import find_engine
    from usu.dataset import GALLERY, TABLE, Results, run_of

    engine = find_engine(options.engine, options.workers, options.address)
    folder = Path(options.images[0])
    names = image_names(folder)
    if not names:
        raise ValueError(f"{folder} holds no image, nor do the folders in it")
    run = run_of(classifier.name, classifier.model, {**keywords, "photographs": str(folder.resolve())})
    alone = options.engine == "local" and options.workers in (None, 1)
    load = (lambda: classifier) if alone else _loader(options)
    limits = None if options.range is None else tuple(options.range)
    failed: dict[str, str] = {}

    def fail(name: str, why: str) -> None:
        failed[name] = why
        complain(ValueError(why), str(folder / name))

    with closing(Results(Path(options.out), run)) as results:
        before = len(results.done)
        batches = _batches(names, results.done)
        make_worker = partial(Explainer, load, folder.absolute(), limits, keywords)
        with (
            closing(engine.run(make_worker, batches)) as outcomes,
            tqdm(total=len(batches), desc="images", unit="batch", disable=not sys.stderr.isatty()) as bar,
        ):
            for outcome in outcomes:
                for found in outcome.rows:
                    if "record" in found:
                        results.add(**found)
                    else:
                        fail(found["row"]["image"], found["row"]["error"])
                if outcome.problem is not None:
                    for name in sorted(outcome.job.missing):
                        fail(name, outcome.problem)
                bar.update()
        results.finish(failed)
    counts = f"{len(results.done) - before} photograph(s), {before} before, {len(failed)} failed"
    print(f"{'explained':<16}{counts}")
    print(f"{'written to':<16}{options.out}: a record each, {TABLE}, {GALLERY}")
    return BAD_INPUT if failed else 0


def _loader(options: argparse.Namespace) -> Callable[[], Classifier]:
    """Return what loads the network in any process: not every network can be sent to one."""
    from usu.models.bundled import CARD

    model = os.path.abspath(options.model) if Path(options.model).suffix == CARD else options.model
    weights = options.weights and os.path.abspath(options.weights)
    return partial(_load, model, weights, options.device, options.double)


def _load(model: str, weights: str | None, device: str, double: bool) -> Classifier:
    import torch

    from usu.models.loading import load_classifier

    return load_classifier(model, weights).to(device, torch.float64 if double else None)


def _batches(names: Sequence[str], done: Collection[str]) -> list[Batch]:
    """Return the batches that lack a record; they are the same whatever is done."""
    cut = [tuple(names[start : start + _TOGETHER]) for start in range(0, len(names), _TOGETHER)]
    every = (Batch(own, frozenset(own).difference(done)) for own in cut)
    return [batch for batch in every if batch.missing]
