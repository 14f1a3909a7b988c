"""Photographs from files: whatever Pillow reads becomes plain upright RGB, or one clear error."""

from __future__ import annotations

import os
import warnings
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

Numbers: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"

# Grey pictures of more than 8 bits: 16-bit PNG and TIFF have one of these modes, "I" in older Pillow.
_ORIENTATION = 0x0112  # the tag of EXIF
_DEEP_GREY = ("I", "I;16", "I;16B", "I;16L", "I;16N")


def read_image(path: str | os.PathLike[str], value_range: tuple[float, float] | None = None) -> Image.Image:
    """Read a picture as 8-bit RGB, turned upright.

    An EXIF rotation is applied; transparent parts are laid over white, as a browser shows them; palettes,
    grey and CMYK are converted (without colour profiles); of an animation the first frame is taken. Grey, and
    colours in PNG and TIFF, of more than 8 bits are brought to 8 by `value_range`.

    Args:
        path: the file, in any format that Pillow reads.
        value_range: what is black and what is white in pictures of more than 8 bits; values beyond are
            clipped. By default (0, 1) for floats and (0, 65535) for integers; if the highest of these is
            below 16384, the fewest of 8, 10, 12 or 14 bits that hold it are taken, and a warning says so.

    Returns:
        A Pillow image of mode "RGB", loaded: the file is closed.

    Raises:
        ValueError: the file is empty, truncated, damaged, not an image, or so large that Pillow takes it for
            a decompression bomb; values out of the range, if none is given; a range that is none, or for a
            picture of 8 bits; colours of more than 8 bits that no reader keeps.
        OSError: the file does not exist or cannot be opened.
    """
    if value_range is not None and not value_range[0] < value_range[1]:
        raise ValueError(
            f"value_range must be the values of black and white, in this order, got {value_range}"
        )
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
                    turned = image.getexif().get(_ORIENTATION, 1)  # which loading TIFF files forgets
                    image.load()
                    upright = ImageOps.exif_transpose(image)
                    depth = _depth_of_colours(image, file)
        except UnidentifiedImageError:
            raise ValueError(
                f"{name} is not an image that Pillow can read: files hold 2-D pictures only; "
                "signals and volumes are explained in Python, by usu.explain(..., ndim=1 or 3)"
            ) from None
        except Image.DecompressionBombError as problem:
            raise ValueError(f"{name} is too large to open safely: {_first_line(problem)}") from problem
        except Exception as problem:  # decoders fail with anything from struct.error to SyntaxError
            reason = _first_line(problem)
            raise ValueError(f"{name} is damaged or incomplete and cannot be read: {reason}") from problem
    if upright.mode == "F" or upright.mode in _DEEP_GREY:
        values = np.asarray(upright, dtype=np.float64)
        return Image.fromarray(_shares(values, upright.mode == "F", value_range, name)).convert("RGB")
    if depth > 8:
        deep = _deep_colours(name)
        last = 3 if deep.shape[-1] > 2 else 1
        shares = _shares(deep[..., :last], False, value_range, name)
        opaque = (deep[..., last:] / 257).round().astype(np.uint8)
        picture = Image.fromarray(np.concatenate([shares, opaque], axis=-1))
        picture.getexif()[_ORIENTATION] = turned
        return _to_rgb(ImageOps.exif_transpose(picture))
    if value_range is not None:
        raise ValueError(
            f"{name} is no grey picture of more than 8 bits, and no other one: it needs no range"
        )
    return _to_rgb(upright)


def _to_rgb(image: Image.Image) -> Image.Image:
    if "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info:
        # Pillow cannot convert premultiplied grey (La) to RGBA directly.
        straight = image.convert("LA") if image.mode == "La" else image
        opaque = straight.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", opaque.size, "white"), opaque).convert("RGB")
    return image.convert("RGB")


def _depth_of_colours(image: Image.Image, file: BinaryIO) -> int:
    """Return how many bits the channels of a PNG or TIFF file have, of which Pillow keeps the highest 8."""
    if image.format == "PNG":
        file.seek(24)
        return file.read(1)[0]
    bits = image.tag_v2.get(258, 8) if isinstance(image, TiffImageFile) else 8
    return max(bits) if isinstance(bits, tuple) else int(bits)


def _deep_colours(name: str) -> Numbers:
    """Return a PNG or TIFF file of more than 8 bits as (h, w, channels): grey or RGB, perhaps with alpha."""
    if name.lower().endswith((".tif", ".tiff")):
        import tifffile

        with tifffile.TiffFile(name) as file:
            page = file.pages[0]
            values: Numbers = page.asarray()
            plain = getattr(page, "photometric", None) == tifffile.PHOTOMETRIC.RGB
            axes = getattr(page, "axes", "")
        values = np.moveaxis(values, axes.index("S"), -1) if "S" in axes and axes != "YXS" else values
    else:
        from torchvision.io import decode_image, read_file  # takes as long as torch itself, for rare pictures

        values = decode_image(read_file(name)).movedim(0, -1).numpy()
        plain = values.dtype == np.uint16
    if not plain or values.ndim != 3 or values.dtype != np.uint16:
        raise ValueError(
            f"{name} has colours of more than 8 bits in a way that is not read ({values.dtype}, shape "
            f"{values.shape}): save it with 8 bits a channel"
        )
    return values


def _shares(values: Numbers, unit: bool, value_range: tuple[float, float] | None, name: str) -> Numbers:
    """Return values between black and white as uint8; `unit` says that they are floats."""
    values = values.astype(np.float64)
    low, high = value_range or _assumed(values, unit, name)
    found: Numbers = (((values - low) / (high - low)).clip(0, 1) * 255).round().astype(np.uint8)
    return found


def _assumed(values: Numbers, unit: bool, name: str) -> tuple[float, float]:
    """Return the range that values have by their kind; warn where it is a guess."""
    lowest, highest, most = float(values.min()), float(values.max()), 1.0 if unit else 65535.0
    if not (lowest >= 0 and highest <= most):  # NaN is refused, too
        kind = "floats" if unit else "integers"
        what = "grey values" if values.ndim == 2 else "values of colours"
        raise ValueError(
            f"{name} has {what} from {lowest:g} to {highest:g}, out of range for {kind}, [0, {most:g}]: "
            f"say what is black and white, such as --range {lowest:g} {highest:g} (in Python: value_range=)"
        )
    bits = 16 if unit else next((bits for bits in (8, 10, 12, 14) if highest < 2**bits), 16)
    if bits == 16 or highest == 0:
        return 0.0, most
    warnings.warn(
        f"{name} holds values up to {highest:g}, taken as {bits} bits, 0 to {2**bits - 1}: if not, say "
        "what is black and white by --range LOW HIGH (in Python: value_range=)",
        UserWarning,
        stacklevel=4,  # at the caller of read_image
    )
    return 0.0, float(2**bits - 1)


def _first_line(problem: BaseException) -> str:
    return (str(problem).strip().splitlines() or [type(problem).__name__])[0]
