"""Tables of the committed rows hold the numbers that they held before they were made by pandas, cell by cell.

The numbers are kept by `data/keep_tables.py`, which ran on the last commit before the change.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROWS = Path(__file__).parents[2] / "results/rows"
KEPT = Path(__file__).parent / "data/tables.parquet"
PLACE = [
    "block",
    "group_of_rows",
    "Dataset",
    "Model",
    "Source",
    "Upsampler",
    "Contestant",
    "against",
    "group",
    "column",
]

pytestmark = pytest.mark.skipif(not ROWS.exists(), reason="needs the repository, not an installed package")


@pytest.fixture(scope="module")
def study():
    from usu.bench.results.folder import read_rows
    from usu.bench.tables.frame import study_of

    return study_of(read_rows(ROWS))


def now(study, name):
    """Return the cells of a table by their places."""
    from usu.bench.tables.layouts import layout

    cells = pd.concat([block.cells.assign(block=block.heading) for block in layout(name, study).blocks])
    # A group of rows, which some tables had, is a label of theirs now: here it is told apart again.
    rows = [cells[label].fillna("") for label in ("Group", "Metric") if label in cells]
    cells["group_of_rows"] = sum(rows[1:], rows[0]) if rows else ""
    return cells.assign(**{label: "" for label in PLACE if label not in cells}).fillna(
        dict.fromkeys(PLACE, "")
    )


def before(name):
    kept = pd.read_parquet(KEPT)
    kept = kept[kept["layout"] == name].rename(
        columns={"row_group": "group_of_rows", "column_group": "group"}
    )
    if name == "table2":  # without the dashes where the paper has no verdict
        kept = kept[kept["n"].notna()]
    if name == "table3":  # the zero map stood in a group of its own
        kept["group"] = ""
    if name == "table8":  # sources, and figures over them; without the count of none
        kept["group_of_rows"] = ""
        kept = kept[(kept["Source"] != "Number of sources") | (kept["value"] > 0)]
    return kept


@pytest.mark.parametrize(
    ("name", "count"),
    [("table2", 260), ("table3", 201), ("table7", 126), ("table8", 130), ("table9", 576), ("honest", 10901)],
)
def test_every_cell_is_as_it_was(study, name, count):
    found, kept = (cells.set_index(PLACE).sort_index() for cells in (now(study, name), before(name)))
    assert len(kept) == count
    assert [*found.index] == [*kept.index]
    for column in ("value", "low", "high"):
        np.testing.assert_allclose(found[column], kept[column], rtol=2e-12, err_msg=column)
    for column in ("text", "mark", "style"):
        assert [*found[column]] == [*kept[column]], column
    for column in ("n", "left_out"):
        assert [*found[column].astype(float).fillna(-1)] == [*kept[column].astype(float).fillna(-1)], column
