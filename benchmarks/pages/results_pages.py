"""The pages under docs/results, from the committed rows alone: no model, no photographs.

    python -m benchmarks.pages.results_pages [--results results/rows] [--pages docs/results]

Writes what was tested and what was shown, of all photographs and of those alone on which no default was
chosen, each with all tests and all means as CSV beside it; and the paper's tables, of which table 8 once more
from the rows at the paper's ε. The same rows give the same bytes.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.pages.tested_differences import files
from benchmarks.scores.score_tables import read_results
from usu.bench.results.folder import read_rows
from usu.bench.results.schema import NO_SOURCE
from usu.bench.tables.cells import Table
from usu.bench.tables.frame import Study, study_of
from usu.bench.tables.layouts import layout
from usu.bench.tables.render import md
from usu.runtime.files import written_whole

RESULTS, PAGES = Path("results/rows"), Path("docs/results")
CHOICES = Path("results")
FOOT = """
Made by `python -m benchmarks.pages.results_pages` from the rows in `results/rows`.
"""

ALL = """\
What the benchmark measured of all its photographs: eight upsamplers of Grad-CAM's map, six controls and
eight other methods, by seventeen metrics on three networks. [Of the photographs alone on which no default
was chosen](untouched.md) there is a page like this one."""

UNTOUCHED = """\
The same as [the page of all photographs](honest.md), of Grad-CAM's maps and of those photographs alone on
which no default was chosen: without those of `results/defaults` and without the choosing half of
`results/scores.jsonl`."""

PAPER = """\
# The paper's tables

The tables of the paper, made from our rows as `usu bench table` makes them. The rows are of a folder of
photographs and of EfficientNet-Lite0 to 2, which the paper has not, so that none of its figures stands
beside ours: they are in `src/usu/bench/tables/published.csv`, and are printed where there are rows of the
same data set and network. [What can be read of these tables](reading.md).

Tables 2, 3, 7 and 9 are of Grad-CAM's coarse maps, as in the paper. The means of the other sources stand in
[the CSV of all means](honest-means.csv), their tests in [that of all tests](honest-tests.csv). Table 10 is
of CUB-200, of which nothing was measured.
"""

TEMPERATURE = """\
At the paper's ε: `usu bench run --data DATA --images 25 --temperature 0.1 --scoring mask --source paper
--upsampler nearest bilinear bicubic lanczos usu iwmr hybrid zero --metric infidelity infidelity-minmax
infidelity-scaled --out results/rows-temperature`.
"""


def pages(results: Path) -> dict[str, str]:
    """Return the text of each page, and of each CSV, by its file's name."""
    rows = read_rows(results)
    names = pa.array(sorted(chosen_on()))
    untouched = rows.filter(~pc.field("image").isin(names) & pc.field("source").isin(["gradcam", NO_SOURCE]))
    study, at_paper_temperature = study_of(rows), read_rows(results.with_name(f"{results.name}-temperature"))
    found = {
        **files(study, "honest", "Tested differences", ALL),
        **files(study_of(untouched), "untouched", "Tested differences, untouched photographs", UNTOUCHED),
        "paper-tables.md": paper_tables(study, study_of(at_paper_temperature)),
    }
    return {name: text + FOOT * name.endswith(".md") for name, text in found.items()}


def paper_tables(study: Study, at_paper_temperature: Study) -> str:
    """Return the page of the paper's tables."""
    parts = [PAPER]
    for name in ("table2", "table3", "table7", "table9"):
        table = layout(name, study)
        blocks = [block for block in table.blocks if block.heading.endswith(", Grad-CAM")]
        parts.append(below(Table(table.title, table.notes, blocks)))
    parts.append(below(layout("table8", study)))
    again = layout("table8", at_paper_temperature)
    parts.append(below(Table(f"{again.title}, at the paper's ε", again.notes, again.blocks)))
    return "\n".join([*parts, TEMPERATURE])


def below(table: Table) -> str:
    """Return a table as a part of a page, its headings one level down."""
    return re.sub(r"^#", "##", md(table), flags=re.MULTILINE)


def chosen_on() -> set[str]:
    """Return the names of the photographs on which a default was chosen."""
    defaults = {f"{record.stem}.JPEG" for record in CHOICES.glob("defaults/*.json")}
    scores = read_results(CHOICES / "scores.jsonl").values()
    return defaults | {name for rows in scores for name, row in rows.items() if row.half == "choosing"}


def main() -> None:
    """Write all pages."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of rows (default: %(default)s)")
    parser.add_argument("--pages", type=Path, default=PAGES, help="folder of pages (default: %(default)s)")
    arguments = parser.parse_args()
    for name, text in pages(arguments.results).items():
        with written_whole(arguments.pages / name) as file:
            file.write(text.encode())
        print(arguments.pages / name)


if __name__ == "__main__":
    main()
