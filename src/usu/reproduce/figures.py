"""Figures 2, 3, 4, 7, 8 and 9: which scenes, networks and maps they show, as sheets."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor, nn

from usu.reproduce.evidence import Evidence, Scoring, gather, segmented
from usu.reproduce.methods import METHODS, Values
from usu.reproduce.sheets import BLANK, ERROR, MAP, PICTURE, Panel, Sheet
from usu.reproduce.subjects import CNNS, SEED, Effort, reported_scenes
from usu.worlds.drawings import Drawings, split
from usu.worlds.patterns import PATTERNS, patterns
from usu.worlds.scene import Scene

SUBJECT = CNNS[-1]  # with the penalty that brings the gradient inside
GRID = 7  # of figure 9; the captions of the others do not say

# Bands cut an image into more parts than one object does: the pipeline's own default.
PATTERN_SEGMENTS = {"watershed": (16, 32), "slic": (16, 32), "quadtree": (16, 32)}

_FOUR = ("bilinear", "bicubic", "lanczos", "usu")


@dataclass(frozen=True, eq=False)
class View:
    """One scene, its network's evidence, and its name."""

    name: str
    scene: Scene
    evidence: Evidence

    def map(self, method: str, grid: int = GRID) -> Values:
        """Return the map of a method, relative to its mean."""
        case = self.evidence.case("gradient", grid)
        return _relative(METHODS[method].draw(case))

    def error(self, method: str) -> Values:
        """Return |Ã| - |A*|: α where it is positive, -β where it is negative."""
        error: Values = np.abs(self.map(method)) - np.abs(self.truth().values)
        return error

    def picture(self) -> Panel:
        """Return the input as a panel."""
        return Panel(self.scene.picture[0].double().numpy(), PICTURE)

    def truth(self, kind: str = MAP) -> Panel:
        """Return the true attribution as a panel: even mass on the foreground."""
        return Panel(_relative(self.scene.truth), kind)

    def panel(self, method: str, grid: int = GRID, *, outlined: bool = False) -> Panel:
        """Return a map as a panel."""
        outline = self.scene.truth.double().numpy() if outlined else None
        return Panel(self.map(method, grid), outline=outline)

    def error_panel(self, method: str, lowest: float = -np.inf, highest: float = np.inf) -> Panel:
        """Return the error of a map as a panel with the truth outlined, limited to a range."""
        return Panel(np.clip(self.error(method), lowest, highest), ERROR, self.truth().values)

    def row(self, methods: Sequence[str], *, truth_first: bool = False) -> list[Panel]:
        """Return input and truth, the coarse map, and the maps of the methods."""
        pair = (self.truth(), self.picture()) if truth_first else (self.picture(), self.truth())
        return [*pair, *(self.panel(method) for method in ("nearest", *methods))]


def _relative(pixels: Tensor) -> Values:
    """Return a map relative to its mean magnitude, so that maps of any unit share one scale."""
    values = pixels.double()
    relative: Values = (values / values.abs().mean().clamp(min=torch.finfo(torch.float64).tiny)).numpy()
    return relative


def look(model: nn.Module, scenes: Drawings, scoring: Scoring) -> list[View]:
    """Return views of some scenes by one network."""
    drawn = list(scenes)
    evidence = gather(model, drawn, scenes.numbers, segmented(drawn, scoring), scoring)
    names = [scenes.classes[scene.target] for scene in drawn]
    return [View(*parts) for parts in zip(names, drawn, evidence, strict=True)]


def shape_views(effort: Effort, per_class: int) -> list[View]:
    """Return views of the first test scenes of each class, by the network with the strong penalty."""
    network = SUBJECT.trained(effort)
    return look(network.model, _first(reported_scenes(effort), per_class), Scoring())


def pattern_views(effort: Effort) -> list[View]:
    """Return a view of the first test scene of each pattern, by such a network trained on patterns."""
    network = SUBJECT.trained(effort, world="patterns")
    scenes = split(patterns(effort.scenes, SEED), SEED).test
    return look(network.model, _first(scenes, 1), replace(Scoring(), segmentation=PATTERN_SEGMENTS))


def _first(scenes: Drawings, per_class: int) -> Drawings:
    classes = len(scenes.classes)
    members = [[number for number in scenes.numbers if number % classes == one] for one in range(classes)]
    return replace(scenes, numbers=tuple(number for numbers in members for number in numbers[:per_class]))


def _titles(methods: Sequence[str]) -> list[str]:
    return [f"coarse, {GRID} × {GRID}", *(METHODS[method].title for method in methods)]


def figure2(effort: Effort) -> Sheet:
    """Show what interpolation does to three shapes: each map, and its errors below it."""
    panels, rows = [], []
    for view in shape_views(effort, 1):
        blank = view.truth(BLANK)
        errors = (view.error_panel(method) for method in ("nearest", *_FOUR))
        panels += [view.row(_FOUR), [blank, blank, *errors]]
        rows += [view.name, ""]
    columns = ["input", "truth", *_titles(_FOUR)]
    return Sheet("Figure 2: reconstruction errors of upsampling", columns, rows, panels)


def figure3(effort: Effort) -> Sheet:
    """Show three shapes of similar size, their coarse maps, and what interpolation makes of them."""
    views = _alike(shape_views(effort, 8))
    panels = [
        [view.picture(), view.panel("nearest", 4), view.panel("bilinear", 4), view.truth()] for view in views
    ]
    columns = ["input", "raw heatmap, 4 × 4", "bilinear map", "truth"]
    notes = [
        f"correlation of the {columns[column]} of {views[first].name} and {views[second].name}: "
        f"{np.corrcoef([panels[row][column].values.ravel() for row in (first, second)])[0, 1]:.3f}"
        for first, second in itertools.combinations(range(len(views)), 2)
        for column in (1, 2)
    ]
    rows = [view.name for view in views]
    return Sheet("Figure 3: saliency of distinct inputs", columns, rows, panels, notes)


def _alike(views: Sequence[View]) -> list[View]:
    """Return one view of each class, those whose foregrounds are nearest in size to the first one's."""

    def distance(view: View) -> float:
        return abs(float(view.scene.truth.sum()) - float(views[0].scene.truth.sum()))

    names = dict.fromkeys(view.name for view in views)
    return [min((view for view in views if view.name == name), key=distance) for name in names]


def figure4(effort: Effort) -> Sheet:
    """Show patterns, interpolated and by USU."""
    chosen = [view for view in pattern_views(effort) if view.name in PATTERNS[:3]]
    return _compared("Figure 4, top: patterns with known truth", chosen, _FOUR)


def figure8(effort: Effort) -> Sheet:
    """Show all patterns, by every interpolation and by IWMR."""
    return _compared("Figure 8, top: all patterns", pattern_views(effort), (*_FOUR, "iwmr"))


def figure9(effort: Effort) -> Sheet:
    """Show nine configurations: circle and triangle, five patterns, square and another circle."""
    first, second, triangle, _, square, _ = shape_views(effort, 2)
    views = [first, triangle, *pattern_views(effort), square, second]
    return _compared("Figure 9: nine configurations", views, _FOUR, truth_first=True)


def _compared(
    title: str, views: Sequence[View], methods: Sequence[str], *, truth_first: bool = False
) -> Sheet:
    ends = ("truth $e(x)$", "input") if truth_first else ("input", "truth")
    panels = [view.row(methods, truth_first=truth_first) for view in views]
    return Sheet(title, [*ends, *_titles(methods)], [view.name for view in views], panels)


def figure7(effort: Effort) -> Sheet:
    """Show a pattern, whose bands are lost, beside a shape, that bleeds; the errors are outlined below."""
    lost = min(pattern_views(effort), key=lambda view: float(_lost(view).values.sum()))
    spurious = max(shape_views(effort, 1), key=lambda view: float(_spurious(view).values.sum()))
    views = (lost, spurious)
    panels = [
        [view.truth() for view in views],
        [view.picture() for view in views],
        [view.panel("bilinear", outlined=True) for view in views],
        [view.panel("nearest") for view in views],
        [_lost(lost), _spurious(spurious)],
    ]
    rows = ["truth", "input", "bilinear", f"heatmap, {GRID} × {GRID}", "the error alone"]
    return Sheet("Figure 7: compression errors", ["β: signal lost", "α: spurious signal"], rows, panels)


def _lost(view: View) -> Panel:
    return view.error_panel("bilinear", highest=0)


def _spurious(view: View) -> Panel:
    return view.error_panel("bilinear", lowest=0)


FIGURES: Mapping[str, Callable[[Effort], Sheet]] = MappingProxyType(
    {figure.__name__: figure for figure in (figure2, figure3, figure4, figure7, figure8, figure9)}
)
