"""Everything side by side: the paper's metrics and the fair ones, controls and peers, and paired tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from usu.bench.tables.averages import Average, averages
from usu.bench.tables.comparisons import LEVEL, Comparison, comparisons
from usu.bench.tables.frame import Section, Study
from usu.bench.tables.labels import BLOCKS, CONTESTANT_WORDS, INFIDELITIES, METRIC_WORDS, contestant_words
from usu.bench.tables.notes import COUNTS, INTERVALS, scalings, section_title
from usu.bench.tables.sheet import MISSING, Block, Column, Entry, Line, Number, Sheet, Style, Word
from usu.bench.tables.tests import TITLES, comparison_cells

_FACTS: Mapping[str, tuple[str, Style]] = {
    "forward_passes": ("Forward passes", "count"),
    "total_mass": ("Total mass", "magnitude"),
    "d1_relative": ("D1 error, relative", "magnitude"),
}
_MAP = "The map"
_TESTED = ("Difference", *TITLES, "better")


def honest(study: Study) -> Sheet:
    """Lay out means of all contestants by all metrics, blocks A and B apart, and the paired comparisons."""
    compared = comparisons(study)
    blocks: list[Block] = []
    for section in study.sections:
        own = [one for at, one in compared if at is section]
        blocks += [_means(section), *_tests(section, own)]
    notes = _notes(study, [one for _, one in compared])
    return Sheet("Both blocks: every map by every metric", notes, tuple(blocks))


def _means(section: Section) -> Block:
    known = {contestant for contestant, _ in section.series}
    names = (*CONTESTANT_WORDS, *sorted(known - set(CONTESTANT_WORDS)))
    found = averages(section, names, (*_FACTS, *METRIC_WORDS))
    rows = [
        Line(
            (contestant_words(name).title,),
            (
                *(_mean(found[name, fact], style) for fact, (_, style) in _FACTS.items()),
                *(found[name, metric].number(words.style) for metric, words in METRIC_WORDS.items()),
            ),
            contestant_words(name).group,
        )
        for name in names
    ]
    facts = tuple(Column(title, _MAP) for title, _ in _FACTS.values())
    metrics = tuple(Column(words.heading, BLOCKS[words.block]) for words in METRIC_WORDS.values())
    return Block(section_title(section), ("Contestant",), facts + metrics, tuple(rows))


def _mean(average: Average, style: Style) -> Number:
    return replace(average.number(style), interval=None)


def _tests(section: Section, compared: Sequence[Comparison]) -> list[Block]:
    columns = tuple(map(Column, _TESTED))
    blocks = []
    for block, title in BLOCKS.items():
        own = [one for one in compared if METRIC_WORDS[one.metric].block == block]
        if own:
            heading = f"{section_title(section)}: paired comparisons, {title}"
            rows = tuple(_test_row(one) for one in own)
            blocks.append(Block(heading, ("Contestant", "against"), columns, rows))
    return blocks


def _test_row(found: Comparison) -> Line:
    words = METRIC_WORDS[found.metric]
    winner = contestant_words(found.winner).title if found.winner else "neither"
    cells: tuple[Entry, ...] = (
        *comparison_cells(found),
        Word(winner if found.test else MISSING, found.n, found.left_out),
    )
    labels = (contestant_words(found.challenger).title, contestant_words(found.reference).title)
    return Line(labels, cells, f"{words.heading}{', log ratio' if words.log_ratio else ''}")


def _notes(study: Study, compared: Sequence[Comparison]) -> tuple[str, ...]:
    tests = sum(one.test is not None for one in compared)
    return (
        "Block A measures as the paper does, block B what the paper's set-up cannot answer. ↑ higher is "
        "better, ↓ lower is better. One map for all metrics; what scales it says so.",
        "What is explained is the class that the network predicts, right or wrong. Deletion and insertion "
        "are areas over the probability of the whole image: above 1 where the network is surer of a part.",
        *scalings(INFIDELITIES),
        "Paired comparisons: contestant less reference, image by image; of infidelities the natural "
        "logarithm of their ratio. Wilcoxon signed-rank test, two-sided, zeros after Pratt; Holm and "
        f"Bonferroni correct for all {tests} tests of this sheet. better: who is, by the ranks, where "
        f"Holm's p is below {LEVEL:g}; neither: none is shown, which is not to say that there is none.",
        COUNTS,
        INTERVALS,
        *_unshown(study),
        *_provenance(study),
    )


def _unshown(study: Study) -> tuple[str, ...]:
    unknown = [name for name in study.metrics if name not in METRIC_WORDS]
    return (f"Metrics of the rows that tables do not know, not shown: {', '.join(unknown)}.",) * bool(unknown)


def _provenance(study: Study) -> tuple[str, ...]:
    """Say what the names stood for, as the rows record it."""
    titles = {"metric": "Settings of", "upsampler": "Settings of", "model": "Weights of"}
    named: dict[tuple[str, str], list[str]] = {}
    for key, found in study.provenance.items():
        for name, values in found.items():
            if any(value not in ("", "{}") for value in values):
                named.setdefault((titles[key], " | ".join(values)), []).append(name)
    told = [f"{title} {', '.join(names)}: {values}" for (title, values), names in named.items()]
    return (*told, *(f"Versions: {text}" for text in study.versions))
