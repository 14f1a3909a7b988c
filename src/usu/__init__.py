"""Universal Semantic-Aware Upsampling: a coarse attribution map's mass, redistributed to pixels.

Names are imported when they are first used (PEP 562): `import usu` loads neither torch nor scikit-image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from usu.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from usu import plot as plot
    from usu.desiderata.check import check_desiderata
    from usu.desiderata.report import DesiderataReport, Finding, Witness
    from usu.explanation import Explanation
    from usu.metrics.error_maps import ErrorMaps, MassErrors, error_maps, mass_errors
    from usu.models.placement import Placement
    from usu.operators.interpolation import interpolate
    from usu.operators.redistribution import iwmr, redistribute
    from usu.operators.registry import UPSAMPLERS
    from usu.operators.upsamplers import find_upsampler
    from usu.pipeline import explain, upsample
    from usu.scoring.refinement import Refinement, Rules, h_map, refine
    from usu.scoring.registry import SegmentScores, score_segments
    from usu.segmentation.hierarchy import Hierarchy
    from usu.segmentation.methods import segment
    from usu.settings import Settings
    from usu.sources.coarse_map import CoarseMap

_HOMES = {
    "desiderata.check": ("check_desiderata",),
    "desiderata.report": ("DesiderataReport", "Finding", "Witness"),
    "explanation": ("Explanation",),
    "metrics.error_maps": ("ErrorMaps", "MassErrors", "error_maps", "mass_errors"),
    "models.placement": ("Placement",),
    "operators.interpolation": ("interpolate",),
    "operators.redistribution": ("iwmr", "redistribute"),
    "operators.registry": ("UPSAMPLERS",),
    "operators.upsamplers": ("find_upsampler",),
    "pipeline": ("explain", "upsample"),
    "plot": (),
    "scoring.refinement": ("Refinement", "Rules", "h_map", "refine"),
    "scoring.registry": ("SegmentScores", "score_segments"),
    "segmentation.hierarchy": ("Hierarchy",),
    "segmentation.methods": ("segment",),
    "settings": ("Settings",),
    "sources.coarse_map": ("CoarseMap",),
}

__all__ = [
    "UPSAMPLERS",
    "CoarseMap",
    "DesiderataReport",
    "ErrorMaps",
    "Explanation",
    "Finding",
    "Hierarchy",
    "MassErrors",
    "Placement",
    "Refinement",
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


_named, _contents = lazy_names(__name__, _HOMES)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("usu-xai")
    return _named(name)


def __dir__() -> list[str]:
    return [*_contents(), "__version__"]
