"""Where wide tables are cut, and text of a given width, for formats that have one."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from itertools import groupby

from usu.bench.tables.sheet import Column


def width(text: str) -> int:
    """Return how many places a line of text takes in a terminal.

    >>> width("Ã✓"), width("図")
    (2, 2)
    """
    return sum(
        0 if unicodedata.combining(character) else 1 + (unicodedata.east_asian_width(character) in "WF")
        for character in text
    )


def wrap(text: str, limit: int) -> list[str]:
    """Break text at spaces into lines of at most `limit` places; a longer word is broken inside.

    >>> wrap("Deletion, mean colour", 12)
    ['Deletion,', 'mean colour']
    """
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if width(longer) <= limit:
            lines[-1] = longer
            continue
        broken = list(_pieces(word, limit))
        lines = [*lines, *broken] if lines[-1] else broken
    return lines


def _pieces(word: str, limit: int) -> Iterator[str]:
    piece = ""
    for character in word:
        if width(piece + character) > limit:
            yield piece
            piece = ""
        piece += character
    yield piece


def panels(columns: Sequence[Column], widths: Sequence[int], room: int) -> list[range]:
    """Cut columns into runs that fit into `room`; groups stay whole where they can.

    Args:
        columns: of a block.
        widths: of each, with the gap before it.
        room: for the columns of one panel.

    >>> panels([Column("a"), Column("b", "B"), Column("c", "B")], [4, 4, 4], 9)
    [range(0, 1), range(1, 3)]
    """
    cuts, used = [0], 0
    for _, run in groupby(range(len(columns)), key=lambda index: columns[index].group):
        members = list(run)
        if members[0] > cuts[-1] and used + sum(widths[index] for index in members) > room:
            cuts.append(members[0])
            used = 0
        for index in members:
            if index > cuts[-1] and used + widths[index] > room:
                cuts.append(index)
                used = 0
            used += widths[index]
    return [range(start, stop) for start, stop in zip(cuts, [*cuts[1:], len(columns)], strict=True)]
