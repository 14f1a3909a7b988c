"""Rows of results as samples: for each network, source, contestant and measure one value per image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from usu.bench.results.schema import NO_SOURCE
from usu.bench.tables.labels import place

Floats: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"
Integers: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"
Key: TypeAlias = "tuple[str, str, str]"

# Of a map, whatever the metric: each of its rows repeats them.
FACTS = ("forward_passes", "total_mass", "d1_error", "d1_relative")
_KEYS = ("dataset", "model", "source", "upsampler", "metric", "image")
_PROVENANCE = {"metric": "metric_settings", "upsampler": "upsampler_settings", "model": "weights_hash"}


@dataclass(frozen=True, eq=False)
class Series:
    """One value per image.

    Attributes:
        images: (n,), ranks of the images' names in the whole table, ascending.
        values: (n,), NaN where a metric has no value.
    """

    images: Integers
    values: Floats


_NOTHING = Series(np.empty(0, np.int64), np.empty(0))


@dataclass(frozen=True, eq=False)
class Section:
    """What was measured on one network's coarse maps of one source; empty where nothing was.

    Maps that need no coarse map stand in the section of every source.

    Attributes:
        dataset: by name.
        model: by name.
        source: by name.
        series: by (contestant, measure), a measure being the name of a metric or one of `FACTS`.
    """

    dataset: str
    model: str
    source: str
    series: Mapping[tuple[str, str], Series] = field(default_factory=dict)

    def of(self, contestant: str, measure: str) -> Series:
        """Return one contestant's values, none where nothing was measured."""
        return self.series.get((contestant, measure), _NOTHING)

    def has(self, measure: str) -> bool:
        """Return whether any contestant was measured by this."""
        return any(key[1] == measure for key in self.series)


@dataclass(frozen=True, eq=False)
class Study:
    """All rows of a table.

    Attributes:
        sections: in the paper's order, with what it lacks after.
        metrics: names of the metrics that have rows, sorted.
        provenance: by "metric", "upsampler" and "model", what each name stood for: its settings, or the
            hashes of its weights; several where rows differ.
        versions: of the software, as the rows have them.
    """

    sections: tuple[Section, ...]
    metrics: tuple[str, ...]
    provenance: Mapping[str, Mapping[str, tuple[str, ...]]]
    versions: tuple[str, ...]

    def section(self, dataset: str, model: str, source: str) -> Section:
        """Return what was measured there, an empty section where nothing was."""
        wanted = (dataset, model, source)
        found = (one for one in self.sections if (one.dataset, one.model, one.source) == wanted)
        return next(found, Section(*wanted))

    def sources(self) -> tuple[str, ...]:
        """Return the sources that have rows, Grad-CAM first."""
        found = {one.source for one in self.sections}
        return tuple(sorted(found, key=lambda name: place("", "", name)))

    def grid(self, source: str, expected: Iterable[tuple[str, str]] = ()) -> tuple[Section, ...]:
        """Return the sections of a source, with those (data set, model) that are expected to be there."""
        found = {(one.dataset, one.model) for one in self.sections if one.source == source}
        wanted = sorted(found | set(expected), key=lambda pair: place(pair[0], pair[1], source))
        return tuple(self.section(*pair, source) for pair in wanted)


def study_of(rows: pa.Table) -> Study:
    """Sort rows (see `usu.bench.results.schema.SCHEMA`) into sections; their order does not matter.

    Raises:
        ValueError: a column is missing, or two rows measure the same.
    """
    needed = {*_KEYS, *FACTS, "value", "versions", *_PROVENANCE.values()}
    if missing := sorted(needed - set(rows.column_names)):
        raise ValueError(f"rows must have the columns of a results folder, {', '.join(missing)} missing")
    names, codes = zip(*(_ranked(rows, key) for key in _KEYS), strict=True)
    *groups, images = codes
    order = np.lexsort((images, *reversed(groups)))
    groups, images = [code[order] for code in groups], images[order]
    _check_single(names, groups, images)
    taken = rows.select(["value", *FACTS])
    numbers = {name: taken[name].to_numpy().astype(np.float64)[order] for name in taken.column_names}
    found: dict[Key, dict[tuple[str, str], Series]] = {}
    for (dataset, model, source, contestant, metric), part in _runs(names, groups):
        series = found.setdefault((dataset, model, source), {})
        series[contestant, metric] = Series(images[part], numbers["value"][part])
    for (dataset, model, source, contestant), part in _runs(names[:4], groups[:4]):
        # A map's rows stand metric after metric: the first of an image tells of its map.
        ranks, first = np.unique(images[part], return_index=True)
        for fact in FACTS:
            found[dataset, model, source][contestant, fact] = Series(ranks, numbers[fact][part][first])
    found = _with_sourceless(found)
    return Study(
        tuple(Section(*key, found[key]) for key in sorted(found, key=_in_place)),
        names[4],
        {key: _distinct(rows, key, told) for key, told in _PROVENANCE.items()},
        _ranked(rows, "versions")[0],
    )


def _in_place(key: Key) -> tuple[tuple[int, str], ...]:
    return place(*key)


def _with_sourceless(
    found: dict[Key, dict[tuple[str, str], Series]],
) -> dict[Key, dict[tuple[str, str], Series]]:
    """Put the maps of no source beside those of each; they stand alone where there is none."""
    sourced = {key for key in found if key[2] != NO_SOURCE}
    places = {key[:2] for key in sourced}
    return {
        key: found.get((*key[:2], NO_SOURCE), {}) | series if key in sourced else series
        for key, series in found.items()
        if key in sourced or key[:2] not in places
    }


def _ranked(rows: pa.Table, column: str) -> tuple[tuple[str, ...], Integers]:
    """Return the distinct names of a column, sorted, and the rank of each row's (rows,)."""
    encoded = pa.chunked_array(rows[column].cast(pa.string()).dictionary_encode()).unify_dictionaries()
    found = encoded.combine_chunks()
    if isinstance(found, pa.ChunkedArray):  # of no chunk, in older versions
        return (), np.empty(0, np.int64)
    names = found.dictionary.to_pylist()
    order = sorted(range(len(names)), key=names.__getitem__)
    rank = np.empty(len(names), np.int64)
    rank[order] = np.arange(len(names))
    return tuple(names[index] for index in order), rank[found.indices.to_numpy()]


def _check_single(names: tuple[tuple[str, ...], ...], groups: list[Integers], images: Integers) -> None:
    same = np.ones(max(len(images) - 1, 0), bool)
    for code in (*groups, images):
        same &= code[1:] == code[:-1]
    if same.any():
        at = int(np.argmax(same))
        cell = [titles[code[at]] for titles, code in zip(names, (*groups, images), strict=True)]
        told = ", ".join(f"{key} {name!r}" for key, name in zip(_KEYS, cell, strict=True))
        raise ValueError(f"rows must measure each thing once, found twice: {told}")


def _runs(
    names: tuple[tuple[str, ...], ...], groups: list[Integers]
) -> Iterable[tuple[tuple[str, ...], slice]]:
    """Return the labels of each run of equal codes, and where it stands."""
    count = len(groups[0])
    changed = np.zeros(max(count - 1, 0), bool)
    for code in groups:
        changed |= code[1:] != code[:-1]
    starts = [0, *(np.flatnonzero(changed) + 1).tolist()] if count else []
    for start, stop in zip(starts, [*starts[1:], count], strict=False):
        yield (
            tuple(titles[code[start]] for titles, code in zip(names[: len(groups)], groups, strict=True)),
            slice(start, stop),
        )


def _distinct(rows: pa.Table, key: str, told: str) -> dict[str, tuple[str, ...]]:
    pairs = rows.select([key, told]).group_by([key, told]).aggregate([]).to_pylist()
    found: dict[str, list[str]] = {}
    for pair in sorted(pairs, key=lambda pair: (pair[key], pair[told])):
        found.setdefault(pair[key], []).append(pair[told])
    return {name: tuple(values) for name, values in found.items()}
