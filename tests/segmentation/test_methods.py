"""Hierarchies: nested, exact counts, every kind of image; own maps are checked."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from usu import Hierarchy, segment
from usu.segmentation.methods import SEGMENTERS


@pytest.fixture(scope="module")
def photograph() -> np.ndarray:
    import skimage.data

    return skimage.data.chelsea()[40:140, 90:200].transpose(2, 0, 1) / 255


def assert_nested(levels) -> None:
    for coarse, fine in pairwise(map(np.asarray, levels)):
        for label in range(fine.max() + 1):
            assert len(np.unique(coarse[fine == label])) == 1


@pytest.mark.parametrize("method", SEGMENTERS)
def test_counts_are_met_exactly_and_levels_are_nested(photograph, method):
    hierarchy = segment(photograph, (3, 10, 37, 100), method)
    assert hierarchy.counts == (3, 10, 37, 100)
    assert hierarchy.method == method
    for level, count in zip(hierarchy.levels, hierarchy.counts, strict=True):
        assert level.shape == photograph.shape[1:]
        assert np.array_equal(np.unique(level), np.arange(count))
    assert_nested(hierarchy.levels)


@pytest.mark.parametrize("method", SEGMENTERS)
def test_flat_image_is_cut_too(method):
    hierarchy = segment(np.zeros((3, 12, 15)), (2, 7, 180), method)
    assert hierarchy.counts == (2, 7, 180)
    assert_nested(hierarchy.levels)


@pytest.mark.parametrize("method", SEGMENTERS)
@pytest.mark.parametrize("size", [(1, 1), (1, 5), (5, 1), (2, 2)])
def test_smallest_images_are_cut_too(method, size):
    """One pixel used to end the process: higra takes no graph without edges."""
    pixels = size[0] * size[1]
    for image in (np.zeros((3, *size)), np.random.default_rng(0).random((1, *size))):
        assert segment(image, (1,), method).counts == (1,)
        assert segment(image, (pixels,), method).counts == (pixels,)


@given(st.integers(1, 9), st.integers(1, 9), st.data())
def test_quadtree_blocks_are_rectangles(height, width, data):
    counts = data.draw(st.sets(st.integers(1, height * width), min_size=1, max_size=3).map(sorted))
    hierarchy = segment(np.zeros((1, height, width)), counts, "quadtree")
    assert hierarchy.counts == tuple(counts)
    assert_nested(hierarchy.levels)
    for label in range(counts[-1]):
        rows, columns = np.nonzero(hierarchy.levels[-1] == label)
        assert len(rows) == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)


@pytest.mark.parametrize("method", ["watershed", "slic"])
def test_segments_follow_a_strong_edge(method):
    image = np.zeros((3, 32, 40))
    image[:, :, 17:] = 0.8
    labels = segment(image + 0.01 * np.random.default_rng(0).random(image.shape), (2,), method).levels[0]
    assert (labels[:, :17] == labels[0, 0]).all()
    assert (labels[:, 17:] == labels[0, -1]).all()


def test_a_flat_image_is_halved_across_its_longer_side():
    labels = segment(np.full((3, 32, 48), 0.4), (2,), "slic").levels[0]
    assert (labels[:, :24] == labels[0, 0]).all()
    assert (labels[:, 24:] == labels[0, -1]).all()


def test_ward_merges_by_areas(monkeypatch):
    """Superpixels of 10, 10 and 1 pixels in a row of 21, whose side counts as 50 units of Lab.

    The first two have one grey and lie 10 pixels apart, 23.8 units; the others lie 5.5 pixels, 13.1 units,
    and 30 of lightness apart. The first two are nearer, but a merge costs d²·|A||B| / (|A| + |B|):
    23.8²·5 = 2834 against (13.1² + 30²)·10/11 = 974.
    """
    superpixels = np.repeat([0, 1, 2], [10, 10, 1])[None]
    monkeypatch.setattr("usu.segmentation.methods.cut_superpixels", lambda picture, count: superpixels)
    image = np.where(superpixels == 2, 0.7, 0.4)[None]
    assert segment(image, (2,), "slic").levels[0].tolist() == [[0] * 10 + [1] * 11]


def test_grey_is_cut_as_the_same_grey_in_three_channels(photograph):
    grey = photograph.mean(0)
    one, three = (segment(np.stack([grey] * channels), (8,), "slic").levels[0] for channels in (1, 3))
    shared = np.zeros((8, 8))
    np.add.at(shared, (one, three), 1)
    assert shared.max(0).sum() >= 0.95 * grey.size


def test_kind_device_and_batch_are_the_callers(photograph):
    tensor = torch.from_numpy(photograph)
    alone = segment(tensor, (4, 9))
    assert all(isinstance(level, torch.Tensor) for level in alone.levels)
    batch = segment(torch.stack([tensor, tensor.flip(-1)]), (4, 9))
    assert len(batch) == 2
    assert torch.equal(batch[0].levels[1], alone.levels[1])
    assert isinstance(segment(photograph[None], (4,))[0].levels[0], np.ndarray)


@pytest.mark.parametrize(
    ("image", "arguments", "message"),
    [
        (np.zeros((4, 5)), {}, r"image must be RGB .* got \(4, 5\)"),
        (np.zeros((4, 5, 3)), {}, "image must be RGB"),
        (np.full((3, 4, 5), 2.0), {}, r"image must lie in \[0, 1\]"),
        (np.full((3, 4, 5), np.nan), {}, "image must be finite"),
        (np.zeros((3, 4, 5)), {"counts": (21,)}, "counts asks for 21 segments.*20 pixels"),
        (np.zeros((3, 4, 5)), {"counts": (4, 4)}, "counts must be increasing"),
        (np.zeros((3, 4, 5)), {"counts": ()}, "counts must be increasing"),
        (np.zeros((3, 4, 5)), {"counts": (0, 3)}, "counts must be increasing"),
        (np.zeros((3, 4, 5)), {"counts": (3, 2)}, "counts must be increasing"),
        (np.zeros((3, 4, 5)), {"counts": (2,), "method": "voronoi"}, "method must be one of"),
    ],
)
def test_bad_images_and_counts(image, arguments, message):
    with pytest.raises(ValueError, match=message):
        segment(image, **arguments)


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        ([], "at least one"),
        ([[[0, 2]]], r"levels\[0\] has no pixel for label 1"),
        ([[[-1, 0]]], r"levels\[0\] has the label -1"),
        ([[[0, 1]], [[0, 0]]], r"levels\[1\] is not nested in levels\[0\]: its segment 0"),
        ([[[0, 0]], [[0, 1, 2]]], r"levels\[1\] must be a label map .* one size"),
        ([[[[[0, 1]]]]], r"levels\[0\] must be a label map"),
    ],
)
def test_own_maps_are_checked(levels, message):
    with pytest.raises(ValueError, match=message):
        Hierarchy(levels)


def test_own_maps_must_hold_integers():
    with pytest.raises(TypeError, match=r"levels\[0\] must be integer labels"):
        Hierarchy([np.zeros((2, 2))])
