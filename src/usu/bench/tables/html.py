"""Tables as one HTML document that asks the network for nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

import pandas as pd

from usu.bench.tables.cells import Block, Dress, Table, has_marks, visible, wide

_STYLE = """
:root { color-scheme: light dark; --page: #f6f7f9; --panel: #fff; --text: #14181f; --soft: #4d5765;
  --line: #cfd5de; }
@media (prefers-color-scheme: dark) {
  :root { --page: #101419; --panel: #181d24; --text: #e8ecf1; --soft: #a9b3c0; --line: #353d48; }
}
body { margin: 0 auto; padding: 1rem 1.5rem 3rem; background: var(--page); color: var(--text);
  font: 15px/1.45 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { margin: 0; font-size: 1.5rem; }
h2 { margin: 2rem 0 .5rem; font-size: 1.1rem; }
ul { margin: .5rem 0; padding-left: 1.2rem; max-width: 60rem; color: var(--soft); font-size: .9rem; }
.frame { width: fit-content; max-width: 100%; overflow-x: auto; background: var(--panel);
  border: 1px solid var(--line); border-radius: .4rem; }
.frame:focus-visible { outline: 3px solid; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid var(--line); text-align: right;
  vertical-align: top; }
td { white-space: nowrap; }
thead th { vertical-align: bottom; }
thead th[colspan] { text-align: center; }
thead tr:last-child th, tbody th { text-align: left; font-weight: 400; max-width: 16rem;
  overflow-wrap: anywhere; }
tbody th:last-of-type { position: sticky; left: 0; background: var(--panel); min-width: 7rem; }
small { display: block; color: var(--soft); white-space: nowrap; }
"""
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
