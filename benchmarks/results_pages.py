"""The tables under docs/results, from the committed rows alone: no model, no photographs.

    python benchmarks/results_pages.py [--results docs/results/rows] [--pages docs/results]

Writes one page per layout of `usu bench table`, byte for byte the same from the same rows.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from usu.bench.formats import FORMATS
from usu.bench.layouts import LAYOUTS, layout
from usu.bench.results import read_rows
from usu.files import written_whole

RESULTS, PAGES = Path("docs/results/rows"), Path("docs/results")
FOOT = """[What can be read of these tables](reading.md).

Made by `python benchmarks/results_pages.py` from the rows in `docs/results/rows`."""


def pages(results: Path) -> dict[str, str]:
    """Return the text of each page by its file's name."""
    rows = read_rows(results)
    return {f"{name}.md": f"{FORMATS['md'](layout(name, rows)).rstrip()}\n\n{FOOT}\n" for name in LAYOUTS}


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
