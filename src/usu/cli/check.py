"""`usu check`: the guarantees of upsamplers, measured."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from usu.cli._output import check_record, desiderata_table
from usu.cli.demo import _demo_photograph
from usu.cli.explain import VIOLATED

if TYPE_CHECKING:
    pass


def check(options: argparse.Namespace) -> int:
    """Measure the desiderata of upsamplers on one photograph; 1 where a required one violates D1 to D4."""
    from usu.desiderata.check import check_desiderata
    from usu.models.images import read_image
    from usu.models.loading import DEMO_MODEL, load_classifier
    from usu.operators.upsamplers import UPSAMPLERS
    from usu.pipeline import explain

    if options.image is None:
        image, classifier = _demo_photograph()
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
