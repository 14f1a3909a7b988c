"""The paper's tables and our own, made from rows of results alone: no model, no image."""

from __future__ import annotations

import pyarrow as pa

from usu.arrays.checks import check_choice
from usu.bench.tables.frame import study_of
from usu.bench.tables.notes import with_unmeasured
from usu.bench.tables.registry import LAYOUTS as LAYOUTS
from usu.bench.tables.sheet import Sheet


def layout(name: str, rows: pa.Table) -> Sheet:
    """Lay out rows of results as a table, the paper's figures beside ours.

    Args:
        name: one of `LAYOUTS`.
        rows: with the columns of `usu.bench.results.SCHEMA`, of one or several data sets, in any order.

    Raises:
        ValueError: an unknown name, a column that is missing, or two rows that measure the same.
    """
    check_choice(name, tuple(LAYOUTS), "name")
    return with_unmeasured(LAYOUTS[name](study_of(rows)))
