"""Measures against values worked out by hand, against slow versions, and where they are defined by a rule."""

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from usu import error_maps
from usu.metrics import localisation as measures

# A 4 × 4 truth of four pixels, and a map that ranks three of them first, one wrong pixel, then the fourth.
TRUTH = np.array([[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]])
MAP = np.array([[0.0, 0.0, 0.0, 0.0], [0.0, 8.0, 6.0, 5.0], [0.0, 4.0, 3.0, 0.0], [0.0, 0.0, 0.0, -2.0]])

BY_HAND = {
    # The four highest pixels are 8, 6, 5, 4: three inside, so 3 / (4 + 4 - 3).
    "iou_area": 3 / 5,
    # At least 4: the same four pixels.
    "iou_half": 3 / 5,
    # At least 3: five pixels, four inside.
    "iou_best": 4 / 5,
    # 8 + 6 + 4 + 3 of 28.
    "relevance_mass_accuracy": 21 / 28,
    "pointing_game": 1.0,
    # Relative to the truth's mass of 4: 7 + 5 + 5 + 3 + 2 + 2 too much, nothing too little.
    "alpha_total": 24 / 4,
    "beta_total": 0.0,
}


@pytest.mark.parametrize("name", BY_HAND)
def test_by_hand(name):
    assert getattr(measures, name)(MAP, TRUTH) == pytest.approx(BY_HAND[name])


def test_band_error_by_hand():
    # One row and column to either side of the square's border is the whole of this image:
    # |8/28 - 1/4| + |6/28 - 1/4| + 5/28 + |4/28 - 1/4| + |3/28 - 1/4| + 2/28.
    assert measures.band_error(MAP, TRUTH, width=1) == pytest.approx((1 + 1 + 5 + 3 + 4 + 2) / 28)
    # A border between columns 3 and 4 of 8: at width 1 only these two count.
    truth = np.repeat([[1, 1, 1, 1, 0, 0, 0, 0]], 2, axis=0)
    even = np.full((2, 8), 1.0)
    assert measures.band_error(even, truth, width=1) == pytest.approx(4 / 16)
    assert measures.band_error(even, truth, width=3) == pytest.approx(12 / 16)
    assert measures.band_error(truth, truth, width=3) == 0
    assert measures.band_error(7 * truth, truth, width=3) == pytest.approx(0)


def test_band_is_found_pixel_by_pixel():
    mask = np.random.default_rng(0).random((9, 7)) < 0.15
    slow = np.zeros_like(mask)
    for y, x in np.ndindex(mask.shape):
        window = mask[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3]
        slow[y, x] = window.any() and not window.all()
    np.testing.assert_array_equal(measures.boundary_band(mask, 2), slow)


def test_a_truth_that_fills_the_image_has_no_band():
    assert measures.band_error(MAP, np.ones((4, 4)), width=2) == 0


ALL_ZERO = {
    "iou_area": (4 * 4 / 16) / (8 - 4 * 4 / 16),  # a quarter of the four places is expected inside
    "iou_half": 0.0,
    "iou_best": 4 / 16,
    "relevance_mass_accuracy": 0.0,
    "pointing_game": 4 / 16,
    "band_error": 1.0,
    "alpha_total": 0.0,
    "beta_total": 1.0,
}


@pytest.mark.parametrize("name", ALL_ZERO)
def test_all_zero_maps(name):
    assert getattr(measures, name)(np.zeros((4, 4)), TRUTH) == pytest.approx(ALL_ZERO[name])


@pytest.mark.parametrize("name", ALL_ZERO)
def test_the_truth_itself_is_perfect(name):
    perfect = {"alpha_total": 0.0, "beta_total": 0.0, "band_error": 0.0}.get(name, 1.0)
    assert getattr(measures, name)(TRUTH, TRUTH) == perfect


def test_a_map_that_is_nowhere_positive_selects_nothing():
    assert measures.iou_half(-np.ones((4, 4)), TRUTH) == 0
    assert measures.iou_best(-np.ones((4, 4)), TRUTH) == 4 / 16


def test_ties_at_the_threshold_count_as_random_choices_would_on_average():
    values = np.array([[3.0, 1.0, 1.0, 1.0, 1.0, 0.0]])
    truth = np.array([[1, 1, 0, 1, 0, 0]])
    # The first pixel is taken, and two of the four tied ones.
    hits = [1 + truth[0, list(pair)].sum() for pair in combinations(range(1, 5), 2)]
    expected = np.mean(hits)
    assert measures.iou_area(values, truth) == pytest.approx(expected / (6 - expected))


def test_pointing_counts_the_share_of_tied_maxima():
    assert measures.pointing_game([[5.0, 5.0, 5.0, 1.0]], [[1, 0, 0, 1]]) == pytest.approx(1 / 3)


maps = arrays(np.float64, (4, 5), elements=st.sampled_from([-2.0, -0.5, 0.0, 0.25, 1.0, 3.0]))
masks = arrays(np.bool_, (4, 5), elements=st.booleans()).filter(np.any)
SCALE_FREE = ("iou_area", "iou_half", "iou_best", "relevance_mass_accuracy", "pointing_game", "band_error")


@settings(max_examples=50)
@given(maps, masks, st.floats(1e-30, 1e30))
def test_no_scale_and_no_range(values, truth, factor):
    for name in SCALE_FREE:
        measure = getattr(measures, name)
        result = measure(values, truth)
        assert 0 <= result <= (2 if name == "band_error" else 1)
        assert measure(factor * values, truth) == pytest.approx(result, abs=1e-12)


@given(maps, masks)
def test_the_best_threshold_is_found_by_trying_all(values, truth):
    tried = [
        (truth & (values >= level)).sum() / (truth | (values >= level)).sum() for level in np.unique(values)
    ]
    assert measures.iou_best(values, truth) == pytest.approx(max(tried))


@settings(max_examples=50)
@given(maps, masks)
def test_error_totals_are_the_error_maps_sums(values, truth):
    maps_of_errors = error_maps(values, truth)
    assert measures.alpha_total(values, truth) == pytest.approx(maps_of_errors.alpha.sum() / truth.sum())
    assert measures.beta_total(values, truth) == pytest.approx(maps_of_errors.beta.sum() / truth.sum())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_torch_gives_what_numpy_gives(dtype, device):
    values, truth = torch.tensor(MAP, dtype=dtype, device=device), torch.tensor(TRUTH, device=device).bool()
    for name, expected in BY_HAND.items():
        assert getattr(measures, name)(values, truth) == pytest.approx(expected)


@pytest.mark.parametrize("name", ALL_ZERO)
def test_bad_input(name):
    measure = getattr(measures, name)
    with pytest.raises(ValueError, match="one size"):
        measure(MAP, TRUTH[:3])
    with pytest.raises(ValueError, match="attribution must be finite"):
        measure(np.where(MAP == 8, np.nan, MAP), TRUTH)
    with pytest.raises(ValueError, match="truth must not be negative"):
        measure(MAP, np.zeros((4, 4)))
    with pytest.raises(TypeError, match="truth must be an array"):
        measure(MAP, "a mask")


@pytest.mark.parametrize(("width", "error"), [(0, ValueError), (1.5, TypeError)])
def test_bad_width(width, error):
    with pytest.raises(error):
        measures.band_error(MAP, TRUTH, width)


@pytest.mark.parametrize(
    ("earlier", "name"), [("concentration", "relevance_mass_accuracy"), ("pointing", "pointing_game")]
)
def test_earlier_names_are_told_about(earlier, name):
    with pytest.warns(DeprecationWarning, match=f"{earlier} is now {name}") as told:
        found = getattr(measures, earlier)
    assert found is getattr(measures, name)
    assert told[0].filename == __file__
    assert not hasattr(measures, "mass")


@given(maps, masks)
def test_iou_is_a_function_of_the_relevance_rank_accuracy(values, truth):
    area, distinct = truth.sum(), values + np.arange(values.size).reshape(values.shape) * 1e-6
    highest = np.argsort(-distinct.ravel())[:area]
    accuracy = truth.ravel()[highest].mean()
    assert measures.iou_area(distinct, truth) == pytest.approx(accuracy / (2 - accuracy))
