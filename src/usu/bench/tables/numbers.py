"""How figures and cells are written, before a format dresses them."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from usu.bench.tables.sheet import MISSING, Block, Entry, Mark, Number, Style, is_missing

_PLAIN_FROM, _PLAIN_TO = 1e-3, 1e4  # between them a figure needs no power of ten


def _power(value: float, decimals: int) -> str:
    mantissa, exponent = f"{value:.{decimals}e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def _magnitude(value: float) -> str:
    """Three digits."""
    if value == 0:
        return "0"
    if not _PLAIN_FROM <= abs(value) < _PLAIN_TO:
        return _power(value, 2)
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


def _probability(value: float) -> str:
    return f"{value:.3f}" if value >= _PLAIN_FROM or value == 0 else _power(value, 1)


STYLES: Mapping[Style, Callable[[float], str]] = MappingProxyType(
    {
        "magnitude": _magnitude,
        "fixed": lambda value: f"{value:.3f}",
        "signed": lambda value: f"{value:+.3f}",
        "p": _probability,
        "count": lambda value: f"{value:.0f}" if value == round(value) else f"{value:.1f}",
        "percent": lambda value: f"{value:.1f}",
    }
)


def written(value: float, style: Style) -> str:
    """Return a figure as text.

    >>> written(6.914e6, "magnitude"), written(0.25, "signed"), written(3.21e-5, "p")
    ('6.91e6', '+0.250', '3.2e-5')
    """
    if math.isnan(value):
        return "NaN"
    return STYLES[style](value) if math.isfinite(value) else f"{'-' * (value < 0)}∞"


def printed(value: float) -> str:
    """Return one of the paper's figures, which have four digits at most.

    >>> printed(6.91e6), printed(337.4), printed(0.62)
    ('6.91e6', '337.4', '0.62')
    """
    text = f"{value:.4g}"
    digits = sum(character.isdigit() for character in text.split("e")[0])
    return _power(value, digits - 1) if "e" in text else text


@dataclass(frozen=True)
class Parts:
    """A cell in words: what it says, what stands below or behind that, and its mark."""

    value: str
    below: tuple[str, ...] = ()
    mark: Mark | None = None


def parts(cell: Entry, *, counted: bool) -> Parts:
    """Return the words of a cell; `counted` if the row says once how many images stand behind its cells."""
    own = cell.n is not None and (is_missing(cell) or not counted)
    count = (count_words(cell),) if own else ()
    if not isinstance(cell, Number):
        return Parts(cell.text, count)
    theirs = () if cell.paper is None else (f"paper {printed(cell.paper)}",)
    if cell.value is None:
        return Parts(" ".join((MISSING, *count)), theirs)
    ends = [written(end, cell.style) for end in cell.interval or ()]
    interval = (f"[{', '.join(ends)}]",) if ends else ()
    return Parts(written(cell.value, cell.style), (*interval, *count, *theirs), cell.mark)


def count_words(cell: Entry, prefix: str = "n ") -> str:
    """Return how many images stand behind a cell, and how many were left out."""
    return f"{prefix}{cell.n}" + (f", {cell.left_out} left out" if cell.left_out else "")


def row_counts(block: Block) -> list[str] | None:
    """Return for each row how many images stand behind its cells, if in no row they differ; else None.

    Cells that were not measured say so themselves.
    """
    counts = []
    for row in block.rows:
        own = {count_words(cell, "") for cell in row.cells if cell.n is not None and not is_missing(cell)}
        if len(own) > 1:
            return None
        counts.append(next(iter(own), ""))
    return counts if any(counts) else None


def has_marks(block: Block) -> bool:
    """Return whether a cell of the block is marked."""
    return any(isinstance(cell, Number) and cell.mark for row in block.rows for cell in row.cells)


def visible(text: str) -> str:
    r"""Return text on one line, characters that are not seen written out.

    >>> visible("a\nb\x1b")
    'a\\nb\\x1b'
    """
    return "".join(
        character
        if unicodedata.category(character) not in _UNSEEN
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


_UNSEEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
