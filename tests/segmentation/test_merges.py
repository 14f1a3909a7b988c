"""Trees of merges: the same labels as higra's own functions on its graphs."""

import higra
import numpy as np
import pytest
import torch

import usu
from usu.segmentation.large import by_fewer_pixels
from usu.segmentation.merges import cut, ward_tree, watershed_tree


def pictures(size, channels):
    """Return noise, and pictures of few colours, whose edges and zones are full of ties."""
    random = np.random.default_rng(0)
    noise = random.random((*size, channels))
    return [noise, np.round(2 * noise), np.zeros_like(noise)]


def graph_of(size):
    if len(size) == 2:
        return higra.get_4_adjacency_graph(size)
    steps = np.eye(len(size), dtype=np.int64)
    return higra.get_nd_regular_graph(size, np.concatenate([steps, -steps]))


@pytest.mark.parametrize("size", [(23, 31), (1, 40), (40, 1), (37,), (6, 7, 5)])
@pytest.mark.parametrize("channels", [1, 3, 9])
def test_a_watershed_is_higras(size, channels):
    for picture in pictures(size, channels):
        graph = graph_of(size)
        lengths = higra.weight_graph(graph, picture, higra.WeightFunction.L2)
        theirs, _ = higra.watershed_hierarchy_by_area(graph, lengths, canonize_tree=False)
        ours = watershed_tree(picture)
        np.testing.assert_array_equal(ours.parents(), theirs.parents())
        # Their nodes in the order of their numbers: labels as `numpy.unique` gives them.
        kept = theirs.parents() < theirs.num_vertices() - 6
        kept[-1] = False
        regions = higra.propagate_sequential(theirs, np.arange(len(kept)), kept)[: theirs.num_leaves()]
        np.testing.assert_array_equal(cut(ours, 7), np.unique(regions, return_inverse=True)[1])


def test_wards_merges_are_higras_where_no_two_cost_the_same():
    random = np.random.default_rng(1)
    labels = np.kron(np.arange(30).reshape(5, 6), np.ones((4, 3), dtype=np.int64))
    centroids, areas = random.random((30, 3)), random.uniform(1, 9, 30)
    graph = higra.make_region_adjacency_graph_from_labelisation(graph_of(labels.shape), labels)
    theirs, _ = higra.binary_partition_tree_ward_linkage(graph, centroids, areas)
    np.testing.assert_array_equal(ward_tree(labels, centroids, areas).parents(), theirs.parents())


@pytest.mark.parametrize("side", [61, 64])
def test_borders_found_among_fewer_pixels_move_to_the_pictures_edges(side):
    """Edges of four even areas run through blocks of 4 by 4 pixels, which have only one label each."""
    truth = 2 * (np.arange(side)[:, None] >= 22) + (np.arange(side) >= 42)
    colours = np.array([[0.2, 0.2, 0.7], [0.8, 0.3, 0.2], [0.3, 0.7, 0.3], [0.9, 0.9, 0.8]])
    picture = colours[truth] + 0.02 * np.random.default_rng(0).standard_normal((side, side, 3))
    asked = []

    def find(small, counts):
        asked.append(small)
        return [truth[::4, ::4] // 2, truth[::4, ::4]]

    coarse, fine = by_fewer_pixels(find, picture, (2, 4), pixels=256)
    np.testing.assert_allclose(asked[0][5, 7], picture[20:24, 28:32].mean((0, 1)))
    assert asked[0].shape == (16, 16, 3)
    assert fine.shape == (side, side)
    np.testing.assert_array_equal(coarse, fine // 2)
    assert (fine != truth).sum() <= 3  # a corner's pixel or so


def test_every_segment_of_a_large_picture_keeps_pixels():
    """Segments of one pixel among the fewer ones are all border."""
    picture = np.random.default_rng(0).random((48, 48, 1))
    chequered = np.arange(64).reshape(8, 8)
    levels = by_fewer_pixels(lambda small, counts: [chequered // 8, chequered], picture, (8, 64), pixels=4)
    assert usu.Hierarchy(levels).counts == (8, 64)


def test_a_picture_over_the_limit_is_cut_as_asked():
    picture = torch.rand(3, 514, 515, generator=torch.Generator().manual_seed(0))
    for method in ("watershed", "slic"):
        assert usu.segment(picture, (3, 16), method).counts == (3, 16)
