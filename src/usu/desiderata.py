"""The paper's desiderata (D1)-(D4), measured on any upsampler: called as a black box, nothing assumed.

Each verdict compares one residual with one tolerance. All are relative, measured in float64:

| name   | residual                                                                                         |
|--------|--------------------------------------------------------------------------------------------------|
| D1     | mean over cells of abs(Σ Ã - M_k), over the mean of abs(M_k)                                      |
| D2     | largest Ã(y) - Ã(x) in one cell with s(x) >= s(y) and M_k >= 0                                    |
| D3     | largest difference of log(Ã(x) / Ã(y)) between base scores, for one fixed s(x) - s(y)             |
| D4     | largest change of a pixel's value when only data outside its cell changes                        |
| D1-G   | as D1, with the mass M̃_k that the operator promises in place of M_k (eq. 13 for Soft IWMR)        |
| D4'    | as D4, after the cell's values are rescaled by one common factor                                 |
| global | abs(Σ Ã - Σ M_k), over Σ abs(M_k)                                                                 |

D2, D4 and D4' are relative to the largest magnitude in the cell, or the map's mean density if that is larger.
Tolerances follow the least precise of the dtypes of map and result: 1e-12 for float64, 1e-6 for float32,
2e-3 for float16 and 1.6e-2 for bfloat16; D3 and D4, which compare rounded numbers with rounded numbers, take
eight times as much.

D1, D2, D1-G and global are measured on the given map with the given, the reversed and random scores, and on a
random positive map; D4 and D4' in up to four cells, by new values and by new scores everywhere outside.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from usu.arrays import Array, as_floats, as_labels, check_choice, check_finite, like
from usu.lattice import Neighbourhoods
from usu.potentials import Potential, check_potential
from usu.redistribute import Mass, check_temperature, gather, neighbourhoods_of
from usu.upsamplers import UPSAMPLERS, Upsampler, upsampler

Verdict: TypeAlias = Literal["satisfied", "violated", "not applicable"]
DESIDERATA = ("D1", "D2", "D3", "D4", "D1-G", "D4'", "global")
TOLERANCES = {torch.float16: 2e-3, torch.bfloat16: 1.6e-2, torch.float32: 1e-6, torch.float64: 1e-12}

_TWICE_ROUNDED = 8
# Base scores of D3, exact in every dtype, and unevenly spaced so that no period hides between them.
_BASES = tuple(count / 64 for count in (2, 9, 15, 24, 31, 38, 45, 54))
_STEEPEST = 8.0


@dataclass(frozen=True)
class Witness:
    """What shows a violation, or why a desideratum does not apply.

    Attributes:
        text: one line to read.
        cell: (row, column) of the coarse grid, or (label,) of a label map.
        pixels: (row, column) of one or two pixels.
        numbers: the measured values by name.
    """

    text: str
    cell: tuple[int, ...] | None = None
    pixels: tuple[tuple[int, ...], ...] = ()
    numbers: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Finding:
    """One measured desideratum: violated where residual > tolerance; a `witness` then says by what."""

    verdict: Verdict
    residual: float | None
    tolerance: float
    witness: Witness | None = None


@dataclass(frozen=True, eq=False)
class DesiderataReport(Mapping[str, Finding]):
    """Findings by the names in `DESIDERATA`.

    Attributes:
        upsampler: name of what was checked.
        findings: the mapping itself.
        d1_error: mean over cells of abs(Σ Ã - M_k) on the given data, in the unit of the masses (table 2).
        d1_relative: the same over the mean of abs(M_k).
        calls: how often the upsampler was called.
    """

    upsampler: str
    findings: Mapping[str, Finding]
    d1_error: float
    d1_relative: float
    calls: int

    def __getitem__(self, name: str) -> Finding:
        return self.findings[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.findings)

    def __len__(self) -> int:
        return len(self.findings)

    def __str__(self) -> str:
        lines = [f"{self.upsampler}: D1 error {self.d1_error:.2e} ({self.d1_relative:.2e} relative)"]
        for name, finding in self.items():
            residual = "" if finding.residual is None else f"{finding.residual:9.1e}"
            reason = f"  {finding.witness.text}" if finding.witness else ""
            lines.append(f"  {name:6} {finding.verdict:14} {residual:9}{reason}")
        return "\n".join(lines)

    def plain(self) -> dict[str, Any]:
        """Return the report as values that JSON can hold."""
        findings = {name: asdict(finding) for name, finding in self.items()}
        return {**vars(self), "findings": findings}


def check_desiderata(
    upsampler_or_name: str | Upsampler,
    coarse: Array,
    scores: Array | None = None,
    segments: Array | None = None,
) -> DesiderataReport:
    raise NotImplementedError
