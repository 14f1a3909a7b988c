"""Universal Semantic-Aware Upsampling: a coarse attribution map's mass, redistributed to pixels.

Names are imported when they are first used (PEP 562): `import usu` loads neither torch nor scikit-image.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from usu import plot as plot
    from usu.desiderata.check import check_desiderata
    from usu.desiderata.report import DesiderataReport, Finding, Witness
    from usu.explanation import Explanation
    from usu.metrics.errors import ErrorMaps, MassErrors, error_maps, mass_errors
    from usu.models.placement import Placement
    from usu.operators.interpolation import interpolate
    from usu.operators.redistribution import iwmr, redistribute
    from usu.operators.upsamplers import UPSAMPLERS, find_upsampler
    from usu.pipeline import explain, upsample
    from usu.scoring.h_map import h_map
    from usu.scoring.owen import Owen
    from usu.scoring.refinement import Masking, Refinement, Rules, refine
    from usu.scoring.registry import SCORINGS, SegmentScores, score_segments
    from usu.scoring.regression import Regression
    from usu.segmentation.hierarchy import Hierarchy
    from usu.segmentation.methods import segment
    from usu.settings import Settings
    from usu.sources.coarse_map import CoarseMap

_ROOMS = {
    "desiderata.check": ("check_desiderata",),
    "desiderata.report": ("DesiderataReport", "Finding", "Witness"),
    "explanation": ("Explanation",),
    "metrics.errors": ("ErrorMaps", "MassErrors", "error_maps", "mass_errors"),
    "models.placement": ("Placement",),
    "operators.interpolation": ("interpolate",),
    "operators.redistribution": ("iwmr", "redistribute"),
    "operators.upsamplers": ("UPSAMPLERS", "find_upsampler"),
    "pipeline": ("explain", "upsample"),
    "scoring.h_map": ("h_map",),
    "scoring.owen": ("Owen",),
    "scoring.refinement": ("Masking", "Refinement", "Rules", "refine"),
    "scoring.registry": ("SCORINGS", "SegmentScores", "score_segments"),
    "scoring.regression": ("Regression",),
    "segmentation.hierarchy": ("Hierarchy",),
    "segmentation.methods": ("segment",),
    "settings": ("Settings",),
    "sources.coarse_map": ("CoarseMap",),
}
_HOMES = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = [
    "SCORINGS",
    "UPSAMPLERS",
    "CoarseMap",
    "DesiderataReport",
    "ErrorMaps",
    "Explanation",
    "Finding",
    "Hierarchy",
    "Masking",
    "MassErrors",
    "Owen",
    "Placement",
    "Refinement",
    "Regression",
    "Rules",
    "SegmentScores",
    "Settings",
    "Witness",
    "check_desiderata",
    "error_maps",
    "explain",
    "find_upsampler",
    "h_map",
    "interpolate",
    "iwmr",
    "mass_errors",
    "redistribute",
    "refine",
    "score_segments",
    "segment",
    "upsample",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("usu-xai")
    if name == "plot":
        return import_module("usu.plot")
    if name not in _HOMES:
        raise AttributeError(f"module 'usu' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"usu.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
