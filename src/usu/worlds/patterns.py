"""Periodic patterns whose bright bands are the truth.

The paper names five patterns (supplement E) and gives no formulas. Here each is a wave over the whole image,
and the truth is where the wave is high; period, phase and grey levels are drawn for each image.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from numpy.random import Generator
from torch import Tensor

from usu.worlds.drawings import Drawings, Figure, axes, draw

# In sides of the image: four to six bands, so that a 7 × 7 cell holds both a band and a gap.
_PERIOD = (0.17, 0.25)
_BRIGHT_SHARE = 0.4


def _zigzag(rows: Tensor, columns: Tensor, start: float) -> Tensor:
    teeth = (columns / 1.5 + start) % 1
    return _band(rows + 1.5 * (teeth - 0.5).abs() + start)


def _sine(rows: Tensor, columns: Tensor, start: float) -> Tensor:
    return _band(rows + 0.35 * torch.sin(2 * math.pi * (columns / 1.8 + start)) + start)


def _spiral(rows: Tensor, columns: Tensor, start: float) -> Tensor:
    turns = torch.atan2(*torch.broadcast_tensors(rows, columns)) / (2 * math.pi)
    return _band(torch.hypot(*torch.broadcast_tensors(rows, columns)) - turns + start)


def _concentric(rows: Tensor, columns: Tensor, start: float) -> Tensor:
    return _band(torch.hypot(*torch.broadcast_tensors(rows, columns)) + start)


def _moire(rows: Tensor, columns: Tensor, start: float) -> Tensor:
    """Return the beat of two gratings of lines, one of them turned by 25 degrees and a tenth finer."""
    turned = 1.1 * (rows * math.cos(math.radians(25)) + columns * math.sin(math.radians(25)))
    waves = torch.cos(2 * math.pi * (rows + start)) + torch.cos(2 * math.pi * turned)
    return waves > 0.5


def _band(phase: Tensor) -> Tensor:
    return phase % 1 < _BRIGHT_SHARE


def _of_any_period(wave: Callable[[Tensor, Tensor, float], Tensor]) -> Figure:
    """Return a figure with random period and phase; `wave` takes rows and columns in periods."""

    def figure(random: Generator, size: int) -> Tensor:
        period = random.uniform(*_PERIOD) * size
        rows, columns = axes(size)
        return wave(rows / period, columns / period, random.uniform())

    return figure


_FIGURES = {
    "zigzag": _of_any_period(_zigzag),
    "sine": _of_any_period(_sine),
    "spiral": _of_any_period(_spiral),
    "concentric wave": _of_any_period(_concentric),
    "moiré": _of_any_period(_moire),
}
PATTERNS = tuple(_FIGURES)


def patterns(count: int = 2000, seed: int = 0, size: int = 224) -> Drawings:
    """Return grey images (1, size, size) in [0, 1] of one pattern each; the truth is the mask of its bands.

    Classes take turns, in the order of `PATTERNS`.

    Raises:
        ValueError: a count or size below 1, or a negative seed.

    >>> scene = patterns(5)[3]
    >>> PATTERNS[scene.target], round(float(scene.truth.mean()), 1)
    ('concentric wave', 0.4)
    """
    return draw(_FIGURES, count, seed, size)
