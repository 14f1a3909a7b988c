"""Show the doctests at the end of docstrings as code; in Markdown, `>>>` would be a quotation."""

from __future__ import annotations

from itertools import chain
from typing import Any

import griffe


class Doctests(griffe.Extension):
    """Fence every paragraph that starts with `>>>`."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of one object before it is parsed."""
        if obj.docstring is not None and ">>>" in obj.docstring.value:
            paragraphs = obj.docstring.value.split("\n\n")
            obj.docstring.value = "\n\n".join(chain.from_iterable(map(_fenced, paragraphs)))


def _fenced(paragraph: str) -> list[str]:
    if not paragraph.lstrip().startswith(">>>"):
        return [paragraph]
    return [f"```pycon\n{paragraph.rstrip()}\n```"]
