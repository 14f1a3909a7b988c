"""Judge pixel maps of many images: run measures, status says how far it is, table prints what came out."""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from usu.bench.datasets.registry import DATASETS
from usu.bench.engines.registry import ENGINES
from usu.bench.tables.labels import GROUPS
from usu.bench.tables.registry import FORMATS, LAYOUTS
from usu.cli._output import BAD_INPUT, TEMPERATURE, Commands, Renamed, positive_number, whole_number
from usu.metrics.faithfulness.labels import LABELS
from usu.models.bundled import CARD, DEMO_MODEL, SIZES
from usu.sources.registry import SOURCES


def _listed(flag: str, groups: Mapping[str, Sequence[str]]) -> str:
    told = ", ".join(f'"{group}" ({", ".join(names)})' for group, names in groups.items())
    return textwrap.fill(f'Names of {flag}: {told}, "all", or single ones.', 110, break_on_hyphens=False)


_BLOCKS = {"A": "paper", "B": "fair"}
_METRICS = {
    group: [name for name, label in LABELS.items() if label.block == block]
    for block, group in _BLOCKS.items()
}
_CONTESTANTS = {group.lower(): list(names) for group, names in GROUPS.items()}

_EXAMPLES = """\
examples:
  usu bench run --data photographs --images 20 --out results
  usu bench status results
  usu bench table results --layout honest
"""

_RUN_DETAILS = f"""\
Measure every metric of every map of every image, and write rows to RESULTS as they come. What is there is
not measured again: a run that was stopped continues, and images, models, sources, upsamplers and metrics can
be added. Settings are the folder's own: results of other settings belong in another folder.

{_listed("--upsampler", _CONTESTANTS)}
{_listed("--metric", _METRICS)}
In tables "paper" is block A, "fair" is block B.
Names of --source: "paper" (the seven of table 8), or those of usu explain --source.
"""

_RUN_EXAMPLES = """\
examples:
  usu bench run --data photographs --images 4 --out results
      the upsamplers by all metrics on four photographs
  usu bench run --data photographs --images 100 --upsampler all --workers 2 --out results
      controls and other people's methods too, two images at a time
  usu bench run --dataset imagenet --data imagenet --model resnet50 vit_b_16 --images 1000 --only-correct
      --weights resnet50=resnet50-11ad3fa6.pth vit_b_16=vit_b_16-c867db91.pth
      --engine ray --address auto --out results
"""

_TABLE_DETAILS = """\
Print a table made from results alone, beside the paper's figures where it has them; no model, no image.

  table2             D1 error of each upsampler
  table3             infidelity by data set and model, under each scaling
  table7             effect sizes of USU against bilinear
  table8             sources
  table9, table10    the paper's six metrics; table10 for CUB-200
  honest             both blocks of metrics, controls, peers, intervals and all tests that were run
"""

_TABLE_EXAMPLES = """\
examples:
  usu bench table results
  usu bench table results/imagenet results/cifar10 --layout table9
  usu bench table results --layout table3 --format latex > table3.tex
"""

_MODEL = f"""{", ".join(SIZES)}, any torchvision classifier, timm:NAME, or CARD.json, which describes another
network and is called by its name without .json (default: {DEMO_MODEL})"""
_DATASET = "folder is any folder of images (default: %(default)s)"
_WORKERS = "images at the same time (default: 1, or what a cluster has room for)"
_CORRECT = "only images that the network classifies rightly"
_SCORING = "how segments are scored, mask for the paper's way (default: order)"
_CLIP = "drop negative values of every coarse map; the complete map, which needs none, keeps its own"


def add_parser(commands: Commands) -> None:
    """Add the command to those of `usu`."""
    parser = commands.add_parser(
        "bench",
        help="judge upsamplers on many images, and print the tables",
        description=__doc__,
        epilog=_EXAMPLES,
    )
    own = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_run(own)
    _add_status(own)
    _add_table(own)


def _add_run(commands: Commands) -> None:
    parser = commands.add_parser(
        "run",
        help="measure what is missing in a results folder",
        description=_RUN_DETAILS,
        epilog=_RUN_EXAMPLES,
    )
    add = parser.add_argument
    several: dict[str, Any] = {"metavar": "NAME", "nargs": "+"}
    add("--dataset", choices=tuple(DATASETS), default="folder", help=_DATASET)
    add("--data", metavar="DIR", required=True, help="folder of the data set")
    add("--model", **several, default=[DEMO_MODEL], help=_MODEL)
    add("--weights", metavar="NAME=FILE", nargs="+", default=[], help="of a network, such as resnet50=FILE")
    add("--source", **several, default=["gradcam"], help="what gives the coarse maps (default: gradcam)")
    add("--upsampler", **several, default=["upsamplers"], help="what makes pixel maps (default: upsamplers)")
    add("--metric", **several, default=["all"], help="what judges them (default: all)")
    add("--images", metavar="N", type=whole_number, help="how many (default: all)")
    add("--only-correct", action="store_true", help=_CORRECT)
    add("--correct", action=Renamed, now="--only-correct")
    add("--clip-negative", action="store_true", help=_CLIP)
    add("--positive", action=Renamed, now="--clip-negative")
    add("--temperature", metavar="T", type=positive_number, help=TEMPERATURE)
    add("--scoring", metavar="NAME", help=_SCORING)
    add("--seed", metavar="S", type=int, default=0, help="of all that is random (default: %(default)s)")
    add("--engine", choices=tuple(ENGINES), default="local", help="ray is for a cluster (default: local)")
    add("--workers", metavar="N", type=whole_number, help=_WORKERS)
    add("--address", metavar="A", help="of a Ray cluster (default: one here)")
    add("--out", metavar="RESULTS", required=True, help="results folder, begun or continued")
    parser.set_defaults(run=run)


def _add_status(commands: Commands) -> None:
    parser = commands.add_parser(
        "status",
        help="say what a results folder holds",
        description="Say what a results folder holds, and which images its last run left out and why.\n",
        epilog="example:\n  usu bench status results\n",
    )
    parser.add_argument("results", metavar="RESULTS", help="folder of a run")
    parser.set_defaults(run=status)


def _add_table(commands: Commands) -> None:
    parser = commands.add_parser(
        "table", help="print a table of results", description=_TABLE_DETAILS, epilog=_TABLE_EXAMPLES
    )
    add = parser.add_argument
    add("results", metavar="RESULTS", nargs="+", help="folders of runs, such as one for each data set")
    add("--layout", choices=tuple(LAYOUTS), default="honest", help="%(choices)s (default: %(default)s)")
    add("--format", choices=tuple(FORMATS), default="text", help="%(choices)s (default: text)")
    parser.set_defaults(run=table)


def run(options: argparse.Namespace) -> int:
    """Measure what is missing; 2 if images were left out."""
    from usu.bench.engines.registry import find_engine
    from usu.bench.run import Plan
    from usu.bench.run import run as measure
    from usu.bench.worker import Spec

    engine = find_engine(options.engine, options.workers, options.address)
    named = {"temperature": options.temperature, "scoring": options.scoring}
    settings = {name: value for name, value in named.items() if value is not None}
    models, weights = _models(options.model, _named_files(options.weights))
    folder = str(Path(options.data).absolute())
    spec = Spec(options.dataset, folder, weights, settings, options.clip_negative, options.seed)
    upsamplers, metrics, sources = _names(options)
    plan = Plan(spec, models, sources, upsamplers, metrics, options.images, options.only_correct)
    summary = measure(plan, engine, Path(options.out), show_progress=True)
    for model, images in summary.images.items():
        print(f"{model}: {images} images")
    print(f"{summary.new} new rows in {options.out}; usu bench table {options.out} prints them")
    if summary.problems:
        print(f"{len(summary.problems)} images left out:", file=sys.stderr)
        for name, problem in summary.problems.items():
            print(f"  {name}: {problem}", file=sys.stderr)
    return BAD_INPUT if summary.problems else 0


def status(options: argparse.Namespace) -> int:
    """Say what a folder holds."""
    from usu.bench.results.folder import read_rows
    from usu.bench.run import read_problems

    rows = read_rows(options.results)
    print(f"{len(rows)} rows in {options.results}")
    groups, counted = ("dataset", "model", "source"), ("image", "upsampler", "metric")
    counts = rows.group_by(groups).aggregate([(name, "count_distinct") for name in counted])
    for row in counts.sort_by([(name, "ascending") for name in groups]).to_pylist():
        what = ", ".join(f"{row[f'{name}_count_distinct']} {name}s" for name in counted)
        print(f"  {row['dataset']}, {row['model']}, source {row['source']}: {what}")
    problems = read_problems(Path(options.results))
    print(f"{len(problems)} images left out by the last run")
    for name, problem in problems.items():
        print(f"  {name}: {problem}")
    return 0


def table(options: argparse.Namespace) -> int:
    """Print a table of results."""
    import pyarrow as pa

    from usu.bench.results.folder import read_rows
    from usu.bench.tables.layouts import layout

    rows = pa.concat_tables([read_rows(folder) for folder in options.results])
    sys.stdout.write(FORMATS[options.format](layout(options.layout, rows)))
    return 0


def _names(options: argparse.Namespace) -> tuple[list[str], list[str], list[str]]:
    """Return the upsamplers, metrics and sources that were named, groups spelled out."""
    from usu.bench.tables import published

    contestants = [name for names in _CONTESTANTS.values() for name in names]
    return (
        _spelled_out("--upsampler", options.upsampler, _CONTESTANTS | {"all": contestants}, contestants),
        _spelled_out("--metric", options.metric, _METRICS | {"all": list(LABELS)}, LABELS),
        _spelled_out("--source", options.source, {"paper": published.SOURCES}, SOURCES),
    )


def _spelled_out(
    flag: str, given: Sequence[str], groups: Mapping[str, Sequence[str]], known: Iterable[str]
) -> list[str]:
    """Return the names that were given, groups spelled out."""
    from usu.arrays.checks import suggestion

    every = [*groups, *known]
    names: list[str] = []
    for word in given:
        if word not in every:
            raise ValueError(
                f"{flag} {word!r} is unknown{suggestion(word, every) or ': give one of ' + ', '.join(every)}"
            )
        names += groups.get(word, [word])
    return list(dict.fromkeys(names))


def _models(given: Sequence[str], weights: dict[str, str]) -> tuple[list[str], dict[str, str]]:
    """Return the networks' names and the files of their weights; a card is called by its own name."""
    cards = {Path(name).stem: name for name in given if Path(name).suffix == CARD}
    names = [Path(name).stem if Path(name).suffix == CARD else name for name in given]
    for name in names:
        if names.count(name) > 1 or (name in cards and name in weights):
            raise ValueError(f"--model has two networks called {name}: rename a card, or drop one of them")
    return names, weights | {name: str(Path(card).absolute()) for name, card in cards.items()}


def _named_files(given: Sequence[str]) -> dict[str, str]:
    files: dict[str, str] = {}
    for text in given:
        name, _, file = text.partition("=")
        if not name or not file:
            raise ValueError(f"--weights must be NAME=FILE, got {text!r}")
        if name in files:
            raise ValueError(f"--weights names {name} twice: {files[name]} and {file}; give one file")
        files[name] = file
    return files
