"""The record of one explanation: every stage from the coarse map to the pixel map, saved to one file."""

from __future__ import annotations

import dataclasses
import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np
from torch import Tensor
from typing_extensions import Self

from usu.arrays.checks import check_path
from usu.arrays.convert import Array, as_numpy
from usu.models.placement import Placement
from usu.operators.coarse import Coarse
from usu.operators.lattice import Mass
from usu.runtime.files import written_whole
from usu.scoring.refinement import Refinement
from usu.scoring.regrouping import regrouped
from usu.sources.registry import SOURCE_NAMES

_LIBRARIES = ("usu-xai", "torch", "numpy", "higra", "scikit-image", "grad-cam")
FORMAT = 3
_LEVEL = 2  # of compression: NumPy's own, 6, takes more than twice as long for 8 % less
# A file may unpack to so many bytes, or to so many times its own: more is a bomb.
_MOST, _MOST_TIMES, _MOST_FACTS = 2**28, 100, 2**26
_NONE = type(None)
_KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("mode", "source"), (str,)),
    **dict.fromkeys(("layer", "unit", "answer_unit", "class_name", "model", "backend"), (str, _NONE)),
    **dict.fromkeys(("probability", "answer"), (int, float, _NONE)),
    **dict.fromkeys(("settings", "versions"), (dict,)),
    "target": (int, str),
    "forward_passes": (int,),
}
_ARRAY = "array"  # the key under which a file's facts name one of its arrays


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

    Arrays are of the caller's kind; after `load` they are NumPy's, with float32 instead of bfloat16, which
    NumPy lacks. Attribution has the unit of a density: its values sum to the coarse map's mass, in the unit
    of the source (logits, for Grad-CAM of a class). Maps of a signal are (L,), of a volume (D, H, W) in place
    of (H, W), and its image is what was segmented, (C, *size), as it came.

    Attributes:
        attribution: (H, W), the pixel map.
        coarse: (gh, gw), or (K,) with `neighbourhoods`; signed and unscaled. A grid has the axes of the map.
        further: maps (h, w) on other grids that were also redistributed and added (FullGrad has several).
        image: (3, H, W), RGB in [0, 1], as segmented; grey is repeated three times.
        refinements: of each hierarchy, its partitions and scores depth by depth (see `usu.Refinement`).
        h_map: (H, W), the H-map of `score_map`.
        score_map: (H, W) in [0, 1], the merged score matrix Φ by which mass was shared.
        target: class index, or the name of the callable that was explained.
        probability: of the target: in a softmax of the model's outputs, in these themselves if they already
            are probabilities, or in their sigmoid if that was asked for; None for a callable, and for the
            softmax of one output.
        mode: "usu", "iwmr", "hybrid" or "complete".
        mass: "density" or "total", the convention of `coarse`.
        unit: of the mass, such as "logits", if the source names one.
        settings: what the map was computed with, as plain values, including a source that was a callable.
        forward_passes: images that went through the model, for the source and the scores together; in
            scoring by order, a gradient counts as two more.
        source: the attribution source; "given" for the caller's own map. In mode "complete", whose coarse
            map consists of Owen values, the source of `score_map`, which separates the pixels of one cell.
        layer: the layer that the source describes, if there is one.
        neighbourhoods: (H, W) labels, if the cells are not a grid.
        placement: where the image lies in the photograph that it was cropped from, if that is known.
        answer: f_t(x), the model's answer to the whole image as it was scored; None in older files.
        answer_unit: of the answer and of `raw_scores`: "probability", "logits" or "units of the answer".
        class_name: of the target, if it is a class whose name is known.
        model: its name.
        backend: what the masked copies of the image went through: the model itself, "eager", or its copy by
            "openvino" or "compile"; None in older files. Gradients are always the model's.
        versions: of the libraries involved.
    """

    attribution: Array
    coarse: Array
    image: Array
    refinements: tuple[Refinement, ...]
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
    answer: float | None = None
    answer_unit: str | None = None
    class_name: str | None = None
    model: str | None = None
    backend: str | None = None
    versions: dict[str, str] = field(default_factory=library_versions)

    @property
    def partitions(self) -> tuple[Array, ...]:
        """Label maps (H, W) in the order in which they were scored: for each hierarchy, depth by depth."""
        return tuple(labels for refined in self.refinements for labels in refined.partitions)

    @property
    def raw_scores(self) -> tuple[Array, ...]:
        """For each partition (P,), in the unit of the output that was scored."""
        return tuple(raw for refined in self.refinements for raw in refined.raw_scores)

    @property
    def scores(self) -> tuple[Array, ...]:
        """For each partition (P,), in [0, 1]."""
        return tuple(scores for refined in self.refinements for scores in refined.scores)

    @property
    def coarse_map(self) -> Coarse:
        """The coarse map with its cells, its convention of mass and its further grids."""
        return Coarse(self.coarse, self.mass, self.neighbourhoods, self.further)

    def __repr__(self) -> str:
        cells, pixels = ("×".join(map(str, part.shape)) for part in (self.coarse, self.attribution))
        probability = None if self.probability is None else round(self.probability, 3)
        return (
            f"Explanation(target={self.target}, probability={probability}, mode={self.mode!r}, "
            f"source={self.source!r}, layer={self.layer!r}, {cells} cells to {pixels} pixels, "
            f"{self.forward_passes} passes)"
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything to one `.npz`, whole or not at all: an existing file is replaced at the end.

        Raises:
            ValueError: `path` does not end in .npz.
            OSError: the folder does not exist or cannot be written.
        """
        target = Path(check_path(path, "path"))
        if target.suffix != ".npz":
            raise ValueError(f"path must end in .npz, got {str(path)!r}")
        with written_whole(target) as file:
            self.write_to(file)

    def write_to(self, file: IO[bytes]) -> None:
        """Write to a binary file what `save` writes: an `.npz`, which `load` reads."""
        arrays: dict[str, np.ndarray[Any, Any]] = {}
        fields = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        facts = {"format": FORMAT, **{name: _taken_apart(name, fields[name], arrays) for name in fields}}
        arrays["facts"] = np.array(json.dumps(facts))
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as archive:
            for name, values in arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, values, allow_pickle=False)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote; nothing in the file is executed (no pickle).

        Raises:
            ValueError: the file is not an explanation, is damaged, or has a newer format.
            OSError: the file cannot be read.
        """
        name = check_path(path, "path")
        try:
            with open(name, "rb") as stream:
                if not zipfile.is_zipfile(stream):
                    raise ValueError("it is not a .npz file, or only part of one")
                _check_size(stream)
                with np.load(stream, allow_pickle=False) as file:
                    arrays = dict(file)
            facts = json.loads(str(arrays.pop("facts")))
            found = facts.pop("format")
            if not isinstance(found, int) or found < 1:
                raise ValueError(f"its format must be a number from 1 up, got {found!r:.60}")
            if found > FORMAT:
                raise ValueError(f"it was saved by a newer usu, in format {found}; this one reads {FORMAT}")
            values = _of_format_1(facts, arrays) if found == 1 else _of_later_format(facts, arrays)
            placement = values.pop("placement", None)
            record = cls(**values, placement=placement and Placement(**placement))
            _check_fields(record)
            return record
        except OSError:
            raise
        except Exception as problem:
            raise ValueError(f"path {name!r} cannot be read as an explanation: {problem}") from problem


def _taken_apart(name: str, value: Any, arrays: dict[str, np.ndarray[Any, Any]]) -> Any:
    """Return a value as JSON can hold it; arrays in it are moved to `arrays` and replaced by their names.

    What is there twice, such as a score map that refinements share, is moved once.
    """
    if isinstance(value, Tensor | np.ndarray):
        array = as_numpy(value)
        alike = (known for known, other in arrays.items() if _same(array, other))
        known = next(alike, name)
        arrays.setdefault(known, array)
        return {_ARRAY: known}
    if isinstance(value, tuple):
        return [_taken_apart(f"{name}.{index}", part, arrays) for index, part in enumerate(value)]
    if dataclasses.is_dataclass(value):
        return {key: _taken_apart(f"{name}.{key}", part, arrays) for key, part in vars(value).items()}
    return value


def _same(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> bool:
    alike = (one.dtype, one.shape) == (other.dtype, other.shape)
    return alike and one.tobytes() == other.tobytes()


def _put_together(facts: Any, arrays: Mapping[str, np.ndarray[Any, Any]]) -> Any:
    """Undo `_taken_apart`, with mappings instead of dataclasses."""
    if isinstance(facts, list):
        return tuple(_put_together(part, arrays) for part in facts)
    if isinstance(facts, dict):
        if facts.keys() == {_ARRAY}:
            return arrays[facts[_ARRAY]]
        return {key: _put_together(part, arrays) for key, part in facts.items()}
    return facts


def _of_later_format(facts: dict[str, Any], arrays: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, Any]:
    """Return the fields of a record as `save` writes them; settings are plain values, in which lists stay."""
    settings = facts.pop("settings")
    values = _put_together(facts, arrays)
    refinements = tuple(Refinement(**one) for one in values["refinements"])
    return {**values, "settings": settings, "refinements": refinements}


def _of_format_1(facts: dict[str, Any], arrays: dict[str, np.ndarray[Any, Any]]) -> dict[str, Any]:
    """Return the fields of a record as usu 0.1 saved it before its release: all partitions in one list."""
    further, partitions, raw_scores, scores = (
        tuple(arrays.pop(f"{name}.{index}") for index in range(facts.pop(name, 0)))
        for name in ("further", "partitions", "raw_scores", "scores")
    )
    settings = facts["settings"]
    scoring = settings.pop("method", "mask")
    settings["scoring"] = "regression" if scoring == "random" else scoring
    if settings.get("potential", "tensor") == "tensor":
        settings["potential"] = "exponential"
    settings["continuous"] = False
    refinements = tuple(regrouped(partitions, raw_scores, scores, settings, facts["forward_passes"]))
    return {**facts, **arrays, "further": further, "refinements": refinements}


def _check_size(stream: BinaryIO) -> None:
    """Refuse a file that unpacks to far more than it holds, before anything of it is unpacked."""
    packed = stream.seek(0, os.SEEK_END)
    with zipfile.ZipFile(stream) as file:
        sizes = {member.filename: member.file_size for member in file.infolist()}
    stream.seek(0)
    if sum(sizes.values()) > max(_MOST, _MOST_TIMES * packed):
        raise ValueError(f"its {packed} bytes unpack to {sum(sizes.values())}, as no explanation's do")
    if sizes.get("facts.npy", 0) > _MOST_FACTS:
        raise ValueError(f"its facts take {sizes['facts.npy']} bytes, as no explanation's do")


def _check_fields(record: Record) -> None:
    """Refuse a record whose fields are not of the kinds and shapes that `Record` says."""
    size = np.shape(record.attribution)
    for name in ("attribution", "h_map", "score_map"):
        _check_array(name, getattr(record, name), "fiu", size)
    _check_array("image", record.image, "fiu", (*np.shape(record.image)[:1], *size))
    _check_array("coarse", record.coarse, "fiu", np.shape(record.coarse))
    if record.neighbourhoods is not None:
        _check_array("neighbourhoods", record.neighbourhoods, "iu", size)
    dimensions = len(size) if record.neighbourhoods is None else 1
    if not size or record.coarse.ndim != dimensions or 0 in (*size, *record.coarse.shape):
        raise ValueError(f"coarse of shape {record.coarse.shape} does not fit attribution, {size}")
    for further in record.further:
        _check_array("further", further, "fiu", np.shape(further))
    for refined in record.refinements:
        _check_refinement(refined, size)
    for name, kinds in _KINDS.items():
        value = getattr(record, name)
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise ValueError(
                f"{name} must be {' or '.join(one.__name__ for one in kinds)}, got {value!r:.60}"
            )
    if record.mass not in ("density", "total"):
        raise ValueError(f"mass must be 'density' or 'total', got {record.mass!r:.60}")
    for key, value in record.versions.items():
        if not isinstance(value, str):
            raise ValueError(f"versions must hold texts, got {value!r:.60} for {key}")


def _check_refinement(refined: Refinement, size: tuple[int, ...]) -> None:
    if len({len(refined.partitions), len(refined.raw_scores), len(refined.scores)}) != 1:
        raise ValueError("a refinement must have as many partitions as scores")
    for labels, *scores in zip(refined.partitions, refined.raw_scores, refined.scores, strict=True):
        _check_array("partitions", labels, "iu", size)
        lowest, count = int(labels.min()), int(labels.max()) + 1
        if lowest < 0 or count > np.size(labels):
            raise ValueError("partitions must hold the labels 0 to P - 1")
        for values in scores:
            _check_array("scores", values, "fiu", (count,))
    if refined.players is not None:
        _check_array("players", refined.players, "iu", size)
    for maps in (refined.h_maps, refined.mixings, (refined.score_map,)):
        for values in maps:
            _check_array("maps of a refinement", values, "fiub", size)


def _check_array(name: str, values: Any, kinds: str, shape: tuple[int, ...]) -> None:
    if not isinstance(values, np.ndarray) or values.dtype.kind not in kinds:
        found = values.dtype if isinstance(values, np.ndarray) else type(values).__name__
        raise ValueError(f"{name} must be an array of numbers, got {found}")
    if values.shape != shape:
        raise ValueError(f"{name} must be of shape {shape}, got {values.shape}")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ValueError(f"{name} must be finite, got NaN or infinity")


def coarse_title(record: Record) -> str:
    """Return what the coarse map is and, if another map shared it, which."""
    name = SOURCE_NAMES.get(record.source, record.source)
    return f"Owen values, shared by {name}" if record.mode == "complete" else name


def unit_of(record: Record) -> str:
    """Return the unit of a coarse map's mass."""
    return record.unit or "units of the coarse map"


def answer_of(record: Record) -> str:
    """Return the model's answer in words: the target's probability, and what was scored if not that."""
    words = [] if record.probability is None else [f"probability {100 * record.probability:.1f} %"]
    if record.answer is not None and record.answer_unit != "probability":
        what = "logit" if record.answer_unit == "logits" else "answer"
        words.append(f"{what} {record.answer:.4g}")
    return ", ".join(words)


def cells_of(record: Record) -> str:
    """Return what the coarse map consists of, such as "7 × 7 cells" or "64 superpixels"."""
    kind = "cells" if record.neighbourhoods is None else "superpixels"
    more = len(record.further)
    grids = f" and {more} further grid{'s' * (more > 1)}" if more else ""
    return f"{' × '.join(map(str, record.coarse.shape))} {kind}{grids}"
