"""Tables 2, 9 and 10: what each upsampler does to the mass, and how it does by the paper's metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from usu.bench.tables import published as paper
from usu.bench.tables.averages import Averages, averages, marked
from usu.bench.tables.frame import Section, Study
from usu.bench.tables.labels import CONTESTANT_WORDS, METRIC_WORDS, dataset_title, model_title, source_title
from usu.bench.tables.notes import COUNTS, INTERVALS, MARKS, scalings, section_title, temperatures
from usu.bench.tables.sheet import MISSING, Block, Column, Entry, Line, Number, Sheet, Word

UPSAMPLERS = tuple(name for name, words in CONTESTANT_WORDS.items() if words.group == "Upsamplers")

TOLERANCE = 1e-6  # of D1, relative to the mean mass of a cell

_D1_COLUMNS = ("D1 error", "relative: mean", "relative: largest", "D1")


def desiderata(study: Study) -> Sheet:
    """Lay out table 2: the error of cells' masses by upsampler, with the paper's verdicts."""
    sections = [
        section
        for source in dict.fromkeys((paper.SOURCE, *study.sources()))
        for section in study.grid(source, [paper.TABLE2_PLACE] if source == paper.SOURCE else [])
    ]
    return Sheet(
        "Table 2: desiderata",
        (
            "D1 error: mean over cells of |Σ Ã - M_k|; relative: over the mean of |M_k|. "
            f"✓ where no image's relative error exceeds {TOLERANCE:g}, × where one does.",
            "Rows of results hold D1 alone. The paper's verdicts are on ImageNet and VGG16, and stand there "
            "only; the command usu check measures D1 to D4. USU-Complete is measured on its own cells.",
            COUNTS,
            INTERVALS,
        ),
        tuple(_desiderata_block(section) for section in sections),
    )


def _desiderata_block(section: Section) -> Block:
    found = averages(section, UPSAMPLERS, ("d1_error", "d1_relative"))
    printed = (section.dataset, paper.model_of(section.model), section.source) == (
        *paper.TABLE2_PLACE,
        paper.SOURCE,
    )
    rows = []
    for name in UPSAMPLERS:
        error, relative = found[name, "d1_error"], found[name, "d1_relative"]
        theirs = paper.TABLE2.get(name) if printed else None
        verdicts = () if theirs is None else (theirs.d1, theirs.d2, theirs.d3, theirs.d4)
        kept = None if relative.largest is None else relative.largest <= TOLERANCE
        cells: tuple[Entry, ...] = (
            error.number("magnitude", theirs.error if theirs else None),
            relative.number("magnitude"),
            Number(relative.largest, "magnitude", relative.n, left_out=relative.left_out),
            replace(_verdict(kept), n=relative.n, left_out=relative.left_out),
            *(_verdict(verdict) for verdict in verdicts or (None,) * 4),
        )
        rows.append(Line((CONTESTANT_WORDS[name].title,), cells))
    columns = tuple(Column(title, "measured") for title in _D1_COLUMNS)
    theirs_too = tuple(Column(f"D{number}", "the paper's verdicts") for number in range(1, 5))
    return Block(section_title(section), ("Upsampler",), columns + theirs_too, tuple(rows))


def _verdict(satisfied: bool | None) -> Word:
    return Word(MISSING if satisfied is None else "✓" if satisfied else "×")


@dataclass(frozen=True)
class FullTable:
    """Which data sets one of the paper's two full tables shows; `others` if also those the paper lacks."""

    title: str
    datasets: tuple[str, ...]
    others: bool = False


# The paper's IROF lies in [0, 1], as only the area divided by the number of segments does.
_PAPER_METRIC = {
    "infidelity": "infidelity",
    "infidelity-minmax": "infidelity",
    "irof-per-segment": "irof",
    **{name: name for name in ("pixel-flipping", "road", "monotonicity", "sparseness")},
}
_FULL_METRICS = tuple(name for name, words in METRIC_WORDS.items() if words.block == "A")


def full_results(study: Study, table: FullTable) -> Sheet:
    """Lay out table 9 or 10: every network and upsampler by the metrics of block A."""
    blocks = []
    for source in dict.fromkeys((paper.SOURCE, *study.sources())):
        expected = paper.PAIRS if source == paper.SOURCE else ()
        sections = [one for one in study.grid(source, expected) if _belongs(one.dataset, table)]
        for dataset in dict.fromkeys(section.dataset for section in sections):
            rows = [row for one in sections if one.dataset == dataset for row in _full_rows(one)]
            heading = f"{dataset_title(dataset)}, {source_title(source)}"
            columns = tuple(Column(METRIC_WORDS[name].heading) for name in _FULL_METRICS)
            blocks.append(Block(heading, ("Model", "Upsampler"), columns, tuple(rows)))
    return Sheet(
        table.title,
        (
            "The paper's six metrics; ↑ higher is better, ↓ lower is better.",
            *temperatures(study),
            *scalings(("infidelity", "infidelity-minmax")),
            "The paper gives one infidelity and does not say how maps were scaled: it stands beside both. "
            "Its IROF lies in [0, 1] and stands beside the area per segment. It names a USU-Hybrid without "
            "a definition, and no Soft IWMR here.",
            COUNTS,
            INTERVALS,
            MARKS,
        ),
        tuple(blocks),
    )


def _belongs(dataset: str, table: FullTable) -> bool:
    return dataset in table.datasets or (table.others and dataset not in paper.DATASETS)


def _full_rows(section: Section) -> list[Line]:
    theirs = paper.FULL.get((section.dataset, paper.model_of(section.model)), {})
    theirs = theirs if section.source == paper.SOURCE else {}
    found = averages(section, UPSAMPLERS, _FULL_METRICS)
    columns = [
        marked(_full_column(found, theirs, metric), METRIC_WORDS[metric].higher_is_better)
        for metric in _FULL_METRICS
    ]
    return [
        Line((model_title(section.model), CONTESTANT_WORDS[name].title), cells)
        for name, cells in zip(UPSAMPLERS, zip(*columns, strict=True), strict=True)
    ]


def _full_column(found: Averages, theirs: Mapping[tuple[str, str], float], metric: str) -> list[Number]:
    style, printed = METRIC_WORDS[metric].style, _PAPER_METRIC.get(metric, "")
    return [found[name, metric].number(style, theirs.get((name, printed))) for name in UPSAMPLERS]


table9 = partial(full_results, table=FullTable("Table 9: full results", ("imagenet", "cifar10"), others=True))
table10 = partial(full_results, table=FullTable("Table 10: full results", ("cub200",)))
