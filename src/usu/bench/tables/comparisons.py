"""Paired comparisons of contestants on the same images, corrected for all that were run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from usu.bench.tables.frame import Floats, Integers, Section, Study
from usu.bench.tables.labels import METRIC_WORDS
from usu.metrics.statistics import Correction, PairedTest, correct, paired_test

# (challenger, reference): ours against interpolation; where both were measured, controls and peers, too.
COMPARED = tuple(product(("usu", "iwmr", "hybrid", "complete"), ("nearest", "bilinear")))
WHERE_MEASURED = (
    ("usu", "scores"),
    ("usu", "shuffled-scores"),
    ("usu", "random-segments"),
    ("hybrid", "guided"),
    ("complete", "shap-partition"),
    ("guided", "bilinear"),
)
LEVEL = 0.05  # below which a corrected p-value names a winner


@dataclass(frozen=True, eq=False)
class Pairs:
    """Values of two contestants on the images that both were measured on.

    Attributes:
        images: (n,), ranks of the images' names, ascending.
        values: (n,) of the one.
        reference: (n,) of the other.
        left_out: number of images on which one of the two has no value.
    """

    images: Integers
    values: Floats
    reference: Floats
    left_out: int

    def on(self, images: Integers) -> Pairs:
        """Return the pairs of some of the images."""
        kept = np.isin(self.images, images)
        return Pairs(self.images[kept], self.values[kept], self.reference[kept], self.left_out)


@dataclass(frozen=True)
class Comparison:
    """One contestant against another by one metric.

    Attributes:
        challenger: by name.
        reference: by name.
        metric: by name; what is compared by ratio is compared as log(challenger / reference).
        n: number of pairs.
        left_out: number of pairs that miss a value.
        difference: mean of challenger - reference; None without pairs.
        test: None for fewer than two pairs.
        correction: for all tests that were run; None before, and where there is no test.
    """

    challenger: str
    reference: str
    metric: str
    n: int
    left_out: int
    difference: float | None
    test: PairedTest | None
    correction: Correction | None = None

    @property
    def winner(self) -> str | None:
        """Name of the better one at the corrected level, by the ranks; None where no difference is shown."""
        if self.correction is None or self.test is None or self.correction.holm >= LEVEL:
            return None
        challenger_is = (self.test.rank_biserial > 0) == METRIC_WORDS[self.metric].higher_is_better
        return self.challenger if challenger_is else self.reference


def pairs(section: Section, challenger: str, reference: str, metric: str, *, positive: bool = False) -> Pairs:
    """Return the values of two contestants on the images that both have rows of.

    Values that are not finite are left out pairwise, and if `positive` those that have no logarithm.
    """
    ours, theirs = section.of(challenger, metric), section.of(reference, metric)
    images, first, second = np.intersect1d(
        ours.images, theirs.images, assume_unique=True, return_indices=True
    )
    values, others = ours.values[first], theirs.values[second]
    usable = np.isfinite(values) & np.isfinite(others)
    if positive:
        usable &= (values > 0) & (others > 0)
    return Pairs(images[usable], values[usable], others[usable], int((~usable).sum()))


def compare(section: Section, challenger: str, reference: str, metric: str) -> Comparison:
    """Compare two contestants; infidelities by log ratios, the others by differences."""
    log_ratio = METRIC_WORDS[metric].log_ratio
    found = pairs(section, challenger, reference, metric, positive=log_ratio)
    values, others, n = found.values, found.reference, len(found.values)
    if log_ratio:
        values, others = np.log(values), np.log(others)
    return Comparison(
        challenger,
        reference,
        metric,
        n,
        found.left_out,
        float((values - others).mean()) if n else None,
        paired_test(values, others) if n > 1 else None,
    )


def corrected(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Correct the p-values for all the tests among the comparisons, null results among them."""
    p_values = [one.test.p_value for one in comparisons if one.test is not None]
    corrections = iter(correct(p_values) if p_values else [])
    return [one if one.test is None else replace(one, correction=next(corrections)) for one in comparisons]


def comparisons(study: Study) -> list[tuple[Section, Comparison]]:
    """Make all comparisons of a study, corrected together; two maps of no source, in all sections, once."""
    found: list[tuple[Section, Comparison]] = []
    known = set()
    for section, metric, pair in product(study.sections, METRIC_WORDS, (*COMPARED, *WHERE_MEASURED)):
        series = tuple(section.of(name, metric) for name in pair)
        measured = all(len(one.images) for one in series)
        if (measured and series not in known) or (pair in COMPARED and section.has(metric) and not measured):
            found.append((section, compare(section, *pair, metric)))
            known.add(series)
    each = corrected([one for _, one in found])
    return [(section, one) for (section, _), one in zip(found, each, strict=True)]
