"""Hugging Face's image processors: where they put the photograph's pixels, read off their settings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import numpy as np
from PIL import Image

# Steps that move no pixel, or are followed here.
_KNOWN = ["resize", "center_crop", "pad", "rescale", "normalize", "convert_rgb", "flip_channel_order"]
_KNOWN += ["reduce_labels", "convert_annotations"]
# Of detectors: the whole picture at a size of their own.
_WHOLE = tuple(f"{name}ImageProcessor" for name in ("Detr", "ConditionalDetr", "DeformableDetr", "Yolos"))


def processed(start: Any, processor: Any) -> Any:
    """Return the placement after an image processor that resizes, crops from the centre and pads.

    The size is compared with what the processor makes of a blank picture.

    Raises:
        ValueError: a processor that does more, or that returns another size than its settings say.
    """
    options, name = processor.to_dict(), type(processor).__name__
    strange = [key for key, on in options.items() if key.startswith("do_") and on and key[3:] not in _KNOWN]
    if strange:
        raise _unread(name, f"it has {strange[0]}")
    blank = Image.new("RGB", start.network[::-1])
    size = np.shape(processor(images=blank, return_tensors="np")["pixel_values"])[-2:]
    if name.removesuffix("Pil") in _WHOLE and not options.get("pad_size"):
        return start.resize(size)
    found = start
    if options.get("do_resize"):
        found = _resized(found, processor, options)
    if options.get("do_center_crop"):
        found = _cropped(found, options["crop_size"], processor)
    padded = options.get("pad_size")
    if options.get("do_pad") and padded:
        height, width = found.network
        found = found.pad(0, 0, padded["width"] - width, padded["height"] - height)
    if size != found.network:
        raise _unread(name, f"it makes {size} of {start.network}, where its settings say {found.network}")
    return found


def _unread(name: str, reason: str) -> ValueError:
    return ValueError(
        f"where {name} puts the photograph's pixels is not known, since {reason}: build the placement step "
        "by step, as in Placement.whole(size).resize(...).center_crop(...)"
    )


def _resized(start: Any, processor: Any, options: Mapping[str, Any]) -> Any:
    kind = type(processor)
    owner = next(one for one in kind.__mro__ if "resize" in vars(one))
    name, size = owner.__name__.removesuffix("Pil"), options["size"]
    if name == "ConvNextImageProcessor":
        edge = size["shortest_edge"]
        if edge >= 384:
            return start.resize((edge, edge))
        larger = start.resize(_shortest(start, int(edge / options["crop_pct"])))
        return _cropped(larger, {"height": edge, "width": edge}, processor)
    if name == "LevitImageProcessor":
        if size.get("shortest_edge"):
            return start.resize(_shortest(start, int(256 / 224 * size["shortest_edge"])))
    elif owner.__module__ != "transformers.image_processing_backends":
        raise _unread(kind.__name__, "it resizes in a way of its own")
    return start.resize(_new_size(start, size, kind.__name__))


def _new_size(start: Any, size: Mapping[str, Any], name: str) -> tuple[int, int]:
    """Return the size after the resizing that most processors share."""
    library = import_module("transformers.image_transforms")
    if size.get("shortest_edge") and size.get("longest_edge"):
        found = library.get_size_with_aspect_ratio(start.network, size["shortest_edge"], size["longest_edge"])
    elif size.get("shortest_edge"):
        found = _shortest(start, size["shortest_edge"])
    elif size.get("height") and size.get("width"):
        found = size["height"], size["width"]
    else:
        raise _unread(name, f"its size is {dict(size)}")
    return int(found[0]), int(found[1])


def _shortest(start: Any, edge: int) -> tuple[int, int]:
    shorter, longer = sorted(start.network)
    long = int(edge * longer / shorter)
    return (long, edge) if start.network[1] <= start.network[0] else (edge, long)


def _cropped(start: Any, size: Mapping[str, Any], processor: Any) -> Any:
    """Return the placement after a crop from the centre, by the rounding of the processor's backend."""
    new = int(size["height"]), int(size["width"])
    # An odd pixel of padding comes last for the backend of torchvision, and first for that of Pillow.
    before = math.floor if getattr(processor, "backend", "") == "torchvision" else math.ceil
    sides = zip(start.network, new, strict=True)
    ends = [(old - side) // 2 if side <= old else -before((side - old) / 2) for old, side in sides]
    return start.crop(*ends, *new)
