"""One explanation as the page needs it: plain values and packed arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from PIL import Image

from usu.arrays.checks import check_text
from usu.arrays.convert import as_numpy
from usu.desiderata.check import check_desiderata
from usu.models.placement import Placement
from usu.operators.potentials import POTENTIALS
from usu.operators.registry import ON_ANY_CELLS, UPSAMPLERS
from usu.record import Record, answer_of, cells_of, coarse_title, unit_of
from usu.report.call import call_of
from usu.report.merging import merged, partitions
from usu.report.packing import jpeg, pack, photograph
from usu.runtime.files import finite
from usu.runtime.renames import renamed_fields
from usu.settings import UPSAMPLING

_MODES = ("usu", "iwmr", "hybrid")  # those with a setting `continuous`
_DESIDERATA = ("D1", "D2", "D3", "D4", "D5")
_MOST = 1600  # pixels of a photograph's longer side
_EXACT = 1e-5  # scores are rounded to float32 once per depth


@renamed_fields(category="class_name")
@dataclass(frozen=True, eq=False)
class Entry:
    """An explanation, and what its record does not say.

    Attributes:
        explanation: what is shown; its image and its score map are of the same size.
        name: in the gallery, for example a file's name.
        class_name: name of the explained class; by default the record's.
        model: name of the model; by default the record's.
        photograph: from which the image was cropped as the record's placement says; it is shown at up to
            1,600 pixels a side, with a frame around what the network saw.
        verdicts: whether to measure the desiderata of each upsampler, with some fifty calls each.

    Raises:
        TypeError: names that are not text, a photograph that is not Pillow's.
    """

    explanation: Record
    name: str = ""
    class_name: str | None = None
    model: str | None = None
    photograph: Image.Image | None = None
    verdicts: bool = True

    def __post_init__(self) -> None:
        for name in ("name", "class_name", "model"):
            check_text(getattr(self, name), name)
        if not isinstance(self.photograph, Image.Image | None):
            raise TypeError(f"photograph must be a Pillow image, got {type(self.photograph).__name__}")

    def plain(self) -> dict[str, Any]:
        """Return the page's data, as values that JSON can hold.

        Raises:
            ValueError: image and score map differ in size, a cell has no pixel, or the photograph is not
                the one that the record was placed in.
        """
        record = self.explanation
        image, scores = as_numpy(record.image), as_numpy(record.score_map)
        if scores.ndim != 2:
            raise ValueError(
                "the report is for 2-D pictures only: show signals and volumes by show() or save_image()"
            )
        if image.shape != (3, *scores.shape):
            raise ValueError(
                f"image must be (3, H, W) at the size of the score map {scores.shape}, got {image.shape}"
            )
        target = f"class {record.target}" if isinstance(record.target, int) else record.target
        return {
            "name": self.name,
            "title": self.class_name or record.class_name or target,
            "target": target,
            "model": self.model or record.model,
            "probability": record.probability,
            "answer": answer_of(record),
            "mode": _shown(record),
            "recordedMode": record.mode,
            "source": coarse_title(record),
            "layer": record.layer,
            "cellsTitle": cells_of(record),
            "unit": unit_of(record),
            "forwardPasses": record.forward_passes,
            "versions": record.versions,
            "settings": record.settings,
            "call": call_of(record),
            "size": list(scores.shape),
            "photograph": photograph(image),
            "whole": self.photograph and _whole(record.placement, self.photograph),
            **_cells(record),
            **_scores(record, scores),
            "redistribution": _redistribution(record),
            "verdicts": _verdicts(record) if self.verdicts else None,
        }


def _whole(placement: Placement | None, picture: Image.Image) -> dict[str, Any]:
    """Return the photograph, and the box of the network's input as shares of its sides."""
    if placement is None:
        raise ValueError("photograph must be None: the record has no placement, which says what was seen")
    height, width = placement.photograph
    if picture.size != (width, height):
        found = " × ".join(map(str, picture.size))
        raise ValueError(f"photograph must be {width} × {height} as the record's placement says, got {found}")
    top, left, bottom, right = placement.box
    box = {"left": left / width, "top": top / height}
    box |= {"width": (right - left) / width, "height": (bottom - top) / height}
    small = picture.copy()
    small.thumbnail((_MOST, _MOST))
    return {"picture": jpeg(small, quality=85, subsampling=2), "size": [height, width], "box": box}


def _shown(record: Record) -> str:
    """Return the page's name of the upsampler that made the map: continuous modes have names of their own."""
    mode = record.mode if record.mode in UPSAMPLERS else "usu"  # "complete" shares as USU does
    return f"{mode}-continuous" if mode in _MODES and record.settings.get("continuous", False) else mode


def _cells(record: Record) -> dict[str, Any]:
    """Return the coarse maps with their cells, and the mass convention that they share."""
    for coarse in (record.coarse_map, *record.coarse_map.grids):
        coarse.cells(tuple(record.score_map.shape))  # refuses a cell without pixels
    labels = record.neighbourhoods
    return {
        "mass": record.mass,
        "coarse": _grid(record.coarse),
        "further": [_grid(grid) for grid in record.further],
        "neighbourhoods": None if labels is None else pack(as_numpy(labels)),
    }


def _grid(values: Any) -> dict[str, Any]:
    array = as_numpy(values)
    return {"shape": list(array.shape), "values": pack(array.astype(np.float64))}


def _scores(record: Record, scores: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Return the score map, its partitions, and the reason if the page cannot merge these itself."""
    rules, found = record.settings, merged(record)
    mixing = rules.get("mixing")
    reason = None
    if found is None or not np.allclose(found, scores, rtol=0, atol=_EXACT):
        how = "was smoothed along the picture's edges" if rules.get("score_smoothing") else "was not merged"
        reason = f"the score map {how} from these segments: it is shown as it was recorded"
    elif mixing != "mean":
        reason = f'the depths were merged with mixing="{mixing}": the score map is shown as it was recorded'
    values, index = np.unique(scores, return_inverse=True)
    return {
        "scoreMap": {"values": pack(values.astype(np.float64)), "index": pack(index.reshape(scores.shape))},
        "kernel": rules.get("kernel", "diagonal"),
        "threshold": rules.get("threshold"),
        "mixing": mixing,
        "depthReason": reason,
        "partitions": list(partitions(record)),
    }


def _redistribution(record: Record) -> dict[str, Any]:
    """Return the settings of the operators; a record does not hold a potential that was a callable."""
    setting = record.settings
    potential = setting.get("potential", "exponential")
    reason = None
    if potential not in POTENTIALS:
        reason = f"the potential was a callable, {potential}, which a record does not hold"
    return {
        "temperature": setting.get("temperature", 0.2),
        "importanceTemperature": setting.get("importance_temperature"),
        "negative": setting.get("negative", "same"),
        "potential": potential,
        "reason": reason,
        "recorded": reason and pack(as_numpy(record.attribution).astype(np.float64)),
    }


def _verdicts(record: Record) -> dict[str, Any]:
    """Measure the desiderata of each upsampler that is defined on the record's cells, at the record's ε."""
    setting = {name: record.settings[name] for name in UPSAMPLING if name in record.settings}
    if setting.get("potential", "exponential") not in POTENTIALS:
        return {}
    wanted = {
        name: (name, {**setting, "continuous": False})
        for name in (UPSAMPLERS if record.neighbourhoods is None else ON_ANY_CELLS)
    }
    own = _shown(record)
    wanted[own] = (own.removesuffix("-continuous"), setting)
    return {title: _verdict(record, name, used) for title, (name, used) in wanted.items()}


def _verdict(record: Record, name: str, setting: Mapping[str, Any]) -> dict[str, Any]:
    report = check_desiderata(
        name,
        as_numpy(record.coarse),
        as_numpy(record.score_map),
        neighbourhoods=None if record.neighbourhoods is None else as_numpy(record.neighbourhoods),
        mass=record.mass,
        **setting,
    )
    findings = {key: finding for key, finding in report.items() if key in _DESIDERATA}
    plain = {
        key: {**asdict(finding), "witness": finding.witness.text if finding.witness else None}
        for key, finding in findings.items()
    }
    verdict: dict[str, Any] = finite(plain)
    return verdict
