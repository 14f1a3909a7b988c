"""Explain a photograph with the bundled network, and draw the map over it.

    pip install '.[demo]'
    python examples/quickstart.py [PHOTOGRAPH]

By default the photograph is scikit-image's cup of coffee. Nothing is downloaded; the map is written to
quickstart.png and the whole record to quickstart.npz.
"""

from __future__ import annotations

import sys

import skimage.data
from PIL import Image

import usu
from usu.models import load_classifier, read_image


def explain(photograph: Image.Image) -> tuple[usu.Explanation, str]:
    """Explain the predicted class by Grad-CAM, redistributed to pixels; return its name, too."""
    classifier = load_classifier("efficientnet-lite0")
    inputs, picture = classifier.prepare(photograph)
    explanation = usu.explain(classifier.model, inputs, images=picture)
    return explanation, classifier.class_names[explanation.target]


def main(path: str | None = None) -> None:
    """Explain the photograph at `path`, and write the map and the record."""
    photograph = read_image(path) if path else Image.fromarray(skimage.data.coffee())
    explanation, class_name = explain(photograph)
    usu.plot.overlay_figure(explanation, class_name=class_name).savefig("quickstart.png")
    explanation.save("quickstart.npz")
    print(f"{class_name}, {100 * explanation.probability:.0f} %: quickstart.png, quickstart.npz")
    cells, pixels = explanation.coarse.sum(), explanation.attribution.sum()
    print(f"the cells sum to {cells:.4f}, the pixels to {pixels:.4f}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
