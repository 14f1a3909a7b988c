"""The command `usu`: a demo, and explanations of one's own photographs.

Heavy libraries are imported by the commands that use them, so that `usu --help` answers at once.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from PIL import Image

    from usu.arrays import Array
    from usu.explanation import Explanation
    from usu.models import Classifier

_BAD_INPUT, _INTERRUPTED, _PIPE_CLOSED = 2, 130, 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code: 0, 2 for bad input, 130 after Ctrl-C."""
    options = build_parser().parse_args(argv)
    try:
        code: int = options.run(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has gone; what is still buffered must not fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _PIPE_CLOSED
    except (ValueError, OSError, ImportError) as problem:
        _complain(problem)
        return _BAD_INPUT
    return code


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the tables at the end of this file."""
    parser = _Parser(
        prog="usu", description=_ABOUT, epilog=_START, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"usu {version('usu-xai')}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in _COMMANDS:
        one = commands.add_parser(
            command.name,
            help=command.summary,
            description=f"{command.summary[0].upper()}{command.summary[1:]}.\n\n{command.details}",
            epilog=command.examples,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        for flags, settings in command.arguments:
            one.add_argument(*flags, **settings)
        one.set_defaults(run=command.run)
    return parser


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(_BAD_INPUT, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def _demo(options: argparse.Namespace) -> int:
    """Explain scikit-image's photograph of a cat."""
    from PIL import Image
    from skimage.data import chelsea

    from usu.models import DEMO_MODEL, load_classifier

    folder = _output_folder(options.out)
    classifier = load_classifier(DEMO_MODEL)
    # Nearly the whole photograph rather than a square of it: with some background, one sees what is left out.
    prepare = replace(classifier.prepare, resize=224, crop=(224, 320))
    _explain_picture("chelsea", Image.fromarray(chelsea()), replace(classifier, prepare=prepare), folder)
    return 0


def _explain(options: argparse.Namespace) -> int:
    """Explain photographs from files; a bad one is reported and the rest go on."""
    from tqdm import tqdm

    from usu.images import read_image
    from usu.layers import find_layer
    from usu.models import find_class, load_classifier
    from usu.sources import find_source

    folder = _output_folder(options.out)
    find_source(options.source)
    classifier = load_classifier(options.model, options.weights)
    target = None if options.target is None else find_class(classifier.categories, options.target)
    if options.layer is not None:
        find_layer(classifier.model, None, options.layer)
    asked = {name: getattr(options, name) for name in _EXPLAIN_KEYWORDS}
    keywords = {name: value for name, value in asked.items() if value is not None}
    failed = False
    photographs = list(zip(options.images, output_names(options.images), strict=True))
    quiet = len(photographs) == 1 or not sys.stderr.isatty()
    for path, name in tqdm(photographs, desc="photographs", unit="photograph", disable=quiet):
        try:
            image = read_image(path)
            own = folder / name
            own.mkdir(exist_ok=True)
            _explain_picture(path, image, classifier, own, target=target, **keywords)
        except (ValueError, OSError) as problem:
            failed = True
            _complain(problem, path)
    return _BAD_INPUT if failed else 0


def _explain_picture(
    title: str, image: Image.Image, classifier: Classifier, folder: Path, **keywords: Any
) -> None:
    """Explain one picture, write the three files and print the table."""
    from tqdm import tqdm

    from usu.pipeline import explain
    from usu.plot import TITLES, comparison, overlay_figure, save_figure

    inputs, picture = classifier.prepare(image)
    start = time.perf_counter()
    explanation = explain(
        classifier.model, inputs, images=picture, show_progress=sys.stderr.isatty(), **keywords
    )
    seconds = time.perf_counter() - start
    maps = {name: upsample_again(explanation, name) for name in TITLES}
    category = classifier.categories[explanation.target] if classifier.categories else None
    explanation.save(folder / "explanation.npz")
    figure = overlay_figure(explanation, category=category, model=classifier.name)
    save_figure(figure, folder / "overlay.png")
    figure = comparison(explanation, maps, category=category, model=classifier.name)
    save_figure(figure, folder / "comparison.png")
    facts = {
        "image": f"{title}, {image.width} × {image.height} pixels",
        "model": f"{classifier.name}, layer {explanation.layer}" if explanation.layer else classifier.name,
        "class": category or "unnamed",
        "class index": str(explanation.target),
        "probability": f"{100 * explanation.probability:.1f} %",
        "coarse map": f"{explanation.source}, {' × '.join(map(str, explanation.coarse.shape))} cells",
        "forward passes": str(explanation.forward_passes),
        "seconds": f"{seconds:.1f}",
        "files": f"{folder}{os.sep}overlay.png, comparison.png, explanation.npz",
    }
    lines = [f"{name:<16}{value}" for name, value in facts.items()]
    # Above a progress bar, if there is one.
    tqdm.write("\n".join([*lines, "", *mass_table(explanation, maps), ""]))


def upsample_again(explanation: Explanation, name: str) -> Array:
    """Return the map (H, W) that another upsampler makes of an explanation's coarse and score maps."""
    from usu.upsamplers import upsampler

    keywords = {
        key: explanation.settings[key] for key in ("temperature", "importance_temperature", "potential")
    }
    method = upsampler(name, neighbourhoods=explanation.neighbourhoods, mass=explanation.mass, **keywords)
    pixels: Array = method(explanation.coarse, explanation.score_map)
    return pixels


def mass_table(explanation: Explanation, maps: Mapping[str, Array]) -> list[str]:
    """Return a table of how far each map (H, W) keeps the coarse map's mass, a line for each.

    The D1 error is the mean over cells of |Σ Ã - M_k|, absolute and relative to the mean |M_k|.
    """
    import torch

    from usu.redistribute import neighbourhoods_of

    masses = torch.as_tensor(explanation.coarse).to(torch.float64)
    cells = neighbourhoods_of(masses, tuple(explanation.attribution.shape), explanation.neighbourhoods)
    masses = masses * cells.areas(masses) if explanation.mass == "density" else masses
    scale = float(masses.abs().mean())
    lines = [f"{'upsampler':<12}{'D1 error':>12}{'relative':>12}{'total mass':>12}"]
    for name, values in maps.items():
        pixels = torch.as_tensor(values).to(torch.float64)
        error = float((cells.sum(pixels) - masses).abs().mean())
        relative = f"{error / scale:.2e}" if scale else "-"
        lines.append(f"{name:<12}{error:>12.2e}{relative:>12}{float(pixels.sum()):>12.6g}")
    return [*lines, f"{'coarse map':<36}{float(masses.sum()):>12.6g}"]


def output_names(paths: Sequence[str]) -> list[str]:
    """Return one folder name per photograph: its name without the ending, numbered where several share it.

    Capitals alone do not tell folders apart on every system, so they do not here.

    >>> output_names(["a/cat.jpg", "b/Cat.png", "cat-2.jpg"])
    ['cat', 'Cat-2', 'cat-2-2']
    """
    names: list[str] = []
    taken: set[str] = set()
    for path in paths:
        stem = Path(path).stem or "photograph"
        candidates = chain([stem], (f"{stem}-{number}" for number in count(2)))
        name = next(name for name in candidates if name.casefold() not in taken)
        taken.add(name.casefold())
        names.append(name)
    return names


def _output_folder(name: str) -> Path:
    """Make the folder and see that it can be written to, before an hour of work is spent."""
    folder = Path(name)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--out {name} is a file; give a folder")
    folder.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=folder).close()
    return folder


def _complain(problem: Exception, subject: str = "") -> None:
    """Print a problem on standard error as one line, which names the file that it is about."""
    text = str(problem)
    if isinstance(problem, OSError) and problem.strerror and problem.filename:
        text = f"{problem.filename}: {problem.strerror}"
    text = " ".join(text.split()) or type(problem).__name__
    if subject and subject not in text:
        text = f"{subject}: {text}"
    print(f"usu: error: {text}", file=sys.stderr)


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a positive number, got {text!r}")
    return value


def _whole(text: str) -> int:
    if not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"must be a whole number from 1, got {text!r}")
    return int(text)


@dataclass(frozen=True)
class _Command:
    name: str
    run: Callable[[argparse.Namespace], int]
    summary: str
    details: str
    examples: str
    arguments: tuple[tuple[tuple[str, ...], dict[str, Any]], ...]


_ABOUT = """\
Bring a coarse attribution map, such as Grad-CAM's, to pixels: each cell's mass is shared among its pixels
by how much the model's answer depends on the segments they lie in. Nothing is lost and nothing is made up.
"""

_START = """\
start here:
  usu demo                      explain a photograph that comes along, with a small trained network
  usu explain cat.jpg           explain your own photograph with the same network
  usu explain --help            choose another network, class, layer or way of upsampling
"""

_WRITES = "overlay.png (the map over the photograph), comparison.png (all stages and upsamplers side by side)\n\
and explanation.npz (every array; usu.Explanation.load reads it)"

_DEMO_DETAILS = f"""\
Explains scikit-image's photograph of a cat with EfficientNet-Lite0 and Grad-CAM. Writes
{_WRITES}.
Prints the class, the cost, and how well each upsampler keeps the mass of the coarse map's cells (D1).
"""
