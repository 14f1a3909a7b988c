"""Continuous maps by the public operators, the pipeline and the report; the solve has tests of its own."""

import inspect

import numpy as np
import pytest
import torch

import usu
from tests.helpers.networks import small_cnn
from usu.operators.continuous import continuous_shares
from usu.operators.lattice import grid
from usu.report import Entry
from usu.segmentation.guided import guided_filter

DRAW = np.random.default_rng(0)
COARSE = DRAW.uniform(0.2, 2, (3, 4))
SCORES = DRAW.random((6, 8)).repeat(4, 0).repeat(4, 1)  # 24 × 32 pixels
TOLERANCES = {"float16": 2e-3, "float32": 1e-6, "float64": 1e-12}


def sums(pixels):
    return np.asarray(pixels, dtype=float).reshape(3, 8, 4, 8).sum((1, 3))


def jump(pixels):
    """Return the largest step over the cells' borders, over the largest step inside cells."""
    steps = np.abs(np.diff(np.log(pixels), axis=1))
    borders = np.arange(steps.shape[1]) % 8 == 7
    return steps[:, borders].max() / steps[:, ~borders].max()


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("kind", [np.asarray, torch.tensor])
def test_every_cell_keeps_its_mass(kind, dtype):
    coarse = kind(COARSE.astype(dtype))
    found = usu.redistribute(
        coarse, kind(SCORES.astype(dtype)), mass="total", temperature=0.3, continuous=True
    )
    assert type(found) is type(coarse)
    assert found.dtype == coarse.dtype
    np.testing.assert_allclose(sums(found), COARSE.astype(dtype), rtol=TOLERANCES[dtype])


def test_the_map_is_the_solves():
    cells = grid((3, 4), (24, 32))
    masses = torch.from_numpy(COARSE) * 64
    expected = continuous_shares(torch.from_numpy(SCORES), 0.3, masses, cells)
    found = usu.redistribute(COARSE, SCORES, temperature=0.3, continuous=True)
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_segments_and_a_score_map_give_the_same():
    segments = np.arange(48).reshape(6, 8).repeat(4, 0).repeat(4, 1)
    scores = SCORES[::4, ::4].ravel()
    one = usu.redistribute(COARSE, scores, segments, continuous=True)
    np.testing.assert_allclose(one, usu.redistribute(COARSE, SCORES, continuous=True), rtol=1e-10)


@pytest.mark.parametrize("potential", ["power", "log-odds", torch.exp])
def test_any_potential_conserves(potential):
    found = usu.redistribute(
        COARSE, SCORES, mass="total", potential=potential, temperature=1.0, continuous=True
    )
    np.testing.assert_allclose(sums(found), COARSE, rtol=1e-12)


@pytest.mark.parametrize("prior", ["area", "mass"])
def test_iwmr_shares_its_own_cells_masses(prior):
    setting = {"mass": "total", "prior": prior, "temperature": 0.3}
    found = usu.iwmr(COARSE, SCORES, continuous=True, **setting)
    np.testing.assert_allclose(sums(found), sums(usu.iwmr(COARSE, SCORES, **setting)), rtol=1e-12)


def test_without_scores_nothing_jumps_at_a_border():
    smooth = usu.interpolate(COARSE, (24, 32), "conserving")
    np.testing.assert_allclose(sums(smooth) / 64, COARSE, rtol=1e-12)
    assert (smooth > 0).all()
    assert jump(smooth) < 1.5
    even = np.full((24, 32), 0.5)
    np.testing.assert_allclose(usu.redistribute(COARSE, even, continuous=True), smooth, rtol=1e-9)


def test_interpolation_that_conserves_takes_batches_signals_and_volumes():
    batch = torch.from_numpy(DRAW.normal(size=(2, 3, 4)))
    found = usu.interpolate(batch, (24, 32), "conserving")
    for one, alone in zip(found, batch, strict=True):
        torch.testing.assert_close(one, usu.interpolate(alone, (24, 32), "conserving"), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(sums(one) / 64, alone, rtol=1e-10)
    assert usu.interpolate([1.0, 3.0], (7,), "conserving").shape == (7,)
    assert usu.interpolate(np.ones((2, 2, 2)), (4, 5, 6), "conserving") == pytest.approx(np.ones((4, 5, 6)))


def test_a_better_score_never_means_less_where_masses_are_negative_if_asked():
    coarse = COARSE * np.where(np.arange(12).reshape(3, 4) % 2, 1, -1)
    same, opposite = (
        usu.redistribute(coarse, SCORES, mass="total", negative=name, temperature=0.3, continuous=True)
        for name in ("same", "opposite")
    )
    for found in (same, opposite):
        np.testing.assert_allclose(sums(found), coarse, rtol=1e-12)
        assert (np.sign(found) == np.sign(coarse).repeat(8, 0).repeat(8, 1)).all()
    cell = slice(0, 8), slice(0, 8)  # negative: with "opposite" the better scored half has the larger value
    best, worst = SCORES[cell] == SCORES[cell].max(), SCORES[cell] == SCORES[cell].min()
    assert opposite[cell][best].mean() > opposite[cell][worst].mean()
    assert same[cell][best].mean() < same[cell][worst].mean()


@pytest.mark.parametrize("kind", [np.asarray, torch.tensor])
@pytest.mark.parametrize("operator", [usu.redistribute, usu.iwmr])
def test_a_warning_points_at_the_line_that_asked_for_the_map(operator, kind):
    coarse, scores = kind(COARSE), kind(SCORES)
    with pytest.warns(RuntimeWarning, match="no continuous factor") as told:
        operator(coarse, scores, temperature=1e-12, continuous=True)
    line = inspect.currentframe().f_lineno - 1
    assert [(one.filename, one.lineno) for one in told] == [(__file__, line)]


def test_gradients_reach_masses_and_scores():
    coarse = torch.from_numpy(COARSE[:2, :2]).requires_grad_()
    scores = torch.from_numpy(SCORES[:6, :6].copy()).requires_grad_()
    weights = torch.from_numpy(DRAW.normal(size=(6, 6)))

    def loss(coarse, scores):
        return (usu.redistribute(coarse, scores, temperature=0.5, continuous=True) * weights).sum()

    assert torch.autograd.gradcheck(loss, (coarse, scores))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: usu.redistribute(COARSE, SCORES, continuous="yes"),
            TypeError,
            "continuous must be True or Fal",
        ),
        (lambda: usu.iwmr(COARSE, SCORES, continuous=None), TypeError, "continuous must be True or False"),
        (lambda: usu.Settings(continuous=1), TypeError, "continuous must be True or False, got 1"),
        (
            lambda: usu.redistribute(
                [1.0, 2.0], SCORES, neighbourhoods=(SCORES > 0.5).astype(int), continuous=True
            ),
            ValueError,
            "continuous must be False with neighbourhoods",
        ),
        (
            lambda: usu.redistribute(np.full((3, 4), np.nan), SCORES, continuous=True),
            ValueError,
            "coarse must be finite",
        ),
        (lambda: usu.interpolate(COARSE, (2, 32), "conserving"), ValueError, "a cell without a pixel"),
    ],
)
def test_what_does_not_fit_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("kind", [np.asarray, torch.tensor])
@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("negative", ["same", "opposite"])
def test_the_total_is_shared_by_the_bilinear_map_times_the_potential(kind, dtype, negative):
    coarse, scores = kind((COARSE - 0.9).astype(dtype)), kind(SCORES.astype(dtype))
    found = usu.share_total(coarse, scores, mass="total", temperature=0.3, negative=negative)
    assert (type(found), found.dtype) == (type(coarse), coarse.dtype)
    expected = 0
    for sign, levels in ((1, SCORES), (-1, 1 - SCORES if negative == "opposite" else SCORES)):
        masses = (sign * np.asarray(coarse, np.float64)).clip(min=0)
        weights = usu.interpolate(masses, SCORES.shape, "bilinear") * np.exp(levels / 0.3)
        expected = expected + sign * masses.sum() * weights / weights.sum()
    tolerance = 3 * TOLERANCES[dtype] * np.abs(expected).max()
    np.testing.assert_allclose(np.asarray(found, np.float64), expected, atol=tolerance, rtol=0)


def test_smoothed_scores_follow_the_picture_and_are_recorded(tmp_path):
    inputs = torch.rand(3, 28, 56, generator=torch.Generator().manual_seed(2))
    few = {"segmentation": {"quadtree": (4, 16)}, "mode": "total-conserving"}
    plain = usu.explain(small_cnn(), inputs, 2, score_smoothing=None, **few)
    found = usu.explain(small_cnn(), inputs, 2, score_smoothing=1 / 14, **few)
    picture = (inputs - inputs.min()) / (inputs.max() - inputs.min())
    torch.testing.assert_close(found.score_map, guided_filter(plain.score_map, picture, 2))
    torch.testing.assert_close(found.upsampled_by("total-conserving"), found.attribution)
    assert found.attribution.sum().item() == pytest.approx(plain.attribution.sum().item(), rel=1e-5)
    found.save(tmp_path / "map.npz")
    assert usu.Explanation.load(tmp_path / "map.npz").settings["score_smoothing"] == 1 / 14
    told = str(Entry(found, verdicts=False).plain())
    assert "the score map was smoothed along the picture's edges" in told


def test_the_default_mode_is_continuous_and_one_word_gives_the_papers():
    """Without a mode the total is shared; `continuous` alone asks for USU; superpixels have no hats."""
    inputs = torch.rand(3, 28, 56, generator=torch.Generator().manual_seed(2))
    few = {"segmentation": {"quadtree": (4, 16)}}
    for asked, mode, smoothing, continuous in (
        ({}, "total-conserving", 1 / 56, False),
        ({"continuous": False}, "usu", None, False),
        ({"continuous": True}, "usu", None, True),
        ({"mode": "usu"}, "usu", None, False),
    ):
        found = usu.explain(small_cnn(), inputs, 2, **asked, **few)
        told = (found.mode, found.settings["score_smoothing"], found.settings["continuous"])
        assert told == (mode, smoothing, continuous)
    labels = (torch.arange(28 * 56) % 3).view(28, 56)
    whole = usu.upsample(torch.ones(3), inputs, small_cnn(), 2, neighbourhoods=labels, **few)
    assert (whole.mode, whole.settings["score_smoothing"]) == ("usu", None)
    own = usu.explain(small_cnn(), inputs, 2, source="lime", **few)
    assert own.mode == "usu"


@pytest.mark.parametrize("part", [0, -1.0, 1.5, float("nan"), "wide", True])
def test_a_part_of_the_side_is_asked_for(part):
    with pytest.raises((ValueError, TypeError), match="score_smoothing must be"):
        usu.Settings(score_smoothing=part)


def test_the_pipeline_and_its_record_are_continuous(tmp_path):
    inputs = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(2))
    few = {"segmentation": {"quadtree": (4, 16)}, "temperature": 0.3}
    found = usu.explain(small_cnn(), inputs, 2, continuous=True, **few)
    strict = usu.explain(small_cnn(), inputs, 2, **few)
    assert not torch.equal(found.attribution, strict.attribution)
    error, scale = found.coarse_map.mass_error(found.attribution)
    assert error < 1e-5 * scale
    assert torch.equal(found.upsampled_by("usu"), found.attribution)
    found.save(tmp_path / "map.npz")
    again = usu.Explanation.load(tmp_path / "map.npz")
    np.testing.assert_allclose(again.upsampled_by("usu"), found.attribution, rtol=1e-6)
    told = Entry(again, verdicts=False).plain()["redistribution"]
    assert told["reason"] is told["recorded"] is None  # the page recomputes it


def test_the_guarantees_of_a_continuous_map_are_measured():
    report = usu.check_desiderata("usu", COARSE, SCORES, temperature=0.3, continuous=True)
    assert report["D1"].verdict == "satisfied"
    assert report["D2"].verdict == report["D4"].verdict == "violated"
    assert report["D4"].witness.text
