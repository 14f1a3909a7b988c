"""The names of upsamplers and modes, and their titles; what computes is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from usu.runtime.lazy import Registry

if TYPE_CHECKING:
    from usu.operators.setting import BuiltIn

REDISTRIBUTIONS = {
    "usu": "USU",
    "usu-continuous": "USU, continuous",
    "iwmr": "IWMR",
    "hybrid": "Hybrid",
    "total-conserving": "Total-conserving",
}
INTERPOLATIONS = {
    "nearest": "Nearest neighbour",
    "bilinear": "Bilinear",
    "bicubic": "Bicubic",
    "lanczos": "Lanczos-3",
    "conserving": "Conserving",
}
# Those that are defined on cells of any shape; the others need a grid.
ON_ANY_CELLS = ("usu", "iwmr", "hybrid", "nearest")

UPSAMPLERS: Mapping[str, BuiltIn] = Registry(
    {
        name: f"usu.operators.upsamplers:{name.upper().replace('-', '_')}"
        for name in (*REDISTRIBUTIONS, *INTERPOLATIONS)
    }
)

# What the pipeline can do: redistribute a source's map, or one of Owen values that it makes itself.
MODES = ("usu", "iwmr", "hybrid", "total-conserving", "complete")
