"""Where a network's input lies in its photograph, and how a map is brought back there."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Literal, TypeAlias

import torch
from PIL import Image
from torch import Tensor

from usu.arrays.checks import check_choice, check_number
from usu.arrays.convert import Array, as_floats, check_finite, check_range, like
from usu.models.transforms import follow

Box: TypeAlias = tuple[float, float, float, float]
Size: TypeAlias = tuple[int, int]
Padding: TypeAlias = Literal["raise", "drop"]

_SLIVER = 1e-9  # photograph pixels; borders closer than this are one border, rounded twice


@dataclass(frozen=True)
class Placement:
    """Where the network's input lies in the photograph, after any sequence of resizing, cropping and padding.

    Made by `of` from a transform, by `letterbox`, or step by step from `whole`. Boxes are
    (top, left, bottom, right) in pixels of the photograph, with (0, 0) its upper left corner.

    Attributes:
        photograph: (height, width) of the photograph.
        network: (height, width) of the network's input.
        box: what the input covers; it extends beyond the photograph if the input is padded.
        seen: the part of the box that shows the photograph; the rest is padding.

    Raises:
        ValueError: a size that is not positive, a box that is empty, `seen` not inside `box` and photograph.
        TypeError: sizes that are not integers, boxes that are not numbers.

    >>> Placement.whole((100, 200)).resize((50, 100)).center_crop((50, 50)).box
    (0.0, 50.0, 100.0, 150.0)
    """

    photograph: Size
    network: Size
    box: Box
    seen: Box

    def __post_init__(self) -> None:
        for name in ("photograph", "network"):
            object.__setattr__(self, name, _check_size(getattr(self, name), name))
        for name in ("box", "seen"):
            object.__setattr__(self, name, _check_box(getattr(self, name), name))
        height, width = self.photograph
        limits = _intersection(self.box, (0.0, 0.0, float(height), float(width)))
        inside = _intersection(self.seen, limits)
        if max(abs(a - b) for a, b in zip(inside, self.seen, strict=True)) > _SLIVER:
            raise ValueError(
                f"seen must lie inside the box {self.box} and a photograph of {self.photograph}, "
                f"got {self.seen}"
            )

    @classmethod
    def whole(cls, photograph: Image.Image | Sequence[int]) -> Placement:
        """Return the placement of an input that is the photograph itself.

        Args:
            photograph: a Pillow image, or (height, width); not Pillow's `size`, which is (width, height).

        Raises:
            ValueError: a size that is not positive.
            TypeError: neither an image nor two integers.
        """
        given = photograph.size[::-1] if isinstance(photograph, Image.Image) else photograph
        height, width = size = _check_size(given, "photograph")
        box = (0.0, 0.0, float(height), float(width))
        return cls(size, size, box, box)

    @classmethod
    def of(cls, transform: Any, photograph: Image.Image | Sequence[int]) -> Placement:
        """Return where the output of a transform lies in its photograph.

        Known are `Compose` and `nn.Sequential` of `Resize`, `CenterCrop`, `Pad` (torchvision, v1 and v2), of
        `ResizeKeepRatio`, `CenterCropOrPad`, `TrimBorder` (timm, open_clip), of transforms that move no
        pixel, such as `Normalize`, and of functions (`Lambda`), which are tried: they must not move any.
        Known are also the presets of torchvision's classifiers (`weights.transforms()`), albumentations'
        resizing, cropping and padding, and those of Hugging Face's image processors.

        Args:
            transform: the transform that the photograph goes through.
            photograph: as for `whole`.

        Raises:
            ValueError: a transform that is random or not known; the message says which.
            TypeError: as `whole`.
        """
        return follow(cls.whole(photograph), transform)

    @classmethod
    def letterbox(cls, photograph: Image.Image | Sequence[int], network: int | Sequence[int]) -> Placement:
        """Return the placement of a whole photograph scaled to fit the input, centred and padded.

        The resized sides are rounded to pixels; an odd row or column of padding goes below or to the right.

        Args:
            photograph: as for `whole`.
            network: (height, width) of the input, or one number for both.

        Raises:
            ValueError: a size that is not positive.
            TypeError: as `whole`.
        """
        start, size = cls.whole(photograph), _pair(network, "network")
        scale = min(new / old for new, old in zip(size, start.photograph, strict=True))
        height, width = (max(1, round(side * scale)) for side in start.photograph)
        return start.resize((height, width)).center_crop(size)

    def resize(self, size: Sequence[int]) -> Placement:
        """Return the placement after the input was resized to `size`, (height, width)."""
        return Placement(self.photograph, _check_size(size, "size"), self.box, self.seen)

    def crop(self, top: float, left: float, height: int, width: int) -> Placement:
        """Return the placement after a crop in pixels of the input; what lies outside the input is padding.

        Raises:
            ValueError: a crop that is empty or shows nothing of the photograph.
            TypeError: arguments that are not numbers, or a height or width that is not an integer.
        """
        size = _check_size((height, width), "a crop's size")
        tall, wide = self._pixel()
        above = self.box[0] + check_number(top, "top") * tall
        before = self.box[1] + check_number(left, "left") * wide
        box = (above, before, above + height * tall, before + width * wide)
        seen = _intersection(self.seen, box)
        if seen[2] - seen[0] <= _SLIVER or seen[3] - seen[1] <= _SLIVER:
            raise ValueError(
                f"a crop of {size} pixels at ({top}, {left}) shows nothing of the photograph: {self}"
            )
        return Placement(self.photograph, size, box, seen)

    def center_crop(self, size: int | Sequence[int]) -> Placement:
        """Return the placement after torchvision's `CenterCrop`: a side that is too short is padded."""
        height, width = _pair(size, "size")
        top, left = (_middle(old, new) for old, new in zip(self.network, (height, width), strict=True))
        return self.crop(top, left, height, width)

    def pad(self, left: int, top: int, right: int, bottom: int) -> Placement:
        """Return the placement after padding by these pixels, in torchvision's order."""
        for name, side in {"left": left, "top": top, "right": right, "bottom": bottom}.items():
            if isinstance(side, bool) or not isinstance(side, Integral):
                raise TypeError(f"{name} must be a number of pixels, got {side!r}")
        height, width = self.network
        return self.crop(-top, -left, height + top + bottom, width + left + right)

    def to_photograph(self, attribution: Array, *, padding: Padding = "raise") -> Any:
        """Bring a map from the network's size to the photograph's, conserving its mass.

        Every pixel of the input covers a rectangle of the photograph and shares its mass by area among the
        pixels there, whether they are larger or smaller. One that reaches into padding gives all its mass to
        the visible part. Pixels that the network did not see get exactly 0; the tails of the kernel that
        resized the photograph count as not seen. Linear and differentiable, computed in float64.

        Args:
            attribution: (..., H, W) of the network's size, a density: its values are masses of pixels.
            padding: what to do with mass on pixels that are nothing but padding, which has no place in the
                photograph: "raise" an error, or "drop" it; `padding_mass` returns how much that is.

        Returns:
            The map (..., height, width) at the photograph's size, in the kind, device, dtype and unit of
            `attribution`.

        Raises:
            ValueError: a map of another size, values that are not finite, mass on padding, values too large
                for the dtype.
            TypeError: a map of anything but real numbers.

        >>> left_half = Placement.whole((1, 4)).crop(0, 0, 1, 2).resize((1, 1))
        >>> left_half.to_photograph([[6.0]])
        array([[3., 3., 0., 0.]])
        """
        check_choice(padding, ("raise", "drop"), "padding")
        values = self._check_map(attribution)
        if padding == "raise" and (lost := self._on_padding(values.detach()).abs().sum()) > 0:
            share = float(lost / values.detach().to(torch.float64).abs().sum())
            raise ValueError(
                f"attribution has {share:.1%} of its absolute mass on padding, which has no place in the "
                'photograph: padding="drop" leaves it out, and padding_mass() returns how much it is'
            )
        columns = self._share(values.to(torch.float64).mT.contiguous(), 1)
        return like(check_range(self._share(columns.mT, 0).to(values.dtype), "attribution"), attribution)

    def padding_mass(self, attribution: Array) -> Any:
        """Return the mass on pixels that are nothing but padding.

        With `padding="drop"`, the photograph's map and this add up to the mass of `attribution`.

        Args:
            attribution: (..., H, W) of the network's size.

        Returns:
            (...), in the kind, device, dtype and unit of `attribution`.

        Raises:
            ValueError: as `to_photograph`, except for mass on padding.
            TypeError: as `to_photograph`.
        """
        values = self._check_map(attribution)
        mass = self._on_padding(values).sum((-2, -1)).to(values.dtype)
        return like(check_range(mass, "attribution"), attribution)

    def _check_map(self, attribution: Array) -> Tensor:
        values = check_finite(as_floats(attribution, "attribution"), "attribution")
        if tuple(values.shape[-2:]) != self.network:
            raise ValueError(
                f"attribution must be (..., {self.network[0]}, {self.network[1]}), the size of the network's "
                f"input, got {tuple(values.shape)}"
            )
        return values

    def _on_padding(self, values: Tensor) -> Tensor:
        """Return `values` in float64, with zeros wherever any part of the photograph is seen."""
        rows, columns = (self._overlaps(axis)[1].unique().to(values.device) for axis in (0, 1))
        seen = torch.zeros(self.network, dtype=torch.bool, device=values.device)
        seen[rows[:, None], columns] = True
        return values.to(torch.float64).masked_fill(seen, 0.0)

    def _pixel(self) -> tuple[float, float]:
        """Return the height and width of the input's pixels, in pixels of the photograph."""
        top, left, bottom, right = self.box
        return (bottom - top) / self.network[0], (right - left) / self.network[1]

    def _share(self, values: Tensor, axis: int) -> Tensor:
        """Bring one axis of the input, the second to last of `values`, to the photograph's pixels."""
        # Along this axis whole rows are copied and added; along the last one it takes several times as long.
        targets, pixels, shares = (part.to(values.device) for part in self._overlaps(axis))
        runs = values.index_select(-2, pixels) * shares[:, None]
        result = runs.new_zeros(*values.shape[:-2], self.photograph[axis], values.shape[-1])
        return result.index_add(-2, targets, runs)

    def _overlaps(self, axis: int) -> tuple[Tensor, Tensor, Tensor]:
        """Cut the seen part of an axis at the borders of both lattices into runs.

        Returns:
            The photograph's pixel and the input's pixel that each run lies in, and the run's share of the
            visible part of the latter; three tensors of one length.
        """
        exact: Any = {"dtype": torch.float64, "device": "cpu"}
        low, high = (_snap(torch.tensor(self.seen[end], **exact)) for end in (axis, axis + 2))
        steps = torch.arange(self.network[axis] + 1, **exact)
        borders = _snap(self.box[axis] + steps * self._pixel()[axis], low, high)
        lattice = torch.arange(self.photograph[axis] + 1, **exact)
        cuts = torch.cat([borders, lattice]).clamp(low, high).unique()
        lengths, middles = cuts.diff(), (cuts[1:] + cuts[:-1]) / 2
        pixels = torch.searchsorted(borders, middles, right=True) - 1
        return middles.long(), pixels, lengths / torch.bincount(pixels, lengths)[pixels]


def _snap(borders: Tensor, *marks: Tensor) -> Tensor:
    """Move borders onto whole numbers and `marks` that differ from them only by rounding."""
    for mark in (borders.round(), *marks):
        borders = torch.where((borders - mark).abs() < _SLIVER, mark, borders)
    return borders


def _middle(old: int, new: int) -> int:
    """Return where torchvision's centre crop starts on a side; below 0 it pads."""
    return -((new - old) // 2) if new > old else round((old - new) / 2)


def _intersection(first: Box, second: Box) -> Box:
    top, left, bottom, right = zip(first, second, strict=True)
    return max(top), max(left), min(bottom), min(right)


def _pair(size: Any, name: str) -> Size:
    """Return a size as (height, width); one number stands for both."""
    if isinstance(size, bool):
        raise TypeError(f"{name} must be a number of pixels or (height, width), got {size!r}")
    if isinstance(size, int):
        return _check_size((size, size), name)
    return _check_size([*size, *size] if isinstance(size, Sequence) and len(size) == 1 else size, name)


def _check_size(size: Any, name: str) -> Size:
    try:
        height, width = map(operator.index, size)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be two integers (height, width), got {size!r}") from None
    if min(height, width) < 1:
        raise ValueError(f"{name} must be at least 1 × 1 pixel, got (height, width) = {(height, width)}")
    return height, width


def _check_box(box: Any, name: str) -> Box:
    if not isinstance(box, Sequence) or len(box) != 4:
        raise TypeError(f"{name} must be four numbers (top, left, bottom, right), got {box!r}")
    top, left, bottom, right = (check_number(edge, name) for edge in box)
    if not (top < bottom and left < right):
        raise ValueError(f"{name} must have top < bottom and left < right, got {tuple(box)}")
    return top, left, bottom, right
