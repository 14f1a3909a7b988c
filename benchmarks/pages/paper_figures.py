"""Figures 5 and 6 of the paper from a real run: docs/images/figure5.png and figure6.png.

    python -m benchmarks.pages.paper_figures [PHOTOGRAPH] [--target CLASS] [--out FOLDER]

The network is EfficientNet-Lite0 with its published weights, the coarse map is Grad-CAM's, the photograph
scikit-image's cat or a file. Both figures show one watershed hierarchy whose segments are split only where
the H-map answers: max |H| in the segment above the threshold. Each figure is written as PNG and as PDF.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import skimage.data
import torch
from PIL import Image

import usu
from usu import plot
from usu.explanation import Explanation
from usu.models.classifier import Classifier
from usu.models.images import read_image
from usu.models.loading import load_classifier
from usu.models.targets import find_class
from usu.scoring.refinement import Refinement

FOLDER = Path(__file__).parents[2] / "docs" / "images"
DPI = 140
METHOD = "watershed"
PIPELINE, REFINEMENT = (16, 48), (16, 48, 144)  # segments per depth, if all were split
RULES: dict[str, Any] = {"threshold": 0.6, "mixing": "segment"}


def explained(classifier: Classifier, image: Image.Image, target: int | None) -> Explanation:
    """Return the run of figure 5."""
    inputs, picture = classifier.prepare(image)
    segmentation = {METHOD: PIPELINE}
    found: Explanation = usu.explain(
        classifier.model, inputs, target, images=picture, segmentation=segmentation, mode="usu", **RULES
    )
    return found


def refined(classifier: Classifier, image: Image.Image, target: int | str) -> Refinement:
    """Return the run of figure 6: one depth more."""
    inputs, picture = classifier.prepare(image)
    hierarchy = usu.segment(picture, REFINEMENT, METHOD)
    found: Refinement = usu.refine(classifier.model, inputs, hierarchy, target, **RULES)
    return found


def without_opacity(path: Path) -> None:
    """Write a PNG again without its empty alpha channel, which takes a fifth of it."""
    with Image.open(path) as picture:
        opaque = picture.convert("RGB")
    opaque.save(path, optimize=True)


def main() -> None:
    """Draw both figures."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("photograph", nargs="?", help="a file (default: scikit-image's cat)")
    parser.add_argument("--target", help="class to explain (default: the predicted one)")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder (default: docs/images)")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    classifier = load_classifier("efficientnet-lite0")
    cat: Any = skimage.data.chelsea
    image = read_image(options.photograph) if options.photograph else Image.fromarray(cat())
    target = None if options.target is None else find_class(classifier.class_names, options.target)
    explanation = explained(classifier, image, target)
    refinement = refined(classifier, image, explanation.target)
    figures = {
        "figure5": plot.figure5(explanation),
        "figure6": plot.figure6(refinement, explanation.image),
    }
    for name, figure in figures.items():
        for kind in ("png", "pdf"):
            plot.save_figure(figure, options.out / f"{name}.{kind}", dpi=DPI)
        without_opacity(options.out / f"{name}.png")
    counts = [len(scores) for scores in refinement.scores]
    print(f"{classifier.class_names[explanation.target]}, probability {explanation.probability:.3f}")
    print(f"figure 5: {[len(scores) for scores in explanation.scores]} segments")
    print(f"figure 6: {counts} segments, {refinement.forward_passes} forward passes")


if __name__ == "__main__":
    main()
