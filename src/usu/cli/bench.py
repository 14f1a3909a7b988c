"""The command `usu bench`: many images judged by many metrics, and the tables made of the results."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

# The names of usu.bench.datasets.DATASETS, layouts.LAYOUTS and render.FORMATS, without importing them.
DATASETS = ("imagenet", "cifar10", "cub200", "folder")
LAYOUTS = ("table2", "table3", "table7", "table8", "table9", "table10", "honest")
FORMATS = ("text", "md", "csv", "json", "latex", "html")

SUMMARY = "judge upsamplers on many images, and print the tables"

DETAILS = """\
Judge pixel maps of many images: run measures them, status says how far it is, table prints what came out.
"""

EXAMPLES = """\
examples:
  usu bench run --data photographs --images 20 --out results
  usu bench status results
  usu bench table results --layout honest
"""

RUN_DETAILS = """\
Measure every metric of every map of every image, and write rows to RESULTS as they come. What is there is
not measured again: a run that was stopped goes on, and images, models, sources, upsamplers and metrics can
be added. Settings are the folder's own: results of other settings belong in another folder.

Names of --upsampler: "upsamplers" (nearest, bilinear, bicubic, lanczos, usu, iwmr, hybrid, complete),
"controls" (zero, constant, scores, shuffled-scores, random-segments, blurred-nearest), "peers" (guided, rise,
rise-10x, occlusion, occlusion-10x, shap-partition, xrai, refinecam), "all", or single ones.
Names of --metric: "paper" (block A: infidelity, infidelity-minmax, irof, irof-per-segment, monotonicity,
pixel-flipping, road, sparseness), "fair" (block B), "all", or single ones.
Names of --source: "paper" (the seven of table 8), or those of usu explain --source.
"""

RUN_EXAMPLES = """\
examples:
  usu bench run --data photographs --images 4 --out results
      the upsamplers by all metrics on four photographs
  usu bench run --data photographs --images 100 --upsampler all --workers 2 --out results
      controls and other people's methods too, two images at a time
  usu bench run --dataset imagenet --data imagenet --model resnet50 vit_b_16 --images 1000 --correct
      --weights resnet50=resnet50-11ad3fa6.pth vit_b_16=vit_b_16-c867db91.pth
      --engine ray --address auto --out results
"""

TABLE_DETAILS = """\
Print a table made from results alone, beside the paper's figures where it has them; no model, no image.

  table2             D1 error of each upsampler
  table3             infidelity by data set and model, under each scaling
  table7             effect sizes of USU against bilinear
  table8             sources
  table9, table10    the paper's six metrics; table10 for CUB-200
  honest             both blocks of metrics, controls, peers, intervals and all tests that were run
"""

TABLE_EXAMPLES = """\
examples:
  usu bench table results
  usu bench table results --layout table3 --format latex > table3.tex
"""

DATASET = "imagenet, cifar10, cub200, or any folder of images (default: %(default)s)"
MODEL = """efficientnet-lite0, -lite1, -lite2, any torchvision classifier, or timm:NAME
(default: efficientnet-lite0)"""
WEIGHTS = "the weights of a network, such as resnet50=FILE"
SOURCE = "what gives the coarse maps (default: gradcam)"
UPSAMPLER = 'what makes pixel maps (default: "upsamplers")'
METRIC = 'what judges them (default: "all")'
CORRECT = "only images that the network classifies rightly"
POSITIVE = "drop negative values of every coarse map; the complete map, which needs none, keeps its own"
SEED = "of the choice of images and of everything random (default: %(default)s)"
ENGINE = "local, or ray for a cluster (default: %(default)s)"
WORKERS = "images at the same time (default: 1, or what a cluster has room for)"
LAYOUT = "%(choices)s (default: %(default)s)"

_PAPER_SOURCES = ("gradcam", "hirescam", "gradcam++", "xgradcam", "fullgrad", "shapleycam", "finercam")


def run(options: argparse.Namespace) -> int:
    """Measure what is missing; 2 if images were left out."""
    from usu.bench.engines.registry import find_engine
    from usu.bench.run import Plan
    from usu.bench.run import run as measure
    from usu.bench.worker import Spec

    engine = find_engine(options.engine, options.workers, options.address)
    settings = {} if options.temperature is None else {"temperature": options.temperature}
    weights = _named_files(options.weights)
    folder = str(Path(options.data).absolute())
    spec = Spec(options.dataset, folder, weights, settings, options.positive, options.seed)
    upsamplers, metrics, sources = _names(options)
    plan = Plan(spec, options.model, sources, upsamplers, metrics, options.images, options.correct)
    summary = measure(plan, engine, Path(options.out), show_progress=True)
    for model, images in summary.images.items():
        print(f"{model}: {images} images")
    print(f"{summary.new} new rows in {options.out}; usu bench table {options.out} prints them")
    if summary.problems:
        print(f"{len(summary.problems)} images left out:", file=sys.stderr)
        for name, problem in summary.problems.items():
            print(f"  {name}: {problem}", file=sys.stderr)
    return 2 if summary.problems else 0


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
    from usu.bench.results.folder import read_rows
    from usu.bench.tables.layouts import layout
    from usu.bench.tables.render import FORMATS as RENDER

    sys.stdout.write(RENDER[options.format](layout(options.layout, read_rows(options.results))))
    return 0


def _names(options: argparse.Namespace) -> tuple[list[str], list[str], list[str]]:
    """Return the upsamplers, metrics and sources that were named, groups spelled out."""
    from usu.bench.methods.registry import CONTESTANTS, CONTROLS, PEERS, UPSAMPLERS
    from usu.metrics.faithfulness import METRICS
    from usu.metrics.faithfulness.labels import LABELS
    from usu.sources.registry import SOURCES

    groups = {"upsamplers": UPSAMPLERS, "controls": CONTROLS, "peers": PEERS, "all": CONTESTANTS}
    blocks = {
        name: [metric for metric in METRICS if LABELS[metric].block in letters]
        for name, letters in (("paper", "A"), ("fair", "B"), ("all", "AB"))
    }
    return (
        _spelled_out("--upsampler", options.upsampler, groups, CONTESTANTS),
        _spelled_out("--metric", options.metric, blocks, METRICS),
        _spelled_out("--source", options.source, {"paper": _PAPER_SOURCES}, SOURCES),
    )


def _spelled_out(
    flag: str, given: Sequence[str], groups: Mapping[str, Sequence[str] | Mapping[str, object]], known: object
) -> list[str]:
    from usu.arrays.checks import suggestion

    names: list[str] = []
    for word in given:
        if word not in groups and word not in known:  # type: ignore[operator]
            every = [*groups, *known]  # type: ignore[misc]
            raise ValueError(
                f"{flag} {word!r} is unknown{suggestion(word, every) or ': give one of ' + ', '.join(every)}"
            )
        names += list(groups.get(word, [word]))
    return list(dict.fromkeys(names))


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
