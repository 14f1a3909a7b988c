"""A page of the differences that were tested between maps, and its rows as CSV."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain

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
BETTER, WORSE, NEITHER, UNMEASURED = "▲", "▼", "·", "–"

OPENING = """\
# {heading}

{what}

Maps of the same images are compared in pairs, metric by metric: ours with interpolation, with controls
that share a part of them, and with other people's methods. Of {tests:,} two-sided Wilcoxon signed-rank
tests **{shown} show a difference**: p is below {level:g} after Holm's correction for all of them together.
That the others show none does not say that there is none.

All rows, with intervals, effect sizes and p-values (as they are, by Holm, by Bonferroni):
[tests]({name}-tests.csv) and [means]({name}-means.csv) as CSV. [What can be read of them](reading.md).

| Network | Images | Tests | Differences shown |
|:--|--:|--:|--:|
{counts}
"""

GLANCE = """
## At a glance

Grad-CAM's coarse maps. One sign for each network, {networks}, in this order: {better} the map is better than
the one it is compared with, {worse} it is worse, {neither} no difference is shown, {unmeasured} not measured.
"""

CURVES = """
By curves of deletion and insertion:
"""

SHOWN = """
## The differences that are shown

The map's mean less that of the map it is compared with, over images, with its 95 % BCa bootstrap
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

{network}, {images} images. One sign for each source, {sources} in this order; signs as above.
"""

MEANS = """
## Means

Block A measures as the paper does, block B what the paper's set-up cannot answer. ↑ higher is better, ↓
lower is better. An empty cell was not measured, or the metric has no finite value on any image; *
leaves out images without one. Intervals and counts stand in [the CSV]({name}-means.csv).
"""


def files(study: Study, name: str, heading: str, what: str, foot: str) -> dict[str, str]:
    """Return the page of a study, and its tests and means as CSV, by name of the file.

    Args:
        study: whose comparisons are told of.
        name: that the files' names begin with.
        heading: of the page.
        what: was measured, the first paragraph.
        foot: of the page.
    """
    means = study.averages(study.values.contestant.unique(), study.values.measure.unique())
    return {
        f"{name}.md": _page(study, means, {"name": name, "heading": heading, "what": what}) + foot,
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
    tests, means, values = (frame.assign(network=networks(frame)) for frame in (tests, means, study.values))
    main = tests[tests.source == "gradcam"]
    datasets = [[*own.unique()] for _, own in main.groupby("dataset", observed=True).network]
    every = [*chain(*datasets)]
    of_scale = main.measure.isin(OF_SCALE)
    of_curves = main.measure.str.match("deletion|insertion")
    shown = int((tests.better != "").sum())
    counts = "\n".join(_counts(tests, values))
    signs = {"better": BETTER, "worse": WORSE, "neither": NEITHER, "unmeasured": UNMEASURED}
    parts = [
        OPENING.format(**words, tests=len(tests), shown=shown, level=LEVEL, counts=counts),
        GLANCE.format(networks=_listed(every), **signs),
        _signs(main[~of_scale & ~of_curves], "network", datasets),
        CURVES,
        _signs(main[of_curves], "network", datasets),
        SHOWN,
        _differences(main[~of_scale], every),
        SCALE,
        _signs(main[of_scale], "network", datasets),
        _differences(main[of_scale], every),
        *_other_sources(tests[tests.source != "gradcam"]),
        MEANS.format(**words),
        *_means(means[means.source.isin(["gradcam", NO_SOURCE]) & (means.n > 0)], every),
        "\n## Settings\n",
        *(f"* `{note}`" for note in provenance(study)),
    ]
    return "\n".join(parts) + "\n"


def networks(frame: pd.DataFrame) -> list[str]:
    """Return what the network of each row is called, behind its data set where there are several of these."""
    named = [title("model", name).removeprefix("EfficientNet-") for name in frame.model]
    if frame.dataset.nunique() == 1:
        return named
    return [f"{title('dataset', own)} {name}" for own, name in zip(frame.dataset, named, strict=True)]


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
    return narrow(flat.to_markdown(index=False, disable_numparse=True, colalign=sides))


def narrow(markdown: str) -> str:
    """Return tables without padding, which would be half of the page."""
    return re.sub("-{3,}", "---", re.sub(" +", " ", markdown))


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


def _signs(tests: pd.DataFrame, across: str, groups: Sequence[Sequence[str]]) -> str:
    """Return outcomes by pair and metric, a sign for each name of a group; metrics without any are listed."""
    own = _pairs(tests)
    pairs = pd.MultiIndex.from_frame(own[["Map", "against"]].drop_duplicates())
    shown = own.measure.isin(own.measure[own.better != ""])
    signs = own.set_index(["Map", "against", "measure", across]).direction[shown.to_numpy()].unstack(across)
    every = signs.reindex(columns=[*chain(*groups)]).fillna(UNMEASURED)
    without = [f"*{_heading(name)}*" for name in own.measure[~shown].sort_values().unique()]
    told = f"By {_listed(without)} no difference is shown between any of them.\n" if without else ""
    if not shown.any():
        return told
    joined = pd.concat([every[list(names)].agg("".join, axis=1) for names in groups], axis=1)
    joined = joined.agg("\N{NO-BREAK SPACE}".join, axis=1).unstack("measure")
    table = _table(joined.reindex(pairs).fillna("").rename(columns=_heading), 2, "center")
    return f"{told}\n{table}\n" if told else f"{table}\n"


def _heading(measure: str) -> str:
    return title("measure", measure)


def _differences(tests: pd.DataFrame, networks: Sequence[str]) -> str:
    """Return the differences of the pairs that show one on any network, by metric; "" if none does."""
    if not (tests.better != "").any():
        return ""
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
    wide = own.set_index(["Metric", "Map", "against", "network"]).figure.unstack("network")
    return _table(wide.reindex(index=rows, columns=list(networks)).fillna(""), 3)


def _counts(tests: pd.DataFrame, values: pd.DataFrame) -> list[str]:
    images = values.groupby(["network", "measure"], sort=False).image.nunique()
    of_each = {
        network: " to ".join(map(str, dict.fromkeys((own.min(), own.max()))))
        for network, own in images.groupby("network", sort=False)
    }
    return [
        f"| {network} | {of_each[network]} | {len(own)} | {int((own.better != '').sum())} |"
        for network, own in tests.groupby("network", sort=False)
    ]


def _other_sources(tests: pd.DataFrame) -> list[str]:
    parts = []
    for network, own in tests.groupby("network", sort=False):
        names = [*own.source.unique()]
        listed = _listed([title("source", name) for name in names])
        parts.append(SOURCES.format(network=network, images=own.n.max(), sources=listed))
        parts.append(_signs(own, "source", [names]))
    return parts


def _means(means: pd.DataFrame, networks: Sequence[str]) -> list[str]:
    """Return a table of means for each network and block of metrics."""
    texts = [written(row.mean, style(row.measure)) + "*" * bool(row.left_out) for row in means.itertuples()]
    means = means.assign(
        text=texts,
        Group=[group(name) for name in means.contestant],
        Map=[title("contestant", name) for name in means.contestant],
    )
    rows = pd.MultiIndex.from_frame(means[["Group", "Map"]].drop_duplicates())
    parts, measured = [], set(means.measure)
    for network in networks:
        for block, words in BLOCKS.items():
            measures = [
                "forward_passes",
                *(name for name in LABELS if LABELS[name].block == block and name in measured),
            ]
            own = means[(means.network == network) & means.measure.isin(measures)]
            wide = own.set_index(["Group", "Map", "measure"]).text.unstack("measure")
            shown = wide.reindex(rows)[measures].dropna(how="all").fillna("")
            shown = shown.rename(columns=_heading)
            parts.append(f"\n### {network}, {words}\n\n{_table(shown, 2)}")
    return parts
