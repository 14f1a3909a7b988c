"""The operators: worked by hand, against the slow reference, their desiderata and limits."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests.helpers import reference
from tests.helpers.cases import (
    NAMED,
    OPERATORS,
    TEMPERATURES,
    TOLERANCE,
    TRIPLE,
    Case,
    assert_agree,
    both_forms,
    both_systems,
    bowl,
    draw_case,
    draw_temperature,
    every_case,
    every_float,
    every_operator,
    make_case,
    pick,
)
from usu import iwmr, redistribute

# Worked by hand


@pytest.mark.parametrize(
    ("coarse", "scores", "options", "expected"),
    [
        pytest.param([4.0], [0.0, 1.0], {"mass": "total"}, [1, 3], id="total"),
        pytest.param([4.0], [0.0, 1.0], {}, [2, 6], id="density"),
        pytest.param([4.0, 8.0], [0, 1, 1, 1.0], {"mass": "total"}, [1, 3, 4, 4], id="two cells"),
        pytest.param([-4.0], [0.0, 1.0], {"mass": "total"}, [-1, -3], id="negative, same"),
        pytest.param([-4.0], [0.0, 1.0], {"mass": "total", "negative": "opposite"}, [-3, -1], id="opposite"),
        pytest.param([5.0], [0.5, 1], {"mass": "total", "potential": "power", "temperature": 0.5}, [1, 4]),
        pytest.param(
            [4.0], [0.5, 0.75], {"mass": "total", "potential": "log-odds", "temperature": 1}, [1, 3]
        ),
        pytest.param(
            [3.0], [0.0, 1.0], {"mass": "total", "potential": lambda s: 1 + s}, [1, 2], id="callable"
        ),
        pytest.param([2.0, 3.0, 2.0], [0.5] * 7, {"mass": "total"}, [1] * 7, id="cells of 2, 3 and 2 pixels"),
        pytest.param(
            [4.0, 6.0],
            [1.0, 0.0, 0.0, 0.0, 0.0],
            {"mass": "total", "neighbourhoods": [0, 1, 0, 1, 1]},
            [3, 2, 1, 2, 2],
            id="superpixels",
        ),
    ],
)
def test_usu_by_hand(coarse, scores, options, expected):
    options = {"temperature": TRIPLE} | options
    assert_allclose(redistribute(coarse, scores, ndim=1, **options), expected, rtol=1e-14)


def test_usu_by_hand_on_an_image_with_a_segment_across_cells():
    segments = [[0, 0, 0, 1], [0, 1, 1, 1]]
    result = redistribute([[6.0, 10.0]], [0.0, 1.0], segments, temperature=TRIPLE, mass="total")
    assert_allclose(result, [[1, 1, 1, 3], [1, 3, 3, 3]], rtol=1e-14)


@pytest.mark.parametrize(
    ("masses", "scores", "prior", "expected"),
    [
        pytest.param([3.0, 1.0], [1, 0, 0, 0.0], "area", [2.25, 0.75, 0.5, 0.5], id="area"),
        pytest.param([3.0, 1.0], [1, 0, 0, 0.0], "mass", [2.7, 0.9, 0.2, 0.2], id="mass"),
        pytest.param([3.0, -2.0, 1.0], [1.0, 1.0, 0.0], "mass", [3.6, -2.0, 0.4], id="both signs"),
        pytest.param([3.0, -1.0], [1.0, 0.0], "area", [1.5, 0.5], id="area takes the net total"),
        pytest.param([0.0, 0.0], [1.0, 0.0], "mass", [0.0, 0.0], id="nothing to share"),
    ],
)
def test_iwmr_by_hand(masses, scores, prior, expected):
    result = iwmr(masses, scores, ndim=1, temperature=TRIPLE, prior=prior, mass="total")
    assert_allclose(result, expected, rtol=1e-14)


def test_iwmr_weighs_each_sign_against_its_own_best_cell():
    result = iwmr([1.0, -1.0, 2.0], [0.5, 0.9, 0.3], ndim=1, temperature=1e-4, prior="mass", mass="total")
    assert_allclose(result, [3, -1, 0], rtol=1e-14)


def test_iwmr_has_a_temperature_of_its_own_between_cells():
    result = iwmr([4.0, 0.0], [1, 0, 0, 0.0], ndim=1, temperature=TRIPLE, importance_temperature=1e9)
    assert_allclose(result, [3, 1, 2, 2], rtol=1e-8)


# Against the slow reference


@every_float
@every_case
def test_usu_agrees_with_the_reference(device, dtype, seed):
    rng = np.random.default_rng(seed)
    case = draw_case(rng, dtype)
    options = {
        "temperature": draw_temperature(rng),
        "potential": pick(rng, [*NAMED, bowl]),
        "mass": pick(rng, ["density", "total"]),
        "negative": pick(rng, ["same", "opposite"]),
    }
    expected = reference.redistribute(*case.flat, **options)
    tolerance = TOLERANCE[dtype]
    if options["potential"] in ("power", "log-odds"):
        tolerance += 1e-14 / options["temperature"]  # it magnifies the last bit of every logarithm
    assert_agree(case.solve(redistribute, device, **options), expected, case.labels, tolerance)


@every_float
@every_case
def test_iwmr_agrees_with_the_reference(device, dtype, seed):
    rng = np.random.default_rng(seed)
    case = draw_case(rng, dtype)
    options = {
        "temperature": draw_temperature(rng),
        "importance_temperature": pick(rng, [None, draw_temperature(rng)]),
        "prior": pick(rng, ["area", "mass"]),
        "mass": pick(rng, ["density", "total"]),
    }
    expected = reference.iwmr(*case.flat, **options)
    # A net total of both signs is a difference: it is right relative to the masses that it is made of.
    masses = reference.cell_masses(case.flat[0], case.flat[2], options["mass"])
    net, gross = abs(math.fsum(masses)), math.fsum(map(abs, masses))
    tolerance = TOLERANCE[dtype] * (gross / net if options["prior"] == "area" and net else 1.0)
    assert_agree(case.solve(iwmr, device, **options), expected, case.labels, tolerance)


@every_float
@every_case
def test_segments_and_dense_scores_agree(dtype, seed):
    rng = np.random.default_rng(seed)
    case = draw_case(rng, dtype, segmented=True)
    operator = pick(rng, list(OPERATORS.values()))
    options = {"temperature": draw_temperature(rng), "potential": pick(rng, NAMED)}
    dense = Case(case.coarse, case.dense, None, case.labels, case.options)
    pixels = case.solve(operator, **options)
    assert_agree(pixels, dense.solve(operator, **options), case.labels, TOLERANCE[dtype])


# Desiderata


@both_systems
@both_forms
@every_float
@pytest.mark.parametrize("potential", [*NAMED, bowl])
def test_mass_is_conserved_in_every_cell_at_every_temperature(device, potential, dtype, segmented, regions):
    rng = np.random.default_rng(0)
    for shape, size in [((7, 7), (224, 224)), ((5, 3), (37, 50))]:
        case = make_case(rng, dtype, shape, size, regions=regions, segments=64 if segmented else None)
        for temperature in TEMPERATURES:
            for negative in ("same", "opposite"):
                options = {"temperature": temperature, "potential": potential, "negative": negative}
                sums = case.sums(case.solve(redistribute, device, **options))
                assert_allclose(sums, case.masses(), rtol=TOLERANCE[dtype], err_msg=str(options))


@both_systems
@both_forms
@every_float
@pytest.mark.parametrize("prior", ["area", "mass"])
def test_iwmr_conserves_the_total(device, prior, dtype, segmented, regions):
    rng = np.random.default_rng(1)
    case = make_case(rng, dtype, (5, 3), (37, 50), regions=regions, segments=9 if segmented else None)
    for signed in (False, True):
        masses = case.masses()
        for temperature in TEMPERATURES:
            pixels = case.solve(iwmr, device, temperature=temperature, prior=prior)
            scale = np.abs(masses).sum()
            assert abs(math.fsum(pixels) - math.fsum(masses)) <= TOLERANCE[dtype] * scale, (
                signed,
                temperature,
            )
        np.abs(case.coarse, out=case.coarse)


@every_float
@every_case
def test_a_better_score_never_gets_less(dtype, seed):
    rng = np.random.default_rng(seed)
    case = draw_case(rng, dtype)
    temperature, potential = draw_temperature(rng), pick(rng, NAMED)
    negative = pick(rng, ["same", "opposite"])
    pixels = case.solve(redistribute, temperature=temperature, potential=potential, negative=negative)
    for k, value in enumerate(case.coarse.ravel()):
        inside = case.labels == k
        order = np.argsort(case.dense.ravel()[inside], kind="stable")
        steps = np.diff(pixels[inside][order])
        steps = -steps if value < 0 and negative == "same" else steps
        slack = TOLERANCE[dtype] * np.abs(pixels[inside]).max()
        assert (steps >= -slack).all()
        assert (np.abs(steps[np.diff(np.sort(case.dense.ravel()[inside])) == 0]) <= slack).all()


@every_float
@every_case
def test_a_cell_depends_on_nothing_outside_it(dtype, seed):
    rng = np.random.default_rng(seed)
    case = draw_case(rng, dtype)
    options = {
        "temperature": draw_temperature(rng),
        "potential": pick(rng, [*NAMED, bowl]),
    }
    operator = pick(rng, [OPERATORS["usu"], OPERATORS["usu opposite"]])
    k = rng.integers(case.coarse.size)
    inside = case.labels == k
    coarse = (rng.normal(size=case.coarse.shape) * 1e3).astype(dtype)
    coarse.flat[k] = case.coarse.flat[k]
    if case.segments is None:
        scores = rng.random(case.scores.shape).astype(dtype)
        scores.reshape(-1)[inside] = case.scores.reshape(-1)[inside]
        segments = None
    else:
        extra = rng.random(3).astype(dtype)
        scores, segments = np.concatenate([case.scores, extra]), case.segments.copy()
        segments.reshape(-1)[~inside] = rng.integers(len(scores), size=(~inside).sum())
    changed = Case(coarse, scores, segments, case.labels, case.options)
    before, after = case.solve(operator, **options), changed.solve(operator, **options)
    assert_agree(after[inside], before[inside], np.zeros(inside.sum(), dtype=int), TOLERANCE[dtype])


# Limits and identities


@every_float
@both_systems
@both_forms
def test_high_temperature_is_nearest(dtype, segmented, regions):
    rng = np.random.default_rng(3)
    case = make_case(rng, dtype, (3, 4), (17, 22), regions=regions, segments=6 if segmented else None)
    nearest = case.coarse.ravel()[case.labels]
    for temperature in (1e13, 1e100, 1e308):
        pixels = case.solve(redistribute, temperature=temperature)
        assert_allclose(pixels, nearest, rtol=TOLERANCE[dtype])


@every_float
@both_systems
@both_forms
@pytest.mark.parametrize("potential", NAMED)
def test_low_temperature_gives_all_to_the_best_segments(dtype, segmented, regions, potential):
    rng = np.random.default_rng(4)
    segments = 9 if segmented else None
    case = make_case(rng, dtype, (3, 4), (17, 22), regions=regions, segments=segments, decimals=1)
    scores, expected = case.dense.ravel(), np.zeros(case.labels.size)
    for k, total in enumerate(case.masses()):
        inside = case.labels == k
        best = inside & (scores == scores[inside].max())
        expected[best] = total / best.sum()  # ties share
    for temperature in (1e-4, 1e-30, 1e-200, 5e-324):
        pixels = case.solve(redistribute, temperature=temperature, potential=potential)
        assert_allclose(pixels, expected, rtol=TOLERANCE[dtype], atol=0)


@every_float
@every_case
def test_equal_scores_give_nearest(dtype, seed):
    rng = np.random.default_rng(seed)
    case = draw_case(rng, dtype)
    case.scores[...] = pick(rng, [0.0, 0.3, 1.0])
    temperature = pick(rng, [draw_temperature(rng), 1e-310, 1e-50, 1e50])
    options = {"temperature": temperature, "potential": pick(rng, [*NAMED, bowl])}
    nearest = case.coarse.ravel()[case.labels]
    assert_agree(case.solve(redistribute, **options), nearest, case.labels, TOLERANCE[dtype])


@every_operator
def test_scaling_the_coarse_map_scales_the_result(operator):
    case = make_case(np.random.default_rng(5), np.float64, (3, 4), (17, 22), segments=6)
    once = operator(case.coarse, case.scores, case.segments)
    assert_array_equal(operator(8 * case.coarse, case.scores, case.segments), 8 * once)
    assert_allclose(operator(1e-9 * case.coarse, case.scores, case.segments), 1e-9 * once, rtol=1e-14)


@both_forms
def test_float32_is_right_to_a_millionth_around_every_change_of_the_reference_level(segmented):
    rng = np.random.default_rng(21)
    for temperature in np.geomspace(0.008, 0.5, 25):
        case = make_case(rng, np.float32, (3, 3), (24, 23), segments=40 if segmented else None)
        wide = Case(case.coarse.astype(float), case.scores.astype(float), case.segments, case.labels)
        expected = wide.solve(redistribute, temperature=float(temperature))
        pixels = case.solve(redistribute, temperature=float(temperature))
        assert_agree(pixels, expected, case.labels, 6e-7)


@pytest.mark.parametrize("scale", [1e-25, 1e25])
@both_forms
def test_float32_conserves_mass_in_extreme_units(scale, segmented):
    case = make_case(
        np.random.default_rng(6), np.float32, (7, 7), (224, 224), segments=64 if segmented else None
    )
    case.coarse[...] *= scale
    for temperature in (0.04, 0.1, 1.0):
        assert_allclose(
            case.sums(case.solve(redistribute, temperature=temperature)), case.masses(), rtol=1e-6
        )


@every_operator
def test_scores_of_segments_that_label_no_pixel_are_ignored(operator):
    case = make_case(np.random.default_rng(7), np.float64, (2, 3), (11, 9), segments=5)
    scores = np.append(case.scores, [0.0, 1.0])
    for temperature in (1e-3, 0.1):
        options = {"temperature": temperature}
        expected = operator(case.coarse, case.scores, case.segments, **options)
        assert_allclose(operator(case.coarse, scores, case.segments, **options), expected, rtol=1e-13)


def test_iwmr_by_mass_is_usu_where_importances_are_equal():
    case = make_case(np.random.default_rng(8), np.float64, (3, 4), (17, 22))
    for k in range(12):
        case.scores.reshape(-1)[np.flatnonzero(case.labels == k)[0]] = 1.0
    assert_allclose(
        iwmr(case.coarse, case.scores, prior="mass"), redistribute(case.coarse, case.scores), rtol=1e-12
    )
    by_area = case.sums(iwmr(case.coarse, case.scores).ravel())
    areas = np.bincount(case.labels)
    assert_allclose(by_area, case.masses().sum() * areas / areas.sum(), rtol=1e-12)


def test_iwmr_by_area_knows_the_coarse_map_by_its_total_only():
    case = make_case(np.random.default_rng(9), np.float64, (3, 4), (18, 24), segments=7)
    shuffled = case.coarse[::-1, ::-1].copy()
    results = {
        prior: [iwmr(coarse, case.scores, case.segments, prior=prior) for coarse in (case.coarse, shuffled)]
        for prior in ("area", "mass")
    }
    assert_allclose(*results["area"], rtol=1e-12)
    assert np.abs(np.subtract(*results["mass"])).max() > 0.1
