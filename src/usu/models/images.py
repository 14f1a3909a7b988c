"""Photographs from files: whatever Pillow reads becomes plain upright RGB, or one clear error."""

from __future__ import annotations

import os
import warnings

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

# Grey pictures of more than 8 bits: 16-bit PNG and TIFF have one of these modes, "I" in older Pillow.
_DEEP_GREY = ("I", "I;16", "I;16B", "I;16L", "I;16N")


def read_image(path: str | os.PathLike[str]) -> Image.Image:
    """Read a picture as 8-bit RGB, turned upright.

    An EXIF rotation is applied; transparent parts are laid over white, as a browser shows them; palettes,
    grey and CMYK are converted (without colour profiles); 16-bit grey keeps its upper 8 bits; of an
    animation the first frame is taken.

    Args:
        path: the file, in any format that Pillow reads.

    Returns:
        A Pillow image of mode "RGB", loaded: the file is closed.

    Raises:
        ValueError: the file is empty, truncated, damaged, not an image, or so large that Pillow takes it for
            a decompression bomb.
        OSError: the file does not exist or cannot be opened.
    """
    name = os.fspath(path)
    with open(name, "rb") as file:
        if not file.read(1):
            raise ValueError(f"{name} is empty, not an image")
        file.seek(0)
        try:
            with warnings.catch_warnings():
                # What matters is raised as an error; odd metadata and large, harmless pictures do not matter.
                warnings.simplefilter("ignore")
                with Image.open(file) as image:
                    image.load()
                    return _to_rgb(ImageOps.exif_transpose(image))
        except UnidentifiedImageError:
            raise ValueError(f"{name} is not an image that Pillow can read") from None
        except Image.DecompressionBombError as problem:
            raise ValueError(f"{name} is too large to open safely: {_first_line(problem)}") from problem
        except Exception as problem:  # decoders fail with anything from struct.error to SyntaxError
            reason = _first_line(problem)
            raise ValueError(f"{name} is damaged or incomplete and cannot be read: {reason}") from problem


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in _DEEP_GREY:
        return _grey(np.asarray(image, dtype=np.float64) / 65535)
    if image.mode == "F":
        return _grey(np.asarray(image, dtype=np.float64))
    if "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info:
        # Pillow cannot convert premultiplied grey (La) to RGBA directly.
        straight = image.convert("LA") if image.mode == "La" else image
        opaque = straight.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", opaque.size, "white"), opaque).convert("RGB")
    return image.convert("RGB")


def _grey(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Image.Image:
    """Return grey values (h, w) in [0, 1] as an RGB image."""
    if not (values.min() >= 0 and values.max() <= 1):
        raise ValueError("its grey values lie outside the range of 16-bit or unit-scaled pictures")
    return Image.fromarray((values * 255).round().astype(np.uint8)).convert("RGB")


def _first_line(problem: BaseException) -> str:
    return (str(problem).strip().splitlines() or [type(problem).__name__])[0]
