"""Every measure of every map of every scene, of one network; kept in a file, so that it is done once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from torch import nn

from usu.metrics import localisation as measures
from usu.reproduce.evidence import GRIDS, Evidence, Scoring, gather, segmented
from usu.reproduce.methods import METHODS, TEMPERATURE, Values
from usu.reproduce.subjects import Effort, Subject
from usu.segmentation.hierarchy import Hierarchy
from usu.worlds import cache
from usu.worlds.drawings import Drawings

_EDITION = 1  # raise it when the same settings come to mean other values
_BATCH = 8
_BAND = 4


def _misplaced(pixels: Values, truth: Values) -> float:
    """Return the share of mass above a truth that spreads the map's own mass evenly over the foreground."""
    total = np.abs(pixels).sum()
    return measures.alpha_total(pixels, truth * (total / truth.sum())) if total else 0.0


MEASURES: Mapping[str, Callable[[Values, Values], float]] = MappingProxyType(
    {
        "iou_area": measures.iou_area,
        "iou_best": measures.iou_best,
        "iou_half": measures.iou_half,
        "concentration": measures.relevance_mass_accuracy,
        "pointing": measures.pointing_game,
        "band_error": lambda pixels, truth: measures.band_error(pixels, truth, _BAND),
        "alpha": _misplaced,
    }
)


@dataclass(frozen=True, eq=False)
class Measured:
    """All values of one network."""

    subject: str  # the network's name
    sources: tuple[str, ...]  # of coarse maps
    grids: tuple[int, ...]  # cells of a side
    methods: tuple[str, ...]  # by name
    measures: tuple[str, ...]  # by name
    values: Values  # (sources, grids, methods, measures, scenes)
    facts: Mapping[str, Any]  # of the training, and the forward passes per scene

    def keep(self, path: Path) -> None:
        """Write the file from which `find` reads it."""
        cache.keep(path, {"values": self.values}, {**vars(self), "values": None})

    @classmethod
    def find(cls, path: Path) -> Measured | None:
        """Return what `keep` wrote; None if there is no file or, with a warning, if it is damaged."""
        return cache.find(path, cls._restored)

    @classmethod
    def _restored(cls, arrays: dict[str, Values], words: dict[str, Any]) -> Measured:
        lists = {name: tuple(words[name]) for name in ("sources", "grids", "methods", "measures")}
        return cls(**{**words, **lists, **arrays})

    def empty(self, source: str) -> int:
        """Return how many scenes have a coarse map of zeros: those without any attribution by IWMR."""
        method, measure = self.methods.index("iwmr"), self.measures.index("concentration")
        # IWMR gives every pixel a part of the total, so that some of it always falls on the foreground.
        shares = self.values[self.sources.index(source), :, method, measure]
        return int((shares == 0).all(0).sum())


class Bench:
    """The scenes of one split, drawn once and segmented once for all networks.

    The effort is that of their training, the seed also that of random controls.
    """

    def __init__(self, scenes: Drawings, effort: Effort, scoring: Scoring, seed: int) -> None:
        self.scenes, self.effort, self.scoring, self.seed = scenes, effort, scoring, seed
        self._hierarchies: dict[int, list[list[Hierarchy]]] = {}  # by the first scene of a batch

    def evidence(self, model: nn.Module, sources: Sequence[str]) -> Iterator[Evidence]:
        """Look at one scene after the other through a network."""
        for start in range(0, len(self.scenes), _BATCH):
            part = self.scenes[start : start + _BATCH]
            batch = list(part)
            if start not in self._hierarchies:
                self._hierarchies[start] = [
                    [_small(hierarchy) for hierarchy in several] for several in segmented(batch, self.scoring)
                ]
            hierarchies = self._hierarchies[start]
            yield from gather(model, batch, part.numbers, hierarchies, self.scoring, sources, self.seed)

    def file(self, subject: Subject, folder: Path) -> Path:
        """Return where the values of a network are kept: another file where any setting differs."""
        settings = {
            "measures of edition": _EDITION,
            "subject": subject.name,
            "recipe": repr(subject.recipe(self.effort)),
            "scenes": self.scenes.numbers,
            "count": self.effort.scenes,
            "seed": self.seed,
            "scoring": self.scoring.plain(),
            "temperature": TEMPERATURE,
            "grids": GRIDS,
            "methods": tuple(METHODS),
            "measures": tuple(MEASURES),
        }
        return cache.cache_file(f"{subject.network}-{subject.penalty:g}", settings, folder)


def _small(hierarchy: Hierarchy) -> Hierarchy:
    """Keep labels as bytes, an eighth of the memory, where there are at most 256."""
    kind = np.uint8 if max(hierarchy.counts) <= 256 else np.int32
    return Hierarchy(tuple(np.asarray(level).astype(kind) for level in hierarchy.levels), hierarchy.method)


def measured(subject: Subject, bench: Bench, folder: Path, tick: Callable[[], object]) -> Measured:
    """Return what was measured with these settings before, or measure and keep it.

    A file that cannot be read is measured again, with a warning. `tick` is called after each scene.
    """
    path = bench.file(subject, folder)
    found = Measured.find(path)
    if found is None:
        found = measure_subject(subject, bench, tick)
        found.keep(path)
    else:
        for _ in range(found.values.shape[-1]):
            tick()
    return found


def measure_subject(subject: Subject, bench: Bench, tick: Callable[[], object]) -> Measured:
    """Train or fetch a network and measure every map of every scene; as `measured`, without a file."""
    network = subject.trained(bench.effort, bench.seed)
    columns, passes = [], []
    for evidence in bench.evidence(network.model, subject.sources):
        columns.append(measure_scene(evidence, subject.sources))
        passes.append(evidence.forward_passes)
        tick()
    facts = {
        "accuracy": network.test.accuracy,
        "inside_before": network.before.inside,
        "inside_after": network.test.inside,
        "inside_validation": network.validation.inside,
        "training_seconds": network.seconds,
        "penalty": subject.penalty,
        "forward_passes": float(np.mean(passes)),
    }
    values = np.stack(columns, axis=-1)
    return Measured(subject.name, subject.sources, GRIDS, tuple(METHODS), tuple(MEASURES), values, facts)


def measure_scene(evidence: Evidence, sources: Sequence[str]) -> Values:
    """Return all measures of all maps of one scene, (sources, grids, methods, measures)."""
    truth = evidence.truth.double().numpy()
    values = np.empty((len(sources), len(GRIDS), len(METHODS), len(MEASURES)))
    for row, source in enumerate(sources):
        for column, grid in enumerate(GRIDS):
            case = evidence.case(source, grid)
            for index, method in enumerate(METHODS.values()):
                pixels = method.draw(case).double().numpy()
                values[row, column, index] = [measure(pixels, truth) for measure in MEASURES.values()]
    return values
