"""Figures of the nine configurations: docs/images/nine-curves.png and nine-infidelity.png.

    python -m benchmarks.pages.nine_figures [--results results] [--out docs/images]

Made from the committed rows alone. Differences and factors are means over images with their 95 % BCa
intervals, as `docs/results/nine-tests.csv` has them.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.pages.results_pages import nine
from benchmarks.pages.tested_differences import networks
from benchmarks.scores.score_tables import RESULTS
from usu import plot
from usu.bench.tables import published
from usu.bench.tables.frame import Study
from usu.bench.tables.labels import title

OUT = Path(__file__).parents[2] / "docs" / "images"
DPI = 140
# Okabe and Ito's colours, which all readers can tell apart.
CURVES = {
    "usu": ("#0072B2", "o"),
    "hybrid": ("#E69F00", "s"),
    "total-conserving": ("#009E73", "D"),
    "complete": ("#CC79A7", "^"),
}
FACTORS = {"usu": ("#0072B2", "o"), "iwmr": ("#D55E00", "s")}
KINDS = {"": "as they are", "-smooth": "band-limited"}
SCALINGS = {
    "infidelity": "each map as it is",
    "infidelity-minmax": "each map scaled to [0, 1]",
    "infidelity-scaled": "each map at its best scale",
}


def curves(tests: pd.DataFrame) -> Figure:
    """Draw how much better than bilinear's each map's curves are, by configuration."""
    figure = Figure(figsize=(10, 8.2), layout="constrained")
    panels = figure.subplots(2, 2, sharey=True)
    for axis, (kind, curve) in zip(panels.flat, product(KINDS, ("deletion", "insertion")), strict=True):
        own = tests[tests.measure == f"{curve}-blur{kind}"]
        sign = -1 if curve == "deletion" else 1
        _rows(axis, own.assign(**_signed(own, sign)), CURVES)
        axis.axvline(0, color="0.4", linewidth=0.8)
        axis.set_xlabel(f"{curve.capitalize()} {'lower' if sign < 0 else 'higher'} than bilinear by")
        axis.set_title(f"{curve.capitalize()}, maps {KINDS[kind]}", fontsize=11)
    _legend(figure, CURVES)
    return figure


def infidelities(tests: pd.DataFrame) -> Figure:
    """Draw bilinear's infidelity over each map's, under three scalings, the paper's factor beside."""
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    panels = figure.subplots(1, 3, sharex=True, sharey=True)
    for axis, (measure, words) in zip(panels, SCALINGS.items(), strict=True):
        own = tests[tests.measure == measure]
        factors = np.exp(pd.DataFrame(_signed(own, -1)))
        rows = _rows(axis, own.assign(**factors), FACTORS)
        if measure == "infidelity-minmax":
            for name, row in rows.items():
                axis.plot(_printed(own[own.network == name]), row, "x", color="0.35", markersize=7)
        axis.axvline(1, color="0.4", linewidth=0.8)
        axis.set_xscale("log")
        axis.set_xlabel("bilinear's infidelity over the map's")
        axis.set_title(words.capitalize(), fontsize=11)
    _legend(figure, FACTORS, {"the paper, USU, network of the same kind": ("0.35", "x")})
    return figure


def _signed(own: pd.DataFrame, sign: int) -> dict[str, pd.Series]:
    bounds = [own.low, own.high][::sign]
    return {"difference": sign * own.difference, "low": sign * bounds[0], "high": sign * bounds[1]}


def _rows(axis: Axes, own: pd.DataFrame, maps: Mapping[str, tuple[str, str]]) -> dict[str, int]:
    """Draw a row for each network, in it a mean with its interval for each map; return the rows' heights."""
    rows = {name: place for place, name in enumerate(own.network.unique())}
    for place, (name, (colour, marker)) in enumerate(maps.items()):
        of_map = own[own.challenger == name]
        height = of_map.network.map(rows) + 0.18 * (place - (len(maps) - 1) / 2)
        axis.hlines(height, of_map.low, of_map.high, color=colour, linewidth=1.6)
        axis.plot(of_map.difference, height, marker, color=colour, markersize=5, markeredgecolor="white")
    counts = own.groupby("network", sort=False).n.max()
    axis.set_yticks(list(rows.values()), [f"{name}\nn = {counts[name]}" for name in rows], fontsize=9)
    axis.set_ylim(len(rows) - 0.5, -0.5)
    sizes = own.drop_duplicates("network").groupby("dataset", observed=True).size()
    for border in np.cumsum(sizes)[:-1]:
        axis.axhline(border - 0.5, color="0.75", linewidth=0.8)
    axis.grid(axis="x", color="0.92", linewidth=0.6)
    axis.set_axisbelow(True)
    return rows


def _printed(own: pd.DataFrame) -> float:
    """Return the paper's factor from bilinear to USU, for its network of the same kind."""
    at = own.iloc[0]
    model = published.KIN.get(at.model, published.model_of(at.model))
    bilinear, usu = (
        published.FIGURES["table3"].get(
            published.Figure(at.dataset, model, "gradcam", name, "infidelity"), np.nan
        )
        for name in ("bilinear", "usu")
    )
    return bilinear / usu


def _legend(
    figure: Figure, maps: Mapping[str, tuple[str, str]], more: Mapping[str, tuple[str, str]] | None = None
) -> None:
    handles = [
        figure.axes[0].plot([], [], marker, color=colour, label=words)[0]
        for words, (colour, marker) in (
            *((title("contestant", name), style) for name, style in maps.items()),
            *(more or {}).items(),
        )
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)


def compared(study: Study) -> pd.DataFrame:
    """Return the comparisons of Grad-CAM's maps with bilinear, with what each network is called."""
    tests = study.comparisons
    own = tests[tests.reference == "bilinear"]
    return own.assign(network=networks(own))


def main() -> None:
    """Draw both figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=RESULTS, help="of all rows (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of pictures")
    options = parser.parse_args()
    tests = compared(nine(options.results))
    for name, figure in {"nine-curves": curves(tests), "nine-infidelity": infidelities(tests)}.items():
        plot.save_figure(figure, options.out / f"{name}.png", dpi=DPI)
        print(options.out / f"{name}.png")


if __name__ == "__main__":
    main()
