"""Attribution sources: from a model and its inputs to a coarse map that keeps its sign and its scale."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TypeAlias

from torch import Tensor, nn

from usu.arrays import Array
from usu.redistribute import Mass


@dataclass(frozen=True, eq=False)
class CoarseMap:
    """A coarse map for each image of a batch, as its method computed it.

    Attributes:
        values: (B, gh, gw), or (B, K) with `neighbourhoods`; signed and unscaled.
        mass: "density", or "total" where a cell's value already is its mass.
        source: name of the method.
        layer: whose activations it describes, where there is one.
        neighbourhoods: (H, W) labels, where the cells are not a grid.
        forward_passes: spent on each image; none where they are not known.
    """

    values: Array
    mass: Mass = "density"
    source: str = "given"
    layer: str | None = None
    neighbourhoods: Array | None = None
    forward_passes: tuple[int, ...] = ()


Source: TypeAlias = Callable[[nn.Module, Tensor, Sequence[int], "str | nn.Module | None"], CoarseMap]

# Where each source lives; its module, and the library behind it, are imported when it is asked for.
_SOURCES = {"gradcam": "usu.adapters.gradcam:gradcam"}
SOURCES = tuple(_SOURCES)


def find_source(source: str | Source) -> Source:
    """Return a source by name, or a callable as it is.

    A callable takes (model, inputs (B, C, H, W), targets, layer) and returns a `CoarseMap`.

    Raises:
        ValueError: an unknown name.
        TypeError: neither a name nor a callable.
        ImportError: the library behind the source is missing; the message names the extra.
    """
    if callable(source):
        return source
    if not isinstance(source, str):
        raise TypeError(f"source must be a name or a callable, got {type(source).__name__}")
    if source not in _SOURCES:
        raise ValueError(f"source must be one of {SOURCES} or a callable, got {source!r}")
    module, name = _SOURCES[source].split(":")
    found: Source = getattr(import_module(module), name)
    return found
