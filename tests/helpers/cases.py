"""Random problems for the operators, and the parametrisations that their tests share."""

import math
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import reference
from usu import iwmr, redistribute

FLOATS = [np.float32, np.float64]
TOLERANCE = {np.float32: 1e-6, np.float64: 1e-12}
TEMPERATURES = [10.0**power for power in range(-4, 5)]
NAMED = ["exponential", "power", "log-odds"]
TRIPLE = 1 / math.log(3)  # the temperature at which a score of 1 weighs three times a score of 0


def bowl(scores):
    """Serve as a potential that is neither named nor monotone, on floats and tensors alike."""
    return 0.5 + (scores - 0.25) ** 2


OPERATORS = {
    "usu": redistribute,
    "usu opposite": partial(redistribute, negative="opposite"),
    "iwmr": iwmr,
    "iwmr by mass": partial(iwmr, prior="mass"),
}
every_operator = pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS)
every_float = pytest.mark.parametrize("dtype", FLOATS)
both_forms = pytest.mark.parametrize("segmented", [True, False], ids=["segments", "dense"])
both_systems = pytest.mark.parametrize("regions", [False, True], ids=["grid", "superpixels"])


@dataclass(frozen=True)
class Case:
    """One problem for the operators, and the flat lists that the reference takes."""

    coarse: np.ndarray
    scores: np.ndarray
    segments: np.ndarray | None
    labels: np.ndarray  # the cell of every pixel, flat
    options: dict = field(default_factory=dict)  # ndim and neighbourhoods

    @property
    def dense(self):
        """The score map."""
        return self.scores if self.segments is None else self.scores[self.segments]

    @property
    def flat(self):
        """The same problem as the reference takes it."""
        return self.coarse.ravel().tolist(), self.dense.ravel().tolist(), self.labels.tolist()

    def solve(self, operator, device="cpu", **options):
        """Run an operator on tensors, and return the pixels flat, in float64."""
        arrays = [self.coarse, self.scores] + ([] if self.segments is None else [self.segments])
        result = operator(
            *(torch.from_numpy(array).to(device) for array in arrays), **self.options, **options
        )
        assert result.device.type == torch.device(device).type
        assert result.shape == self.dense.shape
        assert result.dtype == getattr(torch, self.coarse.dtype.name)
        return result.cpu().double().numpy().ravel()

    def sums(self, pixels):
        """Sum flat pixels over each cell, exactly enough for any tolerance here."""
        return np.array([math.fsum(pixels[self.labels == k]) for k in range(self.coarse.size)])

    def masses(self):
        """M_k = a_k |N_k| in float64."""
        return self.coarse.ravel().astype(np.float64) * np.bincount(self.labels)


def make_case(rng, dtype, shape, size, *, regions=False, segments=None, decimals=None):
    """Draw a problem; `regions` scatters as many neighbourhoods as the grid of `shape` has cells."""
    pixels, cells = math.prod(size), math.prod(shape)
    options = {"ndim": len(size)}
    labels = np.array(reference.grid_labels(shape, size))
    if regions:
        labels = rng.permutation(np.concatenate([np.arange(cells), rng.integers(cells, size=pixels - cells)]))
        options["neighbourhoods"] = labels.reshape(size)
    coarse = rng.normal(size=cells if regions else shape).astype(dtype)
    scores = rng.random(size if segments is None else segments).astype(dtype)
    scores = scores if decimals is None else scores.round(decimals)
    labelled = None if segments is None else rng.integers(segments, size=size)
    return Case(coarse, scores, labelled, labels, options)


def draw_case(rng, dtype, segmented=None):
    """Draw a small problem of one to three dimensions, in any form, with ties, zeros and odd sizes."""
    ndim = int(rng.integers(1, 4))
    most_cells, most_pixels = {1: (7, 30), 2: (4, 11), 3: (3, 5)}[ndim]
    shape = tuple(int(rng.integers(1, most_cells + 1)) for _ in range(ndim))
    size = tuple(int(rng.integers(cells, most_pixels + 1)) for cells in shape)
    segmented = rng.random() < 0.5 if segmented is None else segmented
    case = make_case(
        rng,
        dtype,
        shape,
        size,
        regions=rng.random() < 0.5,
        segments=int(rng.integers(1, 9)) if segmented else None,
        decimals=pick(rng, [None, 1]),
    )
    case.coarse[case.coarse < pick(rng, [-9.0, -1.0, 0.0])] = 0.0
    case.coarse[...] *= 10.0 ** rng.integers(-8, 9)
    return case


def pick(rng, options):
    return options[rng.integers(len(options))]


def draw_temperature(rng):
    return 10.0 ** rng.uniform(-4, 4)


# Everything hangs on one seed: Hypothesis' own draws are too much alike to cover the combinations.
every_case = given(seed=st.integers(0, 2**32 - 1))


def assert_agree(pixels, expected, labels, tolerance):
    """Compare flat pixels, relative to the largest absolute value of each cell."""
    largest = np.zeros(labels.max() + 1)
    np.maximum.at(largest, labels, np.abs(expected))
    excess = np.abs(pixels - expected) - tolerance * largest[labels] - np.finfo(np.float32).tiny
    assert excess.max() <= 0, f"off by {excess.max():g} more than {tolerance:g} of the cell's largest"
