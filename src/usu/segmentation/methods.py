"""Hierarchical segmentation (definition 1): nested label maps, from the coarsest to the finest."""

from __future__ import annotations

import heapq
import operator
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from usu.arrays.checks import check_choice
from usu.arrays.convert import Array, as_floats, check_finite, like
from usu.segmentation.hierarchy import Hierarchy, Labels

Picture: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"


def segment(image: Array, counts: Sequence[int] = (16, 64), method: str = "watershed") -> Any:
    """Divide a photograph into nested segments (definition 1).

    Args:
        image: (3, H, W) RGB or (1, H, W) grey in [0, 1]; or a batch (B, C, H, W).
        counts: number of segments at each level, increasing; each is met exactly.
        method: "watershed" (higra's watershed hierarchy by area on the Lab gradient), "slic" (superpixels of
            scikit-image, merged by Ward's criterion on Lab colour and position) or "quadtree" (blocks halved
            along their longer side, blind to the image).

    Returns:
        A `Hierarchy` with labels of the caller's kind (NumPy or torch); a list of them for a batch.

    Raises:
        ValueError: an image of the wrong shape or outside [0, 1], counts that do not increase or that exceed
            the number of pixels, an unknown method.
        TypeError: an image of anything but real numbers, counts that are not integers.

    >>> segment(np.zeros((1, 4, 4)), counts=(2, 4), method="quadtree").levels[1]
    array([[0, 0, 1, 1],
           [0, 0, 1, 1],
           [2, 2, 3, 3],
           [2, 2, 3, 3]])
    """
    pixels = check_image(image, "image")
    check_choice(method, SEGMENTERS, "method")
    wanted = _check_counts(counts, pixels.shape[-2] * pixels.shape[-1])
    if pixels.dim() == 4:
        return [segment(like(picture, image), counts, method) for picture in pixels]
    picture = pixels.detach().cpu().to(torch.float64).permute(1, 2, 0).numpy()
    maps = _SEGMENTERS[method](picture, wanted)
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


def stretched(inputs: Tensor, name: str) -> Tensor:
    """Return inputs (..., C, H, W) as pictures, stretched to [0, 1]; raise ValueError if they are not."""
    lowest, highest = inputs.amin((-3, -2, -1), keepdim=True), inputs.amax((-3, -2, -1), keepdim=True)
    return check_image((inputs - lowest) / (highest - lowest).clamp(min=torch.finfo(inputs.dtype).tiny), name)


def _watershed(picture: Picture, counts: tuple[int, ...]) -> list[Labels]:
    import higra

    features = _features(picture)
    if features[..., 0].size == 1:  # higra crashes the process on a graph without edges
        return [np.zeros((1, 1), dtype=np.int64)]
    graph = higra.get_4_adjacency_graph(features.shape[:2])
    edges = higra.weight_graph(graph, features, higra.WeightFunction.L2)
    tree, _ = higra.watershed_hierarchy_by_area(graph, edges, canonize_tree=False)
    return [cut(tree, count).reshape(features.shape[:2]) for count in counts]


# Twice as many superpixels as the finest level needs, so that Ward's criterion has a choice.
_SUPERPIXELS_PER_SEGMENT = 2
# Weight of position against Lab colour: the image's side counts as this many units of Lab distance.
_SIDE_IN_LAB = 50.0


def _slic(picture: Picture, counts: tuple[int, ...]) -> list[Labels]:
    import higra

    features = _features(picture)
    height, width = features.shape[:2]
    superpixels = cut_superpixels(picture, counts[-1])
    areas = np.bincount(superpixels.ravel())
    graph = higra.get_4_adjacency_graph((height, width))
    regions = higra.make_region_adjacency_graph_from_labelisation(graph, superpixels)
    rows, columns = np.mgrid[:height, :width] * (_SIDE_IN_LAB / max(height, width))
    channels = [*np.moveaxis(features, -1, 0), rows, columns]
    sums = [np.bincount(superpixels.ravel(), weights=channel.ravel()) for channel in channels]
    centroids = np.stack(sums, axis=1) / areas[:, None]
    tree, _ = higra.binary_partition_tree_ward_linkage(regions, centroids, areas.astype(np.float64))
    return [cut(tree, count)[superpixels] for count in counts]


def cut_superpixels(picture: Picture, count: int) -> Labels:
    """Return at least `count` superpixels; SLIC itself only approximates the number requested."""
    from skimage.segmentation import slic

    rgb = np.repeat(picture, 3, axis=-1) if picture.shape[-1] == 1 else picture
    pixels = rgb.shape[0] * rgb.shape[1]
    wanted = min(_SUPERPIXELS_PER_SEGMENT * count, pixels)
    while True:
        labels = slic(rgb, n_segments=wanted, compactness=10.0, start_label=0)
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


_SEGMENTERS: dict[str, Callable[[Picture, tuple[int, ...]], list[Labels]]] = {
    "watershed": _watershed,
    "slic": _slic,
    "quadtree": _quadtree,
}
SEGMENTERS = tuple(_SEGMENTERS)


def _features(picture: Picture) -> Picture:
    """Return Lab colour, or grey on Lab's lightness scale, (H, W, C)."""
    from skimage.color import rgb2lab

    features: Picture = rgb2lab(picture) if picture.shape[-1] == 3 else 100.0 * picture
    return features


def cut(tree: Any, count: int) -> Labels:
    """Cut a binary tree, whose nodes are sorted by altitude, into exactly `count` regions of its leaves.

    Undoing the last count - 1 merges gives nested regions at any count; a cut at an altitude could not
    separate ties.
    """
    import higra

    nodes = tree.num_vertices()
    inside = tree.parents() < nodes - (count - 1)
    inside[-1] = False
    regions = higra.propagate_sequential(tree, np.arange(nodes), inside)[: tree.num_leaves()]
    labels: Labels = np.unique(regions, return_inverse=True)[1].reshape(-1).astype(np.int64)
    return labels


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
