"""What asks a model: explanations, scores, metrics of faithfulness, networks and pictures by name."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

import usu
from benchmarks.robustness.calls import Subject
from benchmarks.robustness.samples import (
    DENSE,
    HIERARCHY,
    IMAGE,
    IMAGES,
    INPUT,
    INPUTS,
    LAYER,
    LEVEL_MAPS,
    MODEL,
    PIPELINE,
    REGIONS,
    RULES,
    SCORING,
    SEGMENTS,
    SIGNAL,
    SOURCE,
    TARGET,
    Tiny,
)
from benchmarks.robustness.wrong_values import (
    BYTES_OR_NUMBER,
    CALLABLE,
    COUNT,
    FLAG,
    FLOATS,
    MAPS,
    NAMES,
    NAN,
    WHOLE,
    Opaque,
    either,
    given,
    one_of,
    spoiled,
)
from usu.metrics import Judge
from usu.models import load_classifier, read_image

_INPUTS = torch.from_numpy(INPUTS)
_FOLDER = Path(tempfile.mkdtemp(prefix="usu-malformed-"))
_QUADTREE = {"segmentation": {"quadtree": (4,)}}
_ASKED = {
    "class_names": one_of(3, "cifar", [1, 2], {0: 1}, {1: "a"}, [None], 1j),
    "tokens": one_of(3, "14x14", (3, 4), {}, Opaque),
    "run": one_of(-1, 9, 1.5, "0", [], True, NAN),
    "placement": one_of(3, "whole", [], {}, [None], (1, 2), usu.Placement.whole((5, 5))),
    "backend": NAMES,
    "ndim": WHOLE,
    "passes": given(COUNT),
    "score_smoothing": one_of(0, -1, 2, NAN, "a", [], 1j, True),
    "negative": NAMES,
    "continuous": FLAG,
}

_PICTURE = _FOLDER / "picture.png"
Image.fromarray((255 * IMAGE).astype(np.uint8).transpose(1, 2, 0)).save(_PICTURE)


def judged(maps: Any = DENSE, metrics: Any = "sparseness", **asked: Any) -> Any:
    """Make a judge and let it score a map."""
    return Judge(**asked).score(maps, metrics)


def dataset(loader: Any, **options: Any) -> Any:
    """Explain the images of a loader into a folder that no call can fill."""
    return usu.explain_dataset(loader=loader, **options)


SUBJECTS: dict[str, Subject] = {
    "score_segments": Subject(
        usu.score_segments,
        {"forward_func": MODEL, "inputs": torch.from_numpy(INPUTS), "segments": SEGMENTS, "target": 1},
        {**SCORING, "segments": MAPS, "scoring": NAMES},
    ),
    "refine": Subject(
        usu.refine,
        {"forward_func": MODEL, "inputs": INPUTS, "hierarchy": usu.Hierarchy(LEVEL_MAPS), "target": 1},
        {**SCORING, **RULES, "hierarchy": HIERARCHY, "scoring": NAMES, "sharpnes": one_of(0.1)},
    ),
    "upsample": Subject(
        usu.upsample,
        {"coarse": SIGNAL, "inputs": INPUTS, "forward_func": MODEL, "target": 1}
        | {"neighbourhoods": REGIONS, "segmentation": {"quadtree": (4,)}, "images": IMAGE},
        {
            "coarse": FLOATS,
            "forward_func": SCORING["forward_func"],
            "mass": NAMES,
            "neighbourhoods": MAPS,
            **PIPELINE,
        },
    ),
    "explain": Subject(
        usu.explain,
        {"model": MODEL, "inputs": torch.from_numpy(INPUTS), "target": 1, "images": IMAGE}
        | {"segmentation": {"quadtree": (4,)}},
        {"model": either(CALLABLE, one_of(Tiny(), nn.Sequential)), "source": given(SOURCE), "layer": LAYER}
        | {**PIPELINE, "target": given(TARGET)},
    ),
    "score_segments, owen": Subject(
        usu.score_segments,
        {"forward_func": MODEL, "inputs": _INPUTS, "segments": SEGMENTS, "target": 1}
        | {"scoring": "owen", "passes": 8},
        {**SCORING, "segments": MAPS, "passes": given(either(COUNT, one_of(-1, 0, 1)))},
    ),
    "score_segments, order": Subject(
        usu.score_segments,
        {"forward_func": MODEL, "inputs": _INPUTS, "segments": SEGMENTS, "target": 1}
        | {"scoring": "order", "passes": 8},
        {**SCORING, "segments": MAPS, "passes": given(either(COUNT, one_of(-1, 0, 1, 7)))},
    ),
    "score_segments, mask+order": Subject(
        usu.score_segments,
        {"forward_func": MODEL, "inputs": _INPUTS, "segments": SEGMENTS, "target": 1}
        | {"scoring": "mask+order", "passes": 14},
        {**SCORING, "segments": MAPS, "passes": given(either(COUNT, one_of(-1, 0, 1, 7, 13)))},
    ),
    "upsample, order": Subject(
        usu.upsample,
        {"coarse": SIGNAL, "inputs": _INPUTS, "forward_func": MODEL, "target": 1, "neighbourhoods": REGIONS}
        | {"images": IMAGE, "scoring": "order", "passes": 8, **_QUADTREE},
        {"coarse": FLOATS, "forward_func": SCORING["forward_func"], "mass": NAMES, "neighbourhoods": MAPS}
        | PIPELINE
        | {name: maker for name, maker in _ASKED.items() if name not in ("tokens", "run")},
        ("settings",),
    ),
    "explain, what is asked": Subject(
        usu.explain,
        {"model": MODEL, "inputs": _INPUTS, "target": 1, "images": IMAGE, "mode": "usu", **_QUADTREE},
        {"layer": LAYER, **_ASKED},
    ),
    "explain, complete": Subject(
        usu.explain,
        {"model": MODEL, "inputs": _INPUTS, "target": 1, "images": IMAGE, "mode": "complete", "passes": 6}
        | _QUADTREE,
        {
            "model": either(CALLABLE, one_of(Tiny(), nn.Sequential)),
            "layer": one_of("features", "attic", 3),
            **{name: PIPELINE[name] for name in ("inputs", "baselines", "output", "temperature", "images")},
            "target": given(TARGET),
            "scoring": either(NAMES, one_of("mask", "order")),
            "negative": either(NAMES, one_of("same")),
        },
        ("passes",),
    ),
    "explain_dataset": Subject(
        dataset,
        {"model": MODEL, "loader": [_INPUTS[None]], "out": _FOLDER / "never", **_QUADTREE},
        {
            "model": either(CALLABLE, one_of(nn.Sequential, Tiny)),
            "out": either(BYTES_OR_NUMBER, one_of(__file__)),
        },
        ("loader",),
    ),
    "Judge": Subject(
        judged,
        {"model": MODEL, "inputs": _INPUTS, "target": "b", "maps": DENSE}
        | {"class_names": ["a", "b", "c", "d", "e"]},
        {
            "model": either(CALLABLE, one_of(Tiny())),
            "inputs": either(INPUT, one_of(INPUTS[None])),
            "target": given(TARGET),
            "maps": either(FLOATS, one_of(DENSE.T, {}, {"a": None}, DENSE[None])),
            "metrics": given(either(NAMES, one_of([], ["sparseness", "roda"], ()))),
            "image": given(spoiled(IMAGE, IMAGES)),
            "class_names": one_of(["a", 1], 3, "cifar", {0: 2}),
            "seed": one_of(-1, 1.5, "1", None, [], True, 2**40, NAN),
            "perturbations_per_eval": either(COUNT, one_of(0, -3, None)),
        },
    ),
    "load_classifier": Subject(
        load_classifier,
        {"name": "efficientnet-lite0"},
        {"name": either(NAMES, one_of("resnet", "resnet50", "timm:", "efficientnet-lite9"))},
        ("model", "weights"),
    ),
    "read_image": Subject(
        read_image,
        {"path": _PICTURE},
        {
            "path": either(BYTES_OR_NUMBER, one_of(__file__)),
            "value_range": one_of(3, (1,), (1, 0), (0, 0), "ab", (NAN, 1), (None, 1), {}, Opaque),
        },
    ),
}
