"""Attribution sources: from a model and a batch to raw, signed coarse maps."""

from usu.sources.coarse_map import CoarseMap, Source
from usu.sources.registry import SOURCE_NAMES, SOURCES, find_source

__all__ = ["SOURCES", "SOURCE_NAMES", "CoarseMap", "Source", "find_source"]
