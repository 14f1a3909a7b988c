"""The paper's tables and our own, made from rows of results alone: no model, no image."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from types import MappingProxyType

import numpy as np
import pandas as pd
import pyarrow as pa

from usu.arrays.checks import check_choice
from usu.bench.tables import published as paper
from usu.bench.tables.cells import Block, Table, block_of, written
from usu.bench.tables.frame import KEYS, LEVEL, SECTION, Study, study_of
from usu.bench.tables.labels import BLOCKS, FACTS, SCALINGS, UPSAMPLERS, group, style, title
from usu.bench.tables.registry import LAYOUTS
from usu.metrics.faithfulness.labels import LABELS

COUNTS = (
    "n: number of images behind a figure; left out: images on which there is no finite value. Cells of "
    "different n speak of different images. What was not measured is not shown."
)
INTERVALS = (
    "In brackets: 95 % BCa bootstrap interval of the mean over images (10,000 resamples, seed 0); none where "
    "n = 1."
)
MARKS = "Best and second best of the upsamplers' means are marked; a mark is no test."
UNMEASURED = "Nothing of this table is measured yet."
TOLERANCE = 1e-6  # of D1, relative to the mean mass of a cell

# The paper does not name the scaling of its infidelity: its figures can be set beside the first two.
_AS_PAPER = ("infidelity", "infidelity-minmax")
_SCALINGS = (*_AS_PAPER, "infidelity-scaled")
# The paper's IROF lies in [0, 1], as only the area divided by the number of segments does.
_PAPER_MEASURE = {"infidelity-minmax": "infidelity", "irof": "", "irof-per-segment": "irof"}

# Columns of titles, by those of names; "challenger" and "contestant" are two words for one thing.
_LABELS = {
    "Dataset": "dataset",
    "Model": "model",
    "Source": "source",
    "Upsampler": "contestant",
    "Contestant": "contestant",
    "Measure": "measure",
}
_WORD = {"style": "text", **dict.fromkeys(("value", "low", "high", "paper"), math.nan)}


def layout(name: str, rows: pa.Table | Study) -> Table:
    """Lay out rows of results as a table, the paper's figures beside ours.

    Args:
        name: one of `LAYOUTS`.
        rows: with the columns of `usu.bench.results.SCHEMA`, of one or several data sets, in any order; or
            their study, where several tables are made of the same rows.

    Raises:
        ValueError: an unknown name, a column that is missing, or two rows that measure the same.
    """
    check_choice(name, tuple(LAYOUTS), "name")
    table = LAYOUTS[name](rows if isinstance(rows, Study) else study_of(rows))
    notes = table.notes if table.blocks else (UNMEASURED, *table.notes)
    return Table(table.title, notes, table.blocks)


def _scalings(metrics: Iterable[str]) -> tuple[str, ...]:
    return tuple(f"{LABELS[name].title}: {SCALINGS[name]}." for name in metrics)


def _temperatures(study: Study) -> tuple[str, ...]:
    """Say which ε the upsamplers shared by: infidelity of maps scaled to [0, 1] hangs on it."""
    settings = map(json.loads, study.provenance["upsampler"].get("usu", ()))
    found = sorted({one["temperature"] for one in settings if "temperature" in one})
    values = " and ".join(f"{value:g}" for value in found)
    return (f"USU, Soft IWMR and the hybrid share by ε = {values}; the paper's is 0.1.",) if found else ()


def _blocks(
    cells: pd.DataFrame,
    by: Sequence[str],
    labels: Sequence[str],
    columns: Sequence[tuple[str, str]],
    *,
    ending: str = "",
) -> list[Block]:
    """Cut cells into blocks, in the order of `by`; one of a single infidelity says how that scales a map."""
    blocks = []
    for at, rows in cells.groupby([*by], observed=True):
        named = dict(zip(by, at, strict=True))
        heading = ", ".join(title(key, named[key]) for key in ("measure", *SECTION) if key in named)
        notes = _scalings([named["measure"]] if "measure" in named else [])
        blocks.append(block_of(heading + ending, labels, columns, rows, notes))
    return blocks


def _titled(frame: pd.DataFrame) -> pd.DataFrame:
    """Add the columns of `_LABELS` to a frame that has names."""
    titles = {
        label: [title(key, name) for name in frame[key]] for label, key in _LABELS.items() if key in frame
    }
    return frame.assign(**titles)


def _printed(
    frame: pd.DataFrame, table: str, measure: str = "", kin: Mapping[str, str] = MappingProxyType({})
) -> list[float]:
    """Return the paper's figure for each row of a frame, NaN where it has none; of one measure if given.

    `kin` says of which of the paper's networks figures stand beside one that the paper lacks.
    """
    places = [
        paper.Figure(
            *(data, kin.get(model, paper.model_of(model)), source, name),
            measure or _PAPER_MEASURE.get(own, own),
        )
        for data, model, source, name, own in frame[KEYS].itertuples(index=False)
    ]
    return [paper.FIGURES[table].get(place, math.nan) for place in places]


# --- means


def _means(study: Study, contestants: Collection[str], measures: Collection[str]) -> pd.DataFrame:
    """Return the means that have a value as cells, with their titles."""
    found = study.averages(contestants, measures)
    found = _titled(found[found.n > 0].reset_index(drop=True))
    return found.assign(value=found["mean"], style=found.measure.astype(str).map(style), mark="")


def _marked(found: pd.DataFrame) -> pd.DataFrame:
    """Mark the best and the second best of the upsamplers by each metric in each section."""
    ours = found[found.contestant.isin(UPSAMPLERS)]
    for at, own in ours.groupby([*SECTION, "measure"], observed=True):
        found.loc[own.index, "mark"] = marks([*own.value], at[-1])
    return found


def marks(values: Sequence[float], measure: str) -> list[str]:
    """Return "best", "second" or "" for each value; what is written alike is marked alike.

    Nothing is marked where all are written alike.

    >>> marks([0.2, 0.1004, 0.3, 0.0996], "road")
    ['second', 'best', '', 'best']
    """
    ranked = sorted(values, reverse=LABELS[measure].higher_is_better)
    words = [*dict.fromkeys(written(value, style(measure)) for value in ranked)]
    named = dict(zip(words, ("best", "second"), strict=False)) if len(words) > 1 else {}
    return [named.get(written(value, style(measure)), "") for value in values]


def desiderata(study: Study) -> Table:
    """Lay out table 2: the error of cells' masses by upsampler, with the paper's verdicts."""
    notes = (
        "D1 error: mean over cells of |Σ Ã - M_k|; relative: over the mean of |M_k|. "
        f"✓ where no image's relative error exceeds {TOLERANCE:g}, × where one does.",
        "Rows of results hold D1 alone. The paper's verdicts are on ImageNet and VGG16, and stand there "
        "only; the command usu check measures D1 to D4. USU-Complete is measured on its own cells.",
        COUNTS,
        INTERVALS,
    )
    found = _means(study, UPSAMPLERS, ("d1_error", "d1_relative")).assign(group="measured")
    error, relative = (found[found.measure == measure] for measure in ("d1_error", "d1_relative"))
    kept = np.where(relative.largest <= TOLERANCE, "✓", "×")
    parts = {
        ("measured", "D1 error"): error.assign(paper=_printed(error, "table2")),
        ("measured", "relative: mean"): relative,
        ("measured", "relative: largest"): relative.assign(
            value=relative.largest, low=math.nan, high=math.nan
        ),
        ("measured", "D1"): relative.assign(text=kept, **_WORD),
    }
    for name in ("D1", "D2", "D3", "D4"):
        verdict = pd.Series(_printed(error, "table2", name.lower()), error.index).dropna()
        words = np.where(verdict, "✓", "×")
        theirs = error.loc[verdict.index].assign(text=words, n=pd.NA, left_out=0, **_WORD)
        parts["the paper's verdicts", name] = theirs
    cells = pd.concat([part.assign(group=at[0], column=at[1]) for at, part in parts.items()])
    cells = cells.sort_values("contestant", kind="stable")
    return Table("Table 2: desiderata", notes, _blocks(cells, SECTION, ["Upsampler"], [*parts]))


def infidelities(study: Study) -> Table:
    """Lay out table 3: mean infidelity of each upsampler, the zero map beside."""
    notes = (
        *_temperatures(study),
        "The paper does not say how maps were scaled; its figures stand beside the raw and the min-max ones. "
        "Infidelity grows with the square of a map's mass. Each map's min-max divides a peaked map by its "
        "peak, and so shrinks the mass that USU is made to keep; the best scale β is fair to every map.",
        "The zero map's infidelity is what a map scores that says nothing: a worse one's scale misleads.",
        COUNTS,
        INTERVALS,
        MARKS,
    )
    found = _marked(_means(study, (*UPSAMPLERS, "zero"), _SCALINGS))
    found = found.assign(paper=_printed(found, "table3"), column=found.Contestant)
    columns = [("", title("contestant", name)) for name in (*UPSAMPLERS, "zero")]
    blocks = _blocks(found, ["source", "measure"], ["Dataset", "Model"], columns)
    return Table("Table 3: infidelity ↓", notes, blocks)


def full_results(study: Study, number: int) -> Table:
    """Lay out table 9 or, of CUB-200, 10: every network and upsampler by the metrics of block A."""
    notes = (
        "The paper's six metrics; ↑ higher is better, ↓ lower is better.",
        *_temperatures(study),
        *_scalings(_AS_PAPER),
        "The paper gives one infidelity and does not say how maps were scaled: it stands beside both. "
        "Its IROF lies in [0, 1] and stands beside the area per segment. It names a USU-Hybrid without "
        "a definition, and no Soft IWMR here.",
        COUNTS,
        INTERVALS,
        MARKS,
    )
    metrics = [name for name, words in LABELS.items() if words.block == "A"]
    found = _marked(_means(study, UPSAMPLERS, metrics))
    found = found[(found.dataset == "cub200") == (number == 10)]
    found = found.assign(paper=_printed(found, f"table{number}", kin=paper.KIN), column=found.Measure)
    notes += tuple(
        f"Beside {title('model', name)} is the paper's {title('model', other)}: orders compare, values not."
        for name, other in paper.KIN.items()
        if name in set(found.model[found.paper.notna()])
    )
    columns = [("", title("measure", name)) for name in metrics]
    blocks = _blocks(found, ["source", "dataset"], ["Model", "Upsampler"], columns)
    return Table(f"Table {number}: full results", notes, blocks)


# --- paired comparisons

_TESTS = {  # title and style of what `Study.comparisons` has
    "difference": ("Difference", "signed"),
    "cohens_d": ("d_z", "signed"),
    "rank_biserial": ("rank-biserial", "signed"),
    "p_value": ("p, Wilcoxon", "p"),
    "holm": ("p, Holm", "p"),
    "bonferroni": ("p, Bonferroni", "p"),
}
_TEST_COLUMNS = tuple(("", column) for column, _ in _TESTS.values())


def _tests(comparisons: pd.DataFrame) -> pd.DataFrame:
    """Return comparisons as cells, with their titles."""
    titled = _titled(comparisons.rename(columns={"challenger": "contestant"}))
    titled["against"] = [title("contestant", name) for name in titled.reference]
    parts = [titled.assign(column=to, value=titled[name], style=how) for name, (to, how) in _TESTS.items()]
    for part in parts[1:]:
        part[["low", "high"]] = math.nan
    words = [title("contestant", name) if name else "neither" for name in titled.better]
    better = titled.assign(column="better", text=words, **_WORD)[titled.p_value.notna()]
    return pd.concat([*(part.dropna(subset="value") for part in parts), better]).sort_index(kind="stable")


def effect_sizes(study: Study) -> Table:
    """Lay out table 7: Cohen's d of USU against bilinear interpolation on infidelity."""
    notes = (
        *_temperatures(study),
        "Cohen's d_z of log(bilinear / USU), image by image: positive where USU has the lower "
        "infidelity. By convention 0.2 is small, 0.5 medium, 0.8 large.",
        "The paper's d is a standardized mean difference of infidelities; it does not say which, nor how "
        "maps were scaled. It stands beside the raw and the min-max ones.",
        f"Holm and Bonferroni correct for all {study.tests} tests that were run, those of the layout honest.",
        COUNTS,
        INTERVALS,
    )
    every = study.comparisons
    own = every[(every.challenger == "usu") & (every.reference == "bilinear") & every.measure.isin(_SCALINGS)]
    signed = own[["difference", "low", "high", "cohens_d", "rank_biserial"]]
    found = _tests(own.assign(**(0 - signed).rename(columns={"low": "high", "high": "low"})))
    beside = (found.column == "d_z") & found.measure.isin(_AS_PAPER)
    found["paper"] = np.where(beside, _printed(found, "table7", "cohens_d"), math.nan)
    first = "log(bilinear / USU)"
    found["column"] = found.column.replace("Difference", first)
    found = found[found.column != "better"]
    columns = [("", first), *_TEST_COLUMNS[1:]]
    blocks = _blocks(found, ["source", "measure"], ["Dataset", "Model"], columns)
    return Table("Table 7: effect size of USU against bilinear interpolation on infidelity", notes, blocks)


# --- table 8


def sources(study: Study) -> Table:
    """Lay out table 8: bilinear against USU and Soft IWMR by source of the coarse map."""
    notes = (
        *_temperatures(study),
        "Means over the images of which every source has both maps, then over networks, each weighing "
        "the same; n counts images over all networks. Factor: bilinear's mean over the variant's.",
        "Mean, standard deviation (as of a whole population, which gives the paper's) and coefficient of "
        "variation are over the sources that have a factor.",
        "The paper calls its figures raw infidelity, averaged over VGG16, ResNet50 and ViT-B-16; they "
        "are some five orders of magnitude below table 3. They stand beside the raw and min-max ones.",
        COUNTS,
    )
    blocks = [
        _sources(study.changes(metric, variant), metric, variant)
        for metric in SCALINGS
        for variant in ("usu", "iwmr")
    ]
    heading = "Table 8: sources of the coarse map, infidelity ↓ from bilinear to USU and to Soft IWMR"
    return Table(heading, notes, [block for block in blocks if len(block.cells)])


def _sources(changes: pd.DataFrame, metric: str, variant: str) -> Block:
    after = title("contestant", variant)
    changes = _titled(changes.assign(model="", style="magnitude"))
    parts = [
        changes.assign(column=column, value=changes[name], contestant=contestant, measure="infidelity")
        for column, name, contestant in (("Bilinear", "before", "bilinear"), (after, "after", variant))
    ]
    over = changes.assign(column="factor", contestant=variant, measure="factor")
    parts.append(over.assign(value=changes.factor))
    over = over.drop_duplicates("dataset").assign(source="", n=pd.NA, left_out=0)
    factors = changes.groupby("dataset", observed=True).factor
    count, mean = factors.count(), factors.mean()
    spread = factors.std(ddof=0).where(count > 1)
    for name, values, written_as, measure in (
        ("Mean factor", mean, "magnitude", "factor mean"),
        ("Standard deviation", spread, "magnitude", "factor deviation"),
        ("CV (%)", 100 * spread / mean, "percent", "factor variation"),
        ("Number of sources", count, "count", ""),
    ):
        found = over.dataset.astype(object).map(values)
        parts.append(over.assign(Source=name, value=found, style=written_as, measure=measure))
    cells = pd.concat(parts).dropna(subset="value")
    cells = cells.assign(
        group=cells.Dataset, paper=_printed(cells, "table8") if metric in _AS_PAPER else math.nan
    )
    columns = [(name, head) for name in cells.Dataset.unique() for head in ("Bilinear", after, "factor")]
    networks = [
        f"Networks, {row.Dataset}: {', '.join(title('model', name) for name in row.models)}."
        for row in over.itertuples()
    ]
    heading = f"{title('measure', metric)}: bilinear → {after}"
    return block_of(heading, ["Source"], columns, cells, [*_scalings([metric]), *networks])


# --- everything side by side


def honest(study: Study) -> Table:
    """Lay out means of all contestants by all metrics, blocks A and B apart, and the paired comparisons."""
    means = _means(study, study.values.contestant.unique(), (*_GROUPS,))
    means.loc[means.measure.isin(_MAP), ["low", "high"]] = math.nan
    means["Group"] = [group(name) for name in means.contestant]
    means = means.assign(group=means.measure.map(_GROUPS), column=means.Measure)
    columns = [(words, title("measure", name)) for name, words in _GROUPS.items()]
    blocks = _blocks(means, SECTION, ["Group", "Contestant"], columns)
    tests = _tests(study.comparisons)
    ratios = [", log ratio" * (name in SCALINGS) for name in tests.measure]
    tests["Metric"] = tests.Measure + ratios
    for words in BLOCKS.values():
        own = tests[tests.measure.map(_GROUPS) == words]
        ending = f": paired comparisons, {words}"
        labels, heads = ["Metric", "Contestant", "against"], [*_TEST_COLUMNS, ("", "better")]
        blocks += _blocks(own, SECTION, labels, heads, ending=ending)
    return Table("Both blocks: every map by every metric", _honest_notes(study), blocks)


_MAP = ("forward_passes", "total_mass", "d1_relative")
_GROUPS = dict.fromkeys(_MAP, "The map") | {name: BLOCKS[words.block] for name, words in LABELS.items()}


def _honest_notes(study: Study) -> tuple[str, ...]:
    unknown = sorted(set(study.values.measure.unique()) - {*FACTS, *LABELS})
    return (
        "Block A measures as the paper does, block B what the paper's set-up cannot answer. ↑ higher is "
        "better, ↓ lower is better. One map for all metrics; what scales it says so.",
        "What is explained is the class that the network predicts, right or wrong. Deletion and insertion "
        "are areas over the probability of the whole image: above 1 where the network is surer of a part.",
        *_scalings(SCALINGS),
        "Paired comparisons: contestant less reference, image by image; of infidelities the natural "
        "logarithm of their ratio. Wilcoxon signed-rank test, two-sided, zeros after Pratt; Holm and "
        f"Bonferroni correct for all {study.tests} tests of this sheet. better: who is, by the ranks, where "
        f"Holm's p is below {LEVEL:g}; neither: none is shown, which is not to say that there is none.",
        COUNTS,
        INTERVALS,
        *[f"Metrics of the rows that tables do not know, not shown: {', '.join(unknown)}."] * bool(unknown),
        *provenance(study),
    )


def provenance(study: Study) -> tuple[str, ...]:
    """Say what the names stood for, as the rows record it."""
    titles = {"metric": "Settings of", "upsampler": "Settings of", "model": "Weights of"}
    named: dict[tuple[str, str], list[str]] = {}
    for key, found in study.provenance.items():
        for name, values in found.items():
            if any(value not in ("", "{}") for value in values):
                named.setdefault((titles[key], " | ".join(values)), []).append(name)
    told = [f"{words} {', '.join(names)}: {values}" for (words, values), names in named.items()]
    return (*told, *(f"Versions: {text}" for text in study.versions))


table9, table10 = (partial(full_results, number=number) for number in (9, 10))
