"""Attribution sources: from a model and its inputs to a coarse map that keeps its sign and its scale."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeAlias

from torch import Tensor, nn

from usu.arrays import Array, as_floats, check_choice, check_finite
from usu.operators import Mass


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
_SOURCES = {
    "gradcam": "usu.adapters.gradcam:gradcam",
    "hirescam": "usu.adapters.gradcam:hirescam",
    "gradcam++": "usu.adapters.gradcam:gradcam_plus_plus",
    "xgradcam": "usu.adapters.gradcam:xgradcam",
    "layercam": "usu.adapters.gradcam:layercam",
    "shapleycam": "usu.adapters.gradcam:shapleycam",
    "finercam": "usu.adapters.gradcam:finercam",
    "eigencam": "usu.adapters.gradcam:eigencam",
    "scorecam": "usu.adapters.gradcam:scorecam",
    "ablationcam": "usu.adapters.gradcam:ablationcam",
}
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


def check_coarse_map(found: Any, count: int) -> CoarseMap:
    """Return what a source gave, if it is a coarse map for each of `count` images.

    Raises:
        ValueError: values that are not finite or not one map per image, an unknown mass.
        TypeError: anything but a `CoarseMap` of arrays.
    """
    if not isinstance(found, CoarseMap):
        raise TypeError(f"source must return a usu.CoarseMap, got {type(found).__name__}")
    values = check_finite(as_floats(found.values, "source's values"), "source's values")
    rank = 3 if found.neighbourhoods is None else 2
    if values.dim() != rank or len(values) != count:
        raise ValueError(
            f"source must return {rank} axes of values for {count} images, got {tuple(values.shape)}"
        )
    check_choice(found.mass, ("density", "total"), "source's mass")
    passes = found.forward_passes
    if not isinstance(passes, tuple) or len(passes) not in (0, count):
        raise ValueError(f"source must count forward_passes for {count} images or none, got {passes!r}")
    return found
