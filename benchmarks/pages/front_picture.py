"""The picture of README.md and of the documentation's first page: docs/images/front.png.

    python -m benchmarks.pages.front_picture [--upsampler hybrid]

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
from usu.operators.upsamplers import UPSAMPLERS

PICTURE = Path(__file__).parents[2] / "docs" / "images" / "front.png"
_SMALL, _LARGE = 15, 17  # points: a page shows the picture at about 60 pixels an inch


def draw(explanation: usu.Explanation, category: str, upsampler: str) -> Figure:
    """Return one row: photograph, cells, bilinear interpolation and ours, all on one colour scale."""
    rows, columns = explanation.coarse.shape
    maps = {"bilinear": explanation.upsampled_by("bilinear"), upsampler: explanation.upsampled_by(upsampler)}
    norm = plot.colour_limits(maps.values())
    figure = Figure(figsize=(15, 3.9), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.04, h_pad=0.03, wspace=0, hspace=0)
    picture, cells, bilinear, ours, over = figure.subplots(1, 5)
    plot.photograph(explanation, picture)
    plot.coarse_cells(explanation, cells, norm=norm)
    for axis, values in zip((bilinear, ours), maps.values(), strict=True):
        plot.heat(values, axis, norm=norm)
        axis.set_xlabel(
            f"{100 * _moved(explanation, values):.1f} % of the mass\nleft its cell", fontsize=_SMALL
        )
    plot.overlay(explanation, over, maps[upsampler], norm=norm)
    picture.set_xlabel(f"“{category}”,\n{100 * explanation.probability:.0f} % sure", fontsize=_SMALL)
    cells.set_xlabel(f"one number for\neach of {rows * columns} cells", fontsize=_SMALL)
    over.set_xlabel("opaque where there\nis much mass", fontsize=_SMALL)
    titles = ["photograph", f"Grad-CAM, {rows} × {columns}", "interpolated", "redistributed by usu"]
    for axis, title in zip(
        (picture, cells, bilinear, ours, over), [*titles, "over the photograph"], strict=True
    ):
        axis.set_title(title, fontsize=_LARGE)
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
    parser.add_argument("--upsampler", default="usu", choices=tuple(UPSAMPLERS), help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=PICTURE)
    options = parser.parse_args()
    torch.manual_seed(0)
    classifier = load_classifier("efficientnet-lite0")
    inputs, picture = classifier.prepare(Image.fromarray(skimage.data.coffee()))
    explanation = usu.explain(classifier.model, inputs, images=picture)
    category = (classifier.class_names or {})[explanation.target]
    plot.save_figure(draw(explanation, category, options.upsampler), options.out, dpi=100)
    print(
        f"{category}, {explanation.probability:.3f}: {options.out}, {options.out.stat().st_size / 1e3:.0f} kB"
    )


if __name__ == "__main__":
    main()
