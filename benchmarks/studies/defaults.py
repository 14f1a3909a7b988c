"""Which segments, scores, fills, refinement and temperatures serve best: measured, for the defaults.

    python -m benchmarks.studies.defaults DATA [--images 24] [--out results/defaults] [--table FILE]

DATA is a folder of photographs. Each is explained by EfficientNet-Lite0 and Grad-CAM under every
configuration below, and each map is judged by deletion and insertion curves (whole pixels, a blurred and a
mean-colour fill). One JSON file per photograph is written whole as it is finished; a second run measures what
is missing, questions added since then included. `--images 0` only prints the table of what is there. On Linux
with glibc, forward passes run 2 to 3 times as fast with MALLOC_MMAP_THRESHOLD_, MALLOC_TRIM_THRESHOLD_ and
MALLOC_TOP_PAD_ set to a gigabyte.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from tqdm import tqdm

import usu
from benchmarks.scores.curves import Curves, ranks
from benchmarks.scores.photographs import Photograph, Remembering, photographs
from usu.models.baselines import make_fill
from usu.models.classifier import Classifier
from usu.models.loading import load_classifier
from usu.runtime.files import written_whole
from usu.sources.registry import find_source

Questions: TypeAlias = "dict[str, list[dict[str, Any]]]"
MEASURES = ("deletion, blur", "insertion, blur", "deletion, mean", "insertion, mean")
THREE_SCALES = {"watershed": (16, 64), "slic": (64,)}
THREE_SEGMENTERS = dict.fromkeys(("watershed", "slic", "quadtree"), (16, 32))
NESTED = {"watershed": (16, 64, 256)}


@dataclass(frozen=True)
class Configuration:
    """Settings of `usu.upsample` under a name, and the maps to take from the result."""

    question: str
    name: str
    settings: dict[str, Any]
    modes: tuple[str, ...] = ("scores", "usu")


def _segmentations() -> list[Configuration]:
    question = "Segments: segmenter and number of scales, 144 segments"
    layouts: dict[str, dict[str, tuple[int, ...]]] = {
        "watershed 144": {"watershed": (144,)},
        "slic 144": {"slic": (144,)},
        "quadtree 144": {"quadtree": (144,)},
        "watershed 16+128": {"watershed": (16, 128)},
        "slic 16+128": {"slic": (16, 128)},
        "watershed 72, slic 72": {"watershed": (72,), "slic": (72,)},
        "watershed 16+64, slic 64": THREE_SCALES,
        "watershed 64, slic 16+64": {"watershed": (64,), "slic": (16, 64)},
        "slic 16+64, quadtree 64": {"slic": (16, 64), "quadtree": (64,)},
        "watershed 48, slic 48, quadtree 48": {"watershed": (48,), "slic": (48,), "quadtree": (48,)},
        "watershed, slic, quadtree, 16+32 each": THREE_SEGMENTERS,
    }
    return [Configuration(question, name, {"segmentation": layout}) for name, layout in layouts.items()]


def _scorings() -> list[Configuration]:
    question = "Scoring: masked, keep-only, both, at 144 passes"
    halves = dict.fromkeys(THREE_SEGMENTERS, (24,))
    layouts: dict[str, tuple[dict[str, tuple[int, ...]], str]] = {
        "mask, watershed 16+64, slic 64": (THREE_SCALES, "mask"),
        "keep, watershed 16+64, slic 64": (THREE_SCALES, "keep"),
        "both, watershed 8+32, slic 32": ({"watershed": (8, 32), "slic": (32,)}, "both"),
        "mask, three segmenters 16+32": (THREE_SEGMENTERS, "mask"),
        "keep, three segmenters 16+32": (THREE_SEGMENTERS, "keep"),
        "both, three segmenters 24": (halves, "both"),
    }
    return [
        Configuration(question, name, {"segmentation": layout, "scoring": method}, ("scores",))
        for name, (layout, method) in layouts.items()
    ]


def _fills() -> list[Configuration]:
    question = "Fill of masked segments (watershed 16+64, slic 64)"
    return [
        Configuration(question, fill, {"segmentation": THREE_SCALES, "baselines": fill}, ("scores",))
        for fill in ("blur", "mean", "zeros", "noise")
    ]


def _refinements() -> list[Configuration]:
    question = "Refinement: H-map, threshold and mixing (watershed 16, 64, 256, split where scores change)"
    return [
        Configuration(
            question,
            f"{kernel}, threshold {threshold:g}, mixing {mixing}",
            {"segmentation": NESTED, "kernel": kernel, "threshold": threshold, "mixing": mixing},
        )
        for kernel, thresholds in {"diagonal": (0.45, 0.6), "gradient": (0.6, 0.75)}.items()
        for threshold in thresholds
        for mixing in ("pixel", "segment", "mean")
    ]


def _refined_segmenters() -> list[Configuration]:
    question = "Refinement of three segmenters (watershed, slic, quadtree)"
    layouts: dict[str, dict[str, Any]] = {
        "16+32, all split": {"counts": (16, 32)},
        "16+48, diagonal, threshold 0.6": {"counts": (16, 48), "kernel": "diagonal", "threshold": 0.6},
        "16+48, gradient, threshold 0.6": {"counts": (16, 48), "kernel": "gradient", "threshold": 0.6},
        "16+64, diagonal, threshold 0.8": {"counts": (16, 64), "kernel": "diagonal", "threshold": 0.8},
        "16+64, gradient, threshold 0.8": {"counts": (16, 64), "kernel": "gradient", "threshold": 0.8},
        "8+16, all split, both": {"counts": (8, 16), "scoring": "both"},
    }
    return [
        Configuration(
            question,
            name,
            {"segmentation": dict.fromkeys(THREE_SEGMENTERS, settings.pop("counts")), **settings},
        )
        for name, settings in layouts.items()
    ]


def _temperatures() -> list[Configuration]:
    question = "Temperatures (watershed, slic, quadtree, 16+32 each)"
    settings = {"segmentation": THREE_SEGMENTERS}
    within = [
        Configuration(question, f"ε = {value:g}", {**settings, "temperature": value}, ("usu",))
        for value in (0.03, 0.05, 0.1, 0.2, 0.5, 1.0)
    ]
    between = [
        Configuration(
            question,
            f"ε = 0.1, ε_Λ = {value:g}",
            {**settings, "importance_temperature": value},
            ("iwmr", "hybrid"),
        )
        for value in (0.05, 0.1, 0.2, 0.5)
    ]
    return within + between


def _both_temperatures() -> list[Configuration]:
    question = "Both temperatures (watershed, slic, quadtree, 16+32 each)"
    return [
        Configuration(
            question,
            f"ε = {within:g}, ε_Λ = {between:g}",
            {"segmentation": THREE_SEGMENTERS, "temperature": within, "importance_temperature": between},
            ("iwmr", "hybrid"),
        )
        for within in (0.2, 0.5)
        for between in (0.05, 0.1, 0.2)
    ]


QUESTIONS = (
    _segmentations,
    _scorings,
    _fills,
    _refinements,
    _refined_segmenters,
    _temperatures,
    _both_temperatures,
)
INTERPOLATION = "Interpolation"


def measure(classifier: Classifier, photograph: Photograph, known: Questions) -> Questions:
    """Return `known` with the questions that it lacks: rows of configuration, map, passes and four areas."""
    model = Remembering(classifier.model).eval()
    coarse = find_source("gradcam")(classifier.model, photograph.inputs[None], [photograph.target], None)
    fills = [make_fill(photograph.inputs[None], fill)[0] for fill in ("blur", "mean")]
    judges = [Curves(model, photograph.inputs, fill, photograph.target) for fill in fills]

    def judge(name: str, kind: str, passes: int, attribution: Any) -> dict[str, Any]:
        rank = ranks(np.asarray(attribution))
        areas = [area for curves in judges for area in curves.areas(rank)]
        return {"configuration": name, "map": kind, "passes": passes} | dict(
            zip(MEASURES, areas, strict=True)
        )

    answers = dict(known)
    if INTERPOLATION not in answers:
        size = tuple(photograph.inputs.shape[-2:])
        maps = {
            mode: usu.interpolate(coarse.values[0], size, mode) for mode in ("nearest", "bilinear", "bicubic")
        }
        answers[INTERPOLATION] = [judge(mode, mode, 1, attribution) for mode, attribution in maps.items()]
    for configurations in (question() for question in QUESTIONS):
        question = configurations[0].question
        if question in answers:
            continue
        answers[question] = [
            judge(configuration.name, mode, explanation.forward_passes, attribution)
            for configuration in configurations
            for mode in configuration.modes
            for explanation, attribution in [_map(model, photograph, coarse, mode, configuration.settings)]
        ]
    return answers


def _map(
    model: Remembering, photograph: Photograph, coarse: usu.CoarseMap, mode: str, settings: dict[str, Any]
) -> tuple[usu.Explanation, Any]:
    explanation = usu.upsample(
        coarse.values[0],
        photograph.inputs,
        model,
        photograph.target,
        mode="usu" if mode == "scores" else mode,
        mass=coarse.mass,
        images=photograph.picture,
        **{"scoring": "mask", **settings},
    )
    return explanation, explanation.score_map if mode == "scores" else explanation.attribution


def table(folder: Path) -> str:
    """Return the Markdown tables of all photographs measured so far: means and their standard errors."""
    parts = [json.loads(path.read_text())["questions"] for path in sorted(folder.glob("*.json"))]
    lines = ["Areas over the class probability, mean ± standard error over photographs."]
    for question in dict.fromkeys(question for part in parts for question in part):
        answered = [part[question] for part in parts if question in part]
        lines += ["", f"## {question}", "", f"{len(answered)} photographs.", ""]
        lines += [
            f"| configuration | map | passes | {' | '.join(MEASURES)} |",
            "|---" * (3 + len(MEASURES)) + "|",
        ]
        for rows in zip(*answered, strict=True):
            passes = np.mean([row["passes"] for row in rows])
            values = np.array([[row[measure] for measure in MEASURES] for row in rows])
            errors = values.std(0, ddof=min(1, len(rows) - 1)) / len(rows) ** 0.5
            cells = [f"{mean:.3f} ± {error:.3f}" for mean, error in zip(values.mean(0), errors, strict=True)]
            first = rows[0]
            lines.append(
                f"| {first['configuration']} | {first['map']} | {passes:.0f} | {' | '.join(cells)} |"
            )
    return "\n".join(lines)


# What the choice of a default rests on: (question, configuration, map) against another.
_SEGMENTERS, _REFINED, _WITHIN, _BOTH = (
    question()[0].question
    for question in (_segmentations, _refined_segmenters, _temperatures, _both_temperatures)
)
PAIRS = {
    "three segmenters, not watershed and slic; scores": (
        (_SEGMENTERS, "watershed, slic, quadtree, 16+32 each", "scores"),
        (_SEGMENTERS, "watershed 16+64, slic 64", "scores"),
    ),
    "three segmenters, not one scale; scores": (
        (_SEGMENTERS, "watershed, slic, quadtree, 16+32 each", "scores"),
        (_SEGMENTERS, "watershed 144", "scores"),
    ),
    "16+32 all split, not 16+48 by the H-map; scores": (
        (_REFINED, "16+32, all split", "scores"),
        (_REFINED, "16+48, gradient, threshold 0.6", "scores"),
    ),
    "masked, not both; scores": (
        (_REFINED, "16+32, all split", "scores"),
        (_REFINED, "8+16, all split, both", "scores"),
    ),
    "masked, not both; usu": (
        (_REFINED, "16+32, all split", "usu"),
        (_REFINED, "8+16, all split, both", "usu"),
    ),
    "ε 0.5, not 0.1; usu": ((_WITHIN, "ε = 0.5", "usu"), (_WITHIN, "ε = 0.1", "usu")),
    "ε 0.2, not 0.1; usu": ((_WITHIN, "ε = 0.2", "usu"), (_WITHIN, "ε = 0.1", "usu")),
    "ε 0.5, not 0.2; usu": ((_WITHIN, "ε = 0.5", "usu"), (_WITHIN, "ε = 0.2", "usu")),
    "usu at ε 0.1, not nearest": ((_WITHIN, "ε = 0.1", "usu"), (INTERPOLATION, "nearest", "nearest")),
    "usu at ε 0.1, not bilinear": ((_WITHIN, "ε = 0.1", "usu"), (INTERPOLATION, "bilinear", "bilinear")),
    "usu at ε 0.2, not nearest": ((_WITHIN, "ε = 0.2", "usu"), (INTERPOLATION, "nearest", "nearest")),
    "usu at ε 0.2, not bilinear": ((_WITHIN, "ε = 0.2", "usu"), (INTERPOLATION, "bilinear", "bilinear")),
    "hybrid at ε 0.1, ε_Λ 0.1, not bilinear": (
        (_WITHIN, "ε = 0.1, ε_Λ = 0.1", "hybrid"),
        (INTERPOLATION, "bilinear", "bilinear"),
    ),
    "hybrid at ε 0.2, ε_Λ 0.2, not nearest": (
        (_BOTH, "ε = 0.2, ε_Λ = 0.2", "hybrid"),
        (INTERPOLATION, "nearest", "nearest"),
    ),
    "hybrid at ε 0.2, ε_Λ 0.2, not bilinear": (
        (_BOTH, "ε = 0.2, ε_Λ = 0.2", "hybrid"),
        (INTERPOLATION, "bilinear", "bilinear"),
    ),
    "hybrid at ε 0.2, ε_Λ 0.2, not scores alone": (
        (_BOTH, "ε = 0.2, ε_Λ = 0.2", "hybrid"),
        (_REFINED, "16+32, all split", "scores"),
    ),
}


def paired(folder: Path) -> str:
    """Return the Markdown table of paired differences: the first map's area less the second's."""
    parts = [json.loads(path.read_text())["questions"] for path in sorted(folder.glob("*.json"))]
    lines = [
        "## Paired differences",
        "",
        "Mean ± standard error over photographs; below 0 is better for deletion, above 0 for insertion.",
        "",
    ]
    lines += [f"| the first, not the second | photographs | {' | '.join(MEASURES)} |"]
    lines += ["|---" * (2 + len(MEASURES)) + "|"]
    for name, pair in PAIRS.items():
        answered = [part for part in parts if all(question in part for question, _, _ in pair)]
        first, second = (np.array([_areas(part, *key) for part in answered]) for key in pair)
        difference = first - second
        errors = difference.std(0, ddof=1) / len(difference) ** 0.5
        cells = [f"{mean:+.3f} ± {error:.3f}" for mean, error in zip(difference.mean(0), errors, strict=True)]
        lines.append(f"| {name} | {len(difference)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _areas(answers: Questions, question: str, configuration: str, kind: str) -> list[float]:
    (row,) = [r for r in answers[question] if (r["configuration"], r["map"]) == (configuration, kind)]
    return [row[measure] for measure in MEASURES]


def main() -> None:
    """Measure what is missing, then print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder of photographs")
    parser.add_argument("--images", type=int, default=24, help="number of photographs (default: 24)")
    parser.add_argument("--out", type=Path, default=Path("results/defaults"), help="results folder")
    parser.add_argument("--table", type=Path, help="also write the table to this file")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    classifier = load_classifier("efficientnet-lite0")
    chosen = photographs(arguments.data, classifier, arguments.images)
    for photograph in tqdm(chosen, total=arguments.images, desc="photographs"):
        path = arguments.out / f"{Path(photograph.name).stem}.json"
        known = json.loads(path.read_text())["questions"] if path.exists() else {}
        answers = measure(classifier, photograph, known)
        record = {"photograph": photograph.name, "target": photograph.target, "questions": answers}
        with written_whole(path) as file:
            file.write(json.dumps(record, indent=1).encode())
    text = f"{table(arguments.out)}\n\n{paired(arguments.out)}"
    print(text)
    if arguments.table:
        title = "# Measurements behind the defaults"
        command = "`python -m benchmarks.studies.defaults DATA --table docs/defaults-measurements.md`"
        arguments.table.write_text(
            f"{title}\n\nMade by {command}; what they\nmean stands in [Defaults](defaults.md).\n\n{text}\n"
        )


if __name__ == "__main__":
    main()
