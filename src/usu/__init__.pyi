# Relative imports are the public names, which lazy_loader reads here; all others stand as modules.
import collections.abc as _abc
import typing as _typing

import numpy as _np
import torch.nn as _nn

import usu.arrays.convert as _convert
import usu.models.naming as _naming
import usu.models.targets as _targets
import usu.sources.coarse_map as _sources

from . import plot as plot
from .dataset import explain_dataset as explain_dataset
from .desiderata.check import check_desiderata as check_desiderata
from .desiderata.report import DesiderataReport as DesiderataReport
from .desiderata.report import Finding as Finding
from .desiderata.report import Witness as Witness
from .explanation import Explanation as Explanation
from .metrics.errors import ErrorMaps as ErrorMaps
from .metrics.errors import MassErrors as MassErrors
from .metrics.errors import error_maps as error_maps
from .metrics.errors import mass_errors as mass_errors
from .models.placement import Placement as Placement
from .models.target_objects import Similarity as Similarity
from .models.tokens import Tokens as Tokens
from .operators.interpolation import interpolate as interpolate
from .operators.redistribution import iwmr as iwmr
from .operators.redistribution import redistribute as redistribute
from .operators.redistribution import share_total as share_total
from .operators.registry import UPSAMPLERS as UPSAMPLERS
from .operators.upsamplers import find_upsampler as find_upsampler
from .pipeline import upsample as upsample
from .scoring.h_map import h_map as h_map
from .scoring.mask_order import MaskOrder as MaskOrder
from .scoring.order import Order as Order
from .scoring.owen import Owen as Owen
from .scoring.refinement import Masking as Masking
from .scoring.refinement import Refinement as Refinement
from .scoring.refinement import Rules as Rules
from .scoring.refinement import refine as refine
from .scoring.registry import SCORINGS as SCORINGS
from .scoring.registry import SegmentScores as SegmentScores
from .scoring.registry import score_segments as score_segments
from .scoring.regression import Regression as Regression
from .segmentation.hierarchy import Hierarchy as Hierarchy
from .segmentation.methods import segment as segment
from .settings import Settings as Settings
from .sources.coarse_map import CoarseMap as CoarseMap

if not _typing.TYPE_CHECKING:  # its types stand below
    from .pipeline import explain as explain

__version__: str

# The number of axes is the type of NumPy's arrays alone: of tensors and mappings, a list of targets says that
# they are a batch, and else the result is of any type.
_Image: _typing.TypeAlias = _np.ndarray[tuple[int, int, int], _typing.Any]
_Batch: _typing.TypeAlias = _np.ndarray[tuple[int, int, int, int], _typing.Any]
_One: _typing.TypeAlias = _targets.Target | str | tuple[int, ...]

@_typing.overload
def explain(
    model: _nn.Module,
    inputs: _Image,
    target: _One | None = None,
    *,
    source: str | _sources.Source | None = None,
    layer: str | _nn.Module | None = None,
    mode: str | None = None,
    images: _convert.Array | None = None,
    class_names: _naming.ClassNames | None = None,
    placement: Placement | _abc.Sequence[Placement] | None = None,
    tokens: Tokens | None = None,
    run: int | None = None,
    perturbations_per_eval: int = 16,
    backend: str = "auto",
    show_progress: bool = False,
    **settings: _typing.Any,
) -> Explanation: ...
@_typing.overload
def explain(
    model: _nn.Module,
    inputs: _Batch,
    target: _targets.Targets | None = None,
    *,
    source: str | _sources.Source | None = None,
    layer: str | _nn.Module | None = None,
    mode: str | None = None,
    images: _convert.Array | None = None,
    class_names: _naming.ClassNames | None = None,
    placement: Placement | _abc.Sequence[Placement] | None = None,
    tokens: Tokens | None = None,
    run: int | None = None,
    perturbations_per_eval: int = 16,
    backend: str = "auto",
    show_progress: bool = False,
    **settings: _typing.Any,
) -> list[Explanation]: ...
@_typing.overload
def explain(
    model: _nn.Module,
    inputs: _convert.Array | _abc.Mapping[str, _typing.Any],
    target: list[int] | list[str] | list[_One],
    *,
    source: str | _sources.Source | None = None,
    layer: str | _nn.Module | None = None,
    mode: str | None = None,
    images: _convert.Array | None = None,
    class_names: _naming.ClassNames | None = None,
    placement: Placement | _abc.Sequence[Placement] | None = None,
    tokens: Tokens | None = None,
    run: int | None = None,
    perturbations_per_eval: int = 16,
    backend: str = "auto",
    show_progress: bool = False,
    **settings: _typing.Any,
) -> list[Explanation]: ...
@_typing.overload
def explain(
    model: _nn.Module,
    inputs: _convert.Array | _abc.Mapping[str, _typing.Any],
    target: _targets.Targets | None = None,
    *,
    source: str | _sources.Source | None = None,
    layer: str | _nn.Module | None = None,
    mode: str | None = None,
    images: _convert.Array | None = None,
    class_names: _naming.ClassNames | None = None,
    placement: Placement | _abc.Sequence[Placement] | None = None,
    tokens: Tokens | None = None,
    run: int | None = None,
    perturbations_per_eval: int = 16,
    backend: str = "auto",
    show_progress: bool = False,
    **settings: _typing.Any,
) -> _typing.Any: ...
