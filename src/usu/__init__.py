"""Universal Semantic-Aware Upsampling: a coarse attribution map's mass, redistributed to pixels."""

from usu.explanation import Explanation
from usu.interpolate import interpolate
from usu.pipeline import explain, upsample
from usu.redistribute import iwmr, redistribute
from usu.refinement import Refinement, Rules, h_map, refine
from usu.scoring import SegmentScores, score_segments
from usu.segmentation import Hierarchy, segment
from usu.settings import Settings
from usu.sources import CoarseMap

__all__ = [
    "CoarseMap",
    "Explanation",
    "Hierarchy",
    "Refinement",
    "Rules",
    "SegmentScores",
    "Settings",
    "explain",
    "h_map",
    "interpolate",
    "iwmr",
    "redistribute",
    "refine",
    "score_segments",
    "segment",
    "upsample",
]
