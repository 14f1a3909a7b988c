"""Random malformed calls of usu's public functions, and what became of each.

A call starts from arguments that work. One of them, in a fifth of the calls two, is replaced by a value that
the function cannot mean anything by. What must follow is a ValueError or TypeError that a `raise` in usu's
own files makes, and whose message has the name of an argument.
"""

from __future__ import annotations

import inspect
import linecache
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from torch import nn

import usu
from benchmarks.robustness.wrong_values import (
    CALLABLE,
    FILLS,
    FLOATS,
    INF,
    LABELS,
    LINKED,
    MAPS,
    NAMES,
    NAN,
    NOT_FLOATS,
    NUMBER,
    OUTPUTS,
    PIXELS,
    SCORES,
    SIZE,
    WEIGHTS,
    WHOLE,
    Bad,
    Opaque,
    anywhere,
    either,
    given,
    one_of,
)

PACKAGE = Path(usu.__file__).parent
SETTINGS = {item.name for kind in (usu.Settings, usu.Rules) for item in fields(kind)}

_rng = np.random.default_rng(0)
COARSE, SIGNAL = _rng.normal(size=(3, 4)), _rng.normal(size=5)
DENSE, LEVELS = _rng.random((12, 16)), _rng.random(6)
TRUTH = _rng.random((12, 16))
SEGMENTS = np.arange(192).reshape(12, 16) % 6
REGIONS = np.arange(192).reshape(12, 16) // 40
INPUTS = _rng.normal(size=(3, 12, 16)).astype(np.float32)
IMAGE = _rng.random((3, 12, 16)).astype(np.float32)
LEVEL_MAPS = [
    np.zeros((12, 16), int),
    np.arange(192).reshape(12, 16) // 96,
    np.arange(192).reshape(12, 16) // 48,
]


class Tiny(nn.Module):
    """A convolution, a mean, a linear layer; takes NumPy as well."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.features = nn.Conv2d(3, 4, 4, stride=4)
        self.head = nn.Linear(4, 5)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator)

    def forward(self, batch: Any) -> torch.Tensor:
        """Return (B, 5) outputs."""
        return self.head(self.features(torch.as_tensor(batch)).relu().mean((2, 3)))


MODEL = Tiny().eval()


def foreign_source(result: Any) -> Any:
    """Return an attribution source that gives `result`."""
    return lambda *_: result


SOURCE = either(
    NAMES,
    one_of(
        *map(
            foreign_source,
            [
                None,
                3,
                torch.ones(1, 3, 4),
                usu.CoarseMap(torch.ones(3, 4)),
                usu.CoarseMap(torch.ones(2, 3, 4)),
                usu.CoarseMap(torch.full((1, 3, 4), NAN)),
                usu.CoarseMap(torch.ones(1, 30, 4)),
                usu.CoarseMap("map"),
                usu.CoarseMap(torch.ones(1, 3, 4), mass="sum"),
                usu.CoarseMap(torch.ones(1, 3, 4), forward_passes=3),
                usu.CoarseMap(torch.ones(1, 3, 4), neighbourhoods=np.ones((2, 2))),
            ],
        )
    ),
)
HIERARCHY = one_of(None, 3, "slic", [], [None], [SEGMENTS], SEGMENTS, {}, usu.Hierarchy([[[0, 1]]]), Opaque)
SEGMENTATION = either(
    one_of(
        None,
        3,
        "slic",
        {},
        {"voronoi": (4,)},
        {"slic": 4},
        {"slic": None},
        {"slic": ()},
        {"quadtree": (4, 2)},
    ),
    one_of(
        {"quadtree": (0, 4)}, {"quadtree": ("a",)}, {"quadtree": (4, 10**6)}, {3: (4,)}, {"watershed": (1.5,)}
    ),
    one_of(
        [], [None], [SEGMENTS], SEGMENTS, [3], [[]], usu.Hierarchy([[[0, 1]]]), Opaque, {"quadtree": "48"}
    ),
)
LEVELS_BAD = either(
    one_of(
        None,
        3,
        [],
        (),
        "maps",
        [None],
        [3],
        Opaque,
        {},
        [[[[[0, 1]]]]],
        np.ones((2, 3, 4)),
        [[[0], [0, 1]]],
        1j,
    ),
    lambda random, good: [good[0], LABELS(random, good[1])],
    lambda random, good: [MAPS(random, good[0]), *good[1:]],
    lambda random, good: [good[2], good[1]],
    lambda random, good: [good[1], SEGMENTS],
    lambda random, good: [good[1], good[2].T],
)
TARGET = one_of(
    -1, 99, 1.5, "cat", None, [], [1, 2], [[1]], NAN, 1j, np.ones(3), Opaque, 2**70, torch.tensor(0.5), True
)
BATCH = one_of(0, -3, 1.5, "2", None, True, [], NAN, INF, Opaque, (2,))
FILL = either(one_of("black", None, {}, 1j, NAN, [[1.0], [1.0, 2.0]], np.ones(7), Opaque(), ["blur"]), FILLS)
IMAGES = either(
    NOT_FLOATS,
    anywhere(NAN),
    anywhere(-0.5),
    anywhere(255.0),
    lambda random, good: np.asarray(good)[:2],
    one_of(DENSE),
)
INPUT = either(FLOATS, one_of(DENSE, DENSE[0], DENSE[None, None, None]))
OUTPUT = either(NAMES, LINKED)
POTENTIAL = either(NAMES, WEIGHTS)
LAYER = either(one_of("attic", "", 3, [], {}, nn.ReLU(), Opaque, "head", 1.5, b"features"))
RULES: dict[str, Bad] = {
    "kernel": NAMES,
    "threshold": NUMBER,
    "tolerance": either(NUMBER, one_of(None)),
    "mixing": NAMES,
    "centre": one_of(NAN, INF, -INF, "0.1", None, [], 1j, Opaque, np.ones(3), {}),
    "sharpness": either(NUMBER, one_of(None)),
}
OPERATOR: dict[str, Bad] = {
    "temperature": either(NUMBER, one_of(None)),
    "potential": POTENTIAL,
    "mass": NAMES,
}
SCORING: dict[str, Bad] = {
    "forward_func": either(CALLABLE, OUTPUTS, one_of(Tiny())),
    "inputs": INPUT,
    "target": TARGET,
    "baselines": FILL,
    "output": OUTPUT,
    "perturbations_per_eval": BATCH,
}
PIPELINE: dict[str, Bad] = {
    **{name: SCORING[name] for name in ("inputs", "baselines", "output", "perturbations_per_eval")},
    **{name: OPERATOR[name] for name in ("temperature", "potential")},
    **RULES,
    "target": TARGET,
    "mode": given(NAMES),
    "images": given(IMAGES),
    "importance_temperature": NUMBER,
    "negative": NAMES,
    "segmentation": given(SEGMENTATION),
    "scoring": NAMES,
    "rules": one_of(3, "rules", {}, [], {"kernel": "gradient"}),
    "temprature": one_of(0.1),
}


@dataclass(frozen=True)
class Subject:
    """A function, arguments that work, and how to spoil each."""

    function: Callable[..., Any]
    good: dict[str, Any]
    bad: dict[str, Bad]

    @property
    def names(self) -> set[str]:
        """Names that a message may name: of parameters, and of settings."""
        record = {"coarse", "neighbourhoods"} if "source" in self.bad else set()  # of a source's result
        return {*inspect.signature(self.function).parameters, *self.bad, *SETTINGS, *record}


SUBJECTS = {
    "redistribute": Subject(
        usu.redistribute,
        {"coarse": COARSE, "scores": LEVELS, "segments": SEGMENTS},
        {
            "coarse": FLOATS,
            "scores": SCORES,
            "segments": LABELS,
            "negative": NAMES,
            "ndim": WHOLE,
            **OPERATOR,
        },
    ),
    "iwmr": Subject(
        usu.iwmr,
        {"coarse": SIGNAL, "scores": DENSE, "neighbourhoods": REGIONS},
        {"coarse": FLOATS, "scores": SCORES, "neighbourhoods": MAPS, "importance_temperature": NUMBER}
        | {"prior": NAMES, "ndim": WHOLE, **OPERATOR},
    ),
    "interpolate": Subject(
        usu.interpolate,
        {"coarse": COARSE, "size": (12, 16), "mode": "bicubic"},
        {"coarse": FLOATS, "size": SIZE, "mode": NAMES},
    ),
    "h_map": Subject(usu.h_map, {"scores": DENSE}, {"scores": FLOATS, "kernel": NAMES}),
    "segment": Subject(
        usu.segment,
        {"image": IMAGE, "counts": (4, 16), "method": "quadtree"},
        {
            "image": IMAGES,
            "counts": either(SIZE, one_of((4, 4), (9, 3), (4, 10**9), (INF,))),
            "method": NAMES,
        },
    ),
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
        {"model": either(CALLABLE, one_of(Tiny(), nn.Sequential)), "source": SOURCE, "layer": LAYER}
        | {**PIPELINE, "target": given(TARGET)},
    ),
    "Hierarchy": Subject(usu.Hierarchy, {"levels": LEVEL_MAPS}, {"levels": LEVELS_BAD}),
    "check_desiderata": Subject(
        usu.check_desiderata,
        {"upsampler": "usu", "coarse": COARSE, "scores": LEVELS, "segments": SEGMENTS},
        {"upsampler": either(NAMES, PIXELS), "coarse": FLOATS, "scores": SCORES, "segments": LABELS}
        | {"importance_temperature": NUMBER, "seed": one_of(-1, 1.5, "1", None, 2**32, [], True), **OPERATOR},
    ),
    "error_maps": Subject(
        usu.error_maps,
        {"attribution": DENSE, "truth": TRUTH},
        {"attribution": FLOATS, "truth": either(FLOATS, one_of(DENSE[:5], DENSE.T))},
    ),
    "mass_errors": Subject(
        usu.mass_errors,
        {"attribution": DENSE, "truth": TRUTH, "neighbourhoods": (3, 4)},
        {"attribution": FLOATS, "truth": either(FLOATS, one_of(DENSE[:5], DENSE.T))}
        | {"neighbourhoods": either(SIZE, lambda random, good: MAPS(random, SEGMENTS), one_of((13, 4)))},
    ),
}


@dataclass(frozen=True)
class Outcome:
    """What became of one call; `fault` is None for an error of usu's own that names an argument."""

    function: str
    spoiled: tuple[str, ...]
    values: tuple[str, ...]
    fault: str | None
    message: str

    @property
    def exact(self) -> bool:
        """Whether the message names a spoiled argument, and not only one that it no longer fits."""
        return any(re.search(rf"\b{name}\b", self.message) for name in self.spoiled)


def attempt(name: str, random: Random) -> Outcome:
    """Make one malformed call of a subject."""
    subject = SUBJECTS[name]
    spoiled = tuple(
        random.sample(sorted(subject.bad), min(len(subject.bad), 2 if random.random() < 0.2 else 1))
    )
    broken = {argument: subject.bad[argument](random, subject.good.get(argument)) for argument in spoiled}
    values = tuple(" ".join(repr(value).split())[:60] for value in broken.values())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = subject.function(**{**subject.good, **broken})
    except Exception as error:
        fault = _fault(error, subject.names)
        return Outcome(name, spoiled, values, fault, f"{type(error).__name__}: {error}")
    return Outcome(name, spoiled, values, "accepted", " ".join(repr(result).split())[:80])


def _fault(error: Exception, names: set[str]) -> str | None:
    if not isinstance(error, ValueError | TypeError):
        return f"a {type(error).__name__}"
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    path = frame.tb_frame.f_code.co_filename if frame else ""
    if PACKAGE not in Path(path).parents or "raise" not in linecache.getline(path, frame.tb_lineno):
        return f"raised in {Path(path).name}, not by usu"
    if not any(re.search(rf"\b{name}\b", str(error)) for name in names):
        return "names no argument"
    return None


def malformed_calls(count: int, seed: int = 0) -> Iterator[Outcome]:
    """Make `count` calls, the functions in turn."""
    random = Random(seed)
    names = list(SUBJECTS)
    for number in range(count):
        yield attempt(names[number % len(names)], random)
