"""How far rows of the same measurements lie apart that two machines made, a processor and a GPU say.

    python -m benchmarks.performance.processors results/rows results/h100

Both are results folders of `usu bench run`. What one of them lacks is left out. Prints a line per metric.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np

from usu.bench.results.folder import read_rows
from usu.bench.results.schema import Cell, cell_of

HEAD = """| metric | maps | median | 99 of 100 within | largest | of a method's mean, largest |
|---|--:|--:|--:|--:|--:|"""


def values_of(folder: Path) -> dict[Cell, float]:
    """Return the value of each measurement of a folder."""
    rows = read_rows(folder).select([*Cell._fields, "value"])
    return {cell_of(row): row["value"] for row in rows.to_pylist()}


def table(ours: dict[Cell, float], others: dict[Cell, float]) -> list[str]:
    """Return the lines of the table: absolute differences, by metric."""
    both: dict[str, dict[tuple[str, ...], list[float]]] = defaultdict(lambda: defaultdict(list))
    for cell in sorted(ours.keys() & others.keys()):
        difference = ours[cell] - others[cell]
        if np.isfinite(difference):
            both[cell.metric][cell.model, cell.source, cell.upsampler].append(difference)
    lines = HEAD.splitlines()
    for metric, methods in sorted(both.items()):
        apart = np.abs(np.concatenate(list(methods.values())))
        means = {method: abs(float(np.mean(each))) for method, each in methods.items()}
        furthest = max(means, key=lambda method: means[method])
        figures = (np.median(apart), np.quantile(apart, 0.99), apart.max(), means[furthest])
        shown = " | ".join(f"{figure:.2g}" for figure in figures)
        lines.append(f"| `{metric}` | {len(apart)} | {shown} ({furthest[-1]}) |")
    return lines


def main() -> None:
    """Compare, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", type=Path, nargs=2, metavar="RESULTS")
    ours, others = map(values_of, parser.parse_args().folders)
    print("\n".join(table(ours, others)))


if __name__ == "__main__":
    main()
