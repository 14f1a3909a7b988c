"""Show each notebook of docs/notebooks as a page, with the outputs that it was saved with.

A notebook is JSON, and its outputs here are text and pictures. That is too little to ask for a converter with
fifty dependencies.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

_DRAWN = "What the code above draws"


def on_files(files: Files, config: Any) -> Files:
    """Add a page beside every notebook; the notebook itself is copied as it is."""
    for notebook in [file for file in files if file.src_uri.endswith(".ipynb")]:
        text = page(json.loads(notebook.content_string), Path(notebook.src_uri).name)
        files.append(File.generated(config, notebook.src_uri.removesuffix("ipynb") + "md", content=text))
    return files


def page(notebook: dict[str, Any], name: str) -> str:
    """Return a notebook as Markdown; `name` is what it is downloaded as."""
    first, *rest = notebook["cells"]
    download = f"[Download this notebook]({name}){{ download }}"
    return "\n\n".join([_text(first["source"]), download, *map(_cell, rest)])


def _cell(cell: dict[str, Any]) -> str:
    source = _text(cell["source"])
    if cell["cell_type"] == "markdown":
        return source
    said = "".join(_text(output["text"]) for output in cell["outputs"] if "text" in output)
    shown = [_shown(output["data"]) for output in cell["outputs"] if "data" in output]
    return "\n\n".join([_fenced("python", source), *([_fenced("text", said)] if said else []), *shown])


def _shown(data: dict[str, Any]) -> str:
    if "image/png" in data:
        picture = _text(data["image/png"]).replace("\n", "")
        return f'<img alt="{_DRAWN}" src="data:image/png;base64,{picture}">'
    return _fenced("text", _text(data["text/plain"]))


def _fenced(language: str, text: str) -> str:
    return f"```{language}\n{text.rstrip()}\n```"


def _text(lines: str | list[str]) -> str:
    return "".join(lines)
