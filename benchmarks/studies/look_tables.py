"""Tables of `benchmarks.studies.looks`, from its rows alone: no network, no photographs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.scores.score_tables import line
from usu.metrics.statistics import bootstrap_intervals

SQUARED = "bilinear-squared"
FIXED = {
    "nearest": "nearest",
    "bilinear": "bilinear",
    SQUARED: "bilinear, squared",
    "guided": "guided filter",
    "guided-conserving": "guided filter, cells scaled",
    "pycnophylactic": "pycnophylactic",
    "conserving": "conserving, no scores",
}
SCORED = {
    "usu": "strict USU",
    "usu-continuous": "continuous USU",
    "hybrid": "hybrid",
    "total-conserving": "total-conserving",
}
EPSILONS = (0.1, 0.2, 0.3, 0.5, 1.0)
KEYS = ["map", "filtered", "epsilon"]
WAYS = [(name, filtered) for name in SCORED for filtered in (False, True)]

# A map of the tables: its name, whether its scores are filtered, and ε, which is NaN where it has none.
Key = tuple[str, bool, float]
HEAD = """# Measurements of looks

Made by `python -m benchmarks.studies.looks DATA --scenes 0 --table docs/looks-measurements.md`; what they
mean stands in [Looks](looks.md). Localisation, IoU and insertion: higher is better. Deletion: lower is
better. Differences are paired, with 95 % BCa intervals that are not corrected for their number, bold where
they exclude zero.
"""


def read(path: Path) -> pd.DataFrame:
    """Return the rows of one world: measures in columns, half, scene, map, filtered and ε in the index."""
    return pd.read_parquet(path).set_index(["half", "scene", *KEYS])


def title(key: Key) -> str:
    """Return what a table calls a map."""
    name, filtered, epsilon = key
    if name in FIXED:
        return FIXED[name]
    return f"{SCORED[name]}, {'filtered, ' if filtered else ''}ε = {epsilon:g}"


def values(rows: pd.DataFrame, half: str, key: Key) -> pd.DataFrame:
    """Return one map's measures by scene."""
    own = rows.xs((half, key[0], key[1]), level=["half", "map", "filtered"])
    epsilons = own.index.get_level_values("epsilon")
    return own[epsilons.isna() if np.isnan(key[2]) else epsilons == key[2]].droplevel("epsilon").sort_index()


def ranks(worlds: Iterable[pd.DataFrame], name: str, filtered: bool) -> list[float]:
    """Return each ε's mean rank on the choosing half, 1 for the best: all worlds weigh the same.

    Within a world ranks are of the means over scenes, and all measures weigh the same.
    """
    found = []
    for rows in worlds:
        means = pd.DataFrame(
            {epsilon: values(rows, "choosing", (name, filtered, epsilon)).mean() for epsilon in EPSILONS}
        )
        lower = np.array([measure.startswith("deletion") for measure in means.index])
        found.append(means.mul(np.where(lower, 1, -1), axis=0).rank(axis=1).mean())
    return [float(rank) for rank in sum(found) / len(found)]


def chosen(worlds: Sequence[pd.DataFrame]) -> dict[tuple[str, bool], float]:
    """Return the ε of the best mean rank of each way to use scores."""
    return {way: EPSILONS[int(np.argmin(ranks(worlds, *way)))] for way in WAYS}


def page(paths: Mapping[str, Path]) -> str:
    """Return the tables of the worlds that were measured, as a page."""
    worlds = {name: read(path) for name, path in paths.items()}
    if not worlds:
        return ""
    best = chosen(list(worlds.values()))
    parts = [HEAD, "## The choice of ε: mean ranks on the choosing half", "", *_choice(worlds, best)]
    for name, rows in worlds.items():
        parts += _world(name, rows, best)
    return "\n".join(parts) + "\n"


def _choice(worlds: Mapping[str, pd.DataFrame], best: Mapping[tuple[str, bool], float]) -> Iterator[str]:
    counts = [
        f"{rows.loc['choosing'].index.get_level_values('scene').nunique()} of {name}"
        for name, rows in worlds.items()
    ]
    yield f"Scenes: {', '.join(counts)}."
    yield ""
    yield line("map", "scores", *(f"ε = {epsilon:g}" for epsilon in EPSILONS))
    yield "|---" * (2 + len(EPSILONS)) + "|"
    for name, filtered in WAYS:
        cells = [
            f"**{rank:.2f}**" if epsilon == best[name, filtered] else f"{rank:.2f}"
            for epsilon, rank in zip(EPSILONS, ranks(worlds.values(), name, filtered), strict=True)
        ]
        yield line(SCORED[name], "filtered" if filtered else "as they are", *cells)


def pairs(best: Mapping[tuple[str, bool], float]) -> list[tuple[Key, Key]]:
    """Return the questions beside "better than bilinear?": (map, reference)."""
    fixed: dict[str, Key] = {name: (name, False, np.nan) for name in FIXED}
    ours: dict[tuple[str, bool], Key] = {way: (*way, epsilon) for way, epsilon in best.items()}
    return [
        *((key, fixed[SQUARED]) for (_, filtered), key in ours.items() if filtered),
        *((key, fixed["guided"]) for (_, filtered), key in ours.items() if filtered),
        *((ours["usu-continuous", filtered], ours["usu", filtered]) for filtered in (False, True)),
        *((ours["total-conserving", filtered], ours["hybrid", filtered]) for filtered in (False, True)),
        *(((name, True, ours[name, False][2]), ours[name, False]) for name in SCORED),
        (ours["usu-continuous", True], fixed["conserving"]),
        (fixed["conserving"], fixed["nearest"]),
        (fixed["conserving"], fixed["pycnophylactic"]),
    ]


def _world(name: str, rows: pd.DataFrame, best: Mapping[tuple[str, bool], float]) -> Iterator[str]:
    bilinear: Key = ("bilinear", False, np.nan)
    found: list[Key] = [*((one, False, np.nan) for one in FIXED), *((*way, best[way]) for way in best)]
    count = len(values(rows, "reporting", bilinear))
    yield from ["", f"## {name}: {count} scenes of the reporting half", ""]
    yield from _head(rows, "map")
    for key in found:
        yield line(title(key), *(f"{mean:.3f}" for mean in values(rows, "reporting", key).mean()))
    yield from ["", "### Less bilinear", ""]
    yield from _differences(rows, [(key, bilinear) for key in found if key != bilinear])
    yield from ["", "### Other pairs", ""]
    yield from _differences(rows, pairs(best))
    yield from ["", "### Every ε, mean difference from bilinear", ""]
    yield from _head(rows, "map")
    reference = values(rows, "reporting", bilinear).mean()
    for key in ((*way, epsilon) for way in WAYS for epsilon in EPSILONS):
        means = values(rows, "reporting", key).mean() - reference
        yield line(title(key), *(f"{mean:+.3f}" for mean in means))


def _differences(rows: pd.DataFrame, compared: Sequence[tuple[Key, Key]]) -> Iterator[str]:
    yield from _head(rows, "map", "less")
    for key, reference in compared:
        differences = values(rows, "reporting", key) - values(rows, "reporting", reference)
        found = bootstrap_intervals(differences.to_numpy().T)
        cells = [f"{one.mean:+.3f} [{one.low:+.3f}, {one.high:+.3f}]" for one in found]
        sure = [one.low > 0 or one.high < 0 for one in found]
        bold = [f"**{cell}**" if is_sure else cell for cell, is_sure in zip(cells, sure, strict=True)]
        yield line(title(key), title(reference), *bold)


def _head(rows: pd.DataFrame, *before: str) -> Iterator[str]:
    yield line(*before, *rows.columns)
    yield "|---" * (len(before) + len(rows.columns)) + "|"
