"""Attribution sources: from a model and a batch to raw, signed coarse maps."""

from typing import TYPE_CHECKING, Any

from usu.sources.registry import SOURCE_NAMES, SOURCES, find_source

if TYPE_CHECKING:
    from usu.sources.coarse_map import CoarseMap, Source

__all__ = ["SOURCES", "SOURCE_NAMES", "CoarseMap", "Source", "find_source"]


def __getattr__(name: str) -> Any:
    # With torch only when they are asked for: tables of saved results need the names of sources alone.
    if name in ("CoarseMap", "Source"):
        from usu.sources import coarse_map

        return getattr(coarse_map, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
