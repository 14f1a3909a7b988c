"""Made-up heartbeats and scans with known truth, and small networks that learn them in seconds.

A recording of two leads holds one beat that arises in the wrong place: early, broad and without a P wave. A
scan holds a lesion, a bright lump, among vessels as bright as it. Half of them have none: what tells the
classes apart is known sample by sample and voxel by voxel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

LENGTH, SIDES = 512, (24, 32, 32)
_BATCH = 16


@dataclass(frozen=True, eq=False)
class Recordings:
    """Inputs of two classes, every other of each.

    Attributes:
        inputs: (N, 2, 512) signals or (N, 1, 24, 32, 32) volumes, of mean about 0.
        classes: (N,), 1 where there is a truth.
        truth: (N, *size), True on the broad beat, or on the lesion.
    """

    inputs: Tensor
    classes: Tensor
    truth: Tensor


def _recordings(count: int, seed: int, draw: Callable[..., tuple[Tensor, Tensor]]) -> Recordings:
    random = np.random.default_rng(seed)
    classes = torch.arange(count) % 2
    pairs = [draw(random, bool(label)) for label in classes]
    inputs, truth = (torch.stack(each) for each in zip(*pairs, strict=True))
    return Recordings(inputs, classes, truth)


def heartbeats(count: int, seed: int = 0) -> Recordings:
    """Return recordings of two leads: the odd ones have one broad beat."""
    return _recordings(count, seed, _heartbeat)


def _heartbeat(random: np.random.Generator, broad: bool) -> tuple[Tensor, Tensor]:
    times = np.arange(LENGTH)

    def wave(centre: float, width: float, height: float) -> Any:
        return height * np.exp(-(((times - centre) / width) ** 2) / 2)

    every = random.uniform(78, 92)
    beats = np.arange(random.uniform(20, 60), LENGTH - 10, every) + random.normal(0, 2)
    odd = random.integers(1, len(beats) - 1) if broad else -1
    lead, truth = np.zeros(LENGTH), np.zeros(LENGTH, dtype=bool)
    for number, beat in enumerate(beats):
        if number == odd:
            early = beat - 0.18 * every
            lead += wave(early, 7, 1.1) + wave(early + 20, 9, -0.55)
            truth |= (times > early - 18) & (times < early + 42)
        else:
            lead += wave(beat - 18, 4, 0.16) + wave(beat, 1.8, 1.0) - wave(beat + 5, 2, 0.25)
            lead += wave(beat + 30, 7, 0.28)
    wander = 0.1 * np.sin(2 * np.pi * (times / LENGTH * random.uniform(0.5, 2) + random.uniform()))
    leads = [gain * lead + wander + 0.03 * random.normal(size=LENGTH) for gain in (1.0, -0.6)]
    return torch.from_numpy(np.stack(leads)).float(), torch.from_numpy(truth)


def scans(count: int, seed: int = 0) -> Recordings:
    """Return volumes of tissue with vessels: the odd ones have a lesion."""
    return _recordings(count, seed, _scan)


def _scan(random: np.random.Generator, lesion: bool) -> tuple[Tensor, Tensor]:
    from scipy.ndimage import gaussian_filter

    sides = np.array(SIDES)
    where = np.moveaxis(np.indices(SIDES), 0, -1).astype(np.float64)
    body = (((where - (sides - 1) / 2) / (sides * 0.46)) ** 2).sum(-1) < 1
    texture = gaussian_filter(random.normal(size=SIDES), 2)
    volume = 0.35 * body + 0.5 * texture * body
    for _ in range(2):  # vessels, straight and thin
        point, way = sides * random.uniform(0.3, 0.7, 3), random.normal(size=3)
        offset, way = where - point, way / np.linalg.norm(way)
        away = np.linalg.norm(offset - (offset @ way)[..., None] * way, axis=-1)
        volume = np.where((away < 1.3) & body, 0.9, volume)
    truth = np.zeros(SIDES, dtype=bool)
    if lesion:
        centre = sides * random.uniform(0.3, 0.7, 3)
        bumps = gaussian_filter(random.normal(size=SIDES), 3)
        radius = random.uniform(4.0, 5.5) + 1.2 * bumps / bumps.std()
        truth = (np.linalg.norm(where - centre, axis=-1) < radius) & body
        volume = np.where(truth, 0.85, volume)
    volume = volume + 0.05 * random.normal(size=SIDES) - 0.2
    return torch.from_numpy(volume)[None].float(), torch.from_numpy(truth)


def network(ndim: int, channels: int) -> nn.Sequential:
    """Return an untrained network for signals (ndim=1) or volumes (3), cells of 32 samples or 8³ voxels."""
    convolution = nn.Conv1d if ndim == 1 else nn.Conv3d
    pooling = nn.AdaptiveAvgPool1d if ndim == 1 else nn.AdaptiveAvgPool3d
    strides = (4, 4, 2) if ndim == 1 else (2, 2, 2)
    widths, kernel = ((channels, 8, 16, 24), 9) if ndim == 1 else ((channels, 8, 12, 16), 3)
    layers: list[nn.Module] = []
    for before, after, stride in zip(widths[:-1], widths[1:], strides, strict=True):
        layers += [convolution(before, after, kernel, stride, kernel // 2), nn.ReLU()]
    return nn.Sequential(*layers, pooling(1), nn.Flatten(), nn.Linear(widths[-1], 2))


def trained(recordings: Recordings, steps: int = 150, seed: int = 0) -> nn.Sequential:
    """Return a network in evaluation mode, fitted to recordings by Adam in so many steps."""
    inputs, classes = recordings.inputs, recordings.classes
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = network(inputs.dim() - 2, inputs.shape[1])
        optimiser = torch.optim.Adam(model.parameters(), lr=0.005)
        for _ in range(steps):
            chosen = torch.randint(len(inputs), (_BATCH,))
            loss = F.cross_entropy(model(inputs[chosen]), classes[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return model.eval()
