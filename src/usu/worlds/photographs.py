"""Photographs that a classifier is confident about, as parts of composed scenes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
import torchvision.transforms.functional as transforms
from PIL import Image
from torch import Tensor

from usu.models.classifier import Classifier
from usu.operators.lattice import cell_lengths


@dataclass(frozen=True, eq=False)
class Photograph:
    """A photograph and what the classifier says it shows."""

    picture: Tensor  # (3, h, w) float32, RGB in [0, 1]
    target: int  # the index of the predicted class
    probability: float  # of that class


def confident(classifier: Classifier, images: Sequence[Image.Image], least: float = 0.5) -> list[Photograph]:
    """Return the photographs whose predicted class has at least the probability `least`, in their order.

    Raises:
        ValueError: `least` is not a probability, or an image is too narrow to be cropped.
    """
    if not 0 <= least <= 1:
        raise ValueError(f"least must be a probability in [0, 1], got {least!r}")
    found = []
    for image in images:
        inputs, picture = classifier.prepare(image)
        probability, target = probabilities(classifier, inputs[None])[0].max(0)
        if float(probability) >= least:
            found.append(Photograph(picture, int(target), float(probability)))
    return found


def probabilities(classifier: Classifier, inputs: Tensor) -> Tensor:
    """Return the classifier's softmax (B, classes) for inputs (B, 3, H, W)."""
    with torch.no_grad():
        found: Tensor = torch.softmax(classifier.model(inputs), dim=1)
    return found


def normalised(classifier: Classifier, picture: Tensor) -> Tensor:
    """Return a picture (3, H, W) in [0, 1] as the network takes it."""
    return classifier.prepare.normalised(picture)


def covering(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the middle of a picture (3, h, w), resized until it covers `size` pixels (height, width)."""
    height, width = picture.shape[-2:]
    ratio = max(size[0] / height, size[1] / width)
    enlarged = [max(size[0], round(height * ratio)), max(size[1], round(width * ratio))]
    resized = transforms.resize(picture, enlarged, transforms.InterpolationMode.BICUBIC, antialias=True)
    middle: Tensor = transforms.center_crop(resized, list(size)).clamp(0, 1)
    return middle


def between_borders(length: int, cells: int, lowest: int, highest: int) -> list[int]:
    """Return the positions in lowest..highest, along one axis, that are not on a border between cells.

    A border of `cells` cells over `length` pixels starts at a pixel whose cell differs from the one before.

    >>> between_borders(8, 2, 3, 6)
    [3, 5, 6]
    """
    borders = set(accumulate(cell_lengths(length, cells)))
    inner = range(max(1, lowest), min(length - 1, highest) + 1)
    return [position for position in inner if position not in borders]
