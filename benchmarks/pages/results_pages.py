"""The pages under docs/results, from the committed rows alone: no model, no photographs.

    python -m benchmarks.pages.results_pages [--results results] [--pages docs/results]

Writes what was tested and what was shown, with all tests and all means as CSV beside it: of the nine
configurations, with scores by order, and of three networks with scores by masking, of all photographs and of
those alone on which no default was chosen. And the paper's tables of the nine configurations, of which table
8 once more from rows at the paper's ε. The same rows give the same bytes.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.pages.tested_differences import files, narrow
from benchmarks.scores.score_tables import RESULTS, chosen_on
from usu.bench.results.folder import read_rows
from usu.bench.results.schema import NO_SOURCE
from usu.bench.tables.cells import Table
from usu.bench.tables.frame import Study, study_of
from usu.bench.tables.layouts import layout
from usu.bench.tables.render import md
from usu.runtime.files import written_whole

PAGES = Path("docs/results")
FEWEST = 30  # images of what is tested: after a correction for a thousand tests, fewer show nothing
FOOT = """
Made by `python -m benchmarks.pages.results_pages` from the rows in `results/{rows}`.
"""

NINE = f"""\
Three data sets, each by a plain, a residual and an attention network: ImageNet (a photograph of each of 200
classes), CIFAR-10 and ten classes of CUB-200. VGG16 on ImageNet lacks its classifier, so that eight of the
nine are here. Grad-CAM's maps, for the transformer those of its tokens; scores by order, the default.
[Data sets and networks](../datasets.md#nine-configurations). Where fewer than {FEWEST} images of a map were
measured by a metric, it is not tested; [their means](paper-tables.md)."""

MASKED, MASKED_HALF = "Scores by masking: tested differences", "Scores by masking, untouched photographs"

ALL = """\
With scores by masking, as every model got until 30 November 2026 and as models without gradients still get:
eight upsamplers of Grad-CAM's map, six controls and eight other methods, by seventeen metrics on three
networks. [Of the photographs alone on which no default was chosen](untouched.md) there is another."""

UNTOUCHED = """\
The same as [the page of all photographs](honest.md), of Grad-CAM's maps and of those photographs alone on
which no default was chosen: without those of `results/defaults` and without the choosing half of
`results/scores.jsonl`."""

RUNS = """
The rows were made by

    usu bench run --data DATA --images 100 --scoring mask --workers 2 --out results/rows \\
        --upsampler upsamplers controls guided rise occlusion shap-partition refinecam \\
        --metric infidelity infidelity-minmax infidelity-sum infidelity-scaled \\
        infidelity-squares sparseness pixel-flipping road \\
        deletion-blur insertion-blur deletion-mean insertion-mean

again with `--images 50 --model efficientnet-lite1` and `-lite2`, with `--upsampler rise-10x occlusion-10x
xrai`, with `--metric monotonicity irof irof-per-segment irof-grid irof-felzenszwalb` (these three costly
peers on an H100, [the two compared](../metrics.md#on-a-gpu)), and on 25 photographs with `--source paper
--metric paper`.
"""

PAPER = """\
# The paper's tables

The tables of the paper, made from our rows as `usu bench table` makes them, with the paper's figures beside
ours. [What can be read of them](reading.md). Of its networks we have VGG16 alone, with heads of our own;
beside the others stand the figures of the paper's network of the same kind: orders compare, values do not.

Tables 2, 3, 7, 9 and 10 are of Grad-CAM's coarse maps, as in the paper; for the transformer, of its tokens.
Table 8 has the other sources.
"""

TEMPERATURE = """\
At the paper's ε: `usu bench run --data DATA --images 25 --temperature 0.1 --scoring mask --source paper
--upsampler nearest bilinear bicubic lanczos usu iwmr hybrid zero --metric infidelity infidelity-minmax
infidelity-scaled --out results/rows-temperature`.
"""


def pages(results: Path) -> dict[str, str]:
    """Return the text of each page, and of each CSV, by its file's name."""
    masked = read_rows(results / "rows")
    names = pa.array(sorted(chosen_on(results)))
    untouched = _of_gradcam(masked.filter(~pc.field("image").isin(names)))
    foot, foot_of_masked = (FOOT.format(rows=rows) for rows in ("nine", "rows"))
    every = _rows_of_nine(results)
    of_gradcam = _of_gradcam(every)
    found = {
        **files(_tested(of_gradcam), "nine", "Nine configurations", NINE, foot),
        **files(study_of(masked), "honest", MASKED, ALL, foot_of_masked + RUNS),
        **files(study_of(untouched), "untouched", MASKED_HALF, UNTOUCHED, foot_of_masked),
    }
    studies = map(study_of, (of_gradcam, every, read_rows(results / "rows-temperature")))
    return found | {"paper-tables.md": paper_tables(*studies) + foot}


def nine(results: Path) -> Study:
    """Return the rows of the nine configurations on Grad-CAM's maps, whose tests are corrected together."""
    return _tested(_of_gradcam(_rows_of_nine(results)))


def _tested(rows: pa.Table) -> Study:
    """Return rows without those of maps and metrics measured on fewer than `FEWEST` images of a network."""
    keys = ["dataset", "model", "upsampler", "metric"]
    counts = rows.group_by(keys).aggregate([("image", "count_distinct")]).to_pylist()
    enough = {tuple(row[key] for key in keys) for row in counts if row["image_count_distinct"] >= FEWEST}
    own = zip(*(rows[key].to_pylist() for key in keys), strict=True)
    return study_of(rows.filter(pa.array([key in enough for key in own])))


def _rows_of_nine(results: Path) -> pa.Table:
    return pa.concat_tables(map(read_rows, sorted((results / "nine").iterdir())))


def _of_gradcam(rows: pa.Table) -> pa.Table:
    return rows.filter(pc.field("source").isin(["gradcam", NO_SOURCE]))


def paper_tables(study: Study, every: Study, at_paper_temperature: Study) -> str:
    """Return the page of the paper's tables: of Grad-CAM's maps, and table 8 of every source."""
    names = ("table2", "table3", "table7", "table8", "table9", "table10")
    tables = [layout(name, every if name == "table8" else study) for name in names]
    again = layout("table8", at_paper_temperature)
    more = f"{again.title}, scores by masking, at the paper's ε"
    return "\n".join([PAPER, *map(below, tables), below(Table(more, again.notes, again.blocks)), TEMPERATURE])


def below(table: Table) -> str:
    """Return a table as a part of a page, its headings one level down, without padding."""
    return re.sub(r"^#", "##", narrow(md(table)), flags=re.MULTILINE)


def main() -> None:
    """Write all pages."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="of all rows (default: %(default)s)")
    parser.add_argument("--pages", type=Path, default=PAGES, help="folder of pages (default: %(default)s)")
    arguments = parser.parse_args()
    for name, text in pages(arguments.results).items():
        with written_whole(arguments.pages / name) as file:
            file.write(text.encode())
        print(arguments.pages / name)


if __name__ == "__main__":
    main()
