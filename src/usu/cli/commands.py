"""What the commands do; each returns its exit code."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from usu.cli.report import check_record, complain, desiderata_table, fact_table, mass_table

if TYPE_CHECKING:
    from PIL import Image

    from usu.arrays import Array
    from usu.explanation import Explanation
    from usu.models import Classifier

VIOLATED, BAD_INPUT = 1, 2

_TO_EXPLAIN = ("layer", "mode", "source", "temperature", "importance_temperature", "perturbations_per_eval")


def demo(options: argparse.Namespace) -> int:
    """Explain scikit-image's photograph of a cat."""
    folder = _writable_folder(options.out)
    _explain_picture(*_demo_photograph(), folder, verdicts=True)
    return 0


def _demo_photograph() -> tuple[Image.Image, Classifier]:
    from PIL import Image
    from skimage.data import chelsea

    from usu.models import DEMO_MODEL, load_classifier

    classifier = load_classifier(DEMO_MODEL)
    # Nearly the whole photograph rather than a square of it: with the background one sees what is left out.
    prepare = replace(classifier.prepare, resize=224, crop=(224, 320))
    photograph: Callable[[], Any] = chelsea
    return Image.fromarray(photograph()), replace(classifier, prepare=prepare)


def explain_files(options: argparse.Namespace) -> int:
    """Explain photographs from files; a bad one is reported and the rest go on."""
    import torch
    from tqdm import tqdm

    from usu.images import read_image
    from usu.layers import find_layer
    from usu.models import load_classifier
    from usu.sources import find_source
    from usu.targets import find_class

    folder = _writable_folder(options.out)
    if options.source is not None:
        find_source(options.source)
    classifier = load_classifier(options.model, options.weights)
    if options.layer is not None:
        find_layer(classifier.model, torch.empty(0), options.layer)  # named, it is looked up, not run
    keywords = {name: getattr(options, name) for name in _TO_EXPLAIN if getattr(options, name) is not None}
    if options.target is not None:
        keywords["target"] = find_class(classifier.categories, options.target)
    failed = False
    photographs = list(zip(options.images, output_names(options.images), strict=True))
    silent = len(photographs) == 1 or not sys.stderr.isatty()
    for path, name in tqdm(photographs, desc="photographs", unit="photograph", disable=silent):
        try:
            image = read_image(path)
            own = folder / name
            own.mkdir(exist_ok=True)
            _explain_picture(image, classifier, own, options.size, **keywords)
        except BrokenPipeError:  # whoever read the output has gone
            raise
        except (ValueError, OSError) as problem:
            failed = True
            complain(problem, path)
    return BAD_INPUT if failed else 0


def _explain_picture(
    image: Image.Image,
    classifier: Classifier,
    folder: Path,
    size: str = "network",
    verdicts: bool = False,
    **keywords: Any,
) -> None:
    """Explain one picture, write the four files, print the tables; verdicts in the report take seconds."""
    from tqdm import tqdm

    from usu.pipeline import explain
    from usu.plot import TITLES, comparison, overlay_figure, save_figure
    from usu.report import Entry, write

    inputs, picture = classifier.prepare(image)
    placement = classifier.prepare.placement(image)
    start = time.perf_counter()
    explanation = explain(
        classifier.model,
        inputs,
        images=picture,
        placement=placement,
        show_progress=sys.stderr.isatty(),
        **keywords,
    )
    seconds = time.perf_counter() - start
    maps = _by_each(explanation, TITLES)
    category = classifier.categories[explanation.target] if classifier.categories else None
    names = {"category": category, "model": classifier.name}
    explanation.save(folder / "explanation.npz")
    save_figure(overlay_figure(_SIZES[size](explanation, image), **names), folder / "overlay.png")
    save_figure(comparison(explanation, maps, **names), folder / "comparison.png")
    write([Entry(explanation, name=folder.name, verdicts=verdicts, **names)], folder / "report.html")
    lines = [
        *fact_table(explanation, category, classifier.name, seconds),
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
            maps[name] = explanation.by(name)
        except ValueError:
            if explanation.neighbourhoods is None:  # superpixels are no grid, which interpolation needs
                raise
    return maps


def _as_seen(explanation: Explanation, image: Image.Image) -> Explanation:
    return explanation


def _in_the_photograph(explanation: Explanation, image: Image.Image) -> Explanation:
    """Return an explanation whose picture and map are those of the whole photograph."""
    from torchvision.transforms.functional import to_tensor

    return replace(
        explanation, image=to_tensor(image.convert("RGB")), attribution=explanation.at_photograph()
    )


_SIZES = {"network": _as_seen, "photograph": _in_the_photograph}


def check(options: argparse.Namespace) -> int:
    """Measure the desiderata of upsamplers on one photograph; 1 where a required one violates D1 to D4."""
    from usu.desiderata import check_desiderata
    from usu.images import read_image
    from usu.models import DEMO_MODEL, load_classifier
    from usu.pipeline import explain
    from usu.upsamplers import UPSAMPLERS

    if options.image is None:
        image, classifier = _demo_photograph()
    else:
        image, classifier = read_image(options.image), load_classifier(DEMO_MODEL)
    inputs, picture = classifier.prepare(image)
    explanation = explain(classifier.model, inputs, images=picture, show_progress=sys.stderr.isatty())
    wanted = {*(options.upsampler or UPSAMPLERS), *options.require}
    setting = {name: explanation.settings[name] for name in ("temperature", "importance_temperature")}
    reports = [
        check_desiderata(name, explanation.coarse, explanation.score_map, mass=explanation.mass, **setting)
        for name in UPSAMPLERS
        if name in wanted
    ]
    record = check_record(reports, explanation, options.image or "the demo's photograph", options.require)
    print(json.dumps(record, indent=2) if options.json else "\n".join(desiderata_table(reports, record)))
    return VIOLATED if record["violations"] else 0


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


def _writable_folder(name: str) -> Path:
    """Make the folder for the results, and see that it takes files before time is spent on them."""
    folder = Path(name)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--out {name} is a file, not a folder")
    folder.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=folder).close()
    return folder
