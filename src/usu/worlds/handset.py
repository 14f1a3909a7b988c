"""A network whose weights are set by hand, so that its attribution is exact by construction.

After AttributionLab (Zhang et al., 2023): there is no training to doubt. One layer of colour detectors that
are zero on all colours but their own, one layer of importances, and a sum over all pixels. The logit is a sum
of one term per pixel, so a pixel's term is what the logit loses when the pixel turns grey, alone or after any
others: ablation, occlusion and Shapley values agree on it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from numpy.random import Generator
from torch import Tensor, nn

from usu.worlds.scene import Scene


@dataclass(frozen=True)
class Colour:
    """A colour, its detector and its importance."""

    rgb: tuple[float, float, float]  # at full brightness
    weights: tuple[float, float, float]  # of the detector relu(weights · RGB + bias)
    bias: float  # of the detector
    # For each class, what a pixel where the detector is 1 adds to the logit, in 50 / size².
    importance: tuple[float, float]

    def response(self, brightness: float) -> float:
        """Return the detector's response to this colour at a brightness in [0, 1]."""
        seen = sum(map(math.prod, zip(self.rgb, self.weights, strict=True)))
        return max(0.0, brightness * seen + self.bias)


# Every detector is 0 on all other colours at any brightness in [0, 1], and on every grey.
COLOURS = {
    "red": Colour((1, 0, 0), (1, -1, -1), 0, (1.0, 0)),
    "yellow": Colour((1, 1, 0), (1, 1, -2), -1, (0.5, 0)),
    "blue": Colour((0, 0, 1), (-1, -1, 1), 0, (0, 1.0)),
    "cyan": Colour((0, 1, 1), (-2, 1, 1), -1, (0, 0.5)),
    "green": Colour((0, 1, 0), (-1, 1, -1), 0, (0, 0)),
}
CLASSES = ("warm", "cool")
_GREY = (0.3, 0.6)
_BRIGHTNESS = (0.7, 1.0)


class ColourCounter(nn.Module):
    """Counts warm and cool pixels: (B, 3, H, W) in [0, 1] to logits (B, 2), at any size.

    Red and blue count fully, yellow and cyan half; green is detected and does not count. The network is in
    evaluation mode, with weights that need no gradient. A tenth of the pixels at full importance makes 5
    logits where images have the `size` that it is made for.
    """

    def __init__(self, size: int = 224) -> None:
        colours = COLOURS.values()
        weights = torch.tensor([colour.weights for colour in colours])
        biases = torch.tensor([colour.bias for colour in colours])
        counts = _unit(size) * torch.tensor([colour.importance for colour in colours]).T
        super().__init__()
        self.detectors = nn.Sequential(nn.Conv2d(3, len(COLOURS), 1), nn.ReLU())
        self.importance = nn.Conv2d(len(COLOURS), len(CLASSES), 1, bias=False)
        self.detectors[0].load_state_dict({"weight": weights[:, :, None, None], "bias": biases})
        self.importance.load_state_dict({"weight": counts[:, :, None, None]})
        self.eval().requires_grad_(False)

    def forward(self, batch: Tensor) -> Tensor:
        """Return the logits of a batch."""
        pixels: Tensor = self.importance(self.detectors(batch))
        return pixels.sum((-2, -1))


def _unit(size: int) -> float:
    """Return the logit of one pixel of full importance."""
    return 50 / size**2


def colour_scene(seed: int = 0, size: int = 224) -> Scene:
    """Return a scene of coloured ellipses over a grey texture, for a `ColourCounter` of this size.

    There are two ellipses of each colour, of different brightness, and later ones hide earlier ones. The
    truth is recorded while the picture is painted, from the table `COLOURS`; no network is asked. The target
    is the class with more of it.
    """
    random = np.random.default_rng(seed)
    picture = random.uniform(*_GREY, (size, size))[None].repeat(3, axis=0)
    counts = np.zeros((len(CLASSES), size, size))
    for name in random.permutation(list(COLOURS) * 2):
        colour = COLOURS[name]
        inside = _ellipse(random, size)
        brightness = random.uniform(*_BRIGHTNESS)
        picture[:, inside] = brightness * np.array(colour.rgb)[:, None]
        counts[:, inside] = colour.response(brightness) * np.array(colour.importance)[:, None]
    target = int(counts.sum((1, 2)).argmax())
    image = torch.from_numpy(picture).to(torch.float32)
    truth = torch.from_numpy(counts[target] * _unit(size)).to(torch.float32)
    return Scene(image, image, truth, target)


def _ellipse(random: Generator, size: int) -> npt.NDArray[np.bool_]:
    row, column = random.uniform(0.12, 0.88, 2) * size
    height, width = random.uniform(0.06, 0.14, 2) * size
    centres = np.arange(size) + 0.5
    rows, columns = (centres - row) / height, (centres - column) / width
    inside: npt.NDArray[np.bool_] = np.add.outer(rows**2, columns**2) <= 1
    return inside
