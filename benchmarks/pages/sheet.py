"""Photographs × ways to bring their cells to pixels, to be looked at: docs/images/looks.png.

    python -m benchmarks.pages.sheet DATA [--photographs 12] [--rows results/looks]

DATA is a folder of photographs. They are the first of the reporting half of `benchmarks.studies.looks`, not
chosen by anyone, and each way has the ε that its rows chose. EfficientNet-Lite0 explains its own class by its
raw Grad-CAM. Each map has its own colour scale and lies over the grey photograph, opaque where it has mass.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from tqdm import tqdm

from benchmarks.scores.photographs import Photograph, photographs
from benchmarks.studies.look_tables import chosen, read
from benchmarks.studies.looks import MASKED, Look
from usu import plot
from usu.bench.methods.image import Subject
from usu.models.classifier import Classifier
from usu.models.compiled import quickened
from usu.models.loading import load_classifier

PICTURE = Path(__file__).parents[2] / "docs" / "images" / "looks.png"
_PANEL, _DPI = 1.35, 100  # inches of a panel's side, and pixels of an inch
_SMALL, _LARGE = 9, 11  # points


def looks(best: Mapping[tuple[str, bool], float]) -> dict[str, Look]:
    """Return the columns by title: every way with filtered scores, and all but the hybrid without."""
    found = {"bilinear": Look("bilinear"), "guided filter": Look("guided")}
    for title, name, filtered in (
        ("strict USU", "usu", False),
        ("strict USU,\nfiltered", "usu", True),
        ("continuous", "usu-continuous", False),
        ("continuous,\nfiltered", "usu-continuous", True),
        ("hybrid,\nfiltered", "hybrid", True),
        ("total-\nconserving", "total-conserving", False),
        ("total-conserving,\nfiltered", "total-conserving", True),
    ):
        epsilon = best[name, filtered]
        found[f"{title}\nε = {epsilon:g}"] = Look(name, epsilon, filtered)
    return found


def draw(rows: Sequence[tuple[Subject, Photograph, str]], columns: Mapping[str, Look]) -> Figure:
    """Return a row per photograph and a column per look."""
    width = 1 + len(columns)
    figure = Figure(figsize=(_PANEL * width, (_PANEL + 0.2) * len(rows) + 0.8), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    grid = figure.subplots(len(rows), width, squeeze=False)
    for (subject, photograph, category), panels in zip(tqdm(rows, "photographs"), grid, strict=True):
        record = subject.scoring()
        plot.photograph(record, panels[0])
        panels[0].set_xlabel(f"{category[:24]}, {100 * photograph.probability:.0f} %", fontsize=_SMALL)
        for axis, look in zip(panels[1:], columns.values(), strict=True):
            plot.overlay(record, axis, look.draw(subject))
    for axis, title in zip(grid[0], ["photograph", *columns], strict=True):
        axis.set_title(title, fontsize=_LARGE)
    return figure


def subjects(classifier: Classifier, data: Path, count: int) -> list[tuple[Subject, Photograph, str]]:
    """Return what is explained, with the network's class."""
    several = list(photographs(data, classifier, 2 * count))[1::2]
    quick = quickened(classifier.model, several[0].inputs)
    return [
        (
            Subject(classifier.model, one.inputs, one.picture, one.target, quick=quick, settings=MASKED),
            one,
            (classifier.class_names or {})[one.target],
        )
        for one in several
    ]


def main() -> None:
    """Draw the sheet."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("data", type=Path, help="folder of photographs")
    parser.add_argument("--photographs", type=int, default=12, help="default: %(default)s")
    parser.add_argument("--rows", type=Path, default=Path("results/looks"), help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=PICTURE)
    options = parser.parse_args()
    columns = looks(chosen([read(path) for path in sorted(options.rows.glob("*.parquet"))]))
    rows = subjects(load_classifier("efficientnet-lite0"), options.data, options.photographs)
    plot.save_figure(draw(rows, columns), options.out, dpi=_DPI)
    print(f"{options.out}, {options.out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
