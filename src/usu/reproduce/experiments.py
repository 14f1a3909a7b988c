"""What `usu reproduce` can make: each takes a folder and whether to be quick, and returns lines to print."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from tqdm import tqdm

from usu.reproduce.choice import choose
from usu.reproduce.evidence import Scoring
from usu.reproduce.measured import Bench, Measured, measured
from usu.reproduce.paper import CAPTIONS
from usu.reproduce.rows import rows_of, write_rows
from usu.reproduce.subjects import FULL, QUICK, SEED, Effort, Subject, reported_scenes
from usu.reproduce.tables import TABLES, render

Experiment = Callable[[Path, bool], "list[str]"]


def measure_all(
    subjects: Sequence[Subject], effort: Effort, folder: Path, seed: int = SEED
) -> list[Measured]:
    """Measure some networks on the test scenes, under one progress bar on standard error."""
    bench = Bench(reported_scenes(effort, seed), Scoring(), seed)
    results = []
    with tqdm(total=len(subjects) * len(bench.scenes), unit="scene", mininterval=1) as bar:
        for subject in subjects:
            bar.set_description(subject.name)
            started = time.perf_counter()
            results.append(measured(subject, bench, effort, seed, folder, bar.update))
            bar.write(f"{subject.name}: {time.perf_counter() - started:.0f} s", file=sys.stderr)
    return results


def _table(name: str) -> Experiment:
    def make(folder: Path, quick: bool) -> list[str]:
        table = TABLES[name]
        results = measure_all(table.subjects, QUICK if quick else FULL, folder / "measured")
        rows = rows_of(results)
        write_rows(rows, folder / f"{name}.json")
        return render(table, results, rows)

    return make


def _figure(name: str) -> Experiment:
    def make(folder: Path, quick: bool) -> list[str]:
        from usu.reproduce import figures, sheets

        sheet = figures.FIGURES[name](QUICK if quick else FULL)
        paths = sheets.save(sheet, folder, name)
        return [sheet.title, f"the paper's: {CAPTIONS[name]}", *sheet.notes, *map(str, paths)]

    return make


EXPERIMENTS: Mapping[str, Experiment] = MappingProxyType(
    {
        **{name: _table(name) for name in TABLES},
        **{name: _figure(name) for name in CAPTIONS},
        "settings": choose,
    }
)
