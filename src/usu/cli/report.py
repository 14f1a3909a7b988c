"""Make a page that shows explanations, as usu demo and usu explain write them, in any browser.

It has each map over its photograph, beside any other way of upsampling; sliders for the temperatures, which
recompute the map in the page; for every pixel its cell, its segments and its share; and which of D1 to D5
hold. The page is one file, which holds all it needs and asks the network for nothing. Several explanations
make a gallery.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from usu.cli._output import Commands

_EXAMPLES = """\
examples:
  usu report usu-demo/explanation.npz
      writes report.html; open it in a browser
  usu report usu-out/*/explanation.npz -o gallery.html --model resnet50
      a gallery, with another name of the network than the recorded one
  usu report mine.npz --classes names.txt
      with the names of the classes, a line for each
"""


def add_parser(commands: Commands) -> None:
    """Add the command to those of `usu`."""
    parser = commands.add_parser(
        "report", help="make one interactive page of explanations", description=__doc__, epilog=_EXAMPLES
    )
    add = parser.add_argument
    add("explanations", metavar="EXPLANATION.npz", nargs="+", help="files that usu wrote")
    add("-o", "--out", metavar="FILE", default="report.html", help="the page (default: %(default)s)")
    add("--model", metavar="NAME", help="name of the network, in place of the recorded one")
    add("--classes", metavar="FILE", help="file with the names of the classes, a line for each")
    add("--quick", action="store_true", help="leave out the verdicts, which take most of the time")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write the page."""
    from tqdm import tqdm

    from usu.explanation import Explanation
    from usu.report import Entry, write

    target = _page(options.out, options.explanations)
    categories = _categories(options.classes)
    entries = []
    for path, name in zip(options.explanations, names_of(options.explanations), strict=True):
        explanation = Explanation.load(path)
        entries.append(
            Entry(
                explanation,
                name=name,
                class_name=_category(categories, explanation.target, options.classes),
                model=options.model,
                verdicts=not options.quick,
            )
        )
    silent = len(entries) == 1 or not sys.stderr.isatty()
    write(tqdm(entries, desc="explanations", unit="explanation", disable=silent), target)
    print(f"{'written to':<16}{target}: {target.stat().st_size / 1e6:.2f} MB, {len(entries)} explanation(s)")
    return 0


def _page(out: str, explanations: Sequence[str]) -> Path:
    """Return the file to write, if it is one that may be written, before time is spent on it."""
    target = Path(out)
    if target.is_dir():
        raise ValueError(f"--out {out} is a folder: name the page, such as {target / 'report.html'}")
    if not target.parent.is_dir():
        raise ValueError(f"--out {out}: there is no folder {target.parent}")
    if target.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"--out {out} must end in .html, as pages do")
    if target.resolve() in [Path(path).resolve() for path in explanations]:
        raise ValueError(f"--out {out} would replace an explanation by its page: name another file")
    return target


def names_of(paths: Sequence[str]) -> list[str]:
    """Return a name for each file: its own, or its folder's where all files are called explanation.npz.

    >>> names_of(["out/cat/explanation.npz", "dog.npz"])
    ['cat', 'dog']
    """
    found = map(Path, paths)
    return [(path.stem == "explanation" and path.parent.name) or path.stem for path in found]


def _categories(path: str | None) -> list[str] | None:
    if path is None:
        return None
    try:
        return Path(path).read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as problem:
        raise ValueError(f"--classes {path} must be text in UTF-8: {problem}") from problem


def _category(categories: list[str] | None, target: int | str, path: str | None) -> str | None:
    if categories is None or not isinstance(target, int):
        return None
    if not 0 <= target < len(categories):
        raise ValueError(f"--classes {path} has {len(categories)} lines, but class {target} was explained")
    return categories[target]
