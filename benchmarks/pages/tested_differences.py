"""A page of the differences that were tested between maps, and its rows as CSV."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from usu.bench.results.schema import NO_SOURCE
from usu.bench.tables.cells import written
from usu.bench.tables.frame import KEYS, LEVEL, Study
from usu.bench.tables.labels import BLOCKS, SCALINGS, TITLES, group, style, title
from usu.bench.tables.layouts import provenance
from usu.metrics.faithfulness.labels import LABELS

# They ask for a map's scale, or how peaked it is, before they ask where it lies.
OF_SCALE = ("infidelity", "infidelity-minmax", "infidelity-sum", "sparseness")
BETTER, WORSE, NEITHER = "▲", "▼", "·"

OPENING = """\
# {heading}

{what}

Maps of the same photographs are compared in pairs, metric by metric: ours with interpolation, with controls
that share a part of them, and with other people's methods. Of {tests:,} two-sided Wilcoxon signed-rank
tests **{shown} show a difference**: p is below {level:g} after Holm's correction for all of them together.
That the others show none does not say that there is none.

All rows, with intervals, effect sizes and p-values (as they are, by Holm, by Bonferroni):
[tests]({name}-tests.csv) and [means]({name}-means.csv) as CSV. [What can be read of them](reading.md).

| Network | Photographs | Tests | Differences shown |
|:--|--:|--:|--:|
{counts}
"""

GLANCE = """
## At a glance

Grad-CAM's coarse maps. One sign for each network, {models}, in this order: {better} the map is better than
the one it is compared with, {worse} it is worse, {neither} no difference is shown.
"""

SHOWN = """
## The differences that are shown

The map's mean less that of the map it is compared with, over photographs, with its 95 % BCa bootstrap
interval (10,000 resamples, seed 0); of infidelities it is the mean of log(a / b). In bold, with its
direction, where the difference is shown; the other networks stand beside it for comparison.
"""

SCALE = """
### Metrics of scale and peak

Infidelity as the paper has it grows with a map's scale, and sparseness is higher the more peaked a map is:
these differences say how a map's values are spread before they say where it lies.
"""

SOURCES = """
## Other sources of the coarse map

{network}, {photographs} photographs. One sign for each source, {sources} in this order; signs as above.
"""

MEANS = """
## Means

Block A measures as the paper does, block B what the paper's set-up cannot answer. ↑ higher is better, ↓
lower is better. An empty cell was not measured, or the metric has no finite value on any photograph; *
leaves out photographs without one. Intervals and counts stand in [the CSV]({name}-means.csv).
"""


def files(study: Study, name: str, heading: str, what: str) -> dict[str, str]:
    """Return the page of a study, and its tests and means as CSV, by name of the file.

    Args:
        study: whose comparisons are told of.
        name: that the files' names begin with.
        heading: of the page.
        what: was measured, the first paragraph.
    """
    means = study.averages(study.values.contestant.unique(), study.values.measure.unique())
    return {
        f"{name}.md": _page(study, means, {"name": name, "heading": heading, "what": what}),
        f"{name}-tests.csv": _csv(study.comparisons),
        f"{name}-means.csv": _csv(_once(study, means)),
    }


def _csv(frame: pd.DataFrame) -> str:
    """Return a frame as CSV, numbers to six digits."""
    return str(frame.to_csv(index=False, float_format="%.6g", lineterminator="\n"))


def _once(study: Study, means: pd.DataFrame) -> pd.DataFrame:
    """Return means of maps that need no coarse map once, of no source, and not beside those of every one."""
    sourceless = means.contestant.isin(study.values.contestant[study.values.source == NO_SOURCE])
    source = means.source.astype(str).where(~sourceless, NO_SOURCE)
    return means.assign(source=source).drop_duplicates(KEYS)


def _page(study: Study, means: pd.DataFrame, words: dict[str, str]) -> str:
    tests = study.comparisons[study.comparisons.p_value.notna()]
    main = tests[tests.source == "gradcam"]
    models = [*main.model.unique()]
    networks = _listed([*map(_network, models)])
    of_scale = main.measure.isin(OF_SCALE)
    shown = int((tests.better != "").sum())
    counts = "\n".join(_counts(tests, study))
    parts = [
        OPENING.format(**words, tests=len(tests), shown=shown, level=LEVEL, counts=counts),
        GLANCE.format(models=networks, better=BETTER, worse=WORSE, neither=NEITHER),
        _signs(main[~of_scale], "model", models),
        SHOWN,
        _differences(main[~of_scale], models),
        SCALE,
        _signs(main[of_scale], "model", models),
        _differences(main[of_scale], models),
        *_other_sources(tests[tests.source != "gradcam"]),
        MEANS.format(**words),
        *_means(means[means.source.isin(["gradcam", NO_SOURCE]) & (means.n > 0)], models),
        "\n## Settings\n",
        *(f"* `{note}`" for note in provenance(study)),
    ]
    return "\n".join(parts) + "\n"


def _listed(words: Sequence[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def _table(frame: pd.DataFrame, labels: int, side: str = "right") -> str:
    """Return a frame as Markdown; labels that go on from the row above are not said again."""
    flat = frame.reset_index()
    for place in reversed(range(labels - 1)):
        said = flat.iloc[:, : place + 1]
        flat.isetitem(place, flat.iloc[:, place].where((said != said.shift()).any(axis=1), ""))
    sides = ["left"] * labels + [side] * (flat.shape[1] - labels)
    drawn = flat.to_markdown(index=False, disable_numparse=True, colalign=sides)
    return re.sub("-{3,}", "---", re.sub(" +", " ", drawn))  # padding would be half of the page


def _pairs(tests: pd.DataFrame) -> pd.DataFrame:
    """Return tests with titles of what is compared, in order."""
    order = {name: place for place, name in enumerate(TITLES["contestant"])}
    keys = [tests.challenger.map(order), tests.reference.map(order)]
    named = tests.assign(
        Map=[title("contestant", name) for name in tests.challenger],
        against=[title("contestant", name) for name in tests.reference],
        direction=np.where(tests.better == tests.challenger, BETTER, WORSE),
    )
    named["direction"] = named.direction.where(named.better != "", NEITHER)
    return named.iloc[np.lexsort(keys[::-1])]


def _signs(tests: pd.DataFrame, across: str, names: Sequence[str]) -> str:
    """Return outcomes by pair and metric, one sign for each of the names; metrics without any are listed."""
    own = _pairs(tests)
    pairs = pd.MultiIndex.from_frame(own[["Map", "against"]].drop_duplicates())
    shown = own.measure.isin(own.measure[own.better != ""])
    signs = own.set_index(["Map", "against", "measure", across]).direction[shown.to_numpy()].unstack(across)
    joined = signs.reindex(columns=list(names)).fillna(" ").agg("".join, axis=1).unstack("measure")
    table = _table(joined.reindex(pairs).fillna("").rename(columns=_heading), 2, "center")
    without = [f"*{_heading(name)}*" for name in own.measure[~shown].sort_values().unique()]
    told = f"By {_listed(without)} no difference is shown between any of them.\n\n" if without else ""
    return f"{told}{table}\n"


def _network(model: str) -> str:
    """Return a short name, where all are EfficientNets."""
    return title("model", model).removeprefix("EfficientNet-")


def _heading(measure: str) -> str:
    return title("measure", measure)


def _differences(tests: pd.DataFrame, models: Sequence[str]) -> str:
    """Return the differences of the pairs that show one on any network, by metric."""
    own = _pairs(tests).sort_values("measure", kind="stable")
    figures = [
        f"{written(row.difference, 'signed')} [{written(row.low, 'signed')}, {written(row.high, 'signed')}]"
        for row in own.itertuples()
    ]
    bold = "**" + pd.Series(figures, own.index).str.replace(" [", "** [", regex=False) + " " + own.direction
    log_ratio = [", log ratio" * (name in SCALINGS) for name in own.measure]
    own["Metric"] = [*map(_heading, own.measure)]
    own["Metric"] += log_ratio
    own["figure"] = np.where(own.better != "", bold, figures)
    rows = own[own.better != ""].set_index(["Metric", "Map", "against"]).index.unique()
    wide = own.set_index(["Metric", "Map", "against", "model"]).figure.unstack("model")
    shown = wide.reindex(index=rows, columns=list(models)).fillna("")
    return _table(shown.rename(columns=_network), 3)


def _counts(tests: pd.DataFrame, study: Study) -> list[str]:
    images = study.values.groupby("model", observed=True).image.nunique()
    return [
        f"| {title('model', model)} | {images[model]} | {len(own)} | {int((own.better != '').sum())} |"
        for model, own in tests.groupby("model", observed=True)
    ]


def _other_sources(tests: pd.DataFrame) -> list[str]:
    parts = []
    for model, own in tests.groupby("model", observed=True):
        names = [*own.source.unique()]
        listed = _listed([title("source", name) for name in names])
        parts.append(SOURCES.format(network=title("model", model), photographs=own.n.max(), sources=listed))
        parts.append(_signs(own, "source", names))
    return parts


def _means(means: pd.DataFrame, models: Sequence[str]) -> list[str]:
    """Return a table of means for each network and block of metrics."""
    texts = [written(row.mean, style(row.measure)) + "*" * bool(row.left_out) for row in means.itertuples()]
    means = means.assign(
        text=texts,
        Group=[group(name) for name in means.contestant],
        Map=[title("contestant", name) for name in means.contestant],
    )
    rows = pd.MultiIndex.from_frame(means[["Group", "Map"]].drop_duplicates())
    parts, measured = [], set(means.measure)
    for model in models:
        for block, words in BLOCKS.items():
            measures = [
                "forward_passes",
                *(name for name in LABELS if LABELS[name].block == block and name in measured),
            ]
            own = means[(means.model == model) & means.measure.isin(measures)]
            wide = own.set_index(["Group", "Map", "measure"]).text.unstack("measure")
            shown = wide.reindex(rows)[measures].dropna(how="all").fillna("")
            shown = shown.rename(columns=_heading)
            parts.append(f"\n### {title('model', model)}, {words}\n\n{_table(shown, 2)}")
    return parts
