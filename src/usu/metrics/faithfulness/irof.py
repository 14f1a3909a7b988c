"""IROF (Rieger and Hansen, 2020): how fast the class is lost as segments go, those of highest mean first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from torch import Tensor

from usu.metrics.faithfulness.examiner import Case, Examiner, Floats, Integers, Mask, nan_where_flat

# Pixels in a side of a cell, whatever the image: with a number of cells it might be a coarse map's own grid.
GRID = 28
# Of scikit-image's felzenszwalb: at 224 × 224 these give some 20 to 100 segments; the least size is a share.
FELZENSZWALB_SCALE = 200.0
FELZENSZWALB_SIGMA = 0.8
FELZENSZWALB_LEAST = 1 / 500

Segmenter = Callable[[Examiner], Integers]
Order = Callable[[Examiner, Floats, "list[Mask]"], Integers]


def slic(examiner: Examiner) -> Integers:
    """Return the superpixels of the normalised inputs, by scikit-image's defaults, as Quantus does."""
    from skimage.segmentation import slic as superpixels

    pixels = np.moveaxis(examiner.array, 0, -1).astype("double")
    labels: Integers = superpixels(pixels, start_label=0)
    return labels


def grid(examiner: Examiner) -> Integers:
    """Return a fixed grid of cells of 28 pixels, the last ones cut off, which ignores the image."""
    rows, columns = (np.arange(side) // GRID for side in examiner.size)
    labels: Integers = rows[:, None] * (columns[-1] + 1) + columns
    return labels


def felzenszwalb(examiner: Examiner) -> Integers:
    """Return the segments of Felzenszwalb and Huttenlocher (2004) on the picture."""
    from skimage.segmentation import felzenszwalb as segments

    pixels = examiner.image.permute(1, 2, 0).cpu().double().numpy()
    least = round(FELZENSZWALB_LEAST * examiner.size[0] * examiner.size[1])
    labels: Integers = segments(
        pixels, scale=FELZENSZWALB_SCALE, sigma=FELZENSZWALB_SIGMA, min_size=max(least, 1)
    )
    return labels


def by_sort(examiner: Examiner, values: Floats, segments: list[Mask]) -> Integers:
    """Return the segments from the highest mean to the lowest, tied ones as NumPy's sort leaves them."""
    # Over all channels, as in Quantus: rounding in this very sum decides between equal segments.
    channels = np.broadcast_to(values, examiner.array.shape)
    return np.argsort(-np.array([np.mean(channels[:, segment]) for segment in segments]))


def by_seed(examiner: Examiner, values: Floats, segments: list[Mask]) -> Integers:
    """Return the segments from the highest mean to the lowest, tied ones in a random order."""
    means = np.array([np.mean(values[segment]) for segment in segments])
    # Equal values may have means that differ by rounding.
    means = np.round(means / max(np.abs(values).max(), np.finfo(np.float64).tiny), 12)
    shuffle = np.random.default_rng(examiner.seed).permutation(len(segments))
    return np.lexsort((shuffle, -means))


def irof(
    examiner: Examiner,
    maps: Floats,
    segmenter: Segmenter = slic,
    order: Order = by_sort,
    per_segment: bool = False,
) -> Floats:
    """Return the area over the curve of the target's probability, over that of the image.

    A removed segment takes the mean over all channels and pixels of the image as it is by then.

    Args:
        examiner: of the image.
        maps: (M, H, W).
        segmenter: cuts the image into segments.
        order: from a map to the segments in the order of their removal.
        per_segment: whether to divide the area by the number of segments.

    Returns:
        (M,); higher is better; NaN for a constant map and for an image that is a single segment.
    """
    segments = examiner.kept(f"segments {segmenter.__name__}", lambda: _segments(segmenter(examiner)))
    count = len(segments)
    if count < 2:
        return np.full(len(maps), np.nan)
    orders = [order(examiner, values, segments) for values in maps]

    def cases() -> Iterator[Case]:
        for each in orders:
            yield from _removals(examiner, segments, each.tolist(), segmenter.__name__)

    whole = examiner.whole().probabilities
    heights = (examiner.answers(cases()).probabilities / whole).astype(np.float64).reshape(len(maps), count)
    areas = count - (heights[:, 1:] + heights[:, :-1]).sum(1) / 2
    return nan_where_flat(maps, areas / count if per_segment else areas)


def _segments(labels: Integers) -> list[Mask]:
    return [labels == label for label in range(int(labels.max()) + 1)]


def _removals(examiner: Examiner, segments: list[Mask], order: list[int], name: str) -> Iterator[Case]:
    """Yield the images along an order of removal, each made from one before, and only when it is needed.

    A key is the order in which segments were removed.
    """
    image, done = examiner.array, 0

    def after(steps: int) -> Tensor:
        nonlocal image, done
        for label in order[done:steps]:
            image = np.where(segments[label], image.mean(), image)
        done = steps
        return examiner.tensor(image)

    for steps in range(1, len(order) + 1):
        yield Case(f"{name} {order[:steps]}".encode(), partial(after, steps))
