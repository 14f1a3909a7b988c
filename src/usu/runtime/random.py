"""Global random states, which some libraries draw from: seeded for a block, then restored."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

import numpy as np
import torch

# The generators are those of the whole process: one thread at a time seeds them.
_ALONE = RLock()


@contextmanager
def numpy_seeded(seed: int) -> Iterator[None]:
    """Seed NumPy's global generator for a block, and restore its state afterwards."""
    with _ALONE:
        before = np.random.get_state()  # noqa: NPY002
        np.random.seed(seed)  # noqa: NPY002
        try:
            yield
        finally:
            np.random.set_state(before)  # noqa: NPY002


@contextmanager
def python_kept() -> Iterator[None]:
    """Restore the state of Python's own generator after a block, such as an import that draws from it."""
    before = random.getstate()
    try:
        yield
    finally:
        random.setstate(before)


@contextmanager
def torch_seeded(seed: int) -> Iterator[None]:
    """Seed torch's CPU generator for a block, then restore it; `torch.manual_seed` would seed all devices."""
    with _ALONE, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
