"""Binary trees of segments, against hand-worked cases and what every tree must satisfy."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from usu import Hierarchy, segment
from usu.segmentation.tree import Tree


def segments_of(tree, node):
    first, last = tree.ranges[node]
    return set(tree.order[first:last])


def test_a_row_is_halved_near_half_of_its_area():
    tree = Tree(Hierarchy([[[0, 1, 2, 3, 3, 3]]]))  # areas 1, 1, 1, 3
    one, other = tree.children[0]
    assert segments_of(tree, one) == {0, 1, 2}
    assert segments_of(tree, other) == {3}
    assert tree.children[other] is None
    assert tree.areas.tolist() == [1, 1, 1, 3]


def test_the_longer_side_is_halved_first():
    tall = np.array([[0, 1], [2, 3], [4, 5], [6, 7]])
    tree = Tree(Hierarchy([tall]))
    assert [segments_of(tree, child) for child in tree.children[0]] == [{0, 1, 2, 3}, {4, 5, 6, 7}]


def test_the_longer_side_is_that_between_centres_of_area():
    """The first segment of the coarse level is a block and a far pixel, and lies where the block does.

    By areas it is at row 0.4 and column 1, the others at (0, 2) and (1, 2.5): columns reach further, and it
    is more than half. Without areas it would be at (0.25, 1.75), and rows would reach further.
    """
    fine = np.array([[0, 0, 2, 1], [0, 0, 3, 3]])
    tree = Tree(Hierarchy([np.array([0, 0, 1, 2])[fine], fine]))
    assert [segments_of(tree, child) for child in tree.children[0]] == [{0, 1}, {2, 3}]


def test_levels_come_before_halves():
    coarse, fine = [[0, 0, 0, 0, 0, 1]], [[0, 1, 2, 3, 4, 5]]
    tree = Tree(Hierarchy([coarse, fine]))
    assert [segments_of(tree, child) for child in tree.children[0]] == [{0, 1, 2, 3, 4}, {5}]


def test_a_level_that_divides_nothing_is_passed_over():
    tree = Tree(Hierarchy([[[0, 0]], [[0, 0]], [[0, 1]]]))
    assert len(tree.ranges) == 3


@given(st.integers(1, 40), st.integers(0, 5), st.booleans())
def test_every_tree(count, seed, nested):
    image = np.random.default_rng(seed).random((3, 9, 11))
    counts = sorted({max(1, count // 4), count}) if nested else [count]
    hierarchy = segment(image, counts, "slic")
    tree = Tree(hierarchy)
    finest = hierarchy.levels[-1]
    assert sorted(tree.order) == list(range(count))
    assert np.array_equal(np.array(tree.order)[tree.places.numpy()], finest)
    assert tree.areas.tolist() == np.bincount(finest.ravel())[tree.order].tolist()
    assert tree.ranges[0] == (0, count)
    for (first, last), children in zip(tree.ranges, tree.children, strict=True):
        if children is None:
            assert last - first == 1
        else:
            (start, middle), (again, end) = (tree.ranges[child] for child in children)
            assert (start, again, end) == (first, middle, last)
    for segments in range(len(hierarchy.levels)):  # each segment of each level is a node
        level = hierarchy.levels[segments]
        nodes = [segments_of(tree, node) for node in range(len(tree.ranges))]
        assert all(set(finest[level == label].tolist()) in nodes for label in range(level.max() + 1))


def test_a_balanced_tree_of_equal_squares_is_shallow():
    squares = segment(np.zeros((1, 32, 32)), (256,), "quadtree")
    tree = Tree(squares)

    def depth(node):
        return 0 if tree.children[node] is None else 1 + max(map(depth, tree.children[node]))

    assert depth(0) == 8


def test_one_segment_is_a_tree():
    tree = Tree(Hierarchy([[[0, 0]]]))
    assert (tree.order, tree.children) == ([0], [None])
