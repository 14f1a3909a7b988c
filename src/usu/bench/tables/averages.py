"""Means over images and the cells that show them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from usu.bench.tables.frame import Floats, Section
from usu.bench.tables.numbers import written
from usu.bench.tables.sheet import Mark, Number, Style
from usu.metrics.statistics import Interval, bootstrap_intervals


@dataclass(frozen=True)
class Average:
    """A mean over images.

    Attributes:
        mean: None where there is no value.
        n: number of images.
        interval: None for fewer than two images.
        left_out: number of images whose value is not finite.
        largest: of the values; None where there is none.
    """

    mean: float | None
    n: int
    interval: tuple[float, float] | None
    left_out: int
    largest: float | None

    def number(self, style: Style, paper: float | None = None) -> Number:
        """Return the cell that shows the mean."""
        return Number(self.mean, style, self.n, self.interval, self.left_out, paper)


Averages: TypeAlias = "Mapping[tuple[str, str], Average]"


def averages(section: Section, contestants: Iterable[str], measures: Sequence[str]) -> Averages:
    """Return the mean of each contestant by each measure, with 95 % BCa intervals."""
    keys = [(contestant, measure) for contestant in contestants for measure in measures]
    everything = {key: section.of(*key).values for key in keys}
    samples = {key: values[np.isfinite(values)] for key, values in everything.items()}
    intervals = _intervals(samples)
    return {
        key: Average(
            float(sample.mean()) if len(sample) else None,
            len(sample),
            (intervals[key].low, intervals[key].high) if key in intervals else None,
            len(everything[key]) - len(sample),
            float(sample.max()) if len(sample) else None,
        )
        for key, sample in samples.items()
    }


def _intervals(samples: Mapping[tuple[str, str], Floats]) -> dict[tuple[str, str], Interval]:
    """Resample together what has the same number of values: a mean needs only how often each was drawn."""
    by_length: dict[int, list[tuple[str, str]]] = {}
    for key, sample in samples.items():
        by_length.setdefault(len(sample), []).append(key)
    found: dict[tuple[str, str], Interval] = {}
    for length, keys in by_length.items():
        if length > 1:
            found |= zip(keys, bootstrap_intervals(np.stack([samples[key] for key in keys])), strict=True)
    return found


def marked(cells: Sequence[Number], higher_is_better: bool) -> tuple[Number, ...]:
    """Mark the best and the second best of some cells; what is written alike ties and is marked alike.

    Nothing is marked where all are written alike.
    """
    measured = [(cell.value, cell.style) for cell in cells if cell.value is not None]
    ranked = sorted(measured, reverse=higher_is_better)
    best, second = (*dict.fromkeys(written(*one) for one in ranked), None, None)[:2]
    if best is None or second is None:
        return tuple(cells)
    marks: dict[str, Mark] = {best: "best", second: "second"}
    return tuple(
        cell if cell.value is None else replace(cell, mark=marks.get(written(cell.value, cell.style)))
        for cell in cells
    )
