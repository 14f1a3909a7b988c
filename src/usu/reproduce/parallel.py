"""Many networks measured on the test scenes: those of one kind after each other, kinds side by side."""

from __future__ import annotations

import multiprocessing
import os
import queue
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from usu.reproduce.evidence import Scoring
from usu.reproduce.measured import Bench, Measured, measured
from usu.reproduce.subjects import SEED, Effort, Subject, reported_scenes
from usu.runtime.memory import keep_freed_memory
from usu.runtime.processes import processes

_LONGEST_FIRST = ("cnn", "vit", "mlp")


def measure_all(
    subjects: Sequence[Subject], effort: Effort, folder: Path, seed: int = SEED
) -> list[Measured]:
    """Measure some networks on the test scenes, under one progress bar on standard error.

    Networks of one kind go on from one plain network, so each kind is one task; where there are several, they
    share the processors, one thread each.
    """
    kinds = [[one for one in subjects if one.network == kind] for kind in _LONGEST_FIRST]
    kinds = [kind for kind in kinds if kind]
    total = len(subjects) * len(reported_scenes(effort, seed))
    results: dict[str, Measured] = {}
    with tqdm(total=total, unit="scene", mininterval=1) as bar:
        if len(kinds) == 1:
            found = [measure_kind(kinds[0], effort, folder, seed, bar.update)]
        else:
            found = _side_by_side(kinds, effort, folder, seed, bar)
        for measured_kind in found:
            results.update((one.subject, one) for one in measured_kind)
    return [results[subject.name] for subject in subjects]


def measure_kind(
    subjects: Sequence[Subject], effort: Effort, folder: Path, seed: int, tick: Callable[[], object]
) -> list[Measured]:
    """Measure networks one after the other, on scenes that are drawn and segmented once."""
    bench = Bench(reported_scenes(effort, seed), Scoring(), seed)
    return [measured(subject, bench, effort, seed, folder, tick) for subject in subjects]


def _side_by_side(
    kinds: Sequence[Sequence[Subject]], effort: Effort, folder: Path, seed: int, bar: Any
) -> list[list[Measured]]:
    ticks = multiprocessing.get_context("spawn").Queue()
    workers = min(len(kinds), os.cpu_count() or 1)
    with processes(workers, _begin, ticks) as pool:
        futures = [pool.submit(_measure_kind_there, kind, effort, folder, seed) for kind in kinds]
        while not all(future.done() for future in futures):
            with suppress(queue.Empty):
                ticks.get(timeout=0.5)
                bar.update()
        return [future.result() for future in futures]


_ticks: Any = None  # where a process of its own tells that a scene is done


def _begin(ticks: Any) -> None:
    global _ticks
    _ticks = ticks
    keep_freed_memory()
    torch.set_num_threads(1)


def _measure_kind_there(
    subjects: Sequence[Subject], effort: Effort, folder: Path, seed: int
) -> list[Measured]:
    return measure_kind(subjects, effort, folder, seed, lambda: _ticks.put(1))
