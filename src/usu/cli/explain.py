"""`usu explain`: photographs from files, by a network of the caller's choice."""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from usu.bench.engines.registry import ENGINES
from usu.cli._output import (
    BAD_INPUT,
    FILES,
    OUT,
    TEMPERATURE,
    Commands,
    complain,
    number_from_zero,
    positive_number,
    token_layout,
    whole_number,
    writable_folder,
)
from usu.models.backends import BACKENDS
from usu.models.bundled import DEMO_MODEL, SIZES
from usu.operators.registry import MODES
from usu.sources.registry import SOURCES

if TYPE_CHECKING:
    from PIL import Image

    from usu.arrays.convert import Array
    from usu.explanation import Explanation
    from usu.models.classifier import Classifier

_DETAILS = f"""\
Explain photographs: which pixels speak for a class, by a network of your choice.

{FILES}
Each photograph gets a folder of its own inside DIR. Pictures may be of any kind that Pillow reads; one
that cannot be read is reported, the others continue, and the exit code is 2 at the end.

Of a FOLDER, with the folders in it, each photograph gets one record, NAME.npz, and all together a table,
explained.csv, and a page, report.html, of up to 24 of them. The same command continues where it was
interrupted, even if it was killed.
"""

_EXAMPLES = """\
examples:
  usu explain cat.jpg dog.jpg
      the predicted classes, by EfficientNet-Lite0, to usu-out/cat/ and usu-out/dog/
  usu explain cat.jpg --target "Persian cat"
      what speaks for another class; an index or a unique part of the name will do
  usu explain cat.jpg --model resnet50 --weights resnet50-11ad3fa6.pth
      any torchvision classifier; nothing is downloaded, so give the file of its weights
  usu explain cat.jpg --model resnet50 --weights mine.pth --layer layer3
      your own fine-tuned network, and the coarse map of an earlier layer
  usu explain cat.jpg --model mine.json
      any other network: a card says how it is built, where its weights are, and what its input is
  usu explain cat.jpg --mode hybrid --temperature 0.3
      let mass move between cells, and share it less sharply within them
  usu explain cat.jpg --source shap --size photograph
      another method, and the map over the whole photograph, 0 where the network did not look
  usu explain photographs/ --out maps/ --workers 4
      every photograph of a folder, by four processes; the same command continues after an interruption
  usu explain photographs/ --out maps/ --engine ray --address auto
      by all machines of a Ray cluster; photographs and weights are read on each, from the same paths
"""

_MODEL = f"""{", ".join(SIZES)}, any torchvision classifier, or CARD.json, which describes another network
(default: %(default)s)"""
_WEIGHTS = """the network's weights: a state dict, as torch.save writes it, a checkpoint that holds one, or a
network card"""
_TARGET = "class to explain, by index or name (default: the predicted one)"
_LAYER = "module whose map is taken, such as layer4 (default: the last one before pooling)"
_RUN = "which run of the layer is described, from 0, if the network runs it on several images or crops"
_TOKENS = """where the image's cells lie in the layer's output, if that is not found: rows x columns of cells,
and what differs of prefix=0, suffix=0 (tokens before and after them), order=rows (or columns) and axis=1 (of
the tokens), as in 14x14,prefix=5,axis=0"""
_MODE = """total-conserving shares the total smoothly; usu keeps the mass of each cell; iwmr and hybrid keep
only the total and move it to the cells that matter, hybrid in proportion to the mass that is there; complete
accounts for the prediction itself, by Owen values on parts of the picture (default: total-conserving, or usu
with --continuous or --no-continuous)"""
_CONTINUOUS = """for usu, iwmr and hybrid: no steps at the borders of cells; --no-continuous is the
paper's operator"""
_SMOOTHING = """radius, as a part of the shorter side, of the filter that smooths scores along the picture's
edges (default: 1/56 of the side for total-conserving, else none)"""
_SOURCE = """method that gives the coarse map: %(choices)s (default: attention-relevance for transformers,
gradcam for others; for complete, the gradient
times the difference from the fill)"""
_RANGE = """values that are black and white in grey pictures of more than 8 bits, such as -160 240 for CT
(default: 0 1 for floats, else 16 bits, or as few as hold the values, which a line says)"""
_SIZE = """what overlay.png shows: the network's input, or the whole photograph with the map at its size
(default: %(default)s)"""
_IMPORTANCE = "the same between cells, for iwmr and hybrid (default: as --temperature)"
_SCORING = """how segments are scored: mask, keep, both, owen, regression, order or mask+order (default:
order; mask for a network without gradients; for complete, owen)"""
_OUTPUT = "what is scored: the class's probability or logit (default: probability)"
_BACKEND = """what masked images go through: the network itself (eager), a copy of it by openvino or compile
(PyTorch's compiler), or auto: openvino's where it is installed and saves time (default: %(default)s)"""
_DOUBLE = """compute in double precision, which takes about three times as long: maps by scores of order, too,
are then the same with any number of threads"""
_DEVICE = "what the network computes on, such as cuda (default: %(default)s)"
_ENGINE = "for a folder: ray explains on a cluster (default: %(default)s)"
_WORKERS = """for a folder: processes that explain photographs, each with a network of its own (default: 1, or
what a cluster has room for)"""
_ADDRESS = "of a Ray cluster (default: one here)"
_BATCH = "masked images per forward call; fewer need less memory (default: %(default)s)"

_TO_EXPLAIN = (
    "layer",
    "tokens",
    "mode",
    "continuous",
    "score_smoothing",
    "source",
    "scoring",
    "output",
    "temperature",
    "importance_temperature",
    "perturbations_per_eval",
    "backend",
)


def add_parser(commands: Commands) -> None:
    """Add the command to those of `usu`."""
    parser = commands.add_parser(
        "explain", help="explain your own photographs", description=_DETAILS, epilog=_EXAMPLES
    )
    add = parser.add_argument
    add("images", metavar="IMAGE", nargs="+", help="photographs, or one folder of them")
    add("--model", metavar="NAME", default=DEMO_MODEL, help=_MODEL)
    add("--weights", metavar="FILE", help=_WEIGHTS)
    add("--target", metavar="CLASS", help=_TARGET)
    add("--layer", metavar="NAME", help=_LAYER)
    add("--run", metavar="N", dest="run_of_layer", type=number_from_zero, help=_RUN)
    add("--tokens", metavar="LAYOUT", type=token_layout, help=_TOKENS)
    add("--mode", choices=MODES, help=_MODE)
    add("--continuous", action=argparse.BooleanOptionalAction, help=_CONTINUOUS)
    add("--score-smoothing", metavar="PART", type=positive_number, help=_SMOOTHING)
    add("--source", choices=SOURCES, metavar="NAME", help=_SOURCE)
    add("--scoring", metavar="NAME", help=_SCORING)
    add("--output", metavar="NAME", help=_OUTPUT)
    add("--range", metavar=("LOW", "HIGH"), nargs=2, type=float, help=_RANGE)
    add("--size", choices=("network", "photograph"), default="network", help=_SIZE)
    add("--temperature", metavar="T", type=positive_number, help=TEMPERATURE)
    add("--importance-temperature", metavar="T", type=positive_number, help=_IMPORTANCE)
    add("--perturbations-per-eval", "--batch-size", metavar="N", type=whole_number, default=16, help=_BATCH)
    add("--backend", choices=BACKENDS, default="auto", help=_BACKEND)
    add("--device", metavar="NAME", default="cpu", help=_DEVICE)
    add("--double", action="store_true", help=_DOUBLE)
    add("--engine", choices=tuple(ENGINES), default="local", help=_ENGINE)
    add("--workers", metavar="N", type=whole_number, help=_WORKERS)
    add("--address", metavar="A", help=_ADDRESS)
    add("--out", metavar="DIR", default="usu-out", help=OUT)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Explain photographs from files; a bad one is reported and the rest go on."""
    from tqdm import tqdm

    from usu.models.targets import find_class
    from usu.models.tokens import Tokens
    from usu.pipeline import mode_of, settings_of
    from usu.sources.registry import find_source, told

    folders = [path for path in options.images if Path(path).is_dir()]
    if folders and (len(options.images) > 1 or options.size != "network"):
        what = "--size photograph" if len(options.images) == 1 else "further photographs"
        raise ValueError(f"a folder, {folders[0]}, is explained by itself, without {what}")
    folder = writable_folder(options.out)
    if options.tokens is not None:
        try:
            options.tokens = Tokens(**options.tokens)
        except ValueError as problem:
            raise ValueError(f"--tokens: {problem}") from None
    try:
        told(find_source(options.source or "gradcam"), tokens=options.tokens, run=options.run_of_layer)
    except TypeError as problem:  # of a source that describes no layer
        raise ValueError(str(problem)) from None
    names = ("continuous", "score_smoothing", "scoring", "output")
    named = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    settings_of(mode_of(options.mode, named), named)
    classifier = _loaded(options)
    keywords = {name: getattr(options, name) for name in _TO_EXPLAIN if getattr(options, name) is not None}
    if options.run_of_layer is not None:
        keywords["run"] = options.run_of_layer
    if options.target is not None:
        keywords["target"] = find_class(classifier.class_names, options.target)
    if folders:
        from usu.cli.folder import explain_folder

        return explain_folder(options, classifier, keywords)
    failed = False
    photographs = list(zip(options.images, output_names(options.images), strict=True))
    silent = len(photographs) == 1 or not sys.stderr.isatty()
    for path, name in tqdm(photographs, desc="photographs", unit="photograph", disable=silent):
        try:
            image = _read(path, options.range)
            own = folder / name
            own.mkdir(exist_ok=True)
            explain_picture(image, classifier, own, options.size, **keywords)
        except BrokenPipeError:  # whoever read the output has gone
            raise
        except (ValueError, OSError) as problem:
            failed = True
            complain(problem, path)
    return BAD_INPUT if failed else 0


def _loaded(options: argparse.Namespace) -> Classifier:
    """Return the network, on its device.

    Raises:
        ValueError: no such network, device or layer.
    """
    import torch

    from usu.models.layers import find_layer
    from usu.models.loading import load_classifier

    dtype = torch.float64 if options.double else None
    try:
        torch.ones(1, device=options.device, dtype=dtype).item()
    except (RuntimeError, AssertionError, TypeError) as problem:  # some devices know no float64
        name, why = options.device, str(problem).strip().splitlines()[0]
        raise ValueError(f"--device must be one of PyTorch's on this machine, got {name!r}: {why}") from None
    classifier = load_classifier(options.model, options.weights)
    if options.layer is not None:
        find_layer(classifier.model, torch.empty(0), options.layer)  # named, it is looked up, not run
    return classifier.to(options.device, dtype)


def _read(path: str, value_range: Sequence[float] | None) -> Image.Image:
    """Read a picture; what was assumed about its values is a line on standard error."""
    from tqdm import tqdm

    from usu.models.images import read_image

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        image = read_image(path, None if value_range is None else (value_range[0], value_range[1]))
    for one in told:
        tqdm.write(f"usu: note: {one.message}", file=sys.stderr)
    return image


def explain_picture(
    image: Image.Image,
    classifier: Classifier,
    folder: Path,
    size: str = "network",
    verdicts: bool = False,
    **keywords: Any,
) -> None:
    """Explain one picture, write the four files, print the tables; verdicts in the report take seconds."""
    from dataclasses import replace

    from tqdm import tqdm

    from usu.models.pictures import to_tensor
    from usu.pipeline import explain
    from usu.plot import TITLES, comparison, overlay_figure, save_figure
    from usu.report import Entry, write

    inputs, picture = classifier.prepare(image)
    placement = classifier.prepare.placement(image)
    start = time.perf_counter()
    explanation = explain(
        classifier.model,
        inputs.to(classifier.device),
        images=picture,
        placement=placement,
        show_progress=sys.stderr.isatty(),
        **keywords,
    )
    seconds = time.perf_counter() - start
    maps = _by_each(explanation, TITLES)
    class_name = classifier.class_names[explanation.target] if classifier.class_names else None
    whole = to_tensor(image.convert("RGB")) if size == "photograph" else None
    names = {"class_name": class_name, "model": classifier.name}
    explanation = replace(explanation, **names)  # so that a report of the file needs neither
    explanation.save(folder / "explanation.npz")
    save_figure(overlay_figure(explanation, **names, photograph=whole), folder / "overlay.png")
    save_figure(comparison(explanation, maps, **names), folder / "comparison.png")
    entry = Entry(explanation, name=folder.name, verdicts=verdicts, photograph=image, **names)
    write([entry], folder / "report.html")
    lines = [
        *fact_table(explanation, class_name, classifier.name, seconds),
        f"{'written to':<16}{folder}: overlay.png, comparison.png, report.html, explanation.npz",
        "",
        *mass_table(explanation, maps),
        "",
    ]
    tqdm.write("\n".join(lines))  # above the progress bar, if there is one
    sys.stdout.flush()  # a reader sees each picture as it is done, and one who has gone is noticed


def _by_each(explanation: Explanation, names: Iterable[str]) -> dict[str, Array]:
    """Return the map (H, W) of each upsampler that is defined on the cells of an explanation."""
    maps: dict[str, Array] = {}
    for name in names:
        try:
            maps[name] = explanation.upsampled_by(name)
        except ValueError:
            if explanation.neighbourhoods is None:  # superpixels are no grid, which interpolation needs
                raise
    return maps


def fact_table(explanation: Explanation, class_name: str | None, model: str, seconds: float) -> list[str]:
    """Return what was explained and what it took, a line each."""
    from usu.record import cells_of

    layer = f" of layer {explanation.layer}" if explanation.layer else ""
    coarse = f"{explanation.source}, {cells_of(explanation)}{layer}"
    if explanation.mode == "complete":
        coarse = f"Owen values, {cells_of(explanation)}, shared by {explanation.source}{layer}"
    probability = explanation.probability
    facts = {
        "class": f"{class_name} ({explanation.target})" if class_name else str(explanation.target),
        "probability": "none" if probability is None else f"{100 * probability:.1f} %",
        "model": model,
        "coarse map": coarse,
        "passes": str(explanation.forward_passes),
        "backend": str(explanation.backend),
        "seconds": f"{seconds:.1f}",
    }
    return [f"{name:<16}{value}" for name, value in facts.items()]


def mass_table(explanation: Explanation, maps: Mapping[str, Array]) -> list[str]:
    """Return how well each map (H, W) keeps the coarse map's mass, a line each under a heading.

    The D1 error is the mean over cells of |Σ Ã - M_k|: absolute, and relative to the mean |M_k|. M_k holds
    the mass that maps on further grids have in the cell.
    """
    import torch

    coarse, size = explanation.coarse_map, tuple(explanation.attribution.shape)
    lines = [f"{'upsampler':<17}{'D1 error':>12}{'relative':>12}{'total mass':>14}"]
    for name, values in maps.items():
        pixels = torch.as_tensor(values, dtype=torch.float64)
        error, scale = coarse.mass_error(pixels)
        relative = f"{error / scale:.1e}" if scale else "-"
        lines.append(f"{name:<17}{error:>12.1e}{relative:>12}{float(pixels.sum()):>14.6g}")
    lines.append(f"{'(coarse map)':<41}{float(coarse.masses(size).sum()):>14.6g}")
    return [
        *lines,
        "D1 error: mean over cells of |sum of pixels - mass of the cell|; relative to the mean |mass|",
    ]


def output_names(paths: Sequence[str]) -> list[str]:
    """Return one folder name per photograph: its own without the ending, numbered where several share it.

    Capitals do not tell folders apart on every system, so they do not here.

    >>> output_names(["a/cat.jpg", "b/Cat.png", "cat-2.jpg"])
    ['cat', 'Cat-2', 'cat-2-2']
    """
    names: list[str] = []
    taken: set[str] = set()
    for path in paths:
        stem = Path(path).stem
        candidates = chain([stem], (f"{stem}-{number}" for number in count(2)))
        name = next(name for name in candidates if name.casefold() not in taken)
        taken.add(name.casefold())
        names.append(name)
    return names
