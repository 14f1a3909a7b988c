"""The page itself: data and sources in one file that requests nothing from the network.

The sources are in the folder `web`. A content security policy lets the browser run and apply these alone, by
their hashes, and load nothing but pictures in the file itself.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections.abc import Iterable
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any

from usu.arrays.checks import check_path
from usu.report.entry import Entry
from usu.runtime.files import finite, written_whole

# Joined in this order into one script.
_SCRIPTS = (
    "unpack",
    "hats",
    "cells",
    "operators",
    "interpolation",
    "continuous",
    "model",
    "colours",
    "canvas",
    "panels",
    "words",
    "gallery",
    "main",
    "filling",
    "take",
    "link",
    "controls",
    "start",
)
_HEIGHT = 820


def html(entries: Iterable[Entry]) -> str:
    """Return the report of some explanations as one HTML document.

    Args:
        entries: what is shown; two or more make a gallery.

    Raises:
        ValueError: there is no entry, or an entry's image and score map differ in size.
    """
    if not isinstance(entries, Iterable):
        raise TypeError(f"entries must be usu.report.Entry objects, got {type(entries).__name__}")
    data = [finite(_checked(entry).plain()) for entry in entries]
    if not data:
        raise ValueError("entries is empty: a report needs at least one explanation")
    titles = {entry["title"]: None for entry in data}
    parts = {
        "title": escape(f"{', '.join(list(titles)[:3])} · usu report"),
        "policy": _policy(),
        "style": _source("page.css"),
        "script": script(),
        "data": _embedded(data),
    }
    # One pass, so that nothing in the data is mistaken for a placeholder.
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _source("page.html"))


def _checked(entry: Any) -> Entry:
    if not isinstance(entry, Entry):
        raise TypeError(f"entries must be usu.report.Entry objects, got {type(entry).__name__}")
    return entry


def write(entries: Iterable[Entry], path: str | os.PathLike[str]) -> None:
    """Write the report of some explanations, whole or not at all: an old file is replaced last.

    Raises:
        ValueError: as `html`.
        OSError: the folder does not exist or cannot be written.
    """
    check_path(path, "path")
    text = html(entries)
    with written_whole(path) as file:
        file.write(text.encode("utf-8", errors="replace"))  # names of files may hold bytes that are not text


def frame(entry: Entry) -> str:
    """Return the report as an element of another page, such as a notebook, without access to that page."""
    return (
        f'<iframe sandbox="allow-scripts allow-downloads" title="usu report" width="100%" height="{_HEIGHT}" '
        f'style="border:0" srcdoc="{escape(html([entry]), quote=True)}"></iframe>'
    )


def _policy() -> str:
    sources = {"script-src": script(), "style-src": _source("page.css")}
    hashes = [f"{name} 'sha256-{_hash(text)}'" for name, text in sources.items()]
    rules = ["default-src 'none'", *hashes, "img-src data:", "base-uri 'none'", "form-action 'none'"]
    return "; ".join(rules)


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


@cache
def script() -> str:
    """Return the scripts of the page as one."""
    parts = "\n".join(_source(f"{name}.js") for name in _SCRIPTS)
    return f'\n(() => {{\n"use strict";\n{parts}\n}})();\n'


@cache
def _source(name: str) -> str:
    return (files("usu.report") / "web" / name).read_text(encoding="utf-8")


def _embedded(data: object) -> str:
    """Return JSON without characters that could end the HTML element around it."""
    text = json.dumps(data, allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
