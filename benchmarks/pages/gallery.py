"""The paper's seven CAM methods on one photograph, bilinear beside redistributed: docs/images/gallery.png.

    python -m benchmarks.pages.gallery [--photograph coffee] [--target espresso]

The network is EfficientNet-Lite0 with its published weights. The scores of segments do not depend on the
method and are computed once. Each column has its own colour scale, since the methods have units of their own.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import skimage.data
import torch
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from PIL import Image

import usu
from usu import plot
from usu.explanation import Explanation
from usu.models.loading import load_classifier
from usu.models.targets import find_class
from usu.sources.registry import find_source

METHODS = {
    "gradcam": "Grad-CAM",
    "hirescam": "HiResCAM",
    "gradcam++": "Grad-CAM++",
    "xgradcam": "XGrad-CAM",
    "fullgrad": "FullGrad",
    "shapleycam": "ShapleyCAM",
    "finercam": "FinerCAM",
}
UPSAMPLERS = {
    "bilinear": "bilinear",
    "usu-continuous": "continuous",
    "total-conserving": "total-conserving",
}
_SMALL, _LARGE = 11, 13  # points: a page shows the picture at 60 pixels an inch
PICTURE = Path(__file__).parents[2] / "docs" / "images" / "gallery.png"


def explanations(photograph: str, target: str | None) -> tuple[list[Explanation], str]:
    """Return one explanation per method, all with the same segments and scores, and the class."""
    classifier = load_classifier("efficientnet-lite0")
    inputs, picture = classifier.prepare(Image.fromarray(getattr(skimage.data, photograph)()))
    index = None if target is None else find_class(classifier.class_names, target)
    first = usu.explain(classifier.model, inputs, index, images=picture)
    found = []
    for name in METHODS:
        coarse = find_source(name)(classifier.model, inputs[None], [first.target], None)
        found.append(
            replace(
                first,
                source=name,
                coarse=coarse[0].values,
                further=coarse[0].further,
                mass=coarse.mass,
            )
        )
    return found, classifier.class_names[first.target]


def draw(found: Sequence[Explanation], category: str) -> Figure:
    """Return the figure: a column per method, the cells above the maps made of them."""
    figure = Figure(figsize=(11.4, 7.5), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.03, wspace=0.02, hspace=0.02)
    grid = figure.subplots(5, 1 + len(found), gridspec_kw={"height_ratios": [1, 1, 1, 1, 0.07]})
    _draw_stages(found[0], [row[0] for row in grid], category)
    for explanation, column in zip(found, grid.T[1:], strict=True):
        _draw_method(explanation, list(column))
    for axis, label in zip(grid[:4, 1], ["cells", *UPSAMPLERS.values()], strict=True):
        axis.set_ylabel(label, fontsize=_LARGE)
    return figure


def _draw_stages(explanation: Explanation, panels: Sequence[Any], category: str) -> None:
    plot.photograph(explanation, panels[0])
    panels[0].set_title(f"“{category}”, {100 * explanation.probability:.0f} %", fontsize=_SMALL)
    count = plot.segment_borders(explanation, panels[1])
    panels[1].set_xlabel(f"{count} finest\nsegments", fontsize=_SMALL)
    scores = plot.score_map(explanation, panels[2])
    panels[3].set_axis_off()
    panels[4].set_axis_off()
    bar = panels[3].inset_axes((0.08, 0.9, 0.84, 0.06))
    panels[3].figure.colorbar(scores, cax=bar, orientation="horizontal", ticks=[0, 0.5, 1])
    bar.set_xlabel("score", fontsize=_SMALL)
    bar.tick_params(labelsize=_SMALL)


def _draw_method(explanation: Explanation, panels: Sequence[Any]) -> None:
    maps = [explanation.upsampled_by(name) for name in UPSAMPLERS]
    norm = plot.colour_limits(maps)
    # One of several grids is a small part of the whole map, and would be blank on its scale.
    plot.coarse_cells(explanation, panels[0], norm=None if explanation.further else norm)
    panels[0].set_title(METHODS[explanation.source], fontsize=_LARGE)
    if explanation.further:
        panels[0].set_xlabel(f"coarsest of {1 + len(explanation.further)}\ngrids, own scale", fontsize=_SMALL)
    images = [plot.heat(values, axis, norm=norm) for axis, values in zip(panels[1:4], maps, strict=True)]
    power = math.floor(math.log10(norm.vmax))
    scaled = Normalize(norm.vmin / 10**power, norm.vmax / 10**power)
    panels[4].figure.colorbar(
        ScalarMappable(scaled, images[0].cmap),
        cax=panels[4],
        orientation="horizontal",
        ticks=[math.ceil(scaled.vmin), 0, math.floor(scaled.vmax)],
    )
    panels[4].set_xlabel(f"mass per pixel\nin $10^{{{power}}}$", fontsize=_SMALL)
    panels[4].tick_params(labelsize=_SMALL)


def main() -> None:
    """Draw the picture."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--photograph", default="coffee", help="name in skimage.data (default: %(default)s)")
    parser.add_argument("--target", help="class to explain (default: the predicted one)")
    parser.add_argument("--out", type=Path, default=PICTURE)
    options = parser.parse_args()
    torch.manual_seed(0)
    found, category = explanations(options.photograph, options.target)
    plot.save_figure(draw(found, category), options.out, dpi=140)
    for explanation in found:
        print(f"{METHODS[explanation.source]:<12} sum of the cells {float(explanation.coarse.sum()):.4g}")
    print(f"{category}, {explanation.probability:.3f}: {options.out}")


if __name__ == "__main__":
    main()
