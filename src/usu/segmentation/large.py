"""Large pictures: segments are found among fewer pixels, and their borders moved to the picture's edges.

Hierarchies of millions of pixels take more time for each pixel, since they leave the processor's caches, and
their segments are no better: docs/performance.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from usu.segmentation.hierarchy import Labels

Picture: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"
Segmenter: TypeAlias = Callable[[Picture, "tuple[int, ...]"], "list[Labels]"]

LARGE = 2**18  # pixels: 512 x 512
_PIXELS_PER_SEGMENT = 64  # at least, of the smaller picture


def by_fewer_pixels(
    segmenter: Segmenter, picture: Picture, counts: tuple[int, ...], pixels: int = LARGE
) -> list[Labels]:
    """Return the label maps (H, W) of a picture (H, W, C), at each level as many segments as `counts` says.

    One of more pixels than `pixels`, or than 64 for each of the finest segments, is cut as the means of its
    blocks. Borders then move within half a block of where they are, to the picture's steepest edges.
    """
    size = picture.shape[:2]
    factor = math.ceil(math.sqrt(math.prod(size) / max(pixels, _PIXELS_PER_SEGMENT * counts[-1])))
    if factor <= 1:
        return segmenter(picture, counts)
    levels = segmenter(_block_means(picture, factor), counts)
    finest = _moved_to_edges(levels[-1], picture, factor)
    found = []
    for level in levels:
        parents = np.empty(counts[-1], dtype=np.int64)
        parents[levels[-1].ravel()] = level.ravel()
        found.append(parents[finest])
    return found


def _block_means(picture: Picture, factor: int) -> Picture:
    height, width = picture.shape[:2]
    padded = np.pad(picture, ((0, -height % factor), (0, -width % factor), (0, 0)), mode="edge")
    rows, columns = padded.shape[0] // factor, padded.shape[1] // factor
    means: Picture = padded.reshape(rows, factor, columns, factor, -1).mean((1, 3))
    return means


def _moved_to_edges(labels: Labels, picture: Picture, factor: int) -> Labels:
    """Return labels of blocks at the size of the picture, pixels near borders flooded from both sides."""
    from scipy.ndimage import binary_dilation, maximum_filter, minimum_filter
    from skimage.segmentation import watershed

    height, width = picture.shape[:2]
    whole = labels.astype(np.int32).repeat(factor, 0).repeat(factor, 1)[:height, :width]
    window = 2 * ((factor + 1) // 2) + 1
    band = maximum_filter(whole, window) != minimum_filter(whole, window)
    inside = np.bincount(whole[~band], minlength=int(whole.max()) + 1)
    band &= inside[whole] > 0  # a segment that is nothing but border stays as it is
    around = binary_dilation(band)
    seeds = np.where(around & ~band, whole + 1, 0)
    flood: Any = watershed
    flooded = flood(_steepness(picture), seeds, mask=around)
    return np.where(band, flooded - 1, whole)


def _steepness(picture: Picture) -> Picture:
    """Return the largest squared difference in colour between a pixel and its four neighbours, (H, W)."""
    steepest: Picture = np.zeros(picture.shape[:2])
    channels = np.moveaxis(picture, -1, 0)
    for axis in (0, 1):
        steps: Any = sum(np.diff(channel, axis=axis) ** 2 for channel in channels)
        for part in (np.s_[1:], np.s_[:-1]):
            own = np.moveaxis(steepest, axis, 0)[part]
            np.maximum(own, np.moveaxis(steps, axis, 0), out=own)
    return steepest
