"""The names of upsamplers and modes, and their titles; what computes is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from usu.runtime.lazy import Registry

if TYPE_CHECKING:
    from usu.operators.setting import BuiltIn

REDISTRIBUTIONS = {"usu": "USU", "iwmr": "IWMR", "hybrid": "Hybrid"}
INTERPOLATIONS = {
    "nearest": "Nearest neighbour",
    "bilinear": "Bilinear",
    "bicubic": "Bicubic",
    "lanczos": "Lanczos-3",
}

UPSAMPLERS: Mapping[str, BuiltIn] = Registry(
    {name: f"usu.operators.upsamplers:{name.upper()}" for name in (*REDISTRIBUTIONS, *INTERPOLATIONS)}
)

# What the pipeline can do: redistribute a source's map, or one of Owen values that it makes itself.
MODES = (*REDISTRIBUTIONS, "complete")
