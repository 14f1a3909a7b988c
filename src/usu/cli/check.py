"""Measure what each upsampler guarantees, on a photograph's real coarse map (Grad-CAM) and real scores.

  D1      each cell's pixels sum to the cell's mass
  D2      within a cell, a better score never means a smaller value
  D3      a step of the score means the same ratio of values wherever on the scale it is taken
  D4      a cell's values do not depend on data outside it
  D5      no jump at the border of cells where the scores on either side are equal (not of the paper)
  D1-G    each cell's pixels sum to the mass that the upsampler itself promises (soft IWMR)
  D4'     data outside a cell change all its values by one common factor at most (soft IWMR)
  global  all pixels sum to the whole map's mass

Prints the measured table beside table 2 of the paper, and what shows each violation. The exit code is 1
where an upsampler named with --require violates one of D1 to D4.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from usu.cli._output import VIOLATED, Commands
from usu.models.bundled import DEMO_MODEL
from usu.operators.registry import UPSAMPLERS

if TYPE_CHECKING:
    from usu.desiderata.report import DesiderataReport
    from usu.explanation import Explanation

_EXAMPLES = """\
examples:
  usu check                                 all upsamplers, on the photograph of the demo
  usu check cat.jpg --upsampler lanczos --upsampler usu
                                            two of them, on your own photograph
  usu check --require usu --json            for machines: exit code and one JSON document
"""

_FOUR = ("D1", "D2", "D3", "D4")
_MARKS = {"satisfied": "yes", "violated": "no", "not applicable": "-"}


def add_parser(commands: Commands) -> None:
    """Add the command to those of `usu`."""
    parser = commands.add_parser(
        "check",
        help="measure which guarantees each upsampler keeps",
        description=__doc__,
        epilog=_EXAMPLES,
    )
    add = parser.add_argument
    known: dict[str, Any] = {"action": "append", "choices": tuple(UPSAMPLERS), "metavar": "NAME"}
    add("image", metavar="IMAGE", nargs="?", help="photograph (default: that of the demo)")
    add("--upsampler", **known, help="upsampler to check; may be repeated (default: all)")
    add(
        "--require", **known, default=[], help="upsampler that must violate none of D1 to D4; may be repeated"
    )
    add("--json", action="store_true", help="print one JSON document instead of the tables")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure the desiderata of upsamplers on one photograph; 1 where a required one violates D1 to D4."""
    from usu.cli.demo import demo_photograph
    from usu.desiderata.check import check_desiderata
    from usu.models.images import read_image
    from usu.models.loading import load_classifier
    from usu.pipeline import explain

    if options.image is None:
        image, classifier = demo_photograph()
    else:
        image, classifier = read_image(options.image), load_classifier(DEMO_MODEL)
    inputs, picture = classifier.prepare(image)
    explanation = explain(classifier.model, inputs, images=picture, show_progress=sys.stderr.isatty())
    wanted = {*(options.upsampler or UPSAMPLERS), *options.require}
    setting = {name: explanation.settings[name] for name in ("temperature", "importance_temperature")}
    reports = [
        check_desiderata(name, explanation.coarse, explanation.score_map, mass=explanation.mass, **setting)
        for name in UPSAMPLERS
        if name in wanted
    ]
    record = check_record(reports, explanation, options.image or "the demo's photograph", options.require)
    print(json.dumps(record, indent=2) if options.json else "\n".join(desiderata_table(reports, record)))
    return VIOLATED if record["violations"] else 0


def check_record(
    reports: Sequence[DesiderataReport], explanation: Explanation, image: str, required: Sequence[str]
) -> dict[str, Any]:
    """Return everything that `usu check` measured, as values that JSON can hold (infinity as text)."""
    from usu.bench.tables.published import desiderata
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
            for name, (marks, error) in desiderata().items()
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
        f"{'':39}{'measured':<{sum(widths)}}    table 2 of the paper",
        f"{'upsampler':<17}{'D1 error':>10}{'relative':>10}  {title}   |{paper_title}{'D1 error':>10}",
    ]
    for report in reports:
        marks = [_MARKS[finding.verdict] for finding in report.values()]
        row = "".join(f"{mark:>{width}}" for mark, width in zip(marks, widths, strict=True))
        theirs = record["paper"].get(report.upsampler)
        paper = (
            "".join(f"{theirs[name]:>5}" for name in _FOUR) + f"{theirs['d1_error']:>10.2e}" if theirs else ""
        )
        errors = f"{report.d1_error:>10.2e}{report.d1_relative:>10.1e}"
        lines.append(f"{report.upsampler:<17}{errors}  {row}   |{paper}".rstrip(" |"))
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
