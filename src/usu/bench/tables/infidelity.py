"""Tables 3, 7 and 8: infidelity, under each scaling of the map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np

from usu.bench.results.schema import NO_SOURCE
from usu.bench.tables import published as paper
from usu.bench.tables.averages import averages, marked
from usu.bench.tables.comparisons import Comparison, Pairs, compare, comparisons, pairs
from usu.bench.tables.frame import Section, Study
from usu.bench.tables.full import UPSAMPLERS
from usu.bench.tables.labels import (
    CONTESTANT_WORDS,
    INFIDELITIES,
    METRIC_WORDS,
    dataset_title,
    model_title,
    place,
    source_title,
)
from usu.bench.tables.notes import COUNTS, INTERVALS, MARKS, scalings, temperatures
from usu.bench.tables.sheet import Block, Column, Entry, Line, Number, Sheet, Word
from usu.bench.tables.tests import TITLES, comparison_cells

_SCALINGS = ("infidelity", "infidelity-minmax", "infidelity-scaled")
# Those that the paper's figures, of a scaling that it does not name, can be set beside.
_AS_PAPER = ("infidelity", "infidelity-minmax")
_MAGNITUDES = (
    "The paper does not say how maps were scaled; its figures stand beside the raw and the min-max ones. "
    "Infidelity grows with the square of a map's mass. Each map's min-max divides a peaked map by its peak, "
    "and so shrinks the mass that USU is made to keep; the best scale β is fair to every map."
)
_PLACE = ("Dataset", "Model")


def infidelities(study: Study) -> Sheet:
    """Lay out table 3: mean infidelity of each upsampler, the zero map beside."""
    columns = (
        *(Column(CONTESTANT_WORDS[name].title) for name in UPSAMPLERS),
        Column(CONTESTANT_WORDS["zero"].title, "control"),
    )
    return Sheet(
        "Table 3: infidelity ↓",
        (*temperatures(study), _MAGNITUDES, _ZERO, COUNTS, INTERVALS, MARKS),
        tuple(
            Block(
                f"{METRIC_WORDS[metric].heading}, {source_title(source)}",
                _PLACE,
                columns,
                tuple(_infidelity_row(section, metric) for section in _grid(study, source)),
                scalings([metric]),
            )
            for source in dict.fromkeys((paper.SOURCE, *study.sources()))
            for metric in _SCALINGS
        ),
    )


_ZERO = "The zero map's infidelity is what a map scores that says nothing: a worse one misleads by its scale."


def _grid(study: Study, source: str) -> tuple[Section, ...]:
    return study.grid(source, paper.PAIRS if source == paper.SOURCE else ())


def _labels(section: Section) -> tuple[str, str]:
    return dataset_title(section.dataset), model_title(section.model)


def _paper_place(section: Section, metric: str) -> paper.Place | None:
    comparable = metric in _AS_PAPER and section.source == paper.SOURCE
    return (section.dataset, paper.model_of(section.model)) if comparable else None


def _infidelity_row(section: Section, metric: str) -> Line:
    at = _paper_place(section, metric)
    theirs = paper.TABLE3.get(at, {}) if at else {}
    found = averages(section, (*UPSAMPLERS, "zero"), (metric,))
    numbers = [found[name, metric].number("magnitude", theirs.get(name)) for name in UPSAMPLERS]
    cells = (*marked(numbers, higher_is_better=False), found["zero", metric].number("magnitude"))
    return Line(_labels(section), cells)


def effect_sizes(study: Study) -> Sheet:
    """Lay out table 7: Cohen's d of USU against bilinear interpolation on infidelity."""
    wanted = [
        (section, metric)
        for source in dict.fromkeys((paper.SOURCE, *study.sources()))
        for metric in _SCALINGS
        for section in _grid(study, source)
    ]
    everything = comparisons(study)
    tested = {
        (section, one.metric): one.correction
        for section, one in everything
        if (one.challenger, one.reference) == ("usu", "bilinear")
    }
    found = [
        replace(compare(section, "bilinear", "usu", metric), correction=tested.get((section, metric)))
        for section, metric in wanted
    ]
    lines: dict[tuple[str, str], list[Line]] = {}
    for (section, metric), comparison in zip(wanted, found, strict=True):
        lines.setdefault((section.source, metric), []).append(_effect_row(section, metric, comparison))
    tests = sum(one.test is not None for _, one in everything)
    titles = ("log(bilinear / USU)", *TITLES)
    return Sheet(
        "Table 7: effect size of USU against bilinear interpolation on infidelity",
        (
            *temperatures(study),
            "Cohen's d_z of log(bilinear / USU), image by image: positive where USU has the lower "
            "infidelity. By convention 0.2 is small, 0.5 medium, 0.8 large.",
            "The paper's d is a standardized mean difference of infidelities; it does not say which, nor how "
            "maps were scaled. It stands beside the raw and the min-max ones.",
            f"Holm and Bonferroni correct for all {tests} tests that were run, those of the layout honest.",
            COUNTS,
            INTERVALS,
        ),
        tuple(
            Block(
                f"{METRIC_WORDS[metric].heading}, {source_title(source)}",
                _PLACE,
                tuple(map(Column, titles)),
                tuple(rows),
                scalings([metric]),
            )
            for (source, metric), rows in lines.items()
        ),
    )


def _effect_row(section: Section, metric: str, found: Comparison) -> Line:
    at = _paper_place(section, metric)
    return Line(_labels(section), comparison_cells(found, paper.TABLE7.get(at) if at else None))


@dataclass(frozen=True)
class _Change:
    """Infidelity from bilinear to a variant, averaged over networks.

    Attributes:
        before: bilinear's; None without images.
        after: the variant's.
        n: number of images over all networks.
        left_out: images on which one of the two has no value.
        models: that have images.
    """

    before: float | None
    after: float | None
    n: int
    left_out: int
    models: tuple[str, ...]

    @property
    def factor(self) -> float | None:
        return self.before / self.after if self.before is not None and self.after else None


def sources(study: Study) -> Sheet:
    """Lay out table 8: bilinear against USU and Soft IWMR by source of the coarse map."""
    metrics = [name for name in INFIDELITIES if name in study.metrics] or ["infidelity"]
    found = {section.dataset for section in study.sections}
    datasets = sorted({*paper.DATASETS, *found}, key=lambda name: place(name, "", ""))
    names = dict.fromkeys((*paper.SOURCES, *(name for name in study.sources() if name != NO_SOURCE)))
    return Sheet(
        "Table 8: sources of the coarse map, infidelity ↓ from bilinear to USU and to Soft IWMR",
        (
            *temperatures(study),
            "Means over the images of which every source has both maps, then over networks, each weighing "
            "the same; n counts images over all networks. Factor: bilinear's mean over the variant's.",
            "Mean, standard deviation (as of a whole population, which gives the paper's) and coefficient of "
            "variation are over the sources that have a factor.",
            "The paper calls its figures raw infidelity, averaged over VGG16, ResNet50 and ViT-B-16; they "
            "are some five orders of magnitude below table 3. They stand beside the raw and min-max ones.",
            COUNTS,
        ),
        tuple(
            _source_block(study, metric, variant, datasets, tuple(names))
            for metric in metrics
            for variant in paper.TABLE8
        ),
    )


def _source_block(
    study: Study, metric: str, variant: str, datasets: Sequence[str], names: Sequence[str]
) -> Block:
    changes = {
        (dataset, source): change
        for dataset in datasets
        for source, change in _changes(study, dataset, names, variant, metric).items()
    }
    theirs = paper.TABLE8[variant] if metric in _AS_PAPER else {}
    title = CONTESTANT_WORDS[variant].title
    rows = []
    for source in names:
        cells: list[Entry] = []
        for dataset in datasets:
            one, printed = changes[dataset, source], theirs.get((dataset, source), (None, None))
            for value, theirs_too in ((one.before, printed[0]), (one.after, printed[1]), (one.factor, None)):
                cells.append(Number(value, "magnitude", one.n, left_out=one.left_out, paper=theirs_too))
        rows.append(Line((source_title(source),), tuple(cells), "sources"))
    return Block(
        f"{METRIC_WORDS[metric].heading}: bilinear → {title}",
        ("Source",),
        tuple(
            Column(column, dataset_title(dataset))
            for dataset in datasets
            for column in ("Bilinear", title, "factor")
        ),
        (*rows, *_spread_rows(changes, datasets, variant, metric)),
        (*scalings([metric]), *_networks(changes)),
    )


def _changes(
    study: Study, dataset: str, sources: Sequence[str], variant: str, metric: str
) -> dict[str, _Change]:
    """Return each source's change on the images of each network that all sources of the data set have."""
    found: dict[str, dict[str, Pairs]] = {source: {} for source in sources}
    for section in study.sections:
        if section.dataset == dataset and section.source in found:
            pair = pairs(section, variant, "bilinear", metric)
            if len(pair.values) or pair.left_out:
                found[section.source][section.model] = pair
    several = [of for of in found.values() if of]
    shared = {
        model: reduce(np.intersect1d, [of[model].images for of in several])
        for model in (several[0] if several else ())
        if all(model in of for of in several)
    }
    return {
        source: _change({model: of[model].on(images) for model, images in shared.items() if model in of})
        for source, of in found.items()
    }


def _change(found: dict[str, Pairs]) -> _Change:
    usable = {model: pair for model, pair in found.items() if len(pair.values)}
    return _Change(
        float(np.mean([pair.reference.mean() for pair in usable.values()])) if usable else None,
        float(np.mean([pair.values.mean() for pair in usable.values()])) if usable else None,
        sum(len(pair.values) for pair in usable.values()),
        sum(pair.left_out for pair in found.values()),
        tuple(usable),
    )


def _spread_rows(
    changes: dict[tuple[str, str], _Change], datasets: Sequence[str], variant: str, metric: str
) -> list[Line]:
    """Return mean factor, standard deviation, coefficient of variation, and over how many sources."""
    columns: list[list[Entry]] = [[], [], [], []]
    blank = Word("")
    for dataset in datasets:
        found = [one.factor for (at, _), one in changes.items() if at == dataset]
        factors = [factor for factor in found if factor is not None]
        mean = float(np.mean(factors)) if factors else None
        spread = float(np.std(factors)) if len(factors) > 1 else None
        theirs = paper.TABLE8_SPREAD.get((variant, dataset)) if metric in _AS_PAPER else None
        percent = 100 * spread / mean if spread is not None and mean else None
        shown = (
            Number(mean, "magnitude", paper=theirs.mean if theirs else None),
            Number(spread, "magnitude", paper=theirs.deviation if theirs else None),
            Number(percent, "percent", paper=theirs.variation if theirs else None),
            Number(float(len(factors)), "count"),
        )
        for column, number in zip(columns, shown, strict=True):
            column += [blank, blank, number]
    titles = ("Mean factor", "Standard deviation", "CV (%)", "Number of sources")
    return [
        Line((title,), tuple(cells), "over sources") for title, cells in zip(titles, columns, strict=True)
    ]


def _networks(changes: dict[tuple[str, str], _Change]) -> tuple[str, ...]:
    """Say which networks stand behind the means."""
    found = {dataset: one.models for (dataset, _), one in changes.items() if one.models}
    return tuple(
        f"Networks, {dataset_title(dataset)}: {', '.join(map(model_title, models))}."
        for dataset, models in found.items()
    )
