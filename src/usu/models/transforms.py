"""What transforms do to where the photograph's pixels lie: torchvision's, timm's, open_clip's, functions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from inspect import isroutine
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np
import torch
from PIL import Image

from usu.models.albums import album
from usu.models.processors import processed

Size: TypeAlias = tuple[int, int]
_T = TypeVar("_T", bound="Placed")


class Placed(Protocol):
    """What a `usu.Placement` can do, step by step."""

    @property
    def network(self) -> Size:
        """(height, width) after the steps so far."""

    def resize(self: _T, size: Sequence[int]) -> _T:
        """Return it after resizing."""

    def crop(self: _T, top: float, left: float, height: int, width: int) -> _T:
        """Return it after a crop, which pads where it reaches beyond."""

    def center_crop(self: _T, size: Any) -> _T:
        """Return it after torchvision's crop."""

    def pad(self: _T, left: int, top: int, right: int, bottom: int) -> _T:
        """Return it after padding."""


Step: TypeAlias = Callable[[Any, Any], Any]


def follow(start: _T, transform: Any, inside: bool = False) -> _T:
    """Return the placement after one transform, which may consist of several.

    Args:
        start: the placement before it.
        transform: as the user has it.
        inside: whether it is a step among others: functions are tried only then.

    Raises:
        ValueError: a transform that is random, moves pixels in a way that is not known, or is not known.
    """
    found: _T = _step(transform, inside)(start, transform)
    return found


def _step(transform: Any, inside: bool) -> Step:
    kind = type(transform)
    # By name, so that no library need be installed; both versions of torchvision's transforms share names.
    package = kind.__module__.partition(".")[0]
    if step := _STEPS.get(f"{package}.{kind.__name__}"):
        return step
    if package == "albumentations":
        return partial(album, follow=follow)
    if hasattr(transform, "image_processor"):  # of a processor that takes texts, too
        return lambda start, both: processed(start, both.image_processor)
    if hasattr(transform, "image_processor_type") or hasattr(transform, "do_resize"):
        return processed
    if inside and isroutine(transform):
        return _tried
    raise _unknown(transform)


def _unknown(transform: Any, reason: str = "is not known: leave out random transforms, and") -> ValueError:
    name = repr(transform).splitlines()[0]
    return ValueError(
        f"where {name} puts the photograph's pixels {reason} build the placement of others step by step, as "
        "in Placement.whole(size).resize(...).center_crop(...)"
    )


def _sequence(start: _T, transforms: Any) -> _T:
    for transform in transforms:
        start = follow(start, transform, inside=True)
    return start


def _tried(start: _T, function: Callable[[Any], Any]) -> _T:
    """Return the placement as it is if a function changes each pixel where it stands.

    It is tried on noise of the size that it gets here: as a Pillow image, tensor or array, what it takes.
    """
    noise = np.random.default_rng(0).integers(64, 192, (*start.network, 3), dtype=np.uint8)
    for give in (Image.fromarray, _as_tensor, np.copy):
        try:
            moved = any(_moves(function, give, noise, place) for place in _places(start.network))
        except Exception:
            continue
        if moved:
            raise _unknown(function, "was tried, and it moves them: write that step as a transform, or")
        return start
    raise _unknown(function, "could not be tried, since it fails on noise: leave it out, or")


def _as_tensor(pixels: Any) -> Any:
    return torch.from_numpy(pixels).movedim(-1, 0).float() / 255


def _places(size: Size) -> Iterator[Size]:
    """Yield three pixels, none where another would be after a flip or a turn."""
    for row, column in ((0.1, 0.3), (0.35, 0.85), (0.8, 0.2)):
        yield int(row * size[0]), int(column * size[1])


def _moves(function: Callable[[Any], Any], give: Callable[[Any], Any], noise: Any, place: Size) -> bool:
    """Return whether a function changes the size, or a changed pixel shows elsewhere than where it is."""
    changed = noise.copy()
    changed[place] = (255, 0, 255)
    before, after = (_planes(function(give(pixels)), place, noise.shape[:2]) for pixels in (noise, changed))
    if before is None or after is None:
        return True
    difference = np.abs(after - before).max(0)
    return bool(difference.max() == 0 or difference[place] < difference.max())


def _planes(result: Any, place: Size, size: Size) -> Any:
    """Return an image as (channels, h, w) of float64; None if it has another size."""
    array = np.asarray(result, dtype=np.float64)
    if array.ndim == 2:
        array = array[None]
    if array.ndim == 4 and len(array) == 1:
        array = array[0]
    if array.ndim == 3 and array.shape[1:] != size and array.shape[:2] == size:
        array = np.moveaxis(array, -1, 0)
    return array if array.shape[1:] == size else None


def _resized(old: Size, size: Any, max_size: Any = None) -> Sequence[int]:
    """Return the size after torchvision's `Resize`: one number is the shorter side; sides are truncated."""
    sides: Any = [size] if isinstance(size, int) else size
    if sides is not None and len(sides) == 2:
        return tuple(sides)
    shorter, longer = sorted(old)
    if sides is None:
        short, long = int(max_size * shorter / longer), max_size
    else:
        short, long = sides[0], int(sides[0] * longer / shorter)
        if max_size is not None and long > max_size:
            short, long = int(max_size * short / long), max_size
    return (long, short) if old[1] <= old[0] else (short, long)


def _pad(start: _T, transform: Any) -> _T:
    padding = transform.padding
    sides = [padding] if isinstance(padding, int) else list(padding)
    left, top, right, bottom = sides * (4 // len(sides))
    return start.pad(left, top, right, bottom)


def _preset(start: _T, transform: Any) -> _T:
    resized = start.resize(_resized(start.network, transform.resize_size))
    return resized.center_crop(transform.crop_size)


def _keep_ratio(start: _T, transform: Any) -> _T:
    if transform.random_scale_prob or transform.random_aspect_prob:
        raise ValueError(f"{transform!r} is random: where it put the photograph's pixels is not known")
    ratios = [old / new for old, new in zip(start.network, transform.size, strict=True)]
    ratio = max(ratios) * transform.longest + min(ratios) * (1 - transform.longest)
    return start.resize([round(side / ratio) for side in start.network])


# Transforms that move no pixel, by the package that they come from.
_MOVE_NOTHING = {
    "torch": "Identity",
    "torchvision": "ColorJitter ConvertImageDtype GaussianBlur Grayscale Identity Normalize PILToTensor RGB "
    "ToDtype ToImage ToPILImage ToPureTensor ToTensor",
    "timm": "MaybePILToTensor MaybeToTensor ToNumpy ToTensor",
    "open_clip": "MaybeConvertMode MaybeToTensor",
}

_STEPS: dict[str, Step] = {
    **{
        f"{package}.{name}": lambda start, transform: start
        for package, names in _MOVE_NOTHING.items()
        for name in names.split()
    },
    "torch.Sequential": _sequence,
    "torchvision.Compose": lambda start, compose: _sequence(start, compose.transforms),
    "torchvision.Resize": lambda start, to: start.resize(_resized(start.network, to.size, to.max_size)),
    "torchvision.CenterCrop": lambda start, crop: start.center_crop(crop.size),
    "torchvision.Pad": _pad,
    "torchvision.ImageClassification": _preset,
    "timm.ResizeKeepRatio": _keep_ratio,
    "timm.CenterCropOrPad": lambda start, crop: start.center_crop(crop.size),
    "torchvision.Lambda": lambda start, step: _tried(start, step.lambd),
    "open_clip.ResizeKeepRatio": _keep_ratio,
    "open_clip.CenterCropOrPad": lambda start, crop: start.center_crop(crop.size),
    "builtins.list": _sequence,
    "timm.TrimBorder": lambda start, trim: start.pad(*[-trim.border_size] * 4),
}
