"""The rows of the tables: each way to bring a coarse map to pixels, its oracles and its controls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from usu.operators.upsamplers import find_upsampler
from usu.scoring.controls import blurred

Values: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"

# The paper's temperature, within cells and between them (supplement E).
TEMPERATURE = 0.1


@dataclass(frozen=True, eq=False)
class Case:
    """What a map is made from."""

    coarse: Tensor  # (gh, gw) totals, from the network
    true_coarse: Tensor  # (gh, gw), the truth summed into the same cells
    scores: Mapping[str, Tensor]  # score maps (H, W) by kind, as in `usu.reproduce.evidence.Evidence`


@dataclass(frozen=True)
class Method:
    """A row: its title in tables, and what makes its map (H, W) from a case."""

    title: str
    draw: Callable[[Case], Tensor]


def _with(upsampler: str, scores: str = "model", coarse: str = "coarse") -> Callable[[Case], Tensor]:
    upsample = find_upsampler(upsampler, temperature=TEMPERATURE, mass="total")
    return lambda case: upsample(getattr(case, coarse), case.scores[scores])


UPSAMPLED: Mapping[str, Method] = MappingProxyType(
    {
        "nearest": Method("Nearest", _with("nearest")),
        "bilinear": Method("Bilinear", _with("bilinear")),
        "bicubic": Method("Bicubic", _with("bicubic")),
        "lanczos": Method("Lanczos-3", _with("lanczos")),
        "usu": Method("USU", _with("usu")),
        "iwmr": Method("IWMR", _with("iwmr")),
        "hybrid": Method("Hybrid", _with("hybrid")),
        "oracle-usu": Method("Oracle-USU", _with("usu", "truth")),
        "oracle-iwmr": Method("Oracle-IWMR", _with("iwmr", "truth")),
    }
)

CONTROLS: Mapping[str, Method] = MappingProxyType(
    {
        "scores alone": Method("scores alone, no coarse map", lambda case: case.scores["model"]),
        "shuffled scores": Method("USU, shuffled scores", _with("usu", "shuffled")),
        "random segments": Method("USU, random segments", _with("usu", "random segments")),
        "constant": Method("constant", lambda case: torch.ones_like(case.scores["model"])),
        "blurred nearest": Method(
            "blurred nearest", lambda case: blurred(UPSAMPLED["nearest"].draw(case), case.coarse.shape)
        ),
    }
)

# One part at a time is replaced by its oracle.
LIMITS: Mapping[str, Method] = MappingProxyType(
    {
        f"{upsampler}, true {part}": Method(f"{title}, true {part}", _with(upsampler, scores, coarse))
        for upsampler, title in (("usu", "USU"), ("iwmr", "IWMR"))
        for part, scores, coarse in (
            ("cells", "model", "true_coarse"),
            ("segments", "true segments", "coarse"),
            ("scores", "true scores", "coarse"),
        )
    }
)

METHODS: Mapping[str, Method] = MappingProxyType({**UPSAMPLED, **CONTROLS, **LIMITS})
