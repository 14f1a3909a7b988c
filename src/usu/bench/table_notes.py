"""Sentences and headings that several tables share."""

from __future__ import annotations

from collections.abc import Iterable

from usu.bench.table_rows import Section
from usu.bench.table_words import METRIC_WORDS, dataset_title, model_title, source_title

COUNTS = (
    "n: number of images behind a figure; – with n = 0: not measured; left out: images on which there is no "
    "finite value. Cells of different n speak of different images."
)
INTERVALS = (
    "In brackets: 95 % BCa bootstrap interval of the mean over images (10,000 resamples, seed 0); none where "
    "n = 1."
)
MARKS = "Best and second best of the upsamplers' means are marked; a mark is no test."


def scalings(metrics: Iterable[str]) -> tuple[str, ...]:
    """Say how each of some metrics scales a map."""
    return tuple(f"{METRIC_WORDS[name].title}: {METRIC_WORDS[name].scaling}." for name in metrics)


def section_title(section: Section) -> str:
    """Return the heading of a section."""
    return ", ".join(
        (dataset_title(section.dataset), model_title(section.model), source_title(section.source))
    )
