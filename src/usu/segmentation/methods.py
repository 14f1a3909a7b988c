"""Hierarchical segmentation (definition 1): nested label maps, from the coarsest to the finest."""

from __future__ import annotations

import heapq
import math
import operator
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from usu.arrays.checks import check_choice
from usu.arrays.convert import Array, as_floats, check_finite, like
from usu.segmentation.hierarchy import Hierarchy, Labels
from usu.segmentation.large import Picture, Segmenter, by_fewer_pixels
from usu.segmentation.merges import cut, ward_tree, watershed_tree


def segment(
    image: Array, counts: Sequence[int] = (16, 64), method: str = "watershed", *, ndim: int = 2
) -> Any:
    """Divide a photograph, a signal or a volume into nested segments (definition 1).

    Args:
        image: (3, H, W) RGB or (1, H, W) grey in [0, 1]; with `ndim` a signal (C, L) or a volume
            (C, D, H, W) of any channels and values, which are stretched to [0, 1] together; or a batch.
        counts: number of segments at each level, increasing; each is met exactly.
        method: "watershed" (higra's watershed hierarchy by area on the Lab gradient), "slic" (superpixels of
            scikit-image, merged by Ward's criterion on Lab colour and position; pictures and volumes),
            "changepoints" (samples of a signal, merged by Ward's criterion on their values: its change points
            by the least squares, from the bottom up; docs/howto/signals.md) or "quadtree" (blocks halved
            along their longer side, blind to the image; pictures).
        ndim: 1 for signals, 2 for pictures, 3 for volumes. Channels of the former are their colours.

    Returns:
        A `Hierarchy` with labels of the caller's kind (NumPy or torch); a list of them for a batch.

    Raises:
        ValueError: an image of the wrong shape or outside [0, 1], counts that do not increase or that exceed
            the number of pixels, an unknown method, or one that is for other dimensions.
        TypeError: an image of anything but real numbers, counts that are not integers.

    >>> segment(np.zeros((1, 4, 4)), counts=(2, 4), method="quadtree").levels[1]
    array([[0, 0, 1, 1],
           [0, 0, 1, 1],
           [2, 2, 3, 3],
           [2, 2, 3, 3]])
    >>> segment([[0.0, 0.1, 5.0, 5.1, 2.0]], counts=(2, 3), method="changepoints", ndim=1).levels
    (array([0, 0, 1, 1, 1]), array([0, 0, 1, 1, 2]))
    """
    pixels = check_picture(image, "image", ndim)
    check_method(method, ndim, "method")
    wanted = _check_counts(counts, math.prod(pixels.shape[-ndim:]))
    if pixels.dim() == ndim + 2:
        return [segment(like(picture, image), counts, method, ndim=ndim) for picture in pixels]
    if ndim != 2:
        pixels = _in_unit(pixels)
    picture = pixels.detach().cpu().to(torch.float64).movedim(0, -1).numpy()
    planar, find = ndim == 2 and method != "quadtree", _SEGMENTERS[method]
    maps = by_fewer_pixels(find, picture, wanted) if planar else find(picture, wanted)
    levels = tuple(like(torch.from_numpy(labels).to(pixels.device), image) for labels in maps)
    return Hierarchy(levels, method)


def check_image(image: Array, name: str) -> Tensor:
    """Return an RGB or grey picture (or a batch) as a tensor; raise ValueError if it is not one in [0, 1]."""
    pixels = as_floats(image, name)
    if pixels.dim() not in (3, 4) or pixels.shape[-3] not in (1, 3):
        raise ValueError(
            f"{name} must be RGB (3, H, W) or grey (1, H, W), or a batch of them, got {tuple(pixels.shape)}"
        )
    lowest, highest = check_finite(pixels, name).detach().aminmax()
    if float(lowest) < -1e-6 or float(highest) > 1 + 1e-6:
        raise ValueError(f"{name} must lie in [0, 1], got [{float(lowest):g}, {float(highest):g}]")
    return pixels


def check_picture(image: Array, name: str, ndim: int = 2) -> Tensor:
    """Return what is segmented, (C, *size) or a batch, as a tensor: a picture as `check_image` does.

    Signals and volumes have any channels and values. Raises ValueError for other axes or values that are not
    finite.
    """
    if ndim == 2:
        return check_image(image, name)
    pixels = as_floats(image, name)
    if ndim not in _FORMS or pixels.dim() not in (ndim + 1, ndim + 2):
        form = _FORMS.get(ndim, "given with ndim=1, 2 or 3")
        raise ValueError(
            f"{name} must be {form}, or a batch, as ndim={ndim!r} says, got {tuple(pixels.shape)}"
        )
    return check_finite(pixels, name)


_FORMS = {1: "a signal (C, L)", 3: "a volume (C, D, H, W)"}


def check_method(method: str, ndim: int, name: str) -> None:
    """Raise ValueError unless `method` cuts pictures of so many dimensions."""
    check_choice(method, tuple(_SEGMENTERS), name)
    if method not in SEGMENTERS_OF[ndim]:
        others = " and ".join(f"{own}-D" for own, methods in SEGMENTERS_OF.items() if method in methods)
        raise ValueError(
            f"{name} {method!r} is for {others} only; with ndim={ndim} take one of {SEGMENTERS_OF[ndim]}"
        )


def suited(counts: Mapping[str, tuple[int, ...]], ndim: int) -> dict[str, tuple[int, ...]]:
    """Return numbers of segments by method, for pictures, as they are for other dimensions.

    In signals, change points stand in for superpixels. Blocks that are blind to the image are left out.

    >>> suited({"watershed": (16, 32), "slic": (16, 32), "quadtree": (16, 32)}, 1)
    {'watershed': (16, 32), 'changepoints': (16, 32)}
    """
    named = {"changepoints" if ndim == 1 and name == "slic" else name: own for name, own in counts.items()}
    return {name: own for name, own in named.items() if name in SEGMENTERS_OF[ndim]}


def stretched(inputs: Tensor, name: str) -> Tensor:
    """Return inputs (..., C, H, W) as pictures, stretched to [0, 1]; raise ValueError if they are not."""
    if inputs.shape[-3] not in (1, 3):
        raise ValueError(
            f"{name} must be pictures, and have {inputs.shape[-3]} channels, shape {tuple(inputs.shape)}: "
            "give images=, RGB (3, H, W) or grey (1, H, W) in [0, 1] of what the model gets, or "
            "segmentation=usu.Hierarchy(...), label maps of your own"
        )
    return check_image(_in_unit(inputs, 3), name)


def _in_unit(inputs: Tensor, axes: int | None = None) -> Tensor:
    """Return values stretched to [0, 1] over so many last axes, by default all."""
    dims = tuple(range(-(axes or inputs.dim()), 0))
    lowest, highest = inputs.amin(dims, keepdim=True), inputs.amax(dims, keepdim=True)
    return (inputs - lowest) / (highest - lowest).clamp(min=torch.finfo(inputs.dtype).tiny)


def guide_of(picture: Tensor) -> Tensor:
    """Return a picture (C, *size) in [0, 1], as filters take it: signals and volumes are stretched to it."""
    return picture if picture.dim() == 3 else _in_unit(picture)


def _watershed(picture: Picture, counts: tuple[int, ...]) -> list[Labels]:
    features = _features(picture)
    size = features.shape[:-1]
    if math.prod(size) == 1:  # higra crashes the process on a graph without edges
        return [np.zeros(size, dtype=np.int64)]
    tree = watershed_tree(features)
    return [cut(tree, count).reshape(size) for count in counts]


def _changepoints(picture: Picture, counts: tuple[int, ...]) -> list[Labels]:
    features = _features(picture)
    if len(features) == 1:
        return [np.zeros(1, dtype=np.int64)]
    tree = ward_tree(np.arange(len(features)), features, np.ones(len(features)))
    return [_in_order(cut(tree, count)) for count in counts]


def _in_order(labels: Labels) -> Labels:
    """Return labels (L,) of runs of samples, numbered from the first on."""
    return np.cumsum(np.diff(labels, prepend=labels[:1]) != 0)


# Twice as many superpixels as the finest level needs, so that Ward's criterion has a choice.
_SUPERPIXELS_PER_SEGMENT = 2
# Weight of position against Lab colour: the image's side counts as this many units of Lab distance.
_SIDE_IN_LAB = 50.0


def _slic(picture: Picture, counts: tuple[int, ...]) -> list[Labels]:
    features = _features(picture)
    size = features.shape[:-1]
    superpixels = cut_superpixels(picture, counts[-1])
    areas = np.bincount(superpixels.ravel())
    channels = [*np.moveaxis(features, -1, 0), *np.indices(size) * (_SIDE_IN_LAB / max(size))]
    sums = [np.bincount(superpixels.ravel(), weights=channel.ravel()) for channel in channels]
    tree = ward_tree(superpixels, np.stack(sums, axis=1) / areas[:, None], areas.astype(np.float64))
    return [cut(tree, count)[superpixels] for count in counts]


def cut_superpixels(picture: Picture, count: int) -> Labels:
    """Return at least `count` superpixels; SLIC itself only approximates the number requested."""
    from skimage.segmentation import slic

    planar, channels, pixels = picture.ndim == 3, picture.shape[-1], math.prod(picture.shape[:-1])
    given = np.repeat(picture, 3, axis=-1) if planar and channels == 1 else picture
    # Lab's lightness is 100 where a volume's value is 1.
    weight = {"compactness": 10.0 if planar else 0.1 * math.sqrt(channels), "convert2lab": planar}
    wanted = min(_SUPERPIXELS_PER_SEGMENT * count, pixels)
    while True:
        labels = slic(given, n_segments=wanted, start_label=0, channel_axis=-1, **weight)
        if labels.max() + 1 >= count or wanted == pixels:
            return np.asarray(labels, dtype=np.int64)
        wanted = min(2 * wanted, pixels)


def _quadtree(picture: Picture, counts: tuple[int, ...]) -> list[Labels]:
    height, width = picture.shape[:2]
    blocks = [(-height * width, 0, 0, height, width)]
    levels = []
    for count in counts:
        while len(blocks) < count:
            _, top, left, tall, wide = heapq.heappop(blocks)
            half_tall, half_wide = ((tall + 1) // 2, wide) if tall >= wide else (tall, (wide + 1) // 2)
            rest = (top + half_tall, left, tall - half_tall, wide)
            if wide > tall:
                rest = (top, left + half_wide, tall, wide - half_wide)
            for block in ((top, left, half_tall, half_wide), rest):
                heapq.heappush(blocks, (-block[2] * block[3], *block))
        labels = np.empty((height, width), dtype=np.int64)
        for label, (_, top, left, tall, wide) in enumerate(sorted(blocks, key=lambda block: block[1:3])):
            labels[top : top + tall, left : left + wide] = label
        levels.append(labels)
    return levels


_SEGMENTERS: dict[str, Segmenter] = {
    "watershed": _watershed,
    "slic": _slic,
    "quadtree": _quadtree,
    "changepoints": _changepoints,
}
SEGMENTERS = ("watershed", "slic", "quadtree")  # of pictures
SEGMENTERS_OF = {1: ("changepoints", "watershed"), 2: SEGMENTERS, 3: ("watershed", "slic")}


def _features(picture: Picture) -> Picture:
    """Return Lab colour, or grey on Lab's lightness scale, (H, W, C).

    Channels of signals and volumes are as many measurements of one scale, their distance a mean over them.
    """
    from skimage.color import rgb2lab

    if picture.ndim != 3:
        return np.ascontiguousarray(100.0 / math.sqrt(picture.shape[-1]) * picture)
    features: Picture = rgb2lab(picture) if picture.shape[-1] == 3 else 100.0 * picture
    return features


def _check_counts(counts: Sequence[int], pixels: int) -> tuple[int, ...]:
    try:
        whole = tuple(operator.index(count) for count in counts)
    except TypeError:
        raise TypeError(f"counts must be increasing positive integers, got {counts!r}") from None
    if not whole or whole[0] < 1 or list(whole) != sorted(set(whole)):
        raise ValueError(f"counts must be increasing positive integers, got {whole}")
    if whole[-1] > pixels:
        raise ValueError(f"counts asks for {whole[-1]} segments, but the image has {pixels} pixels")
    return whole
