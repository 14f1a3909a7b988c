"""The record of one explanation: every stage from the coarse map to the pixel map, saved to one file."""

from __future__ import annotations

import dataclasses
import json
import os
import zipfile
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from typing_extensions import Self

from usu.arrays.convert import Array, as_numpy
from usu.models.placement import Placement
from usu.operators.redistribution import Mass
from usu.runtime.files import written_whole
from usu.sources.registry import SOURCE_NAMES

_LIBRARIES = ("usu-xai", "torch", "numpy", "higra", "scikit-image", "grad-cam")
_FORMAT = 1


@cache
def library_versions() -> dict[str, str]:
    """Return the versions of the installed libraries that a map depends on."""
    versions = {}
    for library in _LIBRARIES:
        try:
            versions[library] = version(library)
        except PackageNotFoundError:
            continue
    return versions


@dataclass(frozen=True, eq=False, repr=False)
class Record:
    """A pixel map and every stage that led to it, for one input.

    Arrays are of the caller's kind; after `load` they are NumPy's, and float32 in place of bfloat16, which
    NumPy lacks. Attribution has the unit of a density: its values sum to the coarse map's mass, in the unit
    of the source (logits, for Grad-CAM of a class).

    Attributes:
        attribution: (H, W), the pixel map.
        coarse: (gh, gw), or (K,) with `neighbourhoods`; signed and unscaled.
        further: maps (h, w) on other grids that were redistributed too and added (FullGrad has several).
        image: (3, H, W), RGB in [0, 1], as segmented; a grey one thrice.
        partitions: label maps (H, W) in the order they were scored: for each hierarchy, depth by depth.
        raw_scores: for each partition (P,), in the unit of the output that was scored.
        scores: for each partition (P,), in [0, 1].
        h_map: (H, W), the H-map of `score_map`.
        score_map: (H, W) in [0, 1], the merged score matrix Φ that mass was shared by.
        target: class index, or the name of the callable that was explained.
        probability: the target's entry in a softmax of the model's outputs, also where these already are
            probabilities; None for a callable, and for a model of one output.
        mode: "usu", "iwmr", "hybrid" or "complete".
        mass: "density" or "total", the convention of `coarse`.
        unit: of the mass, such as "logits", where the source says one.
        settings: what the map was computed with, as plain values; a source that was a callable among them.
        forward_passes: images that went through the model, for the source and the scores together.
        source: the attribution source; "given" for a map of the caller's. In mode "complete", whose coarse
            map is of Owen values, the source of `score_map`: what tells the pixels of one cell apart.
        layer: the layer that the source describes, where there is one.
        neighbourhoods: (H, W) labels, where the cells are not a grid.
        placement: where the image lies in the photograph that it was cut from, where that is known.
        versions: of the libraries involved.
    """

    attribution: Array
    coarse: Array
    image: Array
    partitions: tuple[Array, ...]
    raw_scores: tuple[Array, ...]
    scores: tuple[Array, ...]
    h_map: Array
    score_map: Array
    target: int | str
    probability: float | None
    mode: str
    mass: Mass
    settings: dict[str, Any]
    forward_passes: int
    source: str = "given"
    layer: str | None = None
    neighbourhoods: Array | None = None
    further: tuple[Array, ...] = ()
    placement: Placement | None = None
    unit: str | None = None
    versions: dict[str, str] = field(default_factory=library_versions)

    def __repr__(self) -> str:
        cells, pixels = ("×".join(map(str, part.shape)) for part in (self.coarse, self.attribution))
        probability = None if self.probability is None else round(self.probability, 3)
        return (
            f"Explanation(target={self.target}, probability={probability}, mode={self.mode!r}, "
            f"source={self.source!r}, layer={self.layer!r}, {cells} cells to {pixels} pixels, "
            f"{self.forward_passes} forward passes)"
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything to one `.npz`, whole or not at all: a file that exists is replaced at the end.

        Raises:
            ValueError: `path` does not end in .npz.
            OSError: the folder does not exist or cannot be written.
        """
        target = Path(path)
        if target.suffix != ".npz":
            raise ValueError(f"path must end in .npz, got {str(path)!r}")
        arrays: dict[str, np.ndarray[Any, Any]] = {}
        facts: dict[str, Any] = {"format": _FORMAT}
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            if isinstance(value, Placement):
                facts[item.name] = dataclasses.asdict(value)
            elif isinstance(value, tuple):
                facts[item.name] = len(value)
                arrays.update({f"{item.name}.{index}": as_numpy(part) for index, part in enumerate(value)})
            elif isinstance(value, Tensor | np.ndarray):
                arrays[item.name] = as_numpy(value)
            else:
                facts[item.name] = value
        arrays["facts"] = np.array(json.dumps(facts))
        with written_whole(target) as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote; nothing in the file is executed (no pickle).

        Raises:
            ValueError: the file is no explanation, is damaged, or of a newer format.
            OSError: the file cannot be read.
        """
        try:
            with open(path, "rb") as stream:
                if not zipfile.is_zipfile(stream):
                    raise ValueError("it is no .npz file, or only a part of one")
                stream.seek(0)
                with np.load(stream, allow_pickle=False) as file:
                    arrays = dict(file)
            facts = json.loads(str(arrays.pop("facts")))
            found = facts.pop("format")
            if found != _FORMAT:
                raise ValueError(f"it was saved by a newer usu, in format {found}; this one reads {_FORMAT}")
            values: dict[str, Any] = {}
            for item in dataclasses.fields(cls):
                if item.name in arrays:
                    values[item.name] = arrays[item.name]
                elif str(item.type).startswith("tuple") and item.name in facts:
                    count = facts[item.name]
                    values[item.name] = tuple(arrays[f"{item.name}.{index}"] for index in range(count))
                elif item.name in facts or item.default is dataclasses.MISSING:  # older files lack some
                    values[item.name] = facts[item.name]
            placement = values.get("placement")
            return cls(**{**values, "placement": placement and Placement(**placement)})
        except OSError:
            raise
        except Exception as problem:
            raise ValueError(f"{os.fspath(path)!r} cannot be read as an explanation: {problem}") from problem


def coarse_title(record: Record) -> str:
    """Return what the coarse map is, and where it was shared by another map, by which."""
    name = SOURCE_NAMES.get(record.source, record.source)
    return f"Owen values, shared by {name}" if record.mode == "complete" else name


def unit_of(record: Record) -> str:
    """Return the unit of a coarse map's mass."""
    return record.unit or "units of the coarse map"


def cells_of(record: Record) -> str:
    """Return what the coarse map is made of, such as "7 × 7 cells" or "64 superpixels"."""
    kind = "cells" if record.neighbourhoods is None else "superpixels"
    more = len(record.further)
    grids = f" and {more} further grid{'s' * (more > 1)}" if more else ""
    return f"{' × '.join(map(str, record.coarse.shape))} {kind}{grids}"
