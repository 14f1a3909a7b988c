"""Sheets as one HTML document that asks the network for nothing."""

from __future__ import annotations

import re
from html import escape
from itertools import groupby

from usu.bench.tables.numbers import has_marks, parts, row_counts, visible
from usu.bench.tables.sheet import Block, Entry, Number, Sheet

_STYLE = """
:root { color-scheme: light dark; --page: #f6f7f9; --panel: #fff; --text: #14181f; --soft: #4d5765;
  --line: #cfd5de; --group: #eef1f5; }
@media (prefers-color-scheme: dark) {
  :root { --page: #101419; --panel: #181d24; --text: #e8ecf1; --soft: #a9b3c0; --line: #353d48;
    --group: #212832; }
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
th.label { text-align: left; min-width: 7rem; max-width: 16rem; overflow-wrap: anywhere; }
tbody th { font-weight: 400; }
th.label:first-child { position: sticky; left: 0; background: var(--panel); }
th.group { text-align: center; }
tr.group th { text-align: left; background: var(--group); font-weight: 600; }
small { display: block; color: var(--soft); white-space: nowrap; }
tbody:last-child tr:last-child > * { border-bottom: 0; }
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_MARKED = {"best": "<strong>{}</strong>", "second": "<u>{}</u>", None: "{}"}
_LEGEND = "<li><strong>Best</strong>, <u>second best</u>.</li>"


def html(sheet: Sheet) -> str:
    """Return a sheet as a page for light and for dark screens."""
    title = _plain(sheet.title)
    lines = [
        "<!doctype html>",
        '<html lang="en">',
        '<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        f"<title>{title}</title>",
        f"<style>{_STYLE}</style></head>",
        f"<body><h1>{title}</h1>",
        *_notes(sheet.notes),
    ]
    for place, block in enumerate(sheet.blocks):
        lines += _block(block, f"block-{place}")
    return "\n".join([*lines, "</body></html>"]) + "\n"


def _notes(notes: tuple[str, ...], legend: str = "") -> list[str]:
    items = [f"<li>{_plain(note)}</li>" for note in notes] + ([legend] if legend else [])
    return ["<ul>", *items, "</ul>"] if items else []


def _block(block: Block, name: str) -> list[str]:
    counts = row_counts(block)
    labels = [*block.labels, *(["n"] if counts is not None else [])]
    lines = [
        f'<h2 id="{name}">{_plain(block.heading)}</h2>',
        *_notes(block.notes, _LEGEND if has_marks(block) else ""),
        f'<div class="frame" tabindex="0" role="region" aria-labelledby="{name}">',
        f'<table aria-labelledby="{name}"><thead>',
    ]
    if any(column.group for column in block.columns):
        lines.append(f'<tr><td colspan="{len(labels)}"></td>')
        for group, run in groupby(block.columns, key=lambda column: column.group):
            span = f'colspan="{len(list(run))}"'
            told = f'<th class="group" scope="colgroup" {span}>{_plain(group)}</th>'
            lines.append(told if group else f"<td {span}></td>")
        lines.append("</tr>")
    heads = [f'<th class="label" scope="col">{_plain(label)}</th>' for label in labels]
    heads += [f'<th scope="col">{_plain(column.title)}</th>' for column in block.columns]
    lines += [f"<tr>{''.join(heads)}</tr></thead><tbody>"]
    before = ""
    for place, row in enumerate(block.rows):
        if row.group and row.group != before:
            wide = len(labels) + len(block.columns)
            lines.append(
                f'<tr class="group"><th scope="rowgroup" colspan="{wide}">{_plain(row.group)}</th></tr>'
            )
        before = row.group
        cells = [f'<th class="label" scope="row">{_plain(label)}</th>' for label in row.labels]
        cells += [] if counts is None else [f"<td>{_plain(counts[place])}</td>"]
        cells += [_cell(cell, counts is not None) for cell in row.cells]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return [*lines, "</tbody></table></div>"]


def _cell(cell: Entry, counted: bool) -> str:
    words = parts(cell, counted=counted)
    dressed = _numeric if isinstance(cell, Number) else _plain
    value = _MARKED[words.mark].format(dressed(words.value))
    below = "".join(f"<small>{_numeric(line)}</small>" for line in words.below)
    return f"<td>{value}{below}</td>"


def _numeric(text: str) -> str:
    """Return text of our own with powers of ten set high."""
    return re.sub(r"(\d)e(-?\d+)", r"\1 × 10<sup>\2</sup>", _plain(text))


def _plain(text: str) -> str:
    return escape(visible(text), quote=True)
