"""Random malformed argument lists of the command `usu`, through its own `main`."""

from __future__ import annotations

import contextlib
import io
import re
import tempfile
import warnings
from pathlib import Path
from random import Random

from benchmarks.robustness.calls import Hang, Outcome, alarm
from usu.cli import main

_FOLDER = tempfile.mkdtemp(prefix="usu-malformed-")
_NOT_NUMBERS = ("", "0", "-1", "nan", "inf", "-inf", "one", "1,5", "0x3", "1e999", "²", "--", "1 2")
_NOT_COUNTS = ("", "0", "-1", "1.5", "nan", "one", "1e3", "²", "+1", "1 2")
_NOT_FROM_ZERO = ("", "-1", "1.5", "nan", "one", "²")
_NOT_NAMES = ("", "USU", "usu ", "gradcam-", "nothing", "3", "*", "é", "none\n")
_LAYOUTS = (
    "",
    "3",
    "3x",
    "x3",
    "0x3",
    "3x0",
    "3x3,prefix",
    "3x3,prefix=-1",
    "3x3,axis=7",
    "3x3,order=up",
    "a",
)
_EXPLAIN = ("explain", str(Path(_FOLDER) / "none.jpg"), "--out", _FOLDER)
_BENCH = ("bench", "run", "--data", _FOLDER, "--out", str(Path(_FOLDER) / "results"))

# For each command a list that its parser takes, and values that its options do not take. None: the option
# stands without its value.
COMMANDS: dict[str, tuple[tuple[str, ...], dict[str, tuple[str, ...]]]] = {
    "usu": ((), {"COMMAND": (*_NOT_NAMES[1:], "explian")}),
    "usu explain": (
        _EXPLAIN,
        {
            "--temperature": _NOT_NUMBERS,
            "--importance-temperature": _NOT_NUMBERS,
            "--score-smoothing": (*_NOT_NUMBERS, "1.5", "2"),
            "--mode": _NOT_NAMES,
            "--source": _NOT_NAMES,
            "--scoring": _NOT_NAMES,
            "--output": _NOT_NAMES,
            "--size": _NOT_NAMES,
            "--backend": _NOT_NAMES,
            "--tokens": _LAYOUTS,
            "--run": _NOT_FROM_ZERO,
            "--range": ("a b", "1", "0 one", ""),
            "--workers": _NOT_COUNTS,
            "--engine": _NOT_NAMES,
            "--device": _NOT_NAMES,
            "--perturbations-per-eval": _NOT_COUNTS,
            "--model": (*_NOT_NAMES, "resnet50", "timm:", "none.json"),
            "--out": (__file__,),
            "--nothing": ("", "3"),
        },
    ),
    "usu check": (("check",), {"--upsampler": _NOT_NAMES, "--require": _NOT_NAMES, "--nothing": ("",)}),
    "usu demo": (("demo",), {"--out": (__file__,), "--nothing": ("", "3")}),
    "usu report": (
        ("report", str(Path(_FOLDER) / "none.npz")),
        {
            "--out": (_FOLDER, "page.png", "none/page.html", "page"),
            "--classes": ("none.txt", _FOLDER),
            "EXPLANATION.npz": ("none.npz", __file__, _FOLDER),
            "--nothing": ("",),
        },
    ),
    "usu reproduce": (
        ("reproduce",),
        {"WHAT": (*_NOT_NAMES[1:], "table9", "figure"), "--out": (__file__,), "--nothing": ("",)},
    ),
    "usu bench": (("bench",), {"COMMAND": (*_NOT_NAMES[1:], "runn")}),
    "usu bench run": (
        _BENCH,
        {
            "--temperature": _NOT_NUMBERS,
            "--images": _NOT_COUNTS,
            "--workers": _NOT_COUNTS,
            "--seed": ("", "1.5", "one", "nan"),
            "--upsampler": _NOT_NAMES,
            "--metric": _NOT_NAMES,
            "--source": _NOT_NAMES,
            "--engine": _NOT_NAMES,
            "--dataset": _NOT_NAMES,
            "--weights": ("", "resnet50", "=file", "resnet50="),
            "--nothing": ("",),
        },
    ),
    "usu bench status": (("bench", "status"), {"RESULTS": ("none", __file__), "--nothing": ("",)}),
    "usu bench table": (
        ("bench", "table"),
        {"RESULTS": ("none", __file__), "--layout": _NOT_NAMES, "--format": _NOT_NAMES},
    ),
}


def arguments(name: str, random: Random) -> tuple[str, list[str]]:
    """Return which option is spoiled, and a whole list of arguments."""
    plain, options = COMMANDS[name]
    option = random.choice(sorted(options))
    value = random.choice(options[option])
    given = list(plain)
    if not option.startswith("-"):
        needed = ["none"] if name == "usu bench table" and option != "RESULTS" else []
        return option, [*given, *needed, value]
    if name == "usu bench table":
        given.append("none")
    if name == "usu reproduce":
        given.append("table1")
    if random.random() < 0.1 and option != "--nothing":
        return option, [*given, option]  # without its value
    values = value.split(" ") if option == "--range" else [value]
    return option, [*given, *([f"{option}={value}"] if random.random() < 0.3 else [option, *values])]


def attempt(name: str, random: Random) -> Outcome:
    """Give one malformed list of arguments to `main`, as the command line does."""
    option, argv = arguments(name, random)
    told, said = io.StringIO(), io.StringIO()
    fault = None
    with warnings.catch_warnings(record=True) as seen, contextlib.redirect_stderr(told):
        warnings.simplefilter("always")
        with contextlib.redirect_stdout(said):
            try:
                with alarm():
                    code: object = main(argv)
            except SystemExit as end:
                code = end.code
            except (Exception, Hang) as error:
                code, fault = None, f"a {type(error).__name__}: {error}"
    text = told.getvalue()
    if fault is None:
        fault = _fault(code, text, option, [word for part in argv[1:] for word in part.split("=", 1)])
    if fault is None and seen:
        fault = f"warns of a {seen[0].category.__name__}"
    return Outcome(name, (option.lstrip("-"),), (" ".join(argv[-2:])[:60],), fault, text.strip())


def _fault(code: object, text: str, option: str, argv: list[str]) -> str | None:
    """Return what is wrong with an exit and its line on standard error."""
    if code not in (1, 2):
        return f"exits with {code}"
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) != 1:
        return f"says {len(lines)} lines"
    if "Traceback" in text or not lines[0].startswith("usu"):
        return "says something else"
    plain = option.lstrip("-")
    words = {option, plain, plain.replace("-", "_"), *(part for part in argv if len(part) > 2)}
    if not any(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text) for word in words):
        return "names no argument"
    return None
