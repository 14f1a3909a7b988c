"""Tables as text, Markdown, CSV, JSON, LaTeX and HTML: the same table always to the same bytes."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from html import escape

import pandas as pd
from tabulate import tabulate
from wcwidth import wcswidth

from usu.bench.tables.cells import AS_TEXT, CELL, Block, Dress, Table, grid, has_marks, panels, visible, wide
from usu.runtime.files import finite

_WIDTH, _LABEL, _TITLE = 120, 26, 20  # of the terminal, of the widest label and column


def text(table: Table) -> str:
    """Return a table as lines of at most 120 places; wide ones go on in further panels below."""
    parts = [_underlined(table.title, "="), *_listed(table.notes)]
    for block in table.blocks:
        notes = (*block.notes, *["* best, + second best"] * has_marks(block))
        parts += ["", _underlined(block.heading, "-"), *_listed(notes), *_text_panels(block)]
    return "\n".join(line.rstrip() for part in parts for line in part.split("\n")) + "\n"


def _plain_table(rows: list[list[str]], *widths: int | None) -> str:
    return str(tabulate(rows, tablefmt="plain", maxcolwidths=[*widths], disable_numparse=True))


def _underlined(title: str, rule: str) -> str:
    lines = _plain_table([[visible(title)]], _WIDTH)
    return f"{lines}\n{rule * max(map(wcswidth, lines.split(chr(10))))}"


def _listed(notes: Sequence[str]) -> list[str]:
    return [_plain_table([["-", visible(note)] for note in notes], None, _WIDTH - 3)] if notes else []


def _text_panels(block: Block) -> list[str]:
    shown = wide(block, AS_TEXT)
    rows, labels = grid(shown), shown.index.nlevels
    parts = []
    for panel in panels(shown, _WIDTH + 2, _LABEL, _TITLE):
        group = visible(shown.columns[panel[0]][0])
        kept = [*range(labels), *(labels + place for place in panel)]
        limits = [_LABEL] * labels + [_TITLE] * len(panel)
        drawn = tabulate(
            [[row[place] for place in kept] for row in rows],
            [*shown.index.names, *(visible(shown.columns[place][1]) for place in panel)],
            tablefmt="simple",
            colalign=["left"] * labels + ["right"] * len(panel),
            maxcolwidths=limits,
            maxheadercolwidths=limits,
            disable_numparse=True,
        )
        parts += ["", *([_plain_table([[f"{group}:"]], _WIDTH)] if group else []), drawn]
    return parts


def md(table: Table) -> str:
    """Return a table as Markdown, with GitHub's tables."""
    lines = [f"# {_md(table.title)}", "", *(f"- {_md(note)}" for note in table.notes)]
    for block in table.blocks:
        lines += ["", f"## {_md(block.heading)}", "", md_block(block)]
    return "\n".join(lines) + "\n"


def md_block(block: Block) -> str:
    """Return notes and cells of a block as Markdown, without its heading."""
    shown = wide(block, _AS_MD)
    notes = [f"- {_md(note)}" for note in block.notes] + ["- **Best**, <u>second best</u>."] * has_marks(
        block
    )
    heads = [_md(f"{group}; {title}" if group else title) for group, title in shown.columns]
    sides = ["left"] * len(block.labels) + ["right"] * (
        shown.shape[1] + shown.index.nlevels - len(block.labels)
    )
    drawn = tabulate(
        grid(shown), [*shown.index.names, *heads], tablefmt="pipe", colalign=sides, disable_numparse=True
    )
    return "\n".join([*notes, *[""] * bool(notes), drawn])


def _md(words: str) -> str:
    """Return text that Markdown shows as it is, on one line."""
    return re.sub(r"([\\`*_\[\]{}#|~$!])", r"\\\1", escape(visible(words), quote=False))


def _md_joined(lines: list[str]) -> str:
    value, *below = lines
    interval = [line for line in below if line.startswith(r"\[")]
    others = "; ".join(line for line in below if line not in interval)
    return " ".join([value, *interval, *([f"({others})"] if others else [])])


_AS_MD = Dress(_md, _md, _md_joined, {"": "{}", "best": "**{}**", "second": "<u>{}</u>"})


def table_csv(table: Table) -> str:
    """Return a table as CSV, one line for each cell, numbers in full."""
    labels = dict.fromkeys(label for block in table.blocks for label in block.labels)
    blocks = [block.cells.assign(block=block.heading) for block in table.blocks]
    whole = pd.concat(blocks) if blocks else pd.DataFrame()
    return str(whole.reindex(columns=["block", *labels, *CELL]).to_csv(index=False, lineterminator="\n"))


def table_json(table: Table) -> str:
    """Return a table as JSON that loses nothing; a number that is infinite stands as text."""
    blocks = [
        {
            "heading": block.heading,
            "labels": block.labels,
            "columns": block.columns,
            "notes": block.notes,
            "cells": block.cells.astype(object).where(block.cells.notna(), None).to_dict("records"),
        }
        for block in table.blocks
    ]
    plain = {"title": table.title, "notes": table.notes, "blocks": blocks}
    return json.dumps(finite(plain), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
