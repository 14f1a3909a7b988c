"""Sheets as plain text for a terminal of 120 columns."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from usu.bench.tables.numbers import has_marks, parts, row_counts, visible
from usu.bench.tables.panels import panels, width, wrap
from usu.bench.tables.sheet import Block, Column, Entry, Sheet

WIDTH = 120
_GAP = 2
_LABEL, _TITLE = 26, 20  # widest label and column's title
_MARKS = {"best": "*", "second": "+", None: " "}
_LEGEND = "* best, + second best"


def text(sheet: Sheet) -> str:
    """Return a sheet as lines of at most 120 places; wide tables go on in further panels below."""
    title = wrap(visible(sheet.title), WIDTH)
    lines = [*title, "=" * max(map(width, title)), *_notes(sheet.notes)]
    for block in sheet.blocks:
        heading = wrap(visible(block.heading), WIDTH)
        notes = (*block.notes, *([_LEGEND] if has_marks(block) else []))
        lines += ["", *heading, "-" * max(map(width, heading)), *_notes(notes)]
        lines += _block(block)
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _notes(notes: Sequence[str]) -> list[str]:
    return [
        f"{'  ' if number else '- '}{line}"
        for note in notes
        for number, line in enumerate(wrap(visible(note), WIDTH - 2))
    ]


def _block(block: Block) -> list[str]:
    counts = row_counts(block)
    marks = has_marks(block)
    heads = [wrap(visible(title), _LABEL) for title in block.labels]
    labels = [[wrap(visible(label), _LABEL) for label in row.labels] for row in block.rows]
    if counts is not None:
        heads.append(["n"])
        labels = [[*own, [count]] for own, count in zip(labels, counts, strict=True)]
    titles = [
        [line + " " * marks for line in wrap(visible(column.title), _TITLE)] for column in block.columns
    ]
    cells = [[_cell(cell, counts is not None, marks) for cell in row.cells] for row in block.rows]
    label_widths = _widths(heads, labels, 0)
    cell_widths = _widths(titles, cells, _GAP)
    room = WIDTH - sum(label_widths) - _GAP * (len(label_widths) - 1)
    lines: list[str] = []
    for panel in panels(block.columns, cell_widths, room):
        lines += [""] * bool(lines)
        own = [cell_widths[index] for index in panel]
        lines += _groups([block.columns[index] for index in panel], own, label_widths)
        lines += _stacked(heads, label_widths, [titles[index] for index in panel], own, last=True)
        lines.append("-" * (sum(label_widths) + _GAP * (len(label_widths) - 1) + sum(own)))
        before, shown = None, ""
        for row, label, cell in zip(block.rows, labels, cells, strict=True):
            if row.group and row.group != before:
                lines += wrap(f"{visible(row.group)}:", WIDTH)
                shown = ""
            # A first label that goes on is not said again.
            first = [""] if row.labels[0] == shown and len(row.labels) > 1 else label[0]
            before, shown = row.group, row.labels[0]
            lines += _stacked([first, *label[1:]], label_widths, [cell[index] for index in panel], own)
    return lines


def _cell(cell: Entry, counted: bool, marks: bool) -> list[str]:
    words = parts(cell, counted=counted)
    room = " " * marks
    first = wrap(visible(words.value), _TITLE)
    first[-1] += _MARKS[words.mark] if marks else ""
    return [*first, *(below + room for below in words.below)]


def _widths(heads: Sequence[list[str]], rows: Sequence[Sequence[list[str]]], gap: int) -> list[int]:
    return [
        gap + max(width(line) for cell in (head, *(row[index] for row in rows)) for line in cell)
        for index, head in enumerate(heads)
    ]


def _groups(columns: Sequence[Column], widths: Sequence[int], label_widths: Sequence[int]) -> list[str]:
    """Return the lines above the titles that say which group columns stand in."""
    if not any(column.group for column in columns):
        return []
    runs = [
        (group, [index for index, _ in run])
        for group, run in groupby(enumerate(columns), key=lambda pair: pair[1].group)
    ]
    spans = [sum(widths[index] for index in members) for _, members in runs]
    wrapped = [wrap(visible(group), span - _GAP) for (group, _), span in zip(runs, spans, strict=True)]
    blank = [[""] for _ in label_widths]
    return _stacked(blank, label_widths, wrapped, spans, last=True)


def _stacked(
    labels: Sequence[list[str]],
    label_widths: Sequence[int],
    cells: Sequence[list[str]],
    widths: Sequence[int],
    *,
    last: bool = False,
) -> list[str]:
    """Return the lines of one row, labels to the left, cells to the right; at the foot if `last`."""
    height = max(map(len, [*labels, *cells]))
    placed = [_padded(cell, height, last) for cell in (*labels, *cells)]
    lines = []
    for parts_ in zip(*placed, strict=True):
        left = (" " * _GAP).join(
            part + " " * (room - width(part)) for part, room in zip(parts_, label_widths, strict=False)
        )
        right = "".join(
            " " * (room - width(part)) + part
            for part, room in zip(parts_[len(labels) :], widths, strict=True)
        )
        lines.append(left + right)
    return lines


def _padded(lines: list[str], height: int, last: bool) -> list[str]:
    blank = [""] * (height - len(lines))
    return [*blank, *lines] if last else [*lines, *blank]
