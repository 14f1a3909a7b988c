"""A classifier, and how a photograph is prepared for it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch import Tensor, nn

from usu.models import pictures
from usu.models.checkpoints import State, load_state
from usu.models.pictures import imagenet_class_names as imagenet_class_names
from usu.models.placement import Placement
from usu.runtime.renames import renamed_fields, tell

if TYPE_CHECKING:
    from torchvision.transforms import InterpolationMode

_SLIMMEST = 100  # beyond this ratio of the sides, the resized picture would not fit in memory


@dataclass(frozen=True)
class Preparation:
    """Preprocessing of one network: shorter side to `resize`, centre crop to `crop`, normalise.

    Called with a Pillow image it returns `(inputs, picture)`, both (3, h, w): what the network takes, of
    `dtype`, and the same crop as RGB in [0, 1], float32. `resize` and `crop` are in pixels, `crop` is (h, w).
    Some networks take values from 0 to `white` in place of 1, or the channels as BGR: `mean` and `std` are in
    their units and order.
    """

    resize: int
    crop: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str | InterpolationMode = "bicubic"
    white: float = 1.0
    bgr: bool = False
    dtype: torch.dtype = torch.float32

    def __call__(self, image: Image.Image) -> tuple[Tensor, Tensor]:
        """Return the inputs and the picture, both (3, h, w).

        Raises:
            ValueError: one side of the image is more than 100 times the other.
        """
        if max(image.size) > _SLIMMEST * min(image.size):
            raise ValueError(f"an image of {image.width} × {image.height} pixels is too slim to be cropped")
        way = getattr(self.interpolation, "value", self.interpolation)
        picture = pictures.to_tensor(pictures.cropped(image.convert("RGB"), self.resize, self.crop, way))
        return self.normalised(picture.to(self.dtype)), picture

    def normalised(self, picture: Tensor) -> Tensor:
        """Return what the network takes for a picture (..., 3, h, w), RGB in [0, 1], of any size."""
        values = self.white * (picture.flip(-3) if self.bgr else picture)
        return pictures.normalize(values, self.mean, self.std)

    def placement(self, image: Image.Image) -> Placement:
        """Return where the network's input lies in the photograph."""
        return pictures.placed(image, self.resize, self.crop)


@renamed_fields(categories="class_names")
@dataclass(frozen=True)
class Classifier:
    """A trained image classifier, ready to be explained.

    Attributes:
        name: as requested.
        model: in eval mode; takes (B, 3, h, w), returns logits (B, classes).
        prepare: Pillow image to `(inputs, picture)`, both (3, h, w): the network's input, and RGB in [0, 1]
            of exactly the same crop.
        class_names: in the order of the outputs; None if they are not known.
    """

    name: str
    model: nn.Module
    prepare: Preparation
    class_names: tuple[str, ...] | None = None

    @property
    def device(self) -> torch.device:
        """Where the model's weights are."""
        return next(self.model.parameters(), torch.empty(0)).device

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> Classifier:
        """Return it with weights and inputs of `dtype`; the weights move in place, as in PyTorch."""
        prepare = self.prepare if dtype is None else replace(self.prepare, dtype=dtype)
        return replace(self, model=self.model.to(device, dtype), prepare=prepare)

    @property
    def categories(self) -> tuple[str, ...] | None:
        """The old name of `class_names`."""
        tell("Classifier.categories", "Classifier.class_names")
        return self.class_names


def weights_needed(name: str, source: str) -> ValueError:
    """Return the error for a network without weights; `source` says where they are published."""
    return ValueError(
        f"{name} needs its trained weights and nothing is downloaded here: fetch {source} once and pass the "
        "file as --weights FILE (in Python: weights=FILE)"
    )


def assemble(
    name: str, model: nn.Module, state: State, prepare: Preparation, weights: Path, class_count: int
) -> Classifier:
    """Return a classifier of `class_count` outputs whose model holds `state`, read from the file `weights`.

    Raises:
        ValueError: the state dict is another network's.
    """
    load_state(model, state, name, weights)
    names = imagenet_class_names()
    return Classifier(name, model.eval(), prepare, names if class_count == len(names) else None)
