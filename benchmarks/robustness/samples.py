"""The data that malformed calls start from, a network of three layers, and what spoils their arguments."""

from __future__ import annotations

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
    WEIGHTS,
    Bad,
    Opaque,
    anywhere,
    either,
    given,
    one_of,
)

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
SEGMENTATION_KIND = one_of(
    3, "slic", {}, {"voronoi": (4,)}, {3: (4,)}, {"changepoints": (4,)}, {1, 2}, 1j, Opaque, b"slic"
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
