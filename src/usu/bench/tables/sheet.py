"""A table as data: what every format shows, and what none of them computes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Style: TypeAlias = Literal["magnitude", "fixed", "signed", "p", "count", "percent"]
Mark: TypeAlias = Literal["best", "second"]


MISSING = "–"


@dataclass(frozen=True)
class Number:
    """A cell that holds a figure.

    Attributes:
        value: None where nothing was measured.
        style: how it is written; see `usu.bench.tables.numbers.STYLES`.
        n: number of images behind it; None for a figure that is made of other cells of the table.
        interval: (low, high); None where there is none, as with one image.
        left_out: number of images whose value is not a number, which are not among the n.
        paper: the paper's value of the same thing.
        mark: its rank in its contest.
    """

    value: float | None
    style: Style
    n: int | None = None
    interval: tuple[float, float] | None = None
    left_out: int = 0
    paper: float | None = None
    mark: Mark | None = None


@dataclass(frozen=True)
class Word:
    """A cell that holds a verdict or a name; `n` and `left_out` as in `Number`."""

    text: str
    n: int | None = None
    left_out: int = 0


Entry: TypeAlias = "Number | Word"


@dataclass(frozen=True)
class Column:
    """A column: its title and the group of columns that it stands in, "" for none."""

    title: str
    group: str = ""


@dataclass(frozen=True)
class Line:
    """A row: one label for each of the block's `labels`, its cells, and the group of rows it stands in."""

    labels: tuple[str, ...]
    cells: tuple[Entry, ...]
    group: str = ""


@dataclass(frozen=True)
class Block:
    """Rows under one heading.

    Attributes:
        heading: above it.
        labels: what the rows' labels are, such as ("Dataset", "Model").
        columns: one for each cell of a row.
        rows: from above.
        notes: below the heading.
    """

    heading: str
    labels: tuple[str, ...]
    columns: tuple[Column, ...]
    rows: tuple[Line, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sheet:
    """A whole table: title, notes on how to read it, and its blocks."""

    title: str
    notes: tuple[str, ...]
    blocks: tuple[Block, ...]


def is_missing(cell: Entry) -> bool:
    """Return whether no image stands behind a cell that should have some."""
    return isinstance(cell, Number) and cell.value is None
