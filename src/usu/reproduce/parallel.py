"""Many networks measured on the test scenes: those of one kind after each other, kinds side by side."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from multiprocessing import get_context, parent_process
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from threading import Thread
from typing import Any

from tqdm import tqdm

from usu.bench.engines.base import ready
from usu.bench.engines.local import LocalEngine
from usu.reproduce.evidence import Scoring
from usu.reproduce.measured import Bench, Measured, measured
from usu.reproduce.subjects import SEED, Effort, Subject, reported_scenes

_LONGEST_FIRST = ("cnn", "vit", "mlp")


def measure_all(
    subjects: Sequence[Subject], effort: Effort, folder: Path, seed: int = SEED
) -> list[Measured]:
    """Measure some networks on the test scenes, under one progress bar on standard error.

    Networks of one kind start from the same plain network, so each kind is one job; where there are several,
    they share the processors, one thread each.

    Raises:
        ChildProcessError: a network could not be trained or measured.
    """
    kinds = [tuple(one for one in subjects if one.network == kind) for kind in _LONGEST_FIRST]
    kinds = [kind for kind in kinds if kind]
    engine = LocalEngine(min(len(kinds), os.cpu_count() or 1))
    results: dict[str, Measured] = {}
    with _counting(len(subjects) * len(reported_scenes(effort, seed))) as ticks:
        worker = partial(_Worker, effort, folder, seed, ticks)
        with closing(engine.run(worker, kinds)) as outcomes:
            for outcome in outcomes:
                if outcome.problem is not None:
                    raise ChildProcessError(outcome.problem)
                for row in outcome.rows:
                    results.update(row)
    return [results[subject.name] for subject in subjects]


class _Worker:
    """Measures networks of one kind, on scenes that are drawn and segmented once."""

    def __init__(self, effort: Effort, folder: Path, seed: int, ticks: SimpleQueue[bool]) -> None:
        if parent_process() is not None:
            ready(1)  # so that weights do not depend on the number of processors
        self.bench = Bench(reported_scenes(effort, seed), effort, Scoring(), seed)
        self.folder, self.tick = folder, partial(ticks.put, True)

    def work(self, kind: Sequence[Subject]) -> list[dict[str, Measured]]:
        return [{one.name: measured(one, self.bench, self.folder, self.tick)} for one in kind]


@contextmanager
def _counting(scenes: int) -> Iterator[SimpleQueue[bool]]:
    """Give a queue on which any process reports each scene that is done, for one bar on standard error."""
    ticks: SimpleQueue[bool] = get_context("spawn").SimpleQueue()
    with tqdm(total=scenes, unit="scene", mininterval=1) as bar:
        counter = Thread(target=_count, args=(bar, ticks), daemon=True)
        counter.start()
        yield ticks
        ticks.put(False)  # not after an exception: a process that was killed may have locked the queue
        counter.join()


def _count(bar: Any, ticks: SimpleQueue[bool]) -> None:
    while ticks.get():
        bar.update()
