r"""Tables as LaTeX to \input: they break over pages, and are cut where they are too wide for one."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from textwrap import wrap

import pandas as pd

from usu.bench.tables.cells import AS_TEXT, Block, Dress, Table, has_marks, panels, visible, wide

_ROOM, _LABEL, _TITLE = 90, 60, 20  # characters of script size: of a line, of the widest label and column
_MATHS = "↑uparrow ↓downarrow →rightarrow ×times ÷div ✓surd ∞infty ±pm ·cdot βbeta ΔDelta ΣSigma εvarepsilon"
_NAMED = r"\textbackslash ~textasciitilde ^textasciicircum <textless >textgreater |textbar …dots"
_SPECIAL = {
    **{word[0]: rf"$\{word[1:]}$" for word in f"{_MATHS} ΛLambda ≥geq ≤leq".split()},
    **{word[0]: rf"\{word[1:]}{{}}" for word in _NAMED.split()},
    **{character: rf"\{character}" for character in "&%$#_{}"},
    # Hyphens join to dashes; brackets and stars at the start of a row belong to the line break before it.
    **{character: f"{{{character}}}" for character in "-[]*"},
    **{'"': r"\char34{}", "'": r"\char39{}", "`": r"\char96{}", "²": "$^2$", "–": "--", "Ã": r"\~{A}"},
}
_ACCENTS = {"\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0308": '"'}
_HEAD = r"""% needs \usepackage{booktabs,longtable}
\begingroup\scriptsize\setlength{\tabcolsep}{3pt}\renewcommand{\arraystretch}{1.1}
\def\stacked#1{\begin{tabular}[t]{@{}r@{}}#1\end{tabular}}"""


def latex(table: Table) -> str:
    """Return a table as LaTeX, with booktabs' rules in longtable's environment."""
    lines = [_HEAD, rf"\noindent\textbf{{{escaped(table.title)}}}\par", *_paragraphs(table.notes)]
    for block in table.blocks:
        lines += [rf"\medskip\noindent\textbf{{{escaped(block.heading)}}}\par", *_paragraphs(block.notes)]
        lines += [r"\noindent \textbf{Best}, \underline{second best}.\par"] * has_marks(block)
        lines += _longtables(block)
    return "\n".join([*lines, r"\endgroup"]) + "\n"


def escaped(text: str) -> str:
    r"""Return text that LaTeX sets as it is; a letter that pdfLaTeX may lack by its number.

    >>> escaped("a_b 50 %")
    'a\\_b 50 \\%'
    """
    return "".join(_SPECIAL.get(character) or _letter(character) for character in visible(text))


def _letter(character: str) -> str:
    base, *marks = list(unicodedata.normalize("NFD", character))
    if base.isascii() and not marks:
        return character
    if base.isascii() and len(marks) == 1 and marks[0] in _ACCENTS:
        return rf"\{_ACCENTS[marks[0]]}{{{base}}}"
    return f"(U+{ord(character):04X})"


def _in_maths(text: str) -> str:
    """Return text of our own in which numbers are set as mathematics."""
    pieces = re.split(r"([-+]?(?:\d+(?:\.\d+)?|∞)(?:e-?\d+)?)", text)
    for place in range(1, len(pieces), 2):
        mantissa, _, power = pieces[place].replace("∞", r"\infty").partition("e")
        pieces[place] = rf"${mantissa}\times 10^{{{power}}}$" if power else f"${mantissa}$"
    pieces[::2] = map(escaped, pieces[::2])
    return "".join(pieces)


def _paragraphs(notes: Sequence[str]) -> list[str]:
    return [rf"\noindent {escaped(note)}\par" for note in notes]


def _stacked(lines: Sequence[str], command: str = r"\stacked") -> str:
    joined = r" \\ ".join(lines)
    return joined if len(lines) == 1 else f"{command}{{{joined}}}"


_MARKS = {"": "{}", "best": r"{{\boldmath\textbf{{{}}}}}", "second": r"\underline{{{}}}"}
_AS_LATEX = Dress(escaped, _in_maths, _stacked, _MARKS)


def _longtables(block: Block) -> list[str]:
    shown = wide(block, _AS_LATEX)
    labels = shown.index.nlevels
    parts = []
    for panel in panels(wide(block, AS_TEXT), _ROOM, _LABEL, _TITLE):
        part = shown.iloc[:, panel]
        group = escaped(part.columns[0][0])
        titles = [[*map(escaped, wrap(visible(title), _TITLE) or [""])] for _, title in part.columns]
        heads = [_stacked(title, r"\shortstack[r]") for title in titles]
        columns = pd.MultiIndex.from_product([[group], heads]) if group else pd.Index(heads)
        drawn = part.set_axis(columns, axis=1).style.to_latex(
            environment="longtable",
            position="l",
            hrules=True,
            column_format=f"@{{}}{'l' * labels}{'r' * len(panel)}@{{}}",
            multirow_align="naive",
            multicol_align="c",
        )
        parts.append(drawn.rstrip())
    return parts
