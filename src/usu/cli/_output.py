"""What the commands print: facts and tables on standard output, one line per problem on standard error."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from usu.bench.tables import published
from usu.record import cells_of

if TYPE_CHECKING:
    from usu.arrays.convert import Array
    from usu.desiderata.report import DesiderataReport
    from usu.explanation import Explanation

if TYPE_CHECKING:
    from usu.arrays.convert import Array
    from usu.explanation import Explanation


_FOUR = ("D1", "D2", "D3", "D4")
_MARKS = {"satisfied": "yes", "violated": "no", "not applicable": "-"}


def fact_table(explanation: Explanation, category: str | None, model: str, seconds: float) -> list[str]:
    """Return what was explained and what it took, a line each."""
    layer = f" of layer {explanation.layer}" if explanation.layer else ""
    coarse = f"{explanation.source}, {cells_of(explanation)}{layer}"
    if explanation.mode == "complete":
        coarse = f"Owen values, {cells_of(explanation)}, shared by {explanation.source}{layer}"
    probability = explanation.probability
    facts = {
        "class": f"{category} ({explanation.target})" if category else str(explanation.target),
        "probability": "none" if probability is None else f"{100 * probability:.1f} %",
        "model": model,
        "coarse map": coarse,
        "forward passes": str(explanation.forward_passes),
        "seconds": f"{seconds:.1f}",
    }
    return [f"{name:<16}{value}" for name, value in facts.items()]


def mass_table(explanation: Explanation, maps: Mapping[str, Array]) -> list[str]:
    """Return how well each map (H, W) keeps the coarse map's mass, a line each under a heading.

    The D1 error is the mean over cells of |Σ Ã - M_k|: absolute, and relative to the mean |M_k|. M_k holds
    the mass that maps on further grids have in the cell.
    """
    import torch

    coarse = explanation.coarse_map
    lines = [f"{'upsampler':<12}{'D1 error':>12}{'relative':>12}{'total mass':>14}"]
    for name, values in maps.items():
        pixels = torch.as_tensor(values, dtype=torch.float64)
        error, scale = coarse.mass_error(pixels)
        relative = f"{error / scale:.1e}" if scale else "-"
        lines.append(f"{name:<12}{error:>12.1e}{relative:>12}{float(pixels.sum()):>14.6g}")
    lines.append(
        f"{'(coarse map)':<36}{float(coarse.masses(tuple(explanation.attribution.shape)).sum()):>14.6g}"
    )
    return [
        *lines,
        "D1 error: mean over cells of |sum of pixels - mass of the cell|; relative to the mean |mass|",
    ]


def check_record(
    reports: Sequence[DesiderataReport], explanation: Explanation, image: str, required: Sequence[str]
) -> dict[str, Any]:
    """Return everything that `usu check` measured, as values that JSON can hold (infinity as text)."""
    from usu.runtime.files import finite

    violations = {
        report.upsampler: [name for name in _FOUR if report[name].verdict == "violated"]
        for report in reports
        if report.upsampler in required
    }
    record = {
        "image": image,
        "target": explanation.target,
        "source": explanation.source,
        "layer": explanation.layer,
        "cells": list(explanation.coarse.shape),
        "pixels": list(explanation.attribution.shape),
        "upsamplers": {report.upsampler: report.plain() for report in reports},
        "paper": {
            name: {**dict(zip(_FOUR, marks, strict=True)), "d1_error": error}
            for name, (marks, error) in published.desiderata().items()
        },
        "required": list(required),
        "violations": {name: broken for name, broken in violations.items() if broken},
    }
    plain: dict[str, Any] = finite(record)
    return plain


def desiderata_table(reports: Sequence[DesiderataReport], record: Mapping[str, Any]) -> list[str]:
    """Return table 2 as measured, beside the paper's, and a line for what shows each violation."""
    cells, pixels = (" × ".join(map(str, record[name])) for name in ("cells", "pixels"))
    names = list(reports[0])
    widths = [max(5, len(name) + 1) for name in names]
    title = "".join(f"{name:>{width}}" for name, width in zip(names, widths, strict=True))
    paper_title = "".join(f"{name:>5}" for name in _FOUR)
    lines = [
        f"{record['image']}: {record['source']}, {cells} cells to {pixels} pixels",
        "",
        f"{'':34}{'measured':<{sum(widths)}}    table 2 of the paper",
        f"{'upsampler':<12}{'D1 error':>10}{'relative':>10}  {title}   |{paper_title}{'D1 error':>10}",
    ]
    for report in reports:
        marks = [_MARKS[finding.verdict] for finding in report.values()]
        row = "".join(f"{mark:>{width}}" for mark, width in zip(marks, widths, strict=True))
        verdicts, error = published.desiderata().get(report.upsampler, (("",) * 4, None))
        paper = "".join(f"{mark:>5}" for mark in verdicts) + (f"{error:>10.2e}" if error else "")
        errors = f"{report.d1_error:>10.2e}{report.d1_relative:>10.1e}"
        lines.append(f"{report.upsampler:<12}{errors}  {row}   |{paper}".rstrip(" |"))
    lines += [
        "yes: satisfied, no: violated, -: does not apply",
        "D1 error: mean over cells of |sum of pixels - mass of the cell|; relative to the mean |mass|",
        "(the paper does not say in what unit its maps are; the relative error has none)",
        "",
    ]
    for report in reports:
        witnesses = {
            name: finding.witness.text
            for name, finding in report.items()
            if finding.verdict == "violated" and finding.witness
        }
        if witnesses:
            lines += [report.upsampler, *(f"  {name:<8}{text}" for name, text in witnesses.items())]
    for name, broken in record["violations"].items():
        lines += ["", f"{name} is required to keep D1 to D4, and violates {', '.join(broken)}"]
    return lines


def complain(problem: Exception, subject: str = "") -> None:
    """Print a problem on standard error as one line that names the file or argument it is about."""
    from tqdm import tqdm

    text = str(problem)
    if isinstance(problem, OSError) and problem.strerror and problem.filename:
        text = f"{problem.filename}: {problem.strerror}"
    text = " ".join(text.split()) or type(problem).__name__
    if subject not in text:
        text = f"{subject}: {text}"
    tqdm.write(f"usu: error: {text}", file=sys.stderr)  # above a progress bar, if there is one


def output_names(paths: Sequence[str]) -> list[str]:
    """Return one folder name per photograph: its own without the ending, numbered where several share it.

    Capitals do not tell folders apart on every system, so they do not here.

    >>> output_names(["a/cat.jpg", "b/Cat.png", "cat-2.jpg"])
    ['cat', 'Cat-2', 'cat-2-2']
    """
    names: list[str] = []
    taken: set[str] = set()
    for path in paths:
        stem = Path(path).stem
        candidates = chain([stem], (f"{stem}-{number}" for number in count(2)))
        name = next(name for name in candidates if name.casefold() not in taken)
        taken.add(name.casefold())
        names.append(name)
    return names


def _writable_folder(name: str) -> Path:
    """Make the folder for the results, and see that it takes files before time is spent on them."""
    folder = Path(name)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--out {name} is a file, not a folder")
    folder.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=folder).close()
    return folder
