"""The guided filter is He et al.'s: kornia's in the middle, a slow one everywhere, and it keeps ranges."""

import kornia.filters
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from usu.segmentation.guided import guided_filter


def slow(values, picture, radius, eps):
    """Each window by ordinary ridge regression, each pixel by the mean of its windows."""
    height, width = values.shape
    colours = picture.reshape(len(picture), -1).T.reshape(height, width, -1)
    fits = np.empty((height, width, len(picture) + 1))
    for y, x in np.ndindex(height, width):
        window = np.s_[max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1]
        guide, wanted = colours[window].reshape(-1, len(picture)), values[window].ravel()
        centred = guide - guide.mean(0)
        gram = centred.T @ centred + len(guide) * eps * np.eye(len(picture))
        slope = np.linalg.solve(gram, centred.T @ (wanted - wanted.mean()))
        fits[y, x] = [*slope, wanted.mean() - slope @ guide.mean(0)]
    result = np.empty_like(values)
    for y, x in np.ndindex(height, width):
        window = np.s_[max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1]
        mean = fits[window].reshape(-1, len(picture) + 1).mean(0)
        result[y, x] = mean @ [*colours[y, x], 1]
    return result.clip(values.min(), values.max())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("size", "radius"), [((9, 12), 2), ((5, 4), 7), ((1, 6), 1)])
def test_a_slow_regression_in_each_window_gives_the_same(channels, size, radius):
    rng = np.random.default_rng(0)
    values, picture = rng.random(size), rng.random((channels, *size))
    expected = slow(values, picture, radius, 1e-3)
    np.testing.assert_allclose(guided_filter(values, picture, radius), expected, rtol=1e-9)


def test_kornia_agrees_away_from_borders():
    generator = torch.Generator().manual_seed(0)
    values, picture = torch.rand(40, 40, generator=generator), torch.rand(3, 40, 40, generator=generator)
    theirs = kornia.filters.guided_blur(picture[None].double(), values[None, None].double(), 7, 1e-3)[0, 0]
    ours = guided_filter(values, picture, 3)
    inside = np.s_[8:-8, 8:-8]  # kornia reflects the picture at its borders
    torch.testing.assert_close(ours[inside], theirs[inside].float().clamp(0, 1), rtol=0, atol=1e-5)
    assert ours.dtype == torch.float32


def test_edges_of_the_picture_stay_and_others_go():
    values = np.zeros((40, 40))
    values[:, 20:] = 1.0
    edged, flat = np.broadcast_to(values, (3, 40, 40)).copy(), np.full((3, 40, 40), 0.5)
    assert np.abs(guided_filter(values, edged, 4) - values).max() < 0.01
    assert np.abs(np.diff(guided_filter(values, flat, 4), axis=1)).max() < 0.15


@given(seed=st.integers(0, 2**32 - 1), radius=st.integers(1, 9), constant=st.booleans())
@settings(max_examples=25, deadline=None)
def test_the_range_is_kept_and_constants_stay(seed, radius, constant):
    rng = np.random.default_rng(seed)
    values = np.full((8, 6), rng.random()) if constant else rng.random((8, 6))
    found = guided_filter(values, rng.random((3, 8, 6)), radius)
    assert found.min() >= values.min()
    assert found.max() <= values.max()
    assert not constant or (found == values).all()


@pytest.mark.parametrize(
    ("values", "picture", "radius", "eps", "message"),
    [
        (np.ones((4, 4)), np.ones((3, 4, 4)), 0, 1e-3, "radius must be a positive number of pixels, got 0"),
        (np.ones((4, 4)), np.ones((3, 4, 4)), 1.5, 1e-3, "radius must be a positive number of pixels"),
        (np.ones((4, 4)), np.ones((3, 4, 4)), 1, 0.0, "eps must be positive, got 0.0"),
        (np.ones((4, 5)), np.ones((3, 4, 4)), 1, 1e-3, "got \\(4, 5\\) and \\(3, 4, 4\\)"),
        (np.full((4, 4), np.nan), np.ones((3, 4, 4)), 1, 1e-3, "values must be finite"),
        (np.ones((4, 4)), np.full((3, 4, 4), 2.0), 1, 1e-3, "picture must"),
    ],
)
def test_bad_input_is_named(values, picture, radius, eps, message):
    with pytest.raises(ValueError, match=message):
        guided_filter(values, picture, radius, eps)
