"""Cells that show a paired comparison."""

from __future__ import annotations

from usu.bench.tables.comparisons import Comparison
from usu.bench.tables.sheet import Number, Style

TITLES = ("d_z", "rank-biserial", "p, Wilcoxon", "p, Holm", "p, Bonferroni")


def comparison_cells(found: Comparison, paper: float | None = None) -> tuple[Number, ...]:
    """Return the mean difference with its interval, then what `TITLES` says.

    Args:
        found: the comparison.
        paper: the paper's effect size.
    """
    n, left_out, test, correction = found.n, found.left_out, found.test, found.correction

    def cell(value: float | None, style: Style, theirs: float | None = None) -> Number:
        return Number(value, style, n, left_out=left_out, paper=theirs)

    interval = (test.difference.low, test.difference.high) if test else None
    return (
        Number(found.difference, "signed", n, interval, left_out),
        cell(test.cohens_d if test else None, "signed", paper),
        cell(test.rank_biserial if test else None, "signed"),
        cell(test.p_value if test else None, "p"),
        cell(correction.holm if correction else None, "p"),
        cell(correction.bonferroni if correction else None, "p"),
    )
