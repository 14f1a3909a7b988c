"""Explain a segmentation network: which pixels speak for a class in one part of the image.

    python examples/segmentation.py

Nothing is downloaded, so the network's weights are random and its classes mean nothing; pass trained ones as
`weights` to torchvision's function for a map that does.
"""

from __future__ import annotations

from collections.abc import Callable

import skimage.data
import torch
import torchvision.transforms.functional as transforms
from torch import Tensor
from torchvision.models.segmentation import lraspp_mobilenet_v3_large

import usu


def class_in(mask: Tensor, index: int) -> Callable[[dict[str, Tensor]], Tensor]:
    """Return a target: the logits of class `index`, summed over a mask (H, W)."""

    def score(outputs: dict[str, Tensor]) -> Tensor:
        return (outputs["out"][:, index] * mask).sum((1, 2))

    return score


def explain_largest_class(size: tuple[int, int] = (128, 192), cells: str = "backbone.16") -> usu.Explanation:
    """Explain the class with the most pixels, where it was found, by Grad-CAM at the backbone's end."""
    torch.manual_seed(0)
    model = lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=21).eval()
    picture = transforms.resize(transforms.to_tensor(skimage.data.chelsea()), list(size))
    inputs = transforms.normalize(picture, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    with torch.no_grad():
        classes = model(inputs[None])["out"][0].argmax(0)
    largest = int(classes.flatten().mode().values)
    target = class_in(classes == largest, largest)
    return usu.explain(model, inputs, target, layer=cells, images=picture, segmentation={"quadtree": (4, 16)})


if __name__ == "__main__":
    print(explain_largest_class())
