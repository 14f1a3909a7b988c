"""Whose maps find the photograph that the network is asked about: mosaics of four, with known truth.

    python benchmarks/mosaics.py DATA [--mosaics 24] [--out benchmarks/results/mosaics.jsonl]

DATA is a folder of photographs; those of which EfficientNet-Lite0 is sure (0.5) become tiles of 448 × 448
pixels, whose borders cut the cells of Grad-CAM. One of the four classes is asked for, and the truth is its
tile (grid pointing game, Böhle et al., 2021). All methods take about 160 forward passes, interpolation one;
all fill with the blurred mosaic. A mosaic's line is written when all its maps are judged; a second run goes
on, and `--mosaics 0` only prints the table.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from score_tables import TESTED, tested_cell
from torch import Tensor
from tqdm import tqdm

from usu.bench import peers
from usu.bench.contestants import CONTESTANTS
from usu.bench.quick import quickened
from usu.bench.subject import Subject
from usu.files import written_whole
from usu.images import read_image
from usu.measures import concentration, iou_area, pointing
from usu.models import load_classifier
from usu.statistics import correct, paired_test
from usu.worlds.mosaics import Mosaic, mosaics
from usu.worlds.photographs import confident

PASSES = 160
REFERENCE = "SHAP's partition explainer"
MEASURES = {"IoU": iou_area, "concentration": concentration, "pointing": pointing}


def _ours(subject: Subject, name: str) -> Tensor:
    return CONTESTANTS[name].draw(subject, "gradcam").values


METHODS: dict[str, Callable[[Subject], Tensor]] = {
    "bilinear": partial(_ours, name="bilinear"),
    "guided filter": partial(_ours, name="guided"),
    "strict USU": partial(_ours, name="usu"),
    "hybrid": partial(_ours, name="hybrid"),
    "scores alone, masking": partial(_ours, name="scores"),
    "complete map": partial(_ours, name="complete"),
    REFERENCE: partial(peers.shap_partition, passes=PASSES),
    "RISE": partial(peers.rise, passes=PASSES),
}


def _judged(mosaic: Mosaic, subject: Subject) -> dict[str, dict[str, float]]:
    maps = {name: method(subject) for name, method in METHODS.items()}
    truth = mosaic.scene.truth
    return {
        name: {key: measure(values, truth) for key, measure in MEASURES.items()}
        for name, values in maps.items()
    }


def _table(records: list[dict[str, dict[str, float]]]) -> str:
    names = list(MEASURES)
    lines = [
        f"| map | {' | '.join(names)} | {' | '.join(f'{name}, less {REFERENCE}' for name in names)} |",
        "|---" * (1 + 2 * len(names)) + "|",
    ]
    values = {
        method: np.array([[record[method][name] for name in names] for record in records])
        for method in METHODS
    }
    tested = {
        method: [paired_test(*pair) for pair in zip(own.T, values[REFERENCE].T, strict=True)]
        for method, own in values.items()
        if method != REFERENCE
    }
    corrected = iter(correct([test.p_value for several in tested.values() for test in several]))
    for method, own in values.items():
        cells = [f"{mean:.3f}" for mean in own.mean(0)]
        cells += (
            [""] * len(names)
            if method == REFERENCE
            else [tested_cell(test, next(corrected)) for test in tested[method]]
        )
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join([f"{len(records)} mosaics. {TESTED.format(len(tested) * len(names))}", "", *lines])


def main() -> None:
    """Judge what is missing, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder of photographs")
    parser.add_argument("--mosaics", type=int, default=24, help="how many (default: 24)")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/mosaics.jsonl"))
    arguments = parser.parse_args()
    known = arguments.out.read_text().splitlines() if arguments.out.exists() else []
    if arguments.mosaics > len(known):
        classifier = load_classifier("efficientnet-lite0")
        files = sorted(path for path in arguments.data.iterdir() if path.suffix.lower() in (".jpeg", ".png"))
        tiles = confident(classifier, [read_image(path) for path in files])
        cells = tuple(2 * side // 32 for side in classifier.prepare.crop)
        made = mosaics(classifier, tiles, arguments.mosaics, (cells[0], cells[1]))
        quick = quickened(classifier.model, made[0].scene.inputs)
        for mosaic in tqdm(made[len(known) :], desc="mosaics"):
            scene = mosaic.scene
            subject = Subject(classifier.model, scene.inputs, scene.picture, scene.target, quick=quick)
            known.append(json.dumps(_judged(mosaic, subject)))
            with written_whole(arguments.out) as file:
                file.write("".join(f"{line}\n" for line in known).encode())
    print(_table([json.loads(line) for line in known]))


if __name__ == "__main__":
    main()
