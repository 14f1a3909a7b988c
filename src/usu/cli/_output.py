"""What several commands share: exit codes, kinds of arguments, words of the help, lines about problems."""

from __future__ import annotations

import argparse
import math
import re
import sys
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

VIOLATED, BAD_INPUT = 1, 2

Commands: TypeAlias = "argparse._SubParsersAction[Parser]"

OUT = "folder for the results, made if needed (default: %(default)s)"
TEMPERATURE = """how evenly mass is shared within a cell: small is all to the best segment (default: 0.2);
for complete the default is 1"""
FILES = """\
Writes overlay.png (the map over the photograph), comparison.png (all stages, and all upsamplers side by
side), report.html (a page to explore the map in) and explanation.npz (every array; usu.Explanation.load
reads it), and prints the class, the cost, and how well each upsampler keeps the mass of the coarse map's
cells (the D1 error)."""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, and whose texts are laid out as terminals show them."""

    def __init__(self, **options: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **options)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, but refuse `--option=--`, of which argparse would make an empty list."""
        args = sys.argv[1:] if args is None else list(args)
        for word in args:
            if word.startswith("--") and word.endswith("=--"):
                self.error(f"argument {word[:-3]}: expected one argument, got '--'")
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Print the problem and exit."""
        self.exit(BAD_INPUT, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


class ShowVersion(argparse.Action):
    """Print the version, which takes time to find out, and exit."""

    def __init__(self, option_strings: list[str], dest: str) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, help="show the version and exit")

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        """Find the version."""
        import usu

        print(f"usu {usu.__version__}")
        parser.exit()


class Renamed(argparse.Action):
    """The old spelling of a switch: hidden from the help, and obeyed with a line that names the new one."""

    def __init__(self, option_strings: list[str], dest: str, now: str) -> None:
        super().__init__(option_strings, now.lstrip("-").replace("-", "_"), nargs=0, help=argparse.SUPPRESS)
        self.now = now

    def __call__(
        self, parser: object, namespace: argparse.Namespace, _: object, given: str | None = None
    ) -> None:
        """Set the switch."""
        print(f"usu: {given} is now {self.now}", file=sys.stderr)
        setattr(namespace, self.dest, True)


def positive_number(text: str) -> float:
    """Read a positive number."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a positive number, got {text!r}")
    return value


def number_from_zero(text: str) -> int:
    """Read a whole number from 0 up."""
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 up, got {text!r}")
    return int(text)


def token_layout(text: str) -> dict[str, Any]:
    """Read the arguments of `usu.Tokens`.

    >>> token_layout("14x12,prefix=1,order=columns")
    {'grid': (14, 12), 'prefix': 1, 'order': 'columns'}
    """
    form = r"(\d+)[x×](\d+)((?:,(?:prefix|suffix|axis)=\d+|,order=(?:rows|columns))*)"
    found = re.fullmatch(form, text.replace(" ", ""), re.ASCII)
    if found is None:
        raise argparse.ArgumentTypeError(
            f"must be rows x columns and what differs of prefix, suffix, order, axis, as in 14x14,prefix=5, "
            f"got {text!r}"
        )
    pairs = [part.split("=") for part in found[3].split(",")[1:]]
    fields = {name: value if name == "order" else int(value) for name, value in pairs}
    return {"grid": (int(found[1]), int(found[2])), **fields}


def whole_number(text: str) -> int:
    """Read a whole number from 1 up."""
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 up, got {text!r}")
    return int(text)


def complain(problem: Exception, subject: str = "") -> None:
    """Print a problem on standard error as one line that names the file or argument it is about."""
    from tqdm import tqdm

    text = str(problem)
    if isinstance(problem, OSError) and problem.strerror and problem.filename:
        text = f"{problem.filename}: {problem.strerror}"
    text = " ".join(text.split()) or type(problem).__name__
    if subject not in text:
        text = f"{subject}: {text}"
    tqdm.write(f"usu: error: {text}", file=sys.stderr)  # above a progress bar, if there is one


def writable_folder(name: str) -> Path:
    """Make the folder for the results, and see that it takes files before time is spent on them."""
    import tempfile

    folder = Path(name)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--out {name} is a file, not a folder")
    folder.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=folder).close()
    return folder
