"""Binary trees of merges of the pixels of a lattice, from which segments are cut."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np

from usu.segmentation.hierarchy import Labels

Numbers: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"


def watershed_tree(features: Numbers) -> Any:
    """Return higra's watershed hierarchy by area of a lattice (*size, C), as a binary tree of its pixels.

    The tree is that of `higra.watershed_hierarchy_by_area` on the distances of neighbours, made of the same
    parts (Najman, Cousty and Perret, 2013) without its graphs, which took most of its time.

    Args:
        features: of at least two pixels.
    """
    import higra

    pixels = math.prod(features.shape[:-1])
    sources, targets, lengths = _edges(features)
    given = {"return_altitudes": False, "compute_mst": False}
    order = _stable_order(lengths)
    tree = higra.bpt_canonical((sources, targets, pixels), sorted_edge_indices=order, **given)
    building = tree.mst_edge_map
    altitudes = np.concatenate([np.zeros(pixels), lengths[building]])
    areas = higra.accumulate_sequential(tree, np.ones(pixels), higra.Accumulators.sum)
    # Regions of one altitude are one flat zone, which is as large as the largest of what it joins.
    top = altitudes != altitudes[tree.parents()]
    top[-1], top[:pixels] = True, False
    zones = higra.accumulate_and_max_sequential(
        tree, np.where(top, areas, 0), np.zeros(pixels), higra.Accumulators.max
    )
    persistence = higra.accumulate_parallel(tree, zones, higra.Accumulators.min)[pixels:]
    # Numbers of pixels, so that one sort of whole numbers keeps those of one persistence in their order.
    keys = persistence.astype(np.int64) * pixels + np.arange(pixels - 1)
    keys.sort()
    spanning = (sources[building], targets[building], pixels)
    return higra.bpt_canonical(spanning, sorted_edge_indices=keys % pixels, **given)


def ward_tree(labels: Labels, centroids: Numbers, areas: Numbers) -> Any:
    """Return the tree of merges of segments (P,) by Ward's criterion, from their centroids (P, D) and areas.

    Segments that share a pixel's side in the label map are neighbours. Of merges that cost the same, the one
    of lower labels comes first.
    """
    import higra

    graph = higra.UndirectedGraph(len(areas))
    graph.add_edges(*_neighbours(labels, len(areas)))
    return higra.binary_partition_tree_ward_linkage(graph, centroids, areas)[0]


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
    found = np.zeros(nodes, dtype=bool)
    found[regions] = True
    labels: Labels = (np.cumsum(found) - 1)[regions]
    return labels


def _edges(features: Numbers) -> tuple[Labels, Labels, Numbers]:
    """Return both ends of each edge of a lattice (*size, C), pixel after pixel, and its length in colour."""
    size = features.shape[:-1]
    # In the order of higra's graphs, which decides between edges of one length.
    axes = range(len(size)) if len(size) != 2 else (1, 0)
    channels = np.moveaxis(features, -1, 0)
    inside = np.zeros((*size, len(axes)), dtype=bool)
    lengths = np.empty(inside.shape)
    for place, axis in enumerate(axes):
        before = (*(slice(-1) if other == axis else slice(None) for other in range(len(size))), place)
        inside[before] = True
        lengths[before] = np.sqrt(sum(np.diff(channel, axis=axis) ** 2 for channel in channels))
    steps = np.array([math.prod(size[axis + 1 :]) for axis in axes])
    pixels, along = np.divmod(np.flatnonzero(inside), len(axes))
    return pixels, pixels + steps[along], lengths[inside]


def _stable_order(values: Numbers) -> Labels:
    """Return the places of values (N,) from low to high, of equal ones from the first on.

    NumPy's quick sort with ties put right takes a fifth of the time of its stable one.
    """
    order = np.argsort(values)
    ranks = np.concatenate([[0], np.cumsum(np.diff(values[order]) != 0)]) * len(values)
    keys = ranks + order
    keys.sort()
    places: Labels = keys - ranks
    return places


def _neighbours(labels: Labels, count: int) -> tuple[Labels, Labels]:
    """Return the pairs of labels 0..count-1 that touch in a map, the lower and the higher of each."""
    keys = [np.empty(0, dtype=np.int64)]
    for axis in range(labels.ndim):
        rows = np.moveaxis(labels, axis, 0)
        one, other = rows[:-1], rows[1:]
        differ = one != other
        one, other = one[differ], other[differ]
        keys.append(np.maximum(one, other) * count + np.minimum(one, other))
    pairs = np.unique(np.concatenate(keys))
    return pairs % count, pairs // count
