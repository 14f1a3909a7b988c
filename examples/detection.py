"""Explain a detector: which pixels speak for one of the boxes that it found.

    python examples/detection.py

Nothing is downloaded, so the network's weights are random and its boxes mean nothing; pass trained ones as
`weights` to torchvision's function for a map that does.
"""

from __future__ import annotations

from collections.abc import Callable

import skimage.data
import torch
import torchvision.transforms.functional as transforms
from torch import Tensor
from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn
from torchvision.ops import box_iou

import usu

Detections = list[dict[str, Tensor]]


def score_of(box: Tensor, label: int) -> Callable[[Detections], Tensor]:
    """Return a target: how surely the detector sees this box (4,), found again in each masked image.

    That is the largest of score × overlap (IoU) among its detections with this label; 0 if there is none.
    """

    def score(detections: Detections) -> Tensor:
        return torch.stack([_best(found, box, label) for found in detections])

    return score


def _best(found: dict[str, Tensor], box: Tensor, label: int) -> Tensor:
    overlaps = box_iou(found["boxes"].detach(), box[None])[:, 0] * (found["labels"] == label)
    return torch.cat([overlaps * found["scores"], overlaps.new_zeros(1)]).max()


def explain_best_box(size: tuple[int, int] = (128, 192), cells: str | None = None) -> usu.Explanation:
    """Explain the box with the highest score, by Grad-CAM at the last layer with cells that it depends on."""
    torch.manual_seed(0)
    model = fasterrcnn_mobilenet_v3_large_320_fpn(
        weights=None,
        weights_backbone=None,
        num_classes=21,
        # Sides that are multiples of 32 and not resized: the detector pads others, which moves the cells.
        min_size=min(size),
        max_size=max(size),
        box_score_thresh=0.0,  # masked images give low scores; at 0.05, all below would be alike
        rpn_pre_nms_top_n_test=100,
        rpn_post_nms_top_n_test=20,
        box_detections_per_img=20,
    ).eval()
    inputs = transforms.resize(transforms.to_tensor(skimage.data.chelsea()), list(size))
    with torch.no_grad():
        (found,) = model(inputs[None])
    target = score_of(found["boxes"][0], int(found["labels"][0]))
    return usu.explain(model, inputs, target, layer=cells, images=inputs, segmentation={"quadtree": (4, 16)})


if __name__ == "__main__":
    print(explain_best_box())
