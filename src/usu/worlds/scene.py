"""One image of a world, with its truth."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Scene:
    """An image whose true attribution is known.

    Raises:
        ValueError: sizes that differ, or a negative or empty truth.
    """

    inputs: Tensor  # (C, H, W) float32, as the network takes it
    # (3, H, W) or (1, H, W) float32 in [0, 1], the same image as people and segmentations see it.
    picture: Tensor
    truth: Tensor  # (H, W) float32, at least 0: a mask of 0 and 1, or the true importance of each pixel
    target: int  # the class index that is explained

    def __post_init__(self) -> None:
        size = self.truth.shape
        if self.truth.dim() != 2 or self.inputs.shape[1:] != size or self.picture.shape[1:] != size:
            raise ValueError(
                "a scene's inputs and picture must be (C, H, W) over the (H, W) pixels of its truth, got "
                f"{tuple(self.inputs.shape)}, {tuple(self.picture.shape)} and {tuple(size)}"
            )
        lowest, highest = (float(bound) for bound in self.truth.aminmax())
        if lowest < 0 or highest <= 0:
            raise ValueError(
                f"a scene's truth must be at least 0 and not 0 everywhere, got {lowest}…{highest}"
            )
