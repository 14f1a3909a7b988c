"""Tables as one HTML document that asks the network for nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

import pandas as pd

from usu.bench.tables.cells import Block, Dress, Table, has_marks, visible, wide

_STYLE = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def html(table: Table) -> str:
    """Return a table as a page for light and for dark screens."""
    title = _plain(table.title)
    lines = [
        '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        f"<title>{title}</title>\n<style>{_STYLE}</style></head>\n<body><h1>{title}</h1>",
        *_items([*map(_plain, table.notes)]),
    ]
    for place, block in enumerate(table.blocks):
        legend = ["<strong>Best</strong>, <u>second best</u>."] * has_marks(block)
        name = f'aria-labelledby="block-{place}"'
        lines += [
            f'<h2 id="block-{place}">{_plain(block.heading)}</h2>',
            *_items([*map(_plain, block.notes), *legend]),
            f'<div class="frame" tabindex="0" role="region" {name}>{_table(block, name)}</div>',
        ]
    return "\n".join([*lines, "</body></html>"]) + "\n"


def _items(notes: Sequence[str]) -> list[str]:
    return ["<ul>", *(f"<li>{note}</li>" for note in notes), "</ul>"] if notes else []


def _plain(text: str) -> str:
    return escape(visible(text), quote=True)


def _numeric(text: str) -> str:
    """Return text of our own with powers of ten set high."""
    return re.sub(r"(\d)e(-?\d+)", r"\1 × 10<sup>\2</sup>", _plain(text))


def _joined(lines: list[str]) -> str:
    return lines[0] + "".join(f"<small>{line}</small>" for line in lines[1:])


_MARKS = {"": "{}", "best": "<strong>{}</strong>", "second": "<u>{}</u>"}
_AS_HTML = Dress(_plain, _numeric, _joined, _MARKS)


def _table(block: Block, attributes: str) -> str:
    shown = wide(block, _AS_HTML)
    if shown.index.nlevels > len(block.labels):
        shown = shown.reset_index("n", col_level=1)
    shown.columns = pd.MultiIndex.from_tuples([tuple(map(_plain, column)) for column in shown.columns])
    if not any(group for group, _ in shown.columns):
        shown.columns = shown.columns.droplevel(0)
    drawn = shown.style.to_html(exclude_styles=True, table_attributes=attributes)
    head, body = drawn.split("</thead>")
    titled, named = head.replace("<th ", '<th scope="col" '), body.replace("<th ", '<th scope="row" ')
    return f"{titled}</thead>{named}"
