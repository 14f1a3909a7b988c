"""Photographs from files: whatever Pillow reads becomes plain upright RGB, or one clear error."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from usu.arrays.checks import as_number, check_path
from usu.runtime.silence import kept_filters

Numbers: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"

_ORIENTATION = 0x0112  # the tag of EXIF
# How Pillow finds the bytes of each value of a PNG file with 16 bits a channel: what one counts, and modes.
_DEEP_PNG = {
    "RGB;16B": ((256, "RGB", "RGB;16B"), (1, "RGB", "RGB;16L")),
    "RGBA;16B": ((256, "RGBA", "RGBA;16B"), (1, "RGBA", "RGBA;16L")),
    "LA;16B": ((1, "RGBA", "RGBA"),),
}
_PART = 2**21  # pixels that are converted at a time: a small file may hold a large picture
_LONGEST = 2**20  # pixels of a side: Pillow keeps each row by itself, however short
_MOST_DEEP = 2**26  # pixels of a picture with colours of more than 8 bits, which take eight times as much
# Formats that Pillow has another program draw, such as Ghostscript: a picture is not to run any.
_BY_PROGRAMS = ("EPS", "WMF")
# Grey pictures of more than 8 bits: 16-bit PNG and TIFF have one of these modes, "I" in older Pillow.
_DEEP_GREY = ("I", "I;16", "I;16B", "I;16L", "I;16N")


def read_image(path: str | os.PathLike[str], value_range: tuple[float, float] | None = None) -> Image.Image:
    """Read a picture as 8-bit RGB, turned upright.

    An EXIF rotation is applied; transparent parts are laid over white, as a browser shows them; palettes,
    grey and CMYK are converted (without colour profiles); of an animation the first frame is taken. Grey, and
    colours in PNG and TIFF, of more than 8 bits are brought to 8 by `value_range`.

    Args:
        path: the file, in any format that Pillow reads by itself: not EPS and WMF, which others draw.
        value_range: what is black and what is white in pictures of more than 8 bits; values beyond are
            clipped. By default (0, 1) for floats and (0, 65535) for integers; if the highest of these is
            below 16384, the fewest of 8, 10, 12 or 14 bits that hold it are taken, and a warning says so.

    Returns:
        A Pillow image of mode "RGB", loaded: the file is closed.

    Raises:
        ValueError: the file is empty, truncated, damaged, not an image, or so large that Pillow takes it for
            a decompression bomb, or with a side of more than 2²⁰ pixels; values out of the range, if none is
            given; a range that is none, or for a picture of 8 bits; colours of more than 8 bits that no
            reader keeps.
        OSError: the file does not exist or cannot be opened.
    """
    name, value_range = check_path(path, "path"), _check_range(value_range)
    with open(name, "rb") as file:
        if not file.read(1):
            raise ValueError(f"{name} is empty, not an image")
        file.seek(0)
        try:
            with kept_filters():
                # What matters is raised as an error; odd metadata and large, harmless pictures do not matter.
                warnings.simplefilter("ignore")
                with Image.open(file) as image:
                    if image.format in _BY_PROGRAMS:
                        raise UnidentifiedImageError
                    if max(image.size) > _LONGEST:
                        sides = f"{image.width} × {image.height} pixels, where a side may have {_LONGEST}"
                        raise Image.DecompressionBombError(sides)
                    raw = image.tile[0][3] if image.tile else ""
                    turned = image.getexif().get(_ORIENTATION, 1)  # which loading TIFF files forgets
                    image.load()
                    deep = _deep_colours(image, raw, file)
                    ImageOps.exif_transpose(image, in_place=True)
                    is_grey = image.mode == "F" or image.mode in _DEEP_GREY
                    upright: Image.Image = image if is_grey or deep is not None else _to_rgb(image)
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
    if is_grey:
        values = np.asarray(upright)
        return Image.fromarray(_shares(values, upright.mode == "F", value_range, name)).convert("RGB")
    if deep is not None:
        if deep.ndim != 3 or deep.dtype != np.uint16:
            raise ValueError(
                f"{name} has colours of more than 8 bits in a way that is not read ({deep.dtype}, shape "
                f"{deep.shape}): save it with 8 bits a channel"
            )
        last = 3 if deep.shape[-1] > 2 else 1
        shares = _shares(deep[..., :last], False, value_range, name)
        if deep.shape[-1] > last:
            shares = np.concatenate([shares, _shares(deep[..., last:], False, (0, 65535), name)], axis=-1)
        picture = Image.fromarray(shares)
        picture.getexif()[_ORIENTATION] = turned
        ImageOps.exif_transpose(picture, in_place=True)
        return picture if picture.mode == "RGB" else _to_rgb(picture)
    if value_range is not None:
        raise ValueError(
            f"{name} is no grey picture of more than 8 bits, and no other one: it needs no range"
        )
    return upright


def _check_range(given: Any) -> tuple[float, float] | None:
    if given is None:
        return None
    if not isinstance(given, Sequence) or len(given) != 2:
        raise TypeError(f"value_range must be two numbers, the values of black and white, got {given!r}")
    black, white = (as_number(value, "value_range") for value in given)
    if not black < white:
        raise ValueError(f"value_range must be the values of black and white, in this order, got {given}")
    return black, white


def _to_rgb(image: Image.Image) -> Image.Image:
    if not ("A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info):
        return image.convert("RGB")
    found = Image.new("RGB", image.size)
    for box in _boxes(*image.size):
        part = image.crop(box)
        # Pillow cannot convert premultiplied grey (La) to RGBA directly.
        opaque = (part.convert("LA") if part.mode == "La" else part).convert("RGBA")
        white = Image.new("RGBA", opaque.size, "white")
        found.paste(Image.alpha_composite(white, opaque).convert("RGB"), box)
    return found


def _deep_colours(image: Image.Image, raw: Any, file: BinaryIO) -> Numbers | None:
    """Return colours of more than 8 bits, of which Pillow keeps the highest 8; None for other pictures.

    Args:
        image: what Pillow made of the file.
        raw: how Pillow says that the pixels lie in the file.
        file: a PNG or TIFF file, or any other.

    Returns:
        (h, w, channels), grey or RGB, perhaps with alpha; of another shape or type if it cannot be read.
    """
    if image.format == "PNG":
        form, *interlaced = (raw,) if isinstance(raw, str) else raw
        if form not in _DEEP_PNG:
            return None
        _check_deep(image)
        return _deep_png(image, form, interlaced, file)
    bits = image.tag_v2.get(258, 8) if isinstance(image, TiffImageFile) else 8
    if max(bits if isinstance(bits, tuple) else (bits,)) <= 8 or image.mode in ("F", *_DEEP_GREY):
        return None
    _check_deep(image)
    return _deep_tiff(image, file)


def _check_deep(image: Image.Image) -> None:
    if image.width * image.height > _MOST_DEEP:
        size = f"{image.width} × {image.height} pixels with colours of more than 8 bits"
        raise Image.DecompressionBombError(f"{size}: save it with 8 bits a channel")


def _deep_png(image: Image.Image, form: str, interlaced: list[Any], file: BinaryIO) -> Numbers:
    """Return colours of 16 bits: Pillow unpacks all of the file's bytes if they are called other channels."""
    packed, _ = b"", file.seek(8)
    while len(head := file.read(8)) == 8:
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        content = file.read(length)
        packed += content if kind == b"IDAT" else b""
        file.seek(4, os.SEEK_CUR)  # the checksum, which Pillow has seen to
    found = np.zeros((image.height, image.width, len(form.partition(";")[0])), np.uint16)
    for factor, mode, other in _DEEP_PNG[form]:
        half = Image.frombytes(mode, image.size, packed, "zip", other, *interlaced)
        for left, top, right, bottom in _boxes(*image.size):
            part = np.asarray(half.crop((left, top, right, bottom)), dtype=np.uint16)
            if form == "LA;16B":  # its four bytes are called R, G, B and A
                part = part[..., ::2] * 256 + part[..., 1::2]
            found[top:bottom, left:right] += factor * part
    return found


def _deep_tiff(image: Image.Image, file: BinaryIO) -> Numbers:
    import tifffile

    file.seek(0)
    with tifffile.TiffFile(file) as content:
        page = content.pages[0]
        if page.size > 4 * image.width * image.height:
            raise ValueError(f"its shape, {page.shape}, is another than {image.size}")
        values: Numbers = page.asarray()
        plain = getattr(page, "photometric", None) == tifffile.PHOTOMETRIC.RGB
        axes = getattr(page, "axes", "")
    values = np.moveaxis(values, axes.index("S"), -1) if "S" in axes and axes != "YXS" else values
    return values if plain else values[None, None]


def _shares(values: Numbers, unit: bool, value_range: tuple[float, float] | None, name: str) -> Numbers:
    """Return values between black and white as uint8; `unit` says that they are floats."""
    low, high = value_range or _assumed(values, unit, name)
    found = np.empty(values.shape, np.uint8)
    for left, top, right, bottom in _boxes(values.shape[1], len(values)):
        part = values[top:bottom, left:right].astype(np.float64)
        found[top:bottom, left:right] = (((part - low) / (high - low)).clip(0, 1) * 255).round()
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


def _boxes(width: int, height: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield the left, upper, right and lower borders of parts of at most _PART pixels."""
    columns = min(max(width, 1), _PART)
    rows = _PART // columns
    for top in range(0, height, rows):
        for left in range(0, width, columns):
            yield left, top, min(left + columns, width), min(top + rows, height)


def _first_line(problem: BaseException) -> str:
    return (str(problem).strip().splitlines() or [type(problem).__name__])[0]
