"""Segments, filters and H-maps of signals and volumes, against loops."""

from itertools import pairwise, product

import numpy as np
import pytest
import torch
from scipy.ndimage import label

import usu
from usu.segmentation.guided import EPS, guided_filter


def merged_from_the_bottom(signal, count):
    """Return runs of a signal (C, L): the two neighbours are merged that add the least squared error."""
    runs = [[place] for place in range(signal.shape[1])]

    def error(run):
        return ((signal[:, run] - signal[:, run].mean(1, keepdims=True)) ** 2).sum()

    while len(runs) > count:
        costs = [error(a + b) - error(a) - error(b) for a, b in pairwise(runs)]
        first = int(np.argmin(costs))
        runs[first : first + 2] = [runs[first] + runs[first + 1]]
    return np.concatenate([[number] * len(run) for number, run in enumerate(runs)])


def test_change_points_are_those_of_a_greedy_loop():
    signal = np.random.default_rng(0).normal(size=(2, 40)) + np.repeat([0, 3, 1, 5], 10)
    found = usu.segment(signal, (4, 9), "changepoints", ndim=1)
    for labels, count in zip(found.levels, (4, 9), strict=True):
        np.testing.assert_array_equal(labels, merged_from_the_bottom(signal, count))
    np.testing.assert_array_equal(found.levels[0], np.repeat(range(4), 10))


@pytest.mark.parametrize("method", ["slic", "watershed"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_segments_of_a_volume_are_nested_connected_and_as_many_as_asked(method, channels):
    random = np.random.default_rng(0)
    volume = random.normal(scale=0.1, size=(channels, 8, 11, 9)) * 100  # of any values
    volume[:, 2:6, 3:8, 2:7] += 80
    found = usu.segment(volume, (2, 7, 20), method, ndim=3)
    assert found.counts == (2, 7, 20)
    for labels in found.levels:
        for segment in range(int(labels.max()) + 1):
            assert label(labels == segment)[1] == 1
    inside = np.zeros((8, 11, 9), dtype=bool)
    inside[2:6, 3:8, 2:7] = True
    if method == "watershed" or channels == 1:
        finest = found.levels[-1]
        shares = [inside[finest == segment].mean() for segment in range(20)]
        assert np.mean([max(share, 1 - share) for share in shares]) > 0.97  # along the edges of the block


def test_a_batch_of_signals_gives_a_hierarchy_for_each():
    signals = torch.randn(2, 3, 20, generator=torch.Generator().manual_seed(0))
    both = usu.segment(signals, (2, 5), "watershed", ndim=1)
    for found, signal in zip(both, signals, strict=True):
        alone = usu.segment(signal, (2, 5), "watershed", ndim=1)
        assert torch.equal(found.levels[1], alone.levels[1])


@pytest.mark.parametrize("method", ["changepoints", "watershed"])
def test_a_signal_of_one_sample_is_one_segment(method):
    found = usu.segment(np.array([[3.0]]), (1,), method, ndim=1)
    np.testing.assert_array_equal(found.levels[0], [0])


@pytest.mark.parametrize(
    ("image", "method", "ndim", "message"),
    [
        (np.zeros((3, 8, 8)), "changepoints", 2, "method 'changepoints' is for 1-D only"),
        (np.zeros((2, 8)), "slic", 1, "method 'slic' is for 2-D and 3-D only"),
        (np.zeros(8), "changepoints", 1, r"image must be a signal \(C, L\), or a batch, as ndim=1 says"),
        (np.zeros((2, 8)), "slic", 3, r"image must be a volume \(C, D, H, W\)"),
        (np.full((1, 8), np.nan), "changepoints", 1, "image must be finite"),
        (np.zeros((1, 8)), "changepoints", 5, "image must be given with ndim=1, 2 or 3"),
    ],
)
def test_what_cannot_be_cut_is_refused(image, method, ndim, message):
    with pytest.raises(ValueError, match=message):
        usu.segment(image, (2,), method, ndim=ndim)


@pytest.mark.parametrize("size", [(14,), (4, 5, 6)])
def test_the_guided_filter_is_that_of_a_loop_over_windows(size):
    """He et al.'s equations with one channel, window by window."""
    random = np.random.default_rng(0)
    values, picture = random.uniform(size=size), random.normal(size=(1, *size)) * 50
    guide = (picture[0] - picture.min()) / (picture.max() - picture.min())

    def windows():
        for centre in product(*map(range, size)):
            yield centre, tuple(slice(max(0, place - 2), place + 3) for place in centre)

    slopes, offsets, expected = np.zeros(size), np.zeros(size), np.zeros(size)
    for centre, window in windows():
        own, given = guide[window], values[window]
        covariance = (own * given).mean() - own.mean() * given.mean()
        slopes[centre] = covariance / (own.var() + EPS)
        offsets[centre] = given.mean() - slopes[centre] * own.mean()
    for centre, window in windows():
        expected[centre] = slopes[window].mean() * guide[centre] + offsets[window].mean()
    found = guided_filter(values, picture, radius=2)
    np.testing.assert_allclose(found, expected.clip(values.min(), values.max()), rtol=1e-9)


@pytest.mark.parametrize("size", [(7,), (4, 5, 6)])
def test_the_gradient_kernel_takes_differences_along_every_axis(size):
    scores = np.random.default_rng(0).uniform(size=(2, *size))
    padded = np.pad(scores, [(0, 0)] + [(1, 1)] * len(size), mode="edge")
    squares = np.zeros_like(scores)
    for axis in range(1, len(size) + 1):
        inner = tuple(slice(None) if other in (0, axis) else slice(1, -1) for other in range(len(size) + 1))
        own = padded[inner]
        after, before = (np.take(own, range(start, own.shape[axis] - 2 + start), axis) for start in (2, 0))
        squares += (after - before) ** 2
    np.testing.assert_allclose(usu.h_map(scores, "gradient", ndim=len(size)), np.sqrt(squares), rtol=1e-12)
    with pytest.raises(ValueError, match="kernel 'diagonal' is for 2-D only"):
        usu.h_map(scores, ndim=len(size))
