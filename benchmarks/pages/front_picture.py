"""The picture of README.md and of the documentation's first page: docs/images/front.png.

    python -m benchmarks.pages.front_picture

The network is EfficientNet-Lite0 with its published weights. The photograph is scikit-image's `coffee`: of
those that it ships, the one whose class the network is surest of.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import skimage.data
import torch
from matplotlib.figure import Figure
from PIL import Image

import usu
from usu import plot
from usu.arrays.convert import Array
from usu.models.loading import load_classifier

PICTURE = Path(__file__).parents[2] / "docs" / "images" / "front.png"
MAPS = {
    "bilinear": "interpolated",
    "usu-continuous": "usu, each cell kept",
    "total-conserving": "usu, the default",
}
_SMALL, _LARGE = 15, 17  # points: a page shows the picture at about 60 pixels an inch


def draw(explanation: usu.Explanation, category: str) -> Figure:
    """Return one row: photograph, cells, and three maps over the photograph, each on a scale of its own."""
    rows, columns = explanation.coarse.shape
    figure = Figure(figsize=(15, 3.9), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.04, h_pad=0.03, wspace=0, hspace=0)
    picture, cells, *others = figure.subplots(1, 2 + len(MAPS))
    plot.photograph(explanation, picture)
    picture.set_title("photograph", fontsize=_LARGE)
    picture.set_xlabel(f"“{category}”,\n{100 * explanation.probability:.0f} % sure", fontsize=_SMALL)
    plot.coarse_cells(explanation, cells)
    cells.set_title(f"Grad-CAM, {rows} × {columns}", fontsize=_LARGE)
    cells.set_xlabel(f"one number for\neach of {rows * columns} cells", fontsize=_SMALL)
    for axis, (name, title) in zip(others, MAPS.items(), strict=True):
        values = explanation.upsampled_by(name)
        plot.overlay(explanation, axis, values, norm=plot.colour_limits([values]))
        axis.set_title(title, fontsize=_LARGE)
        moved = f"{100 * _moved(explanation, values):.1f} % of the mass\n"
        axis.set_xlabel(
            f"{moved}{'moved' if name == 'total-conserving' else 'left its cell'}", fontsize=_SMALL
        )
    return figure


def _moved(explanation: usu.Explanation, values: Array) -> float:
    """Return the share of the map's mass that lies in another cell than the coarse map says."""
    errors = usu.mass_errors(values, explanation.upsampled_by("nearest"), tuple(explanation.coarse.shape))
    return float(errors.deficit.sum() / values.sum())


def main() -> None:
    """Draw the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=PICTURE)
    options = parser.parse_args()
    torch.manual_seed(0)
    classifier = load_classifier("efficientnet-lite0")
    inputs, picture = classifier.prepare(Image.fromarray(skimage.data.coffee()))
    explanation = usu.explain(classifier.model, inputs, images=picture)
    category = (classifier.class_names or {})[explanation.target]
    plot.save_figure(draw(explanation, category), options.out, dpi=100)
    for name, title in MAPS.items():
        print(f"{title}: {100 * _moved(explanation, explanation.upsampled_by(name)):.1f} % in other cells")
    print(
        f"{category}, {explanation.probability:.3f}: {options.out}, {options.out.stat().st_size / 1e3:.0f} kB"
    )


if __name__ == "__main__":
    main()
