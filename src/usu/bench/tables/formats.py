"""Formats of a sheet: each renders any sheet, the same one always to the same bytes."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import asdict
from html import escape

from usu.bench.tables.numbers import has_marks, parts, row_counts, visible
from usu.bench.tables.registry import FORMATS as FORMATS
from usu.bench.tables.sheet import Block, Column, Entry, Number, Sheet
from usu.runtime.files import finite

_MARKED = {"best": "**{}**", "second": "<u>{}</u>", None: "{}"}
_LEGEND = "- **Best**, <u>second best</u>."


def md(sheet: Sheet) -> str:
    """Return a sheet as Markdown, with GitHub's tables."""
    lines = [f"# {_plain(sheet.title)}", "", *(f"- {_plain(note)}" for note in sheet.notes)]
    for block in sheet.blocks:
        notes = [*(f"- {_plain(note)}" for note in block.notes), *([_LEGEND] if has_marks(block) else [])]
        lines += ["", f"## {_plain(block.heading)}", "", *notes, *([""] if notes else []), *_table(block)]
    return "\n".join(lines) + "\n"


def _table(block: Block) -> list[str]:
    counts = row_counts(block)
    grouped = any(row.group for row in block.rows)
    labels = ([""] if grouped else []) + [*block.labels, *(["n"] if counts is not None else [])]
    heads = [*map(_plain, labels), *map(_head, block.columns)]
    rules = ["---"] * (len(labels) - (counts is not None)) + ["---:"] * (
        len(block.columns) + (counts is not None)
    )
    lines = [_row(heads), _row(rules)]
    for number, row in enumerate(block.rows):
        told = [_plain(row.group)] if grouped else []
        told += [_plain(label) for label in row.labels]
        told += [] if counts is None else [counts[number]]
        lines.append(_row([*told, *(_cell(cell, counts is not None) for cell in row.cells)]))
    return lines


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _head(column: Column) -> str:
    return _plain(f"{column.group}; {column.title}" if column.group else column.title)


def _cell(cell: Entry, counted: bool) -> str:
    words = parts(cell, counted=counted)
    value = _MARKED[words.mark].format(_plain(words.value))
    interval = [_plain(below) for below in words.below if below.startswith("[")]
    others = [_plain(below) for below in words.below if not below.startswith("[")]
    return " ".join([value, *interval, *([f"({'; '.join(others)})"] if others else [])])


def _plain(words: str) -> str:
    """Return text that Markdown shows as it is, on one line."""
    return re.sub(r"([\\`*_\[\]{}#|~$!])", r"\\\1", escape(visible(words), quote=False))


_FIXED = (
    "column_group",
    "column",
    "value",
    "low",
    "high",
    "n",
    "left_out",
    "paper",
    "mark",
    "style",
)


def table_csv(sheet: Sheet) -> str:
    """Return a sheet as CSV, one line for each cell, numbers in full; `value` holds a word's text too."""
    labels = tuple(dict.fromkeys(label for block in sheet.blocks for label in block.labels))
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("block", "row_group", *labels, *_FIXED))
    for block in sheet.blocks:
        for row in block.rows:
            own = dict(zip(block.labels, row.labels, strict=True))
            head = (block.heading, row.group, *(own.get(label, "") for label in labels))
            for column, cell in zip(block.columns, row.cells, strict=True):
                writer.writerow((*head, column.group, column.title, *_fields(cell)))
    return stream.getvalue()


def _fields(cell: Entry) -> tuple[object, ...]:
    if not isinstance(cell, Number):
        return cell.text, None, None, cell.n, cell.left_out, None, None, "text"
    low, high = cell.interval or (None, None)
    return cell.value, low, high, cell.n, cell.left_out, cell.paper, cell.mark, cell.style


def table_json(sheet: Sheet) -> str:
    """Return a sheet as JSON that loses nothing; a number that is infinite stands as text."""
    return json.dumps(finite(asdict(sheet)), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
