"""From values per scene to rows: means, intervals and paired tests against nearest and bilinear."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from usu.metrics.statistics import Correction, Interval, PairedTest, bootstrap_intervals, correct, paired_test
from usu.reproduce.measured import Measured
from usu.runtime.files import written_whole

REFERENCES = ("nearest", "bilinear")
TESTED = ("iou_area", "concentration", "pointing")
MEAN = "mean"  # the row over all grids: each scene's mean

Grid: TypeAlias = "int | str"


@dataclass(frozen=True)
class Against:
    """A paired test of one measure against a reference method, corrected for all tests of the table."""

    reference: str
    measure: str
    test: PairedTest
    correction: Correction | None = None

    def plain(self) -> dict[str, Any]:
        """Return the test as values that JSON can hold; an infinite effect size as text."""
        effect = self.test.cohens_d
        corrected = self.correction
        return {
            "reference": self.reference,
            "measure": self.measure,
            "difference": self.test.difference.mean,
            "difference_low": self.test.difference.low,
            "difference_high": self.test.difference.high,
            "wilcoxon": self.test.statistic,
            "p_value": self.test.p_value,
            "cohens_d": effect if np.isfinite(effect) else str(effect),
            "rank_biserial": self.test.rank_biserial,
            **(
                {}
                if corrected is None
                else {"bonferroni": corrected.bonferroni, "holm": corrected.holm, "tests": corrected.tests}
            ),
        }


@dataclass(frozen=True)
class Row:
    """One method on one network's coarse maps of one grid.

    Attributes:
        model: the network's name, which says the λ that it was trained by.
        source: of the coarse map, "gradient" or "gradcam".
        method: by name.
        grid: cells of a side, or "mean".
        n: number of test scenes.
        measures: mean and BCa interval by measure.
        tests: against each reference; of the rows over all grids only.
    """

    model: str
    source: str
    method: str
    grid: Grid
    n: int
    measures: dict[str, Interval]
    tests: tuple[Against, ...] = ()

    def plain(self) -> dict[str, Any]:
        """Return the row as values that JSON can hold; intervals as `iou_area_low`, `iou_area_high`."""
        values: dict[str, Any] = {
            "model": self.model,
            "source": self.source,
            "method": self.method,
            "grid": self.grid,
            "n": self.n,
        }
        for name, interval in self.measures.items():
            values |= {name: interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}
        return {**values, "tests": [test.plain() for test in self.tests]}


def rows_of(results: Iterable[Measured]) -> list[Row]:
    """Return the rows of some networks; tests are corrected for all that were run on them together."""
    rows = [row for result in results for row in _rows(result)]
    tests = [test for row in rows for test in row.tests]
    corrections = iter(correct([test.test.p_value for test in tests]) if tests else [])
    return [
        replace(row, tests=tuple(replace(test, correction=next(corrections)) for test in row.tests))
        for row in rows
    ]


def _rows(result: Measured) -> list[Row]:
    count = result.values.shape[-1]
    over_grids = result.values.mean(1, keepdims=True)
    values = np.concatenate([result.values, over_grids], axis=1)
    intervals = iter(bootstrap_intervals(values.reshape(-1, count)))
    rows = []
    for source, of_source in zip(result.sources, values, strict=True):
        grids: tuple[Grid, ...] = (*result.grids, MEAN)
        for grid, of_grid in zip(grids, of_source, strict=True):
            for method in result.methods:
                measures = {name: next(intervals) for name in result.measures}
                tests = _tests(result, of_grid, method) if grid == MEAN else ()
                rows.append(Row(result.subject, source, method, grid, count, measures, tests))
    return rows


def _tests(result: Measured, values: np.ndarray[Any, Any], method: str) -> tuple[Against, ...]:
    """Compare one method with each reference; `values` are (methods, measures, scenes)."""
    number = {name: index for index, name in enumerate(result.methods)}
    measure = {name: index for index, name in enumerate(result.measures)}
    return tuple(
        Against(
            reference,
            name,
            paired_test(values[number[method], measure[name]], values[number[reference], measure[name]]),
        )
        for reference in REFERENCES
        if reference != method
        for name in TESTED
    )


def write_rows(rows: Sequence[Row], path: Path) -> None:
    """Write rows as a JSON list, one in a line, whole or not at all."""
    lines = [json.dumps(row.plain(), allow_nan=False, ensure_ascii=False) for row in rows]
    with written_whole(path) as file:
        file.write(("[\n" + ",\n".join(lines) + "\n]\n").encode())
