"""albumentations: each step is asked for the size it makes and the place of a corner."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

_CONTAINERS = ("Compose", "Sequential", "ReplayCompose")
_RESIZING = ("Resize", "LongestMaxSize", "SmallestMaxSize")
_CROPPING = ("CenterCrop", "Crop", "Pad", "PadIfNeeded")


def album(start: Any, transform: Any, follow: Callable[..., Any]) -> Any:
    """Return the placement after a transform of albumentations.

    Args:
        start: the placement before it.
        transform: a step or a pipeline of them; what changes colours alone is left out.
        follow: from a placement and a transform to the next one.

    Raises:
        ValueError: a step that is random, or not known.
    """
    library, name = import_module("albumentations"), type(transform).__name__
    if name in _CONTAINERS and transform.p == 1:
        for step in transform.transforms:
            start = follow(start, step, inside=True)
        return start
    colours = (library.ImageOnlyTransform, library.ToTensorV2, library.NoOp)
    if isinstance(transform, colours) and "Dropout" not in name:
        return start
    random = (
        transform.p < 1
        or "random" in str(getattr(transform, "position", ""))
        or isinstance(getattr(transform, "max_size", None), list | tuple)
    )
    if random or name not in (*_RESIZING, *_CROPPING):
        reason = "random" if random else "not known"
        raise ValueError(
            f"where {transform!r} puts the photograph's pixels is {reason}: leave it out, or build "
            "the placement step by step, as in Placement.whole(size).resize(...).crop(...)"
        )
    points = library.KeypointParams(format="xy", remove_invisible=False)
    blank = np.zeros((*start.network, 3), dtype=np.uint8)
    made = library.Compose([transform], keypoint_params=points)(image=blank, keypoints=[(0.0, 0.0)])
    size = made["image"].shape[:2]
    if name in _RESIZING:
        return start.resize(size)
    left, top = made["keypoints"][0][:2]
    return start.crop(-float(top), -float(left), *size)
