"""The pictures of docs/guide.md, docs/theory.md and docs/known-truth.md, in docs/images.

    python -m benchmarks.pages.guide_pictures

The network is EfficientNet-Lite0 with its published weights, the photographs are scikit-image's. Each
photograph is explained by default, with smoothed scores, by mode="usu", whose scores serve other modes, and
by "complete", which scores parts of its own. Known truth is of a network with written weights.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import skimage.data
import torch
from matplotlib.figure import Figure
from PIL import Image

import usu
from usu import plot
from usu.explanation import Explanation
from usu.metrics.localisation import alpha_total
from usu.models.classifier import Classifier
from usu.models.loading import load_classifier
from usu.worlds.aggregation import aggregate
from usu.worlds.handset import ColourCounter, colour_scene

FOLDER = Path(__file__).parents[2] / "docs" / "images"
PHOTOGRAPHS = ("coffee", "camera", "chelsea")
# What draws each column: the default explanation, whose scores are smoothed, or that of mode="usu".
COLUMNS = {
    "bilinear": ("default", "bilinear"),
    "default:\ntotal-conserving": ("default", "total-conserving"),
    "continuous\nusu": ("default", "usu-continuous"),
    "usu": ("usu", "usu"),
    "hybrid": ("usu", "hybrid"),
}
TEMPERATURES = (0.02, 0.1, 0.2, 0.5, 2.0)
_SMALL, _LARGE = 12, 13  # points; a page shows the pictures at about three quarters of their size


def explain(classifier: Classifier, name: str, **settings: Any) -> tuple[Explanation, str]:
    """Return the explanation of one of scikit-image's photographs, and its class."""
    inputs, picture = classifier.prepare(Image.fromarray(getattr(skimage.data, name)()))
    found = usu.explain(classifier.model, inputs, images=picture, **settings)
    return found, (classifier.class_names or {})[found.target]


def draw_modes(rows: Sequence[tuple[dict[str, Explanation], str]]) -> Figure:
    """Return a row per photograph and a column per mode, each map on its own scale."""
    figure, grid = _grid(len(rows), 3 + len(COLUMNS), below=0.42)
    for (found, category), panels in zip(rows, grid, strict=True):
        default = found["default"]
        plot.photograph(default, panels[0])
        panels[0].set_xlabel(f"“{category}”, {100 * default.probability:.0f} %", fontsize=_SMALL)
        plot.coarse_cells(default, panels[1])
        for axis, (name, upsampler) in zip(panels[2:], COLUMNS.values(), strict=False):
            plot.heat(found[name].upsampled_by(upsampler), axis)
        plot.heat(found["complete"].attribution, panels[-1])
    for axis, title in zip(grid[0], ["photograph", "cells", *COLUMNS, "complete"], strict=True):
        axis.set_title(title, fontsize=_LARGE)
    return figure


def draw_temperatures(found: dict[str, Explanation]) -> Figure:
    """Return the default, continuous and strict USU, by ε, each map on its own scale."""
    titles = list(COLUMNS)[1:4]
    figure, grid = _grid(len(titles), 1 + len(TEMPERATURES))
    for title, panels in zip(titles, grid, strict=True):
        name, upsampler = COLUMNS[title]
        plot.coarse_cells(found[name], panels[0])
        panels[0].set_ylabel(title, fontsize=_SMALL)
        for axis, temperature in zip(panels[1:], TEMPERATURES, strict=True):
            plot.heat(_at(found[name], temperature).upsampled_by(upsampler), axis)
    titles = ["cells", *(f"ε = {temperature:g}" for temperature in TEMPERATURES)]
    for axis, title in zip(grid[0], titles, strict=True):
        axis.set_title(title, fontsize=_LARGE)
    return figure


def draw_principle() -> Figure:
    """Return one row of two cells, 1-D: the scores, and what interpolation and USU make of the masses."""
    coarse, size = np.array([1.0, 3.0]), 16
    scores = np.repeat([0.2, 0.9, 0.3, 0.6], [3, 8, 2, 3])
    figure = Figure(figsize=(9.2, 3.5), layout="constrained")
    panels, edges = figure.subplots(1, 4), [-0.5, size / 2 - 0.5, size - 0.5]
    bilinear = usu.interpolate(coarse[None], (1, size), "bilinear")[0]
    maps = {"bilinear": bilinear} | {
        f"USU, ε = {epsilon:g}": usu.redistribute(coarse, scores, temperature=epsilon, ndim=1)
        for epsilon in (1.0, 0.2)
    }
    panels[0].bar(range(size), scores, width=1, color="#607d8b")
    panels[0].set_title("scores of four\nsegments", fontsize=_SMALL)
    panels[0].set_ylabel("score", fontsize=_SMALL)
    panels[1].set_ylabel("mass per pixel", fontsize=_SMALL)
    top = 1.1 * max(float(values.max()) for values in maps.values())
    for axis, (title, values) in zip(panels[1:], maps.items(), strict=True):
        axis.bar(range(size), values, width=1, color="#e64a19")
        (even,) = axis.step(edges, [1.0, 3.0, 3.0], where="post", color="0.25", linewidth=1.5)
        axis.set_ylim(0, top)
        sums = "left {:.3g} of 8,\nright {:.3g} of 24".format(*values.reshape(2, -1).sum(1))
        axis.set_title(f"{title}\n{sums}", fontsize=_SMALL)
    for axis in panels:
        between = axis.axvline(size / 2 - 0.5, color="0.25", linestyle=":", linewidth=1.5)
        axis.set_xticks([])
        axis.tick_params(labelsize=_SMALL)
    told = ["the mass of a cell, shared evenly", "border between the two cells"]
    figure.legend([even, between], told, loc="outside lower center", ncols=2, fontsize=_SMALL, frameon=False)
    return figure


def draw_known_truth(seed: int = 0) -> Figure:
    """Return a row of one drawn scene: its truth, the truth's sums, and what is made of the sums."""
    scene = colour_scene(seed)
    found = usu.upsample(
        aggregate(scene.truth, (7, 7)),
        scene.inputs,
        ColourCounter(),
        scene.target,
        images=scene.picture,
        mass="total",
        mode="usu",
        scoring="mask",
    )
    maps = {name: found.upsampled_by(name) for name in ("nearest", "bilinear", "usu", "hybrid")}
    figure, ((first, truth, cells, *panels),) = _grid(1, 3 + len(maps), below=0.42)
    norm = plot.colour_limits([scene.truth, *maps.values()])
    plot.photograph(found, first)
    plot.heat(scene.truth, truth, norm=norm)
    plot.coarse_cells(found, cells, norm=norm)
    for axis, values in zip(panels, maps.values(), strict=True):
        plot.heat(values, axis, norm=norm)
        axis.set_xlabel(f"{alpha_total(values, scene.truth):.2f} misplaced", fontsize=_SMALL)
    titles = ["scene", "truth", "its cells", *maps]
    for axis, title in zip((first, truth, cells, *panels), titles, strict=True):
        axis.set_title(title, fontsize=_LARGE)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a figure and say how large it is."""
    plot.save_figure(figure, path, dpi=100)
    print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")


def _at(explanation: Explanation, temperature: float) -> Explanation:
    return replace(explanation, settings={**explanation.settings, "temperature": temperature})


def _grid(rows: int, columns: int, *, width: float = 1.45, below: float = 0.1) -> tuple[Figure, Any]:
    figure = Figure(figsize=(columns * width, rows * (width + below) + 0.2), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)
    return figure, figure.subplots(rows, columns, squeeze=False)


def main() -> None:
    """Draw the pictures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=FOLDER)
    options = parser.parse_args()
    torch.manual_seed(0)
    save(draw_principle(), options.out / "guide-principle.png")
    save(draw_known_truth(), options.out / "known-truth.png")
    classifier = load_classifier("efficientnet-lite0")
    rows = []
    for name in PHOTOGRAPHS:
        found = {}
        for mode, settings in {
            "default": {},
            "usu": {"mode": "usu"},
            "complete": {"mode": "complete"},
        }.items():
            one, category = explain(classifier, name, **settings)
            print(f"{name}: {category}, {one.probability:.3f}; {mode}: {one.forward_passes} passes")
            found[mode] = one
        print(f"the complete map's sum: {float(found['complete'].attribution.sum()):.3f}")
        rows.append((found, category))
    save(draw_modes(rows), options.out / "guide-modes.png")
    save(draw_temperatures(rows[0][0]), options.out / "guide-temperature.png")


if __name__ == "__main__":
    main()
