"""Arrays and pictures as text: base64 of zlib, which every browser can decode without a library."""

from __future__ import annotations

import base64
import io
import zlib
from typing import Any

import numpy as np
from PIL import Image

_INDICES = (np.uint8, np.uint16, np.int32)
_QUALITY = 92


def pack(array: np.ndarray[Any, Any]) -> dict[str, str]:
    """Return an array, flattened, in the smallest kind that holds it exactly, compressed.

    >>> pack(np.array([0, 1, 300]))["kind"]
    'uint16'
    """
    kind = _index_kind(array) if array.dtype.kind in "iub" else _float_kind(array)
    data = array.astype(np.dtype(kind).newbyteorder("<")).tobytes()
    return {
        "kind": np.dtype(kind).name,
        "zlib": base64.b64encode(zlib.compress(data, level=9)).decode("ascii"),
    }


def _index_kind(array: np.ndarray[Any, Any]) -> type[np.generic]:
    return next(kind for kind in _INDICES if array.max(initial=0) <= np.iinfo(kind).max)


def _float_kind(array: np.ndarray[Any, Any]) -> type[np.generic]:
    return np.float32 if np.array_equal(array, array.astype(np.float32), equal_nan=True) else np.float64


def photograph(image: np.ndarray[Any, Any]) -> str:
    """Return a picture (3, H, W) in [0, 1] as a JPEG in a data URL."""
    return jpeg(Image.fromarray((image.transpose(1, 2, 0).clip(0, 1) * 255).round().astype(np.uint8)))


def jpeg(picture: Image.Image, quality: int = _QUALITY, subsampling: int = 0) -> str:
    """Return a picture as a JPEG in a data URL."""
    file = io.BytesIO()
    picture.convert("RGB").save(file, "JPEG", quality=quality, subsampling=subsampling)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")
