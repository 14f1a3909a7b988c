"""Attribution sources: from a model and a batch to raw, signed coarse maps."""

from typing import TYPE_CHECKING

from usu.runtime.lazy import lazy_names
from usu.sources.registry import SOURCE_NAMES, SOURCES, find_source

if TYPE_CHECKING:
    from usu.sources.coarse_map import CoarseMap, Source

__all__ = ["SOURCES", "SOURCE_NAMES", "CoarseMap", "Source", "find_source"]

__getattr__, __dir__ = lazy_names(__name__, {"coarse_map": ("CoarseMap", "Source")})
