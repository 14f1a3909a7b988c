"""The tables under docs/results, from the committed rows alone: no model, no photographs.

    python -m benchmarks.pages.results_pages [--results results/rows] [--pages docs/results]

Writes one page per layout of `usu bench table`, byte for byte the same from the same rows; once more the
honest one, of Grad-CAM's maps of those photographs alone on which no default was chosen; and once more table
8, of rows at the paper's ε, which stand beside the others (`ROWS-temperature`).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.scores.score_tables import read_results
from usu.bench.results.folder import read_rows
from usu.bench.results.schema import NO_SOURCE
from usu.bench.tables.formats import FORMATS
from usu.bench.tables.layouts import LAYOUTS, layout
from usu.runtime.files import written_whole

RESULTS, PAGES = Path("results/rows"), Path("docs/results")
CHOICES = Path("results")
FOOT = """[What can be read of these tables](reading.md).

Made by `python -m benchmarks.pages.results_pages` from the rows in `results/rows`."""


UNTOUCHED = """Of the photographs alone on which no default was chosen, and of Grad-CAM's coarse maps: without
those of `results/defaults` and without the choosing half of `results/scores.jsonl`."""

TEMPERATURE = """At the paper's ε: `usu bench run --data DATA --images 25 --temperature 0.1 --source paper
--upsampler nearest bilinear bicubic lanczos usu iwmr hybrid zero --metric infidelity infidelity-minmax
infidelity-scaled --out results/rows-temperature`.

[What can be read of these tables](reading.md).

Made by `python -m benchmarks.pages.results_pages` from the rows in `results/rows-temperature`."""


def pages(results: Path) -> dict[str, str]:
    """Return the text of each page by its file's name."""
    rows = read_rows(results)
    names = pa.array(sorted(chosen_on()))
    untouched = rows.filter(~pc.field("image").isin(names) & pc.field("source").isin(["gradcam", NO_SOURCE]))
    found = {f"{name}.md": page(name, rows, FOOT) for name in LAYOUTS}
    found["untouched.md"] = page("honest", untouched, f"{UNTOUCHED}\n\n{FOOT}")
    at_paper_temperature = read_rows(results.with_name(f"{results.name}-temperature"))
    found["table8-temperature.md"] = page("table8", at_paper_temperature, TEMPERATURE)
    return found


def page(name: str, rows: pa.Table, foot: str) -> str:
    """Return the text of one layout of some rows."""
    return f"{FORMATS['md'](layout(name, rows)).rstrip()}\n\n{foot}\n"


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
