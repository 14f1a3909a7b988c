"""A table as frames of cells, and what its cells say before a format dresses them."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from types import MappingProxyType
from typing import Any

import pandas as pd
from wcwidth import wcswidth

from usu.bench.tables.labels import Style

# What a cell holds, and what it is where nothing is said.
CELL: Mapping[str, Any] = MappingProxyType(
    {
        "group": "",  # of columns
        "column": "",  # its title
        "value": math.nan,
        "text": "",  # a word in place of a value
        "low": math.nan,  # of the interval
        "high": math.nan,
        "n": pd.NA,  # images behind it; none behind a figure that is made of other cells
        "left_out": 0,  # images whose value is not finite, which are not among the n
        "paper": math.nan,  # the paper's value of the same thing
        "mark": "",  # "best" or "second"
        "style": "text",  # how the value is written; see `written`
    }
)
_WORDS = ["group", "column", "text", "mark", "style"]
_FLOATS = dict.fromkeys(("value", "low", "high", "paper"), float)


@dataclass(frozen=True, eq=False)
class Block:
    """Cells under one heading."""

    heading: str  # above it
    labels: Sequence[str]  # what the rows' labels are, such as ("Dataset", "Model")
    # Group and title of the columns, in their order; those without cells are not shown.
    columns: Sequence[tuple[str, str]]
    # A row for each cell that was measured, row after row of the block: its labels, and `CELL`.
    cells: pd.DataFrame
    notes: Sequence[str] = ()  # below the heading


@dataclass(frozen=True, eq=False)
class Table:
    """A whole table: title, notes on how to read it, and its blocks."""

    title: str
    notes: Sequence[str]
    blocks: Sequence[Block]


def block_of(
    heading: str,
    labels: Sequence[str],
    columns: Sequence[tuple[str, str]],
    cells: pd.DataFrame,
    notes: Sequence[str] = (),
) -> Block:
    """Make a block of cells with the columns that they need; what one does not say is as in `CELL`."""
    absent = {name: default for name, default in CELL.items() if name not in cells}
    whole = cells.assign(**absent)[[*labels, *CELL]].reset_index(drop=True)
    words = whole[[*labels, *_WORDS]].astype(object)
    whole[[*labels, *_WORDS]] = words.where(words.notna(), "")
    return Block(heading, labels, columns, whole.astype({"n": "Int64", "left_out": int, **_FLOATS}), notes)


# --- figures in words


def _short(text: str) -> str:
    """Return a figure with a short power of ten: 6.91e6 for 6.91e+06."""
    return text.replace("e+0", "e").replace("e+", "e").replace("e-0", "e-")


def _magnitude(value: float) -> str:
    """Three digits, and a power of ten where a figure is not plain without one."""
    if value and not 1e-3 <= abs(value) < 1e4:
        return _short(f"{value:.2e}")
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}" if value else "0"


_STYLES: Mapping[Style, Callable[[float], str]] = {
    "magnitude": _magnitude,
    "fixed": lambda value: f"{value:.3f}",
    "signed": lambda value: f"{value:+.3f}",
    "p": lambda value: f"{value:.3f}" if value >= 1e-3 or not value else _short(f"{value:.1e}"),
    "count": lambda value: f"{value:.0f}" if value == round(value) else f"{value:.1f}",
    "percent": lambda value: f"{value:.1f}",
}


def written(value: float, style: Style) -> str:
    """Return a figure as text.

    >>> written(6.914e6, "magnitude"), written(0.25, "signed"), written(3.21e-5, "p")
    ('6.91e6', '+0.250', '3.2e-5')
    """
    if math.isnan(value):
        return "NaN"
    return _STYLES[style](value) if math.isfinite(value) else f"{value}".replace("inf", "∞")


def printed(value: float) -> str:
    """Return one of the paper's figures, which have four digits at most.

    >>> printed(6.91e6), printed(337.4), printed(0.62)
    ('6.91e6', '337.4', '0.62')
    """
    return _short(f"{value:.4g}")


def visible(text: str) -> str:
    r"""Return text on one line, characters that are not seen written out.

    >>> visible("a\nb\x1b")
    'a\\nb\\x1b'
    """
    unseen = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
    return "".join(
        character.encode("unicode_escape").decode("ascii")
        if unicodedata.category(character) in unseen
        else character
        for character in text
    )


# --- blocks as they are shown


@dataclass(frozen=True)
class Dress:
    """How a format writes."""

    plain: Callable[[str], str]  # any text, so that it is shown as it is
    number: Callable[[str], str]  # a figure, and what stands below one
    joined: Callable[[list[str]], str]  # a cell, from the lines that it has
    marks: Mapping[str, str]  # what stands around a value that is "best", "second" or neither, ""


def _lines(cell: Any, counted: bool) -> list[str]:
    """Return what a cell says, and below it interval, number of images unless `counted`, and the paper's."""
    lines = [visible(cell.text) if cell.style == "text" else written(cell.value, cell.style)]
    if not math.isnan(cell.low):
        lines.append(f"[{written(cell.low, cell.style)}, {written(cell.high, cell.style)}]")
    if not counted and not pd.isna(cell.n):
        lines.append(f"n {_count(cell)}")
    if not math.isnan(cell.paper):
        lines.append(f"paper {printed(cell.paper)}")
    return lines


def _count(cell: Any) -> str:
    return f"{cell.n}, {cell.left_out} left out" if cell.left_out else str(cell.n)


def row_counts(block: Block) -> list[str] | None:
    """Return for each row how many images stand behind its cells, if in no row they differ; else None."""
    counts = pd.Series([None if pd.isna(cell.n) else _count(cell) for cell in block.cells.itertuples()])
    rows = counts.groupby([block.cells[label] for label in block.labels], sort=False)
    found = rows.agg(["nunique", "first"])
    return [*found["first"].fillna("")] if found["nunique"].max() == 1 else None


def has_marks(block: Block) -> bool:
    """Return whether a cell of the block is marked."""
    return bool((block.cells["mark"] != "").any())


def wide(block: Block, dress: Dress) -> pd.DataFrame:
    """Return a block as it is shown: strings by (labels, and "n" where a row has one) and (group, title)."""
    counts = row_counts(block)
    shown = []
    for cell in block.cells.itertuples():
        value, *below = _lines(cell, counts is not None)
        value = dress.marks[cell.mark].format((dress.plain if cell.style == "text" else dress.number)(value))
        shown.append(dress.joined([value, *map(dress.number, below)]))
    labels, cells = [*block.labels], block.cells
    at = [cells.groupby(labels, sort=False).ngroup(), cells["group"], cells["column"]]
    there = set(zip(*at[1:], strict=True))
    columns = pd.MultiIndex.from_tuples([column for column in block.columns if column in there])
    found = (
        pd.Series(shown, pd.MultiIndex.from_arrays(at)).unstack([1, 2]).reindex(columns=columns).fillna("")
    )
    rows = cells[labels].drop_duplicates().itertuples(index=False, name=None)
    own = [tuple(map(dress.plain, row)) for row in rows]
    if counts is not None:
        own, labels = [(*row, count) for row, count in zip(own, counts, strict=True)], [*labels, "n"]
    return found.set_axis(pd.MultiIndex.from_tuples(own, names=map(dress.plain, labels)))


def grid(shown: pd.DataFrame) -> list[list[str]]:
    """Return labels and cells row by row; labels that go on from the row above are not said again."""
    rows, before = [], ("",) * shown.index.nlevels
    for labels, values in zip(shown.index, shown.to_numpy(), strict=True):
        new = next((place for place, label in enumerate(labels) if label != before[place]), 0)
        rows.append([*[""] * new, *labels[new:], *values])
        before = labels
    return rows


def panels(shown: pd.DataFrame, room: int, label: int, title: int) -> list[list[int]]:
    """Cut the columns of a block as text into runs that fit beside its labels, no two groups in one.

    In the room labels and columns have a gap of two behind each; what is wider than `label`, or than `title`
    in other columns, is broken.
    """
    labels = shown.index.nlevels
    limits = [label] * labels + [title] * len(shown.columns)
    heads = [*shown.index.names, *(head for _, head in shown.columns)]
    columns = zip(limits, heads, *grid(shown), strict=True)
    # A gap of two, and of two more beside a head, as tabulate sets them.
    widths = [
        2 + max(2 + _width(limit, head), *(_width(limit, text) for text in texts))
        for limit, head, *texts in columns
    ]
    room, widths = room - sum(widths[:labels]), widths[labels:]
    found: list[list[int]] = []
    for _, members in groupby(range(len(widths)), key=lambda place: shown.columns[place][0]):
        used = room
        for place in members:
            if used + widths[place] > room:
                found.append([])
                used = 0
            found[-1].append(place)
            used += widths[place]
    return found


def _width(limit: int, text: str) -> int:
    return min(limit, max((wcswidth(line) for line in text.splitlines()), default=0))


AS_TEXT = Dress(visible, str, "\n".join, {"": "{}", "best": "*{}", "second": "+{}"})
