"""Sentences and headings that several tables share."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace

from usu.bench.tables.frame import Section, Study
from usu.bench.tables.labels import METRIC_WORDS, dataset_title, model_title, source_title
from usu.bench.tables.sheet import Block, Number, Sheet

COUNTS = (
    "n: number of images behind a figure; – with n = 0: not measured; left out: images on which there is no "
    "finite value. Cells of different n speak of different images."
)
INTERVALS = (
    "In brackets: 95 % BCa bootstrap interval of the mean over images (10,000 resamples, seed 0); none where "
    "n = 1."
)
MARKS = "Best and second best of the upsamplers' means are marked; a mark is no test."
UNMEASURED = "Nothing of this table is measured yet."
THEIRS = "Nothing of this table is measured yet; the figures are the paper's."


def scalings(metrics: Iterable[str]) -> tuple[str, ...]:
    """Say how each of some metrics scales a map."""
    return tuple(f"{METRIC_WORDS[name].title}: {METRIC_WORDS[name].scaling}." for name in metrics)


def temperatures(study: Study) -> tuple[str, ...]:
    """Say which ε the upsamplers shared by: infidelity of maps scaled to [0, 1] hangs on it."""
    settings = map(json.loads, study.provenance.get("upsampler", {}).get("usu", ()))
    found = sorted({one["temperature"] for one in settings if "temperature" in one})
    values = " and ".join(f"{value:g}" for value in found)
    return (f"USU, Soft IWMR and the hybrid share by ε = {values}; the paper's is 0.1.",) if found else ()


def section_title(section: Section) -> str:
    """Return the heading of a section."""
    return ", ".join(
        (dataset_title(section.dataset), model_title(section.model), source_title(section.source))
    )


def with_unmeasured(sheet: Sheet) -> Sheet:
    """Say above a sheet without one measured cell, else above each such block, that there is none."""
    if not any(map(_is_measured, sheet.blocks)):
        kept = (note for note in sheet.notes if note not in (MARKS, INTERVALS))
        return replace(sheet, notes=(_unmeasured(sheet.blocks), *kept))
    blocks = tuple(
        block if _is_measured(block) else replace(block, notes=(_unmeasured([block]), *block.notes))
        for block in sheet.blocks
    )
    return replace(sheet, blocks=blocks)


def _is_measured(block: Block) -> bool:
    return any(cell.n for row in block.rows for cell in row.cells)


def _unmeasured(blocks: Iterable[Block]) -> str:
    cells = (cell for block in blocks for row in block.rows for cell in row.cells)
    printed = any(isinstance(cell, Number) and cell.paper is not None for cell in cells)
    return THEIRS if printed else UNMEASURED
