"""Rows of `benchmarks.scores.order`, and the tables of differences that they make."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from benchmarks.scores.score_tables import HALVES, LEVEL, line
from usu.metrics.faithfulness.labels import LABELS
from usu.metrics.statistics import correct, paired_test

CURVES = tuple(
    f"{kind}-{fill}{band}"
    for band in ("", "-smooth")
    for kind in ("deletion", "insertion")
    for fill in ("blur", "mean")
)
METRICS = (*CURVES, "irof-grid", "irof-felzenszwalb", "road", "monotonicity")
REFERENCES = ("bilinear", "SHAP partition 160", "source gradcam")
SURE = 0.95  # probability
FEWEST = 6  # photographs of a test

Rows: TypeAlias = "dict[tuple[str, str], dict[str, Any]]"
Floats: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"


def read(path: Path) -> Rows:
    """Return the rows of a file by photograph and map, several lines in one, but none that was cut off."""
    rows: Rows = {}
    for text in path.read_text().splitlines() if path.exists() else ():
        try:
            row = json.loads(text)
        except json.JSONDecodeError:
            continue
        rows.setdefault((row["photograph"], row["map"]), row)["scores"].update(row["scores"])
    return rows


def pairs(rows: Rows, name: str, reference: str, half: str) -> list[Floats]:
    """Return the values (n, 2) of a map and of the reference on the same photographs, by each metric."""
    both = [
        (row["scores"], rows[photograph, reference]["scores"])
        for (photograph, other), row in rows.items()
        if other == name and row["half"] == half and (photograph, reference) in rows
    ]
    known = [[(own.get(metric), base.get(metric)) for own, base in both] for metric in METRICS]
    return [np.array([pair for pair in each if None not in pair], float).reshape(-1, 2) for each in known]


def holm(p_values: Floats) -> Floats:
    """Return p-values of any shape after Holm's correction for all that are no NaN."""
    found, tested = np.full(p_values.shape, np.nan), ~np.isnan(p_values)
    if tested.any():
        found[tested] = [each.holm for each in correct(p_values[tested])]
    return found


def table(rows: Rows, reference: str, half: str, names: Sequence[str]) -> list[str]:
    """Return paired differences of maps from one, mean ± standard error.

    Bold: p below 0.05 after Holm over the table; italic: only after Holm over the map's own measures.
    """
    values = [pairs(rows, name, reference, half) for name in names]
    p = np.array(
        [[paired_test(*each.T).p_value if len(each) >= FEWEST else np.nan for each in own] for own in values]
    )
    marks = np.where(holm(p) < LEVEL, "**", np.where([holm(own) < LEVEL for own in p], "*", ""))
    shown = [place for place in range(len(METRICS)) if any(len(own[place]) for own in values)]
    headings = [LABELS[METRICS[place]].heading for place in shown]
    lines = [line(f"less {reference}", "n", *headings), "|---" * (2 + len(headings)) + "|"]
    for name, own, mark in zip(names, values, marks, strict=True):
        cells = [told(own[place], mark[place]) for place in shown]
        lines.append(line(name, max(map(len, own)), *cells))
    return lines


def told(values: Floats, mark: str) -> str:
    """Return the mean difference of pairs (n, 2), ± its standard error."""
    if not len(values):
        return ""
    difference = values[:, 0] - values[:, 1]
    error = difference.std(ddof=min(1, len(values) - 1)) / len(values) ** 0.5
    return f"{mark}{difference.mean():+.3f} ± {error:.3f}{mark}"


def tables(path: Path, maps: Sequence[str], sure: bool | None = None) -> str:
    """Return the tables of some maps in a file of rows in Markdown, of all or by how sure the network is."""
    rows = {
        key: row
        for key, row in read(path).items()
        if row["map"] in maps and (sure is None or (row["probability"] >= SURE) == sure)
    }
    parts = []
    for half in HALVES:
        own = [row for row in rows.values() if row["half"] == half]
        there = {row["map"] for row in own}
        for reference in REFERENCES:
            base = [row["scores"] for row in own if row["map"] == reference]
            names = [name for name in maps if name in there - {reference}]
            if not base or not names:
                continue
            known = {m: [one[m] for one in base if one.get(m) is not None] for m in METRICS}
            means = [f"{LABELS[m].heading} {np.mean(values):.3f}" for m, values in known.items() if values]
            parts += [
                f"## {half.capitalize()} half, less {reference}",
                f"{reference} itself: {', '.join(means)}.",
            ]
            parts.append("\n".join(table(rows, reference, half, names)))
    return "\n\n".join(parts)
