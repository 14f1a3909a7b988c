"""IROF (Rieger and Hansen, 2020): how fast the class goes as segments are removed, the highest mean first."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from usu.metrics.faithfulness.judge import Case, Floats, Integers, Judge, Mask, nan_where_flat

# Pixels in a side of a cell, whatever the image: a count of cells could make it a coarse map's own grid.
GRID = 28
# Of scikit-image's felzenszwalb: at 224 × 224 these leave some 20 to 100 segments; the least is a share.
FELZENSZWALB_SCALE = 200.0
FELZENSZWALB_SIGMA = 0.8
FELZENSZWALB_LEAST = 1 / 500

Segmenter = Callable[[Judge], Integers]
Order = Callable[[Judge, Floats, "list[Mask]"], Integers]


def slic(judge: Judge) -> Integers:
    """Return the superpixels of the normalised inputs, by scikit-image's defaults, as Quantus does."""
    from skimage.segmentation import slic as superpixels

    pixels = np.moveaxis(judge.array, 0, -1).astype("double")
    labels: Integers = superpixels(pixels, start_label=0)
    return labels


def grid(judge: Judge) -> Integers:
    """Return a fixed grid of cells of 28 pixels, the last ones cut off, which knows nothing of the image."""
    rows, columns = (np.arange(side) // GRID for side in judge.size)
    labels: Integers = rows[:, None] * (columns[-1] + 1) + columns
    return labels


def felzenszwalb(judge: Judge) -> Integers:
    """Return the segments of Felzenszwalb and Huttenlocher (2004) on the picture."""
    from skimage.segmentation import felzenszwalb as segments

    pixels = judge.picture.permute(1, 2, 0).cpu().double().numpy()
    least = round(FELZENSZWALB_LEAST * judge.size[0] * judge.size[1])
    labels: Integers = segments(
        pixels, scale=FELZENSZWALB_SCALE, sigma=FELZENSZWALB_SIGMA, min_size=max(least, 1)
    )
    return labels


def by_sort(judge: Judge, values: Floats, segments: list[Mask]) -> Integers:
    """Return the segments from the highest mean to the lowest, tied ones as NumPy's sort leaves them."""
    # Over all channels, as Quantus: rounding of this very sum decides between equal segments.
    channels = np.broadcast_to(values, judge.array.shape)
    return np.argsort(-np.array([np.mean(channels[:, segment]) for segment in segments]))


def by_seed(judge: Judge, values: Floats, segments: list[Mask]) -> Integers:
    """Return the segments from the highest mean to the lowest, tied ones in a random order."""
    means = np.array([np.mean(values[segment]) for segment in segments])
    # Equal values may have means that differ by rounding.
    means = np.round(means / max(np.abs(values).max(), np.finfo(np.float64).tiny), 12)
    shuffle = np.random.default_rng(judge.seed).permutation(len(segments))
    return np.lexsort((shuffle, -means))


def irof(
    judge: Judge,
    maps: Floats,
    segmenter: Segmenter = slic,
    order: Order = by_sort,
    per_segment: bool = False,
) -> Floats:
    """Return the area over the curve of the target's probability, over that of the image.

    A removed segment takes the mean of all channels and pixels of what the image has become by then.

    Args:
        judge: of the image.
        maps: (M, H, W).
        segmenter: what cuts the image.
        order: from a map to the segments in the order of their removal.
        per_segment: whether to divide the area by the number of segments.

    Returns:
        (M,); higher is better; NaN for a constant map and for an image that is a single segment.
    """
    segments = judge.kept(f"segments {segmenter.__name__}", lambda: _segments(segmenter(judge)))
    count = len(segments)
    if count < 2:
        return np.full(len(maps), np.nan)
    orders = [order(judge, values, segments) for values in maps]

    def cases() -> Iterator[Case]:
        for each in orders:
            removal = _Removal(judge, segments, each.tolist())
            yield from (removal.case(segmenter.__name__, steps) for steps in range(1, count + 1))

    whole = judge.whole().probabilities
    heights = (judge.answers(cases()).probabilities / whole).astype(np.float64).reshape(len(maps), count)
    areas = count - (heights[:, 1:] + heights[:, :-1]).sum(1) / 2
    return nan_where_flat(maps, areas / count if per_segment else areas)


def _segments(labels: Integers) -> list[Mask]:
    return [labels == label for label in range(int(labels.max()) + 1)]


class _Removal:
    """The images on the way of one order, each made from the one before, and only where it is asked for."""

    def __init__(self, judge: Judge, segments: list[Mask], order: list[int]) -> None:
        self._segments, self._order = segments, order
        self._device = judge.inputs.device
        self._image, self._done = judge.array, 0

    def case(self, name: str, steps: int) -> Case:
        """Return the image after some steps; what was removed, in its order, tells it from others."""
        key = f"{name} {self._order[:steps]}".encode()
        return Case(key, lambda: self._after(steps))

    def _after(self, steps: int) -> Tensor:
        for label in self._order[self._done : steps]:
            self._image = np.where(self._segments[label], self._image.mean(), self._image)
        self._done = steps
        return torch.from_numpy(self._image).to(self._device)
