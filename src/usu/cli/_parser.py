"""The words of the command line: commands, their arguments and their help, as tables."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, NoReturn, TypeAlias

from usu.cli import bench, report, reproduce
from usu.cli.check import check
from usu.cli.demo import demo
from usu.cli.explain import BAD_INPUT, explain_files
from usu.sources.registry import SOURCES

# The names of usu.UPSAMPLERS, without importing it.
UPSAMPLERS = ("usu", "iwmr", "hybrid", "nearest", "bilinear", "bicubic", "lanczos")

Argument: TypeAlias = tuple[tuple[str, ...], dict[str, Any]]


def argument(*flags_and_help: str, **settings: Any) -> Argument:
    """Return one row of a table: flags, and last the help; `settings` are `add_argument`'s."""
    *flags, words = flags_and_help
    return tuple(flags), {"help": words, **settings}


@dataclass(frozen=True)
class Command:
    """One subcommand: it runs, or has commands of its own; texts are laid out as terminals show them."""

    name: str
    summary: str
    details: str
    examples: str
    run: Callable[[argparse.Namespace], int] | None = None
    arguments: tuple[Argument, ...] = ()
    commands: tuple[Command, ...] = ()


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the tables below; its namespace has the command's function as `run`."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = _Parser(prog="usu", description=_ABOUT, epilog=_START, formatter_class=layout)
    parser.add_argument("--version", action="version", version=f"usu {version('usu-xai')}")
    _add(parser, COMMANDS)
    return parser


def _add(parser: argparse.ArgumentParser, several: tuple[Command, ...]) -> None:
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in several:
        one = commands.add_parser(
            command.name,
            help=command.summary,
            description=command.details,
            epilog=command.examples,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        for flags, settings in command.arguments:
            one.add_argument(*flags, **settings)
        if command.commands:
            _add(one, command.commands)
        else:
            one.set_defaults(run=command.run)


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a positive number, got {text!r}")
    return value


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 up, got {text!r}")
    return int(text)


_ABOUT = """\
Bring a coarse attribution map, such as Grad-CAM's, to pixels: each cell's mass is shared among its
pixels by how much the model's answer depends on the segments they lie in, and none is lost or made up.
"""

_START = """\
start here:
  usu demo                  explain a photograph that comes along, with a small trained network
  usu explain cat.jpg       explain your own photograph with the same network
  usu explain --help        choose another network, class, layer or way of upsampling
  usu check                 see which guarantees each way of upsampling keeps
"""

_FILES = """\
Writes overlay.png (the map over the photograph), comparison.png (all stages, and all upsamplers side by
side), report.html (a page to explore the map in) and explanation.npz (every array; usu.Explanation.load
reads it), and prints the class, the cost, and how well each upsampler keeps the mass of the coarse map's
cells (the D1 error)."""

_DEMO_DETAILS = f"""\
Explain scikit-image's photograph of a cat with EfficientNet-Lite0 and Grad-CAM.

{_FILES}
"""

_DEMO_EXAMPLES = """\
examples:
  usu demo                  write to usu-demo/
  usu demo --out pictures   write to pictures/
"""

_EXPLAIN_DETAILS = f"""\
Explain photographs: which pixels speak for a class, by a network of your choice.

{_FILES}
Each photograph gets a folder of its own inside DIR. Pictures may be of any kind that Pillow reads; one
that cannot be read is reported, the others go on, and the exit code is 2 at the end.
"""

_EXPLAIN_EXAMPLES = """\
examples:
  usu explain cat.jpg dog.jpg
      the predicted classes, by EfficientNet-Lite0, to usu-out/cat/ and usu-out/dog/
  usu explain cat.jpg --target "Persian cat"
      what speaks for another class; an index or a unique part of the name will do
  usu explain cat.jpg --model resnet50 --weights resnet50-11ad3fa6.pth
      any torchvision classifier; nothing is downloaded, so give the file of its weights
  usu explain cat.jpg --model resnet50 --weights mine.pth --layer layer3
      your own fine-tuned network, and the coarse map of an earlier layer
  usu explain cat.jpg --mode hybrid --temperature 0.3
      let mass move between cells, and share it less sharply within them
  usu explain cat.jpg --source shap --size photograph
      another method, and the map over the whole photograph, 0 where the network did not look
"""

_CHECK_DETAILS = """\
Measure what each upsampler guarantees, on a photograph's real coarse map (Grad-CAM) and real scores:

  D1      each cell's pixels sum to the cell's mass
  D2      within a cell, a better score never means a smaller value
  D3      a step of the score means the same ratio of values wherever on the scale it is taken
  D4      a cell's values do not depend on data outside it
  D1-G    each cell's pixels sum to the mass that the upsampler itself promises (soft IWMR)
  D4'     data outside a cell change all its values by one common factor at most (soft IWMR)
  global  all pixels sum to the whole map's mass

Prints the measured table beside table 2 of the paper, and what shows each violation. The exit code is 1
where an upsampler named with --require violates one of D1 to D4.
"""

_CHECK_EXAMPLES = """\
examples:
  usu check                                 all upsamplers, on the photograph of the demo
  usu check cat.jpg --upsampler lanczos --upsampler usu
                                            two of them, on your own photograph
  usu check --require usu --json            for machines: exit code and one JSON document
"""

_MODEL = "efficientnet-lite0, -lite1, -lite2, or any torchvision classifier (default: %(default)s)"
_WEIGHTS = "the network's weights: a state dict, as torch.save writes it"
_TARGET = "class to explain, by index or name (default: the predicted one)"
_LAYER = "module whose map is taken, such as layer4 (default: the last one before pooling)"
_MODE = """usu keeps the mass of each cell; iwmr and hybrid keep only the total and move it to the cells that
matter, hybrid in proportion to the mass that is there; complete accounts for the prediction itself, by Owen
values on parts of the picture (default: %(default)s)"""
_SOURCE = """method that gives the coarse map: %(choices)s (default: gradcam; for complete, the gradient
times the difference from the fill)"""
_SIZE = """what overlay.png shows: the network's input, or the whole photograph with the map at its size
(default: %(default)s)"""
_TEMPERATURE = """how evenly mass is shared within a cell: small is all to the best segment (default: 0.2);
for complete the default is 1"""
_IMPORTANCE = "the same between cells, for iwmr and hybrid (default: as --temperature)"
_UPSAMPLER = "upsampler to check; may be repeated (default: all)"
_REQUIRE = "upsampler that must violate none of D1 to D4; may be repeated"
_JSON = "print one JSON document instead of the tables"
_BATCH = "masked images per forward call; fewer need less memory (default: %(default)s)"
_OUT = "folder for the results, made if needed (default: %(default)s)"

COMMANDS = (
    Command(
        name="demo",
        run=demo,
        summary="explain a photograph that comes along",
        details=_DEMO_DETAILS,
        examples=_DEMO_EXAMPLES,
        arguments=(argument("--out", _OUT, metavar="DIR", default="usu-demo"),),
    ),
    Command(
        name="explain",
        run=explain_files,
        summary="explain your own photographs",
        details=_EXPLAIN_DETAILS,
        examples=_EXPLAIN_EXAMPLES,
        arguments=(
            argument("images", "photographs", metavar="IMAGE", nargs="+"),
            argument("--model", _MODEL, metavar="NAME", default="efficientnet-lite0"),
            argument("--weights", _WEIGHTS, metavar="FILE"),
            argument("--target", _TARGET, metavar="CLASS"),
            argument("--layer", _LAYER, metavar="NAME"),
            argument("--mode", _MODE, choices=("usu", "iwmr", "hybrid", "complete"), default="usu"),
            argument("--source", _SOURCE, choices=SOURCES, metavar="NAME"),
            argument("--size", _SIZE, choices=("network", "photograph"), default="network"),
            argument("--temperature", _TEMPERATURE, metavar="T", type=_positive),
            argument("--importance-temperature", _IMPORTANCE, metavar="T", type=_positive),
            argument(
                "--perturbations-per-eval", "--batch-size", _BATCH, metavar="N", type=_count, default=16
            ),
            argument("--out", _OUT, metavar="DIR", default="usu-out"),
        ),
    ),
    Command(
        name="check",
        run=check,
        summary="measure which guarantees each upsampler keeps",
        details=_CHECK_DETAILS,
        examples=_CHECK_EXAMPLES,
        arguments=(
            argument("image", "photograph (default: that of the demo)", metavar="IMAGE", nargs="?"),
            argument("--upsampler", _UPSAMPLER, action="append", choices=UPSAMPLERS, metavar="NAME"),
            argument("--require", _REQUIRE, action="append", choices=UPSAMPLERS, metavar="NAME", default=[]),
            argument("--json", _JSON, action="store_true"),
        ),
    ),
    Command(
        name="report",
        run=report.report,
        summary=report.SUMMARY,
        details=report.DETAILS,
        examples=report.EXAMPLES,
        arguments=(
            argument("explanations", "files that usu wrote", metavar="EXPLANATION.npz", nargs="+"),
            argument("-o", "--out", "the page (default: %(default)s)", metavar="FILE", default="report.html"),
            argument("--model", "name of the network, which a record does not hold", metavar="NAME"),
            argument("--classes", "file with the names of the classes, a line for each", metavar="FILE"),
            argument("--quick", "leave out the verdicts, which take most of the time", action="store_true"),
        ),
    ),
    Command(
        name="reproduce",
        run=reproduce.reproduce,
        summary=reproduce.SUMMARY,
        details=reproduce.DETAILS,
        examples=reproduce.EXAMPLES,
        arguments=(
            argument("what", "table or figure: %(choices)s", metavar="WHAT", choices=reproduce.CHOICES),
            argument("--quick", "a tenth of the scenes", action="store_true"),
            argument("--out", _OUT, metavar="DIR", default="usu-reproduction"),
        ),
    ),
    Command(
        name="bench",
        summary=bench.SUMMARY,
        details=bench.DETAILS,
        examples=bench.EXAMPLES,
        commands=(
            Command(
                name="run",
                run=bench.run,
                summary="measure what is missing in a results folder",
                details=bench.RUN_DETAILS,
                examples=bench.RUN_EXAMPLES,
                arguments=(
                    argument("--dataset", bench.DATASET, choices=bench.DATASETS, default="folder"),
                    argument("--data", "folder of the data set", metavar="DIR", required=True),
                    argument(
                        "--model", bench.MODEL, metavar="NAME", nargs="+", default=["efficientnet-lite0"]
                    ),
                    argument("--weights", bench.WEIGHTS, metavar="NAME=FILE", nargs="+", default=[]),
                    argument("--source", bench.SOURCE, metavar="NAME", nargs="+", default=["gradcam"]),
                    argument(
                        "--upsampler", bench.UPSAMPLER, metavar="NAME", nargs="+", default=["upsamplers"]
                    ),
                    argument("--metric", bench.METRIC, metavar="NAME", nargs="+", default=["all"]),
                    argument("--images", "how many (default: all)", metavar="N", type=_count),
                    argument("--correct", bench.CORRECT, action="store_true"),
                    argument("--positive", bench.POSITIVE, action="store_true"),
                    argument("--temperature", _TEMPERATURE, metavar="T", type=_positive),
                    argument("--seed", bench.SEED, metavar="S", type=int, default=0),
                    argument("--engine", bench.ENGINE, choices=("local", "ray"), default="local"),
                    argument("--workers", bench.WORKERS, metavar="N", type=_count),
                    argument("--address", "of a Ray cluster (default: one here)", metavar="A"),
                    argument(
                        "--out", "results folder, begun or gone on with", metavar="RESULTS", required=True
                    ),
                ),
            ),
            Command(
                name="status",
                run=bench.status,
                summary="say what a results folder holds",
                details="Say what a results folder holds, and which images its last run left out and why.\n",
                examples="example:\n  usu bench status results\n",
                arguments=(argument("results", "folder of a run", metavar="RESULTS"),),
            ),
            Command(
                name="table",
                run=bench.table,
                summary="print a table of results",
                details=bench.TABLE_DETAILS,
                examples=bench.TABLE_EXAMPLES,
                arguments=(
                    argument("results", "folder of a run", metavar="RESULTS"),
                    argument("--layout", bench.LAYOUT, choices=bench.LAYOUTS, default="honest"),
                    argument(
                        "--format", "%(choices)s (default: text)", choices=bench.FORMATS, default="text"
                    ),
                ),
            ),
        ),
    ),
)
