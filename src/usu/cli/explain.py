"""What the commands do; each returns its exit code."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from usu.cli._output import (
    _writable_folder,
    complain,
    fact_table,
    mass_table,
    output_names,
)

if TYPE_CHECKING:
    from PIL import Image

    from usu.arrays.convert import Array
    from usu.explanation import Explanation
    from usu.models.classifier import Classifier


VIOLATED, BAD_INPUT = 1, 2

_TO_EXPLAIN = ("layer", "mode", "source", "temperature", "importance_temperature", "perturbations_per_eval")


def explain_files(options: argparse.Namespace) -> int:
    """Explain photographs from files; a bad one is reported and the rest go on."""
    import torch
    from tqdm import tqdm

    from usu.models.images import read_image
    from usu.models.layers import find_layer
    from usu.models.loading import load_classifier
    from usu.models.targets import find_class
    from usu.sources.registry import find_source

    folder = _writable_folder(options.out)
    if options.source is not None:
        find_source(options.source)
    classifier = load_classifier(options.model, options.weights)
    if options.layer is not None:
        find_layer(classifier.model, torch.empty(0), options.layer)  # named, it is looked up, not run
    keywords = {name: getattr(options, name) for name in _TO_EXPLAIN if getattr(options, name) is not None}
    if options.target is not None:
        keywords["target"] = find_class(classifier.class_names, options.target)
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
    category = classifier.class_names[explanation.target] if classifier.class_names else None
    names = {"class_name": category, "model": classifier.name}
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
            maps[name] = explanation.upsampled_by(name)
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
        explanation, image=to_tensor(image.convert("RGB")), attribution=explanation.to_original_size()
    )


_SIZES = {"network": _as_seen, "photograph": _in_the_photograph}
