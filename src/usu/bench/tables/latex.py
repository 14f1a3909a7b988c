r"""Sheets as LaTeX to \input: tables that break over pages, cut where they are too wide for one."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from itertools import groupby

from usu.bench.tables.numbers import has_marks, parts, row_counts, visible
from usu.bench.tables.panels import panels, width
from usu.bench.tables.sheet import Block, Column, Entry, Number, Sheet

_ROOM = 88  # characters of script size on a line of an article
_GAP = 3
_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "-": "{-}",
    # At the start of a row they would belong to the line break before.
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "–": "--",
    "…": r"\dots{}",
    "Ã": r"\~{A}",
    **{
        character: f"$\\{name}$"
        for character, name in {
            "↑": "uparrow",
            "↓": "downarrow",
            "→": "rightarrow",
            "×": "times",
            "÷": "div",
            "✓": "surd",
            "∞": "infty",
            "±": "pm",
            "·": "cdot",
            "β": "beta",
            "Δ": "Delta",
            "Σ": "Sigma",
            "ε": "varepsilon",
            "Λ": "Lambda",
            "≥": "geq",
            "≤": "leq",
        }.items()
    },
    '"': r"\char34{}",
    "'": r"\char39{}",
    "`": r"\char96{}",
    "²": "$^2$",
}
_MARKED = {"best": r"\textbf{{{}}}", "second": r"\underline{{{}}}", None: "{}"}
_LEGEND = r"\textbf{Best}, \underline{second best}."
_HEAD = (
    r"% needs \usepackage{booktabs,longtable}",
    r"\begingroup\scriptsize\setlength{\tabcolsep}{3pt}",
)


def latex(sheet: Sheet) -> str:
    """Return a sheet as LaTeX, with booktabs' rules in longtable's environment."""
    lines = [*_HEAD, rf"\noindent\textbf{{{escaped(sheet.title)}}}\par", *_notes(sheet.notes)]
    for block in sheet.blocks:
        lines += [rf"\medskip\noindent\textbf{{{escaped(block.heading)}}}\par", *_notes(block.notes)]
        lines += [rf"\noindent {_LEGEND}\par"] if has_marks(block) else []
        lines += _block(block)
    return "\n".join([*lines, r"\endgroup"]) + "\n"


def escaped(text: str) -> str:
    r"""Return text that LaTeX sets as it is; a letter that pdfLaTeX may lack by its number.

    >>> escaped("a_b 50 %")
    'a\\_b 50 \\%'
    """
    return "".join(_SPECIAL.get(character) or _letter(character) for character in visible(text))


def _letter(character: str) -> str:
    if character.isascii():
        return character
    composed = unicodedata.normalize("NFD", character)
    accents = {"\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0308": '"'}
    if len(composed) == 2 and composed[0].isascii() and composed[1] in accents:
        return rf"\{accents[composed[1]]}{{{composed[0]}}}"
    return f"(U+{ord(character):04X})"


def _numeric(text: str) -> str:
    """Return text of our own in which numbers are set as mathematics."""
    powers = re.compile(r"([-+]?(?:\d+(?:\.\d+)?|∞))(?:e(-?\d+))?")
    pieces, at = [], 0
    for found in powers.finditer(text):
        mantissa = found[1].replace("∞", r"\infty")
        power = rf"\times 10^{{{found[2]}}}" if found[2] else ""
        pieces += [escaped(text[at : found.start()]), f"${mantissa}{power}$"]
        at = found.end()
    return "".join([*pieces, escaped(text[at:])])


def _notes(notes: Sequence[str]) -> list[str]:
    return [rf"\noindent {escaped(note)}\par" for note in notes]


def _block(block: Block) -> list[str]:
    counts = row_counts(block)
    labels = [[*row.labels] for row in block.rows]
    heads = [*block.labels]
    if counts is not None:
        heads.append("n")
        labels = [[*own, count] for own, count in zip(labels, counts, strict=True)]
    titles = [column.title for column in block.columns]
    taken = sum(
        _GAP + max(map(width, (head, *(own[index] for own in labels)))) for index, head in enumerate(heads)
    )
    widths = [_width(block, index, counts is not None) for index in range(len(titles))]
    lines = []
    for panel in panels(block.columns, widths, max(_ROOM - taken, 1)):
        spec = "l" * len(heads) + "r" * len(panel)
        columns = [block.columns[index] for index in panel]
        lines += [
            rf"\begin{{longtable}}[l]{{@{{}}{spec}@{{}}}}",
            r"\toprule",
            *_group_line(columns, len(heads)),
            _row([*map(escaped, heads), *(_stack(_title(titles[index])) for index in panel)]),
            r"\midrule",
            r"\endhead",
        ]
        before = ""
        for row, own in zip(block.rows, labels, strict=True):
            if row.group and row.group != before:
                lines.append(rf"\multicolumn{{{len(spec)}}}{{@{{}}l}}{{\textit{{{escaped(row.group)}}}}} \\")
            before = row.group
            cells = [_cell(row.cells[index], counts is not None) for index in panel]
            lines.append(_row([*map(escaped, own), *cells]))
        lines += [r"\bottomrule", r"\end{longtable}"]
    return lines


def _width(block: Block, index: int, counted: bool) -> int:
    cells = [parts(row.cells[index], counted=counted) for row in block.rows]
    lines = [line for cell in cells for line in (cell.value, *cell.below)]
    return _GAP + max(map(width, (*_title(block.columns[index].title), *lines)))


def _title(title: str) -> list[str]:
    """Break the title of a column at its first bracket or comma."""
    head, bracket, rest = title.partition(" (")
    return [head, f"({rest}"] if bracket else title.replace(", ", ",\n").split("\n")


def _group_line(columns: Sequence[Column], labels: int) -> list[str]:
    if not any(column.group for column in columns):
        return []
    cells, rules, at = [""] * labels, [], labels + 1
    for group, run in groupby(columns, key=lambda column: column.group):
        count = len(list(run))
        cells.append(rf"\multicolumn{{{count}}}{{c}}{{{escaped(group)}}}")
        rules += [rf"\cmidrule(lr){{{at}-{at + count - 1}}}"] if group else []
        at += count
    return [_row(cells), *rules]


def _cell(cell: Entry, counted: bool) -> str:
    words = parts(cell, counted=counted)
    dressed = _numeric if isinstance(cell, Number) else escaped
    value = _MARKED[words.mark].format(dressed(words.value))
    return _stacked([value, *map(_numeric, words.below)])


def _stack(lines: Sequence[str]) -> str:
    return _stacked([escaped(line) for line in lines])


def _stacked(lines: Sequence[str]) -> str:
    joined = r" \\ ".join(lines)
    return joined if len(lines) == 1 else rf"\shortstack[r]{{{joined}}}"


def _row(cells: Sequence[str]) -> str:
    return f"{' & '.join(cells)} \\\\"
