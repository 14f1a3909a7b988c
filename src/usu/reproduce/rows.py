"""From values per scene to rows: means, intervals and paired tests against nearest and bilinear."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from usu.metrics.statistics import bootstrap_intervals, correct, paired_test
from usu.reproduce.measured import Measured
from usu.runtime.files import finite, written_whole

REFERENCES = ("nearest", "bilinear")
TESTED = ("iou_area", "concentration", "pointing")
MEAN = "mean"  # the grid of rows over all grids: each scene's mean

_OF_TESTS = ["model", "source", "method"]


def rows_of(results: Iterable[Measured]) -> pd.DataFrame:
    """Return means over scenes with 95 % BCa intervals.

    Returns:
        By `model`, `source` of the coarse map, `grid` (cells of a side, or "mean") and `method`: `n` scenes,
        and each measure's mean and interval as `iou_area`, `iou_area_low` and `iou_area_high`.
    """
    return pd.concat([_rows(result) for result in results])


def _rows(result: Measured) -> pd.DataFrame:
    values = np.concatenate([result.values, result.values.mean(1, keepdims=True)], axis=1)
    scenes = values.shape[-1]
    keys = {
        "model": [result.subject],
        "source": result.sources,
        "grid": [*result.grids, MEAN],
        "method": result.methods,
    }
    index = pd.MultiIndex.from_product(keys.values(), names=keys)
    columns = [f"{measure}{end}" for measure in result.measures for end in ("", "_low", "_high")]
    intervals = [(one.mean, one.low, one.high) for one in bootstrap_intervals(values.reshape(-1, scenes))]
    rows = pd.DataFrame(np.reshape(intervals, (len(index), -1)), index, columns)
    rows.insert(0, "n", scenes)
    return rows


def tests_of(results: Iterable[Measured]) -> pd.DataFrame:
    """Return paired tests of each method's means over all grids, corrected for all of them together.

    Returns:
        By `model`, `source` and `method`, one row for each `reference` and `measure`.
    """
    rows = pd.DataFrame([test for result in results for test in _tests(result)])
    corrected = pd.DataFrame(correct(rows["p_value"].to_numpy()))
    return rows.join(corrected[["bonferroni", "holm", "tests"]]).set_index(_OF_TESTS)


def _tests(result: Measured) -> Iterator[dict[str, Any]]:
    for source, values in zip(result.sources, result.values.mean(1), strict=True):
        samples = dict(zip(product(result.methods, result.measures), np.concatenate(values), strict=True))
        for method, reference, measure in product(result.methods, REFERENCES, TESTED):
            if method == reference:
                continue
            test = paired_test(samples[method, measure], samples[reference, measure])
            place = (result.subject, source, method, reference, measure)
            yield {
                **dict(zip((*_OF_TESTS, "reference", "measure"), place, strict=True)),
                "difference": test.difference.mean,
                "difference_low": test.difference.low,
                "difference_high": test.difference.high,
                "wilcoxon": test.statistic,
                "p_value": test.p_value,
                "cohens_d": test.cohens_d,
                "rank_biserial": test.rank_biserial,
            }


def write_rows(rows: pd.DataFrame, tests: pd.DataFrame, path: Path) -> None:
    """Write rows as a JSON list, one in a line, with their tests if over all grids; whole or not at all."""
    tests_by_row = {key: group.to_dict("records") for key, group in tests.groupby(_OF_TESTS)}
    lines = []
    for row in rows.reset_index().to_dict("records"):
        key = tuple(row[name] for name in _OF_TESTS)
        tested = tests_by_row[key] if row["grid"] == MEAN else []
        lines.append(json.dumps(finite({**row, "tests": tested}), allow_nan=False, ensure_ascii=False))
    with written_whole(path) as file:
        file.write(("[\n" + ",\n".join(lines) + "\n]\n").encode())
