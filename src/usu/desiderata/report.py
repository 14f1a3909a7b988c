"""The results of checking the guarantees: findings, their witnesses and the report of one upsampler."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

DESIDERATA = ("D1", "D2", "D3", "D4", "D5", "D1-G", "D4'", "global")
Verdict: TypeAlias = Literal["satisfied", "violated", "not applicable"]
Indices: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"


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
    """One measured desideratum: violated if residual > tolerance; a `witness` then shows how."""

    verdict: Verdict
    residual: float | None
    tolerance: float
    witness: Witness | None = None


def finding(residual: float, tolerance: float, witness: Callable[[], Witness]) -> Finding:
    """Return the verdict of a residual; the witness is sought only if it exceeds the tolerance."""
    violated = residual > tolerance
    return Finding(
        "violated" if violated else "satisfied", residual, tolerance, witness() if violated else None
    )


def not_applicable(tolerance: float, reason: str) -> Finding:
    """Return the verdict of a desideratum that cannot be asked for, and why."""
    return Finding("not applicable", None, tolerance, Witness(reason))


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
