"""Figures 2, 3, 4, 7, 8 and 9: which scenes, networks and maps they show, as sheets."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
from torch import nn

from usu.reproduce.evidence import Evidence, Scoring, gather, segmented
from usu.reproduce.methods import METHODS, Pixels
from usu.reproduce.sheets import BLANK, ERROR, PICTURE, Panel, Sheet
from usu.reproduce.subjects import CNNS, SEED, Effort, reported_scenes
from usu.worlds.drawings import Drawings, split
from usu.worlds.patterns import PATTERNS, patterns
from usu.worlds.scene import Scene

SUBJECT = CNNS[-1]  # with the penalty that brings the gradient inside
GRID = 7  # of figure 9; the captions of the others do not say

# Bands cut an image into more parts than one object does: the pipeline's own default.
PATTERN_SEGMENTS = {"watershed": (16, 32), "slic": (16, 32), "quadtree": (16, 32)}

_INTERPOLATED = ("bilinear", "bicubic", "lanczos")
_TITLES = {name: method.title for name, method in METHODS.items()}


@dataclass(frozen=True, eq=False)
class View:
    """One scene, its network's evidence, and its name."""

    name: str
    scene: Scene
    evidence: Evidence

    def relative(self, pixels: Pixels) -> Pixels:
        """Return a map relative to its mean magnitude, so that maps of any unit share one scale."""
        values: Pixels = pixels / max(float(np.abs(pixels).mean()), np.finfo(np.float64).tiny)
        return values

    def map(self, method: str, grid: int = GRID) -> Pixels:
        """Return the map of a method."""
        case = self.evidence.case("gradient", grid)
        return self.relative(METHODS[method].draw(case).double().numpy())

    def error(self, method: str, grid: int = GRID) -> Pixels:
        """Return |Ã| - |A*|: α where it is positive, -β where it is negative."""
        error: Pixels = np.abs(self.map(method, grid)) - np.abs(self.truth().values)
        return error

    def picture(self) -> Panel:
        """Return the input."""
        return Panel(self.scene.picture[0].double().numpy(), PICTURE)

    def truth(self) -> Panel:
        """Return the true attribution: even mass on the foreground."""
        return Panel(self.relative(self.scene.truth.double().numpy()))

    def panel(self, method: str, grid: int = GRID, *, outlined: bool = False) -> Panel:
        """Return a map as a panel."""
        outline = self.scene.truth.double().numpy() if outlined else None
        return Panel(self.map(method, grid), outline=outline)


def look(model: nn.Module, scenes: Drawings, scoring: Scoring) -> list[View]:
    """Return views of some scenes by one network."""
    drawn: Sequence[Scene] = list(scenes)
    evidence = gather(model, drawn, scenes.numbers, segmented(drawn, scoring), scoring)
    names = [scenes.classes[scene.target] for scene in drawn]
    return [View(*parts) for parts in zip(names, drawn, evidence, strict=True)]


def shape_views(effort: Effort, per_class: int) -> list[View]:
    """Return views of the first test scenes of each class, by the network with the strong penalty."""
    network = SUBJECT.trained(effort)
    return look(network.model, _first(reported_scenes(effort), per_class), Scoring())


def pattern_views(effort: Effort) -> list[View]:
    """Return a view of the first test scene of each pattern, by a network trained on patterns likewise."""
    network = SUBJECT.trained(effort, world="patterns")
    scenes = split(patterns(effort.scenes, SEED), SEED).test
    return look(network.model, _first(scenes, 1), replace(Scoring(), segmentation=PATTERN_SEGMENTS))


def _first(scenes: Drawings, per_class: int) -> Drawings:
    chosen = [
        number
        for category in range(len(scenes.classes))
        for number in [n for n in scenes.numbers if n % len(scenes.classes) == category][:per_class]
    ]
    return replace(scenes, numbers=tuple(chosen))


def figure2(effort: Effort) -> Sheet:
    """Show what interpolation does to three shapes: each map, and its errors below it."""
    methods = (*_INTERPOLATED, "usu")
    panels, rows = [], []
    for view in shape_views(effort, 1):
        empty = Panel(view.truth().values, BLANK)
        coarse_error = Panel(view.error("nearest"), ERROR, view.truth().values)
        panels.append(
            (view.picture(), view.truth(), view.panel("nearest"), *(view.panel(name) for name in methods))
        )
        errors = [Panel(view.error(name), ERROR, view.truth().values) for name in methods]
        panels.append((empty, empty, coarse_error, *errors))
        rows += [view.name, ""]
    columns = ("input", "truth", f"coarse, {GRID} × {GRID}", *(_TITLES[name] for name in methods))
    return Sheet("Figure 2: reconstruction errors of upsampling", columns, tuple(rows), tuple(panels))


def figure3(effort: Effort) -> Sheet:
    """Show three shapes of like size, their coarse maps, and what interpolation makes of them."""
    views = _alike(shape_views(effort, 8))
    panels = tuple(
        (view.picture(), view.panel("nearest", 4), view.panel("bilinear", 4), view.truth()) for view in views
    )
    columns = ("input", "raw heatmap, 4 × 4", "bilinear map", "truth")
    rows = tuple(view.name for view in views)
    alike = [
        f"correlation of the {columns[column]} of {views[first].name} and {views[second].name}: "
        f"{_correlation(panels[first][column], panels[second][column]):.3f}"
        for first, second in itertools.combinations(range(len(views)), 2)
        for column in (1, 2)
    ]
    return Sheet("Figure 3: saliency of distinct inputs", columns, rows, panels, tuple(alike))


def _correlation(first: Panel, second: Panel) -> float:
    return float(np.corrcoef(first.values.ravel(), second.values.ravel())[0, 1])


def _alike(views: Sequence[View]) -> list[View]:
    """Return one view of each class, those whose foregrounds are nearest in size to the first one's."""
    area = float(views[0].scene.truth.sum())
    names = list(dict.fromkeys(view.name for view in views))
    return [
        min(
            (view for view in views if view.name == name),
            key=lambda view: abs(float(view.scene.truth.sum()) - area),
        )
        for name in names
    ]


def figure4(effort: Effort) -> Sheet:
    """Show patterns, interpolated and by USU."""
    chosen = [view for view in pattern_views(effort) if view.name in PATTERNS[:3]]
    return _compared("Figure 4, top: patterns with known truth", chosen, (*_INTERPOLATED, "usu"))


def figure8(effort: Effort) -> Sheet:
    """Show all patterns, by every interpolation and by IWMR."""
    methods = (*_INTERPOLATED, "usu", "iwmr")
    return _compared("Figure 8, top: all patterns", pattern_views(effort), methods)


def figure9(effort: Effort) -> Sheet:
    """Show nine configurations: two shapes, five patterns, two shapes."""
    first, second, third, fourth = _nine_shapes(shape_views(effort, 2))
    views = [first, second, *pattern_views(effort), third, fourth]
    return _compared("Figure 9: nine configurations", views, (*_INTERPOLATED, "usu"), truth_first=True)


def _nine_shapes(views: list[View]) -> tuple[View, View, View, View]:
    """Return circle, triangle, square and another circle."""
    circles, triangles, squares = (views[start : start + 2] for start in (0, 2, 4))
    return circles[0], triangles[0], squares[0], circles[1]


def _compared(
    title: str, views: Sequence[View], methods: Sequence[str], *, truth_first: bool = False
) -> Sheet:
    ends = ("truth $e(x)$", "input") if truth_first else ("input", "truth")
    panels = []
    for view in views:
        pair = (view.truth(), view.picture()) if truth_first else (view.picture(), view.truth())
        panels.append((*pair, view.panel("nearest"), *(view.panel(method) for method in methods)))
    columns = (*ends, f"coarse, {GRID} × {GRID}", *(_TITLES[method] for method in methods))
    return Sheet(title, columns, tuple(view.name for view in views), tuple(panels))


def figure7(effort: Effort) -> Sheet:
    """Show a pattern, whose bands are lost, beside a shape, that bleeds; the errors are outlined below."""
    lost = max(pattern_views(effort), key=lambda view: float(np.clip(-view.error("bilinear"), 0, None).sum()))
    shapes = shape_views(effort, 1)
    spurious = max(shapes, key=lambda view: float(np.clip(view.error("bilinear"), 0, None).sum()))
    views = (lost, spurious)
    errors = (
        Panel(np.clip(lost.error("bilinear"), None, 0), ERROR, lost.truth().values),
        Panel(np.clip(spurious.error("bilinear"), 0, None), ERROR, spurious.truth().values),
    )
    panels = (
        tuple(view.truth() for view in views),
        tuple(view.picture() for view in views),
        tuple(view.panel("bilinear", outlined=True) for view in views),
        tuple(view.panel("nearest") for view in views),
        errors,
    )
    rows = ("truth", "input", "bilinear", f"heatmap, {GRID} × {GRID}", "the error alone")
    return Sheet("Figure 7: compression errors", ("β: signal lost", "α: spurious signal"), rows, panels)


FIGURES: Mapping[str, Callable[[Effort], Sheet]] = MappingProxyType(
    {
        "figure2": figure2,
        "figure3": figure3,
        "figure4": figure4,
        "figure7": figure7,
        "figure8": figure8,
        "figure9": figure9,
    }
)
