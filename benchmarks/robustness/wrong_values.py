"""Makers of values that an argument cannot mean anything by: from a good value to a random wrong one."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import torch

NAN, INF = float("nan"), float("inf")

Bad = Callable[[Random, Any], Any]


def one_of(*values: Any) -> Bad:
    """Return a maker of one of these values, whatever the good one is."""
    return lambda random, good: random.choice(values)


def anywhere(value: float) -> Bad:
    """Return a maker of the good array with `value` at a random place, as NumPy's array or torch's."""

    def make(random: Random, good: Any) -> Any:
        broken = np.array(good)
        broken.flat[random.randrange(broken.size)] = value
        return torch.from_numpy(broken) if random.random() < 0.5 else broken

    return make


def either(*makers: Bad) -> Bad:
    """Return a maker that leaves it to one of others."""
    return lambda random, good: random.choice(makers)(random, good)


def given(maker: Bad) -> Bad:
    """Return a maker that never makes None, which leaves out an argument that may be."""

    def make(random: Random, good: Any) -> Any:
        while (value := maker(random, good)) is None:
            pass
        return value

    return make


def spoiled(values: Any, maker: Bad) -> Bad:
    """Return a maker that spoils these values, where an argument is left out of the good call."""
    return lambda random, good: maker(random, values)


class Opaque:
    """An object of no use to anyone."""


JUNK = one_of(
    None, "map", b"map", 1j, {}, {"map": 1}, object(), Opaque, [[1.0], [1.0, 2.0]], [None], ["a", "b"]
)
NOT_FLOATS = either(
    JUNK,
    lambda random, good: np.asarray(good).astype(random.choice([complex, object, "U9", "datetime64[s]"])),
    lambda random, good: np.asarray(good, dtype=float).astype(np.longdouble),
    lambda random, good: torch.as_tensor(np.asarray(good)).to_sparse(),
    lambda random, good: np.empty((0, *np.shape(good)[1:])),
    lambda random, good: np.empty(0),
    one_of(NAN, INF, 0.5, 3, True),
)
FLOATS = either(NOT_FLOATS, anywhere(NAN), anywhere(INF), anywhere(-INF))
SCORES = either(FLOATS, anywhere(1.01), anywhere(-1e-3), anywhere(255.0), anywhere(-1e30))
LABELS = either(
    JUNK,
    one_of(NAN, INF, 0.5, 3, True, 2**70, [[2**70]]),
    lambda random, good: np.asarray(good).astype(random.choice([float, bool, complex, object, "U9"])),
    lambda random, good: np.asarray(good)[:0],
    lambda random, good: np.asarray(good)[..., 0],
    lambda random, good: np.asarray(good) - random.choice([1, 5, 2**40]),
    anywhere(-1),
    anywhere(10**6),
    anywhere(2**62),
)
MAPS = either(
    LABELS, lambda random, good: np.asarray(good) * 2 + 1, lambda random, good: np.asarray(good) + 1
)
NUMBER = either(
    one_of(0, -1, 0.0, -0.1, NAN, INF, -INF, "0.1", 1j, True, 10**400, [0.1], (), {}, Opaque, b"1"),
    lambda random, good: -random.expovariate(1),
    lambda random, good: np.full(random.randrange(4), 0.1),
    lambda random, good: torch.tensor(0.1),
)
NAME = either(
    one_of("", "USU", "usu ", 0, True, 1.5, [], ["usu"], {}, {"usu": 1}, {1}, b"usu", Opaque(), NAN),
    lambda random, good: "".join(random.choices("abcxyz-_", k=random.randrange(1, 9))) + "?",
    lambda random, good: np.ones(random.randrange(1, 4)),
)
NAMES = either(NAME, one_of(None))
WHOLE = one_of(0, -1, 1.5, "2", None, True, [], NAN, INF, 1j, -(2**80), Opaque)
SIZE = one_of(
    0, 7, None, "ab", (), (0, 4), (-1, 4), (4, 2.5), (4, None), (4, "4"), (NAN, 4), [[4, 4]], (4,) * 4, {}
)
CALLABLE = one_of(None, 3, "model", [], {}, np.ones(3), NAN)


def returns(*makers: Callable[[Any], Any]) -> Bad:
    """Return a maker of a callable with a useless result, made from its first argument."""

    def make(random: Random, good: Any) -> Any:
        chosen = random.choice(makers)
        return lambda first, *rest: chosen(first)

    return make


OUTPUTS = returns(
    lambda batch: None,
    lambda batch: "cat",
    lambda batch: torch.ones(len(batch)),
    lambda batch: torch.ones(len(batch) + 1, 5),
    lambda batch: torch.full((len(batch), 5), NAN),
    lambda batch: torch.full((len(batch), 5), INF),
    lambda batch: torch.ones(len(batch), 5) * 1j,
    lambda batch: torch.ones(len(batch), 1),
    lambda batch: torch.ones(len(batch), 0),
    lambda batch: [[1.0]] * (len(batch) - 1) + [[1.0, 2.0]],
)
LINKED = returns(
    lambda out: None, lambda out: out[:, 0], lambda out: out * NAN, lambda out: 3, lambda out: out * 1j
)
WEIGHTS = returns(
    lambda s: None, lambda s: s - 2, lambda s: s * NAN, lambda s: s.sum(), lambda s: s * 1j, lambda s: 2
)
PIXELS = returns(
    lambda coarse: None, lambda coarse: coarse, lambda coarse: "map", lambda coarse: np.full((12, 16), NAN)
)
FILLS = returns(lambda x: None, lambda x: x[..., :3], lambda x: x * NAN, lambda x: "grey", lambda x: 1j * x)
FLAG = one_of(None, 0, 1, "True", "", [], NAN, 1j, Opaque, np.ones(1, bool), np.True_)
COUNT = one_of(1.5, "2", None, True, [], {}, NAN, INF, 1j, b"2", Opaque, (2,))
BYTES_OR_NUMBER = one_of(None, 10**6, 1.5, [], {}, object(), Opaque, 1j, True, ("a",))
