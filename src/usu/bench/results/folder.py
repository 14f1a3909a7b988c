"""A folder of results: rows in Parquet parts, under one protocol, written by one run at a time.

Every part is written whole, and a row is identified by its cell: a run may be killed at any moment, and the
next one continues from the rows that are there.
"""

from __future__ import annotations

import functools
import json
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from usu.bench.results.schema import SCHEMA, Cell, cell_of
from usu.runtime.files import lock_of, read_json, written_whole

Row: TypeAlias = dict[str, Any]

PROTOCOL = "protocol.json"
WEIGHTS = "weights"  # an entry that a protocol may have: the hash of each model's weights
PARTS = "parts"
# Parts below this many bytes are merged; larger ones stay, or long runs would write all rows again and again.
SMALL = 4 * 2**20
MANY = 256  # so many small parts are merged during a run: each costs a reader about a millisecond

# Rows of one cell that differ are told apart by the other columns, not by the file they happen to lie in.
_ORDER = [*Cell._fields, *(name for name in SCHEMA.names if name not in Cell._fields)]


class Results:
    """The results folder of a run, from `Results.open`; no other run can write to it meanwhile."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._done = _cells(_read(folder, list(Cell._fields)))
        self._small = len(_small_parts(folder))

    @classmethod
    @contextmanager
    def open(cls, folder: str | Path, protocol: Mapping[str, Any]) -> Iterator[Results]:
        """Open a results folder for a run and keep others from writing to it until the end of the block.

        Args:
            folder: to write to, made if there is none.
            protocol: how rows are measured, as values that JSON can hold. A folder keeps its first protocol;
                only the mappings in it, such as the settings of each metric by name, may have more entries or
                lack some. "weights", a mapping from models to hashes, is also compared with the rows, which
                had them before protocols did.

        Raises:
            BlockingIOError: another run is writing to it.
            ValueError: it holds results of another protocol or mixed weights, or a file of it is damaged.
        """
        folder = Path(folder)
        (folder / PARTS).mkdir(parents=True, exist_ok=True)
        with lock_of(folder):
            _agree(folder, _plain(protocol))
            yield cls(folder)

    @property
    def done(self) -> AbstractSet[Cell]:
        """The measurements that are in the folder."""
        return self._done

    def image_hashes(self) -> dict[str, set[str]]:
        """Return the hashes that each image has in the rows: one, unless different images were mixed."""
        return _grouped(self.folder, "image", "image_hash")

    def add(self, rows: Sequence[Row]) -> None:
        """Write rows as one part: all of them or, if the process is killed, none.

        Rows of measurements that are already done are left out: the first one stays.

        Raises:
            ValueError: a row that lacks a column or a value, or has a column that is not in `SCHEMA`.
        """
        new = {cell_of(_checked(row)): row for row in reversed(rows)}  # the first of a cell is kept
        new = {cell: row for cell, row in new.items() if cell not in self._done}
        if not new:
            return
        self._write(pa.Table.from_pylist(list(new.values()), schema=SCHEMA))
        self._done |= new.keys()
        self._small += 1
        if self._small >= MANY:
            self.compact()

    def compact(self) -> None:
        """Merge the small parts into one.

        The merged part is written before the others are deleted. A kill in between leaves rows in two parts,
        and readers take them once.
        """
        parts = _small_parts(self.folder)
        if len(parts) > 1:
            self._write(_unique(pa.concat_tables([read_part(part, None) for part in parts])))
            for part in parts:
                part.unlink()
        self._small = min(len(parts), 1)

    def _write(self, table: pa.Table) -> None:
        # Names of parts are unique among all runs, so that folders can be merged by copying parts.
        with written_whole(self.folder / PARTS / f"{uuid.uuid4().hex}.parquet") as file:
            pq.write_table(table, file, compression="zstd", write_page_checksum=True)


def read_rows(folder: str | Path) -> pa.Table:
    """Return all rows of a results folder by `SCHEMA`, one per cell, sorted by cell.

    A run may be writing to it at the same time: its parts are whole or not there.

    Raises:
        FileNotFoundError: there are no results in `folder`.
        ValueError: a part is damaged.
    """
    read_protocol(folder)
    return _unique(_read(Path(folder), None))


def read_protocol(folder: str | Path) -> dict[str, Any]:
    """Return how the rows of a results folder are measured.

    Raises:
        FileNotFoundError: there are no results in `folder`.
        ValueError: the protocol is damaged.
    """
    path = Path(folder) / PROTOCOL
    try:
        protocol = read_json(path)
        if not isinstance(protocol, dict):
            raise ValueError("not a mapping")
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{folder} holds no results: it has no {PROTOCOL}; give the folder of a run"
        ) from None
    except ValueError as problem:  # not JSON, or not UTF-8
        raise ValueError(
            f"{path} is damaged ({problem}): restore it from a copy, or begin a new folder"
        ) from None
    return protocol


def _plain(protocol: Mapping[str, Any]) -> dict[str, Any]:
    """Return the protocol as it will be when it is read."""
    try:
        plain: dict[str, Any] = json.loads(json.dumps(dict(protocol), allow_nan=False))
    except (TypeError, ValueError) as problem:
        raise ValueError(f"protocol must hold plain values that JSON can hold: {problem}") from None
    return plain


def _agree(folder: Path, protocol: dict[str, Any]) -> None:
    """Keep the protocol in the folder, or refuse one that measures in another way."""
    try:
        written = kept = read_protocol(folder)
    except FileNotFoundError:
        if _parts(folder):
            raise ValueError(
                f"{folder} has rows but no {PROTOCOL}: restore it from a copy, or begin a new folder"
            ) from None
        written = kept = {}
    else:
        if WEIGHTS in protocol:
            kept = {**written, WEIGHTS: {**written.get(WEIGHTS, {}), **_weights(folder)}}
        for difference in _differences(kept, protocol):
            raise ValueError(
                f"{folder} was begun with another protocol: {difference}; "
                "run with the same settings, or begin a new folder"
            )
    whole = {
        name: {**kept.get(name, {}), **value} if isinstance(value, dict) else value
        for name, value in protocol.items()
    }
    if whole != written:
        with written_whole(folder / PROTOCOL) as file:
            file.write(json.dumps(whole, indent=2, sort_keys=True).encode() + b"\n")


def _weights(folder: Path) -> dict[str, str]:
    """Return the hash of each model's weights according to the rows."""
    found = {}
    for model, hashes in _grouped(folder, "model", "weights_hash").items():
        if len(hashes) > 1:
            raise ValueError(
                f"{folder} mixes weights of {model}, by their hashes {', '.join(sorted(hashes))}: "
                "begin a new folder"
            )
        (found[model],) = hashes
    return found


def _grouped(folder: Path, name: str, value: str) -> dict[str, set[str]]:
    """Return the values of the rows in one column, by those in another."""
    grouped = _read(folder, [name, value]).group_by(name).aggregate([(value, "distinct")])
    return {key: set(values) for key, values in zip(*grouped.to_pydict().values(), strict=True)}


def _differences(was: Any, now: Any, *path: str) -> Iterator[str]:
    """Say where protocols differ; entries that only one of two mappings in them has do not count."""
    if isinstance(was, dict) and isinstance(now, dict):
        names = was.keys() & now.keys() if len(path) == 1 else was.keys() | now.keys()
        for name in sorted(names):
            yield from _differences(was.get(name, _ABSENT), now.get(name, _ABSENT), *path, name)
    else:
        before, after = ("absent" if one is _ABSENT else json.dumps(one) for one in (was, now))
        if before != after:
            yield f"{'.'.join(path)} was {before}, is {after}"


_ABSENT = object()


def _parts(folder: Path) -> list[Path]:
    """Return the parts of a folder by name.

    A listing made during a merge may lack both the old parts and the new one, so list until two agree.
    """
    before, parts = None, sorted((folder / PARTS).glob("[!.]*.parquet"))
    while parts != before:
        before, parts = parts, sorted((folder / PARTS).glob("[!.]*.parquet"))
    return parts


def _small_parts(folder: Path) -> list[Path]:
    return [part for part in _parts(folder) if part.stat().st_size < SMALL]


def _read(folder: Path, columns: list[str] | None) -> pa.Table:
    """Return the rows of all parts, some perhaps twice."""
    while True:
        try:
            tables = [read_part(part, columns) for part in _parts(folder)]
        except FileNotFoundError:
            continue  # a part was merged into another since it was listed
        empty = SCHEMA.empty_table().select(columns or SCHEMA.names)
        return pa.concat_tables([empty, *tables])


def read_part(part: Path, columns: list[str] | None) -> pa.Table:
    """Read one part of the results, checked page by page.

    Raises:
        ValueError: the file is damaged, or its columns are not those of this version.
    """
    try:
        with pq.ParquetFile(part, page_checksum_verification=True) as file:
            if not file.schema_arrow.equals(SCHEMA):
                raise ValueError("its columns are not those of this version")
            return file.read(columns)
    except FileNotFoundError:
        raise
    except (OSError, ValueError, pa.ArrowException) as problem:
        reason = str(problem).splitlines()[0]
        raise ValueError(
            f"{part} is damaged ({reason}): delete it and run again to measure its rows again"
        ) from problem


def _unique(table: pa.Table) -> pa.Table:
    """Return rows sorted by cell, one of each cell."""
    table = table.sort_by([(name, "ascending") for name in _ORDER])
    if len(table) < 2:
        return table
    steps = (pc.not_equal(table[name][1:], table[name][:-1]) for name in Cell._fields)
    new = functools.reduce(pc.or_, steps)
    return table.filter(pa.chunked_array([pa.array([True]), *new.chunks]))


def _cells(table: pa.Table) -> set[Cell]:
    # Millions of cells share few names.
    columns = (map(sys.intern, table[name].to_pylist()) for name in Cell._fields)
    return set(map(Cell, *columns))


def _checked(row: Row) -> Row:
    columns = set(SCHEMA.names)
    if row.keys() != columns:
        missing, unknown = sorted(columns - row.keys()), sorted(row.keys() - columns)
        raise ValueError(
            f"a row must have the columns of SCHEMA: it lacks {missing} and has {unknown} in excess"
        )
    for field in SCHEMA:
        if row[field.name] is None and not field.nullable:
            raise ValueError(f"a row must have a value for {field.name}, got None")
    return row
