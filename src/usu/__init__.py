"""Universal Semantic-Aware Upsampling: a coarse attribution map's mass, redistributed to pixels."""

from usu.desiderata import DesiderataReport, check_desiderata
from usu.errors import ErrorMaps, MassErrors, error_maps, mass_errors
from usu.explanation import Explanation
from usu.findings import Finding, Witness
from usu.interpolation import interpolate
from usu.operators import iwmr, redistribute
from usu.pipeline import explain, upsample
from usu.placement import Placement
from usu.refinement import Refinement, Rules, h_map, refine
from usu.scoring import SegmentScores, score_segments
from usu.segmentation import Hierarchy, segment
from usu.settings import Settings
from usu.sources import CoarseMap
from usu.upsamplers import UPSAMPLERS, find_upsampler

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
