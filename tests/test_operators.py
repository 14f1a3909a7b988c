"""The operators against worked examples, the slow reference, and the identities that they promise."""

import math
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pytest
import reference
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from torch.autograd import gradcheck, gradgradcheck

from usu import iwmr, redistribute

FLOATS = [np.float32, np.float64]
TOLERANCE = {np.float32: 1e-6, np.float64: 1e-12}
TEMPERATURES = [10.0**power for power in range(-4, 5)]
NAMED = ["tensor", "power", "log-odds"]
TRIPLE = 1 / math.log(3)  # the temperature at which a score of 1 weighs three times a score of 0


def bowl(scores):
    """Serve as a potential that is neither named nor monotone, on floats and tensors alike."""
    return 0.5 + (scores - 0.25) ** 2


OPERATORS = {
    "usu": redistribute,
    "usu opposite": partial(redistribute, negative="opposite"),
    "iwmr": iwmr,
    "iwmr by mass": partial(iwmr, prior="mass"),
}
every_operator = pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS)
every_float = pytest.mark.parametrize("dtype", FLOATS)
both_forms = pytest.mark.parametrize("segmented", [True, False], ids=["segments", "dense"])
both_systems = pytest.mark.parametrize("regions", [False, True], ids=["grid", "superpixels"])


@dataclass(frozen=True)
class Case:
    """One problem for the operators, and the flat lists that the reference takes."""

    coarse: np.ndarray
    scores: np.ndarray
    segments: np.ndarray | None
    labels: np.ndarray  # the cell of every pixel, flat
    options: dict = field(default_factory=dict)  # ndim and neighbourhoods

    @property
    def dense(self):
        """The score map."""
        return self.scores if self.segments is None else self.scores[self.segments]

    @property
    def flat(self):
        """The same problem as the reference takes it."""
        return self.coarse.ravel().tolist(), self.dense.ravel().tolist(), self.labels.tolist()

    def solve(self, operator, device="cpu", **options):
        """Run an operator on tensors, and return the pixels flat, in float64."""
        arrays = [self.coarse, self.scores] + ([] if self.segments is None else [self.segments])
        result = operator(
            *(torch.from_numpy(array).to(device) for array in arrays), **self.options, **options
        )
        assert result.device.type == torch.device(device).type
        assert result.shape == self.dense.shape
        assert result.dtype == getattr(torch, self.coarse.dtype.name)
        return result.cpu().double().numpy().ravel()

    def sums(self, pixels):
        """Sum flat pixels over each cell, exactly enough for any tolerance here."""
        return np.array([math.fsum(pixels[self.labels == k]) for k in range(self.coarse.size)])

    def masses(self):
        """M_k = a_k |N_k| in float64."""
        return self.coarse.ravel().astype(np.float64) * np.bincount(self.labels)


def make_case(rng, dtype, shape, size, *, regions=False, segments=None, decimals=None):
    """Draw a problem; `regions` scatters as many neighbourhoods as the grid of `shape` has cells."""
    pixels, cells = math.prod(size), math.prod(shape)
    options = {"ndim": len(size)}
    labels = np.array(reference.grid_labels(shape, size))
    if regions:
        labels = rng.permutation(np.concatenate([np.arange(cells), rng.integers(cells, size=pixels - cells)]))
        options["neighbourhoods"] = labels.reshape(size)
    coarse = rng.normal(size=cells if regions else shape).astype(dtype)
    scores = rng.random(size if segments is None else segments).astype(dtype)
    scores = scores if decimals is None else scores.round(decimals)
    labelled = None if segments is None else rng.integers(segments, size=size)
    return Case(coarse, scores, labelled, labels, options)


def draw_case(rng, dtype, segmented=None):
    """Draw a small problem of one to three dimensions, in any form, with ties, zeros and odd sizes."""
    ndim = int(rng.integers(1, 4))
    most_cells, most_pixels = {1: (7, 30), 2: (4, 11), 3: (3, 5)}[ndim]
    shape = tuple(int(rng.integers(1, most_cells + 1)) for _ in range(ndim))
    size = tuple(int(rng.integers(cells, most_pixels + 1)) for cells in shape)
    segmented = rng.random() < 0.5 if segmented is None else segmented
    case = make_case(
        rng,
        dtype,
        shape,
        size,
        regions=rng.random() < 0.5,
        segments=int(rng.integers(1, 9)) if segmented else None,
        decimals=pick(rng, [None, 1]),
    )
    case.coarse[case.coarse < pick(rng, [-9.0, -1.0, 0.0])] = 0.0
    case.coarse[...] *= 10.0 ** rng.integers(-8, 9)
    return case


def pick(rng, options):
    return options[rng.integers(len(options))]


def draw_temperature(rng):
    return 10.0 ** rng.uniform(-4, 4)


# Everything hangs on one seed: Hypothesis' own draws are too much alike to cover the combinations.
every_case = given(seed=st.integers(0, 2**32 - 1))


def assert_agree(pixels, expected, labels, tolerance):
    """Compare flat pixels, relative to the largest absolute value of each cell."""
    largest = np.zeros(labels.max() + 1)
    np.maximum.at(largest, labels, np.abs(expected))
    excess = np.abs(pixels - expected) - tolerance * largest[labels] - np.finfo(np.float32).tiny
    assert excess.max() <= 0, f"off by {excess.max():g} more than {tolerance:g} of the cell's largest"


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


# Gradients


def tensors(rng, shape, size, *, segmented, regions, batch=()):
    """Draw float64 tensors that record gradients, and the segments and options that go with them."""
    case = make_case(rng, np.float64, shape, size, regions=regions, segments=5 if segmented else None)
    coarse = torch.from_numpy(rng.normal(size=(*batch, *case.coarse.shape))).requires_grad_()
    scores = torch.from_numpy(rng.uniform(0.05, 0.95, (*batch, *case.scores.shape))).requires_grad_()
    return coarse, scores, case.segments, case.options


@every_operator
@both_forms
@both_systems
@pytest.mark.parametrize("temperature", [1.0, 0.1, 0.01])
def test_gradients(operator, segmented, regions, temperature):
    rng = np.random.default_rng(10)
    coarse, scores, segments, options = tensors(rng, (2, 2), (3, 4), segmented=segmented, regions=regions)
    run = partial(operator, segments=segments, temperature=temperature, **options)
    assert gradcheck(run, (coarse, scores))
    assert gradcheck(lambda values: run(values, scores.detach()), (coarse,))
    assert gradcheck(lambda values: run(coarse.detach(), values), (scores,))


@every_operator
@pytest.mark.parametrize("potential", ["power", "log-odds", bowl])
def test_gradients_of_other_potentials(operator, potential):
    if potential is bowl and operator is OPERATORS["usu opposite"]:
        pytest.skip("the callable has a single form here; 'same' covers it")
    coarse, scores, segments, _ = tensors(
        np.random.default_rng(11), (2, 2), (3, 4), segmented=True, regions=False
    )
    assert gradcheck(
        partial(operator, segments=segments, temperature=0.3, potential=potential), (coarse, scores)
    )


@every_operator
@both_forms
def test_gradients_at_the_smallest_temperature(operator, segmented):
    rng = np.random.default_rng(12)
    coarse, scores, segments, _ = tensors(rng, (2, 2), (3, 4), segmented=segmented, regions=False)
    close = (0.5 + 5e-4 * scores.detach()).requires_grad_()
    run = partial(operator, segments=segments, temperature=1e-4)
    assert gradcheck(run, (coarse, close), eps=1e-9, rtol=1e-3)
    for dtype in (torch.float32, torch.float64):
        values = [tensor.detach().to(dtype).requires_grad_() for tensor in (coarse, scores)]
        run(*values).square().sum().backward()
        assert all(value.grad.isfinite().all() for value in values)


@both_forms
def test_gradients_of_batches_and_second_derivatives(segmented):
    rng = np.random.default_rng(13)
    arguments = {"segmented": segmented, "regions": False, "batch": (2,)}
    coarse, scores, segments, _ = tensors(rng, (1, 2), (2, 3), **arguments)
    segments = segments if segments is None else np.stack([segments, segments[::-1]])
    run = partial(redistribute, segments=segments)
    assert gradcheck(run, (coarse, scores))
    assert gradcheck(run, (coarse[0].detach().requires_grad_(), scores))
    assert gradgradcheck(run, (coarse, scores))


def test_gradients_flow_after_a_call_in_inference_mode():
    coarse, scores = torch.rand(3, 5), torch.rand(19, 23)
    with torch.inference_mode():
        redistribute(coarse, scores)
    coarse.requires_grad_()
    redistribute(coarse, scores).sum().backward()
    assert coarse.grad.sum() == pytest.approx(19 * 23)


# Kinds, dtypes, memory


@every_operator
@both_forms
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("temperature", [1e-3, 0.1, 1e4])
def test_half_precision_is_the_float32_result_rounded(device, operator, segmented, dtype, temperature):
    case = make_case(
        np.random.default_rng(14), np.float32, (3, 4), (17, 22), segments=6 if segmented else None
    )
    segments = case.segments
    coarse, scores = (torch.from_numpy(array).to(device, dtype) for array in (case.coarse, case.scores))
    result = operator(coarse, scores, segments, temperature=temperature)
    exact = operator(coarse.float(), scores.float(), segments, temperature=temperature)
    assert result.dtype == dtype
    assert torch.equal(result, exact.to(dtype))


@every_operator
@both_forms
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_numpy_in_numpy_out(operator, segmented, dtype):
    case = make_case(np.random.default_rng(15), dtype, (3, 4), (17, 22), segments=6 if segmented else None)
    result = operator(case.coarse, case.scores, case.segments)
    assert type(result) is np.ndarray
    assert result.dtype == dtype
    segments = case.segments if case.segments is None else torch.from_numpy(case.segments)
    twin = operator(torch.from_numpy(case.coarse), torch.from_numpy(case.scores), segments)
    assert isinstance(twin, torch.Tensor)
    assert_array_equal(result, twin.numpy())


def test_the_coarse_map_decides_the_dtype_and_the_widest_input_the_precision():
    case = make_case(np.random.default_rng(16), np.float64, (2, 2), (9, 9))
    mixed = redistribute(case.coarse.astype(np.float32), case.scores)
    exact = redistribute(case.coarse.astype(np.float32).astype(np.float64), case.scores)
    assert_array_equal(mixed, exact.astype(np.float32))
    assert redistribute(np.array([[4]]), case.scores).dtype == np.float32  # integers: torch's default


@every_operator
def test_memory_layout_and_label_types_do_not_matter(operator):
    case = make_case(np.random.default_rng(17), np.float64, (4, 6), (12, 18), segments=6)
    expected = operator(case.coarse, case.scores, case.segments)
    for kind in (np.uint8, np.int16, np.int32, np.uint64, ">i4"):
        assert_array_equal(operator(case.coarse, case.scores, case.segments.astype(kind)), expected)
    frozen = case.coarse.astype(">f8")
    frozen.flags.writeable = False
    assert_array_equal(operator(frozen, case.scores[::-1], 5 - case.segments), expected)
    dense = operator(case.coarse, case.dense)
    strided = torch.from_numpy(case.dense.T.copy()).T
    assert_allclose(operator(torch.from_numpy(case.coarse), strided), dense, rtol=1e-14)
    expanded = torch.tensor([0.3], dtype=torch.float64).expand(12, 18)
    assert_allclose(
        operator(torch.from_numpy(case.coarse), expanded), operator(case.coarse, expanded.numpy().copy())
    )


@every_operator
@both_forms
@both_systems
@pytest.mark.parametrize("temperature", [1e-4, 0.1, 1e4])
@pytest.mark.parametrize("grad", [(), (0,), (1,), (0, 1)], ids=["no grad", "coarse", "scores", "both"])
def test_the_callers_arrays_are_never_touched(operator, segmented, regions, temperature, grad):
    rng = np.random.default_rng(18)
    for shape, size in [((2, 2), (8, 6)), ((2, 3), (7, 7))]:  # whole cells work in place, odd ones do not
        case = make_case(rng, np.float64, shape, size, regions=regions, segments=5 if segmented else None)
        for dtype in (torch.float32, torch.float64):
            given_ = [torch.from_numpy(array).to(dtype) for array in (case.coarse, case.scores)]
            given_ += [] if case.segments is None else [torch.from_numpy(case.segments)]
            for position in grad:
                given_[position].requires_grad_()
            copies, versions = [array.clone() for array in given_], [array._version for array in given_]
            options = case.options | {"mass": "total"}  # the map itself serves as the masses
            result = operator(*given_, temperature=temperature, **options)
            result.detach().fill_(9.0)
            assert all(map(torch.equal, given_, copies))
            assert [array._version for array in given_] == versions


# Batches and dimensions


@every_operator
@both_systems
@pytest.mark.parametrize(
    ("coarse_batch", "scores_batch", "segments_batch"),
    [
        ((2,), (2,), ()),
        ((2,), (2,), (2,)),
        ((2,), (), ()),
        ((), (2,), ()),
        ((), (), (2,)),
        ((2, 1), (3,), (2, 3)),
        ((3,), (2, 1), (1, 3)),
        ((1,), (1,), ()),
        ((2,), (2,), None),
        ((2,), (), None),
        ((), (2,), None),
        ((2, 1), (3,), None),
    ],
)
def test_batches_equal_one_by_one(operator, regions, coarse_batch, scores_batch, segments_batch):
    rng = np.random.default_rng(19)
    one = make_case(rng, np.float64, (2, 3), (8, 7), regions=regions)
    coarse = rng.normal(size=(*coarse_batch, *one.coarse.shape))
    if segments_batch is None:
        scores, segments, core = rng.random((*scores_batch, 8, 7)), None, 2
    else:
        scores, core = rng.random((*scores_batch, 5)), 1
        segments = rng.integers(5, size=(*segments_batch, 8, 7))
    batch = np.broadcast_shapes(coarse_batch, scores_batch, segments_batch or ())
    for temperature in (1e-3, 0.1):
        run = partial(operator, temperature=temperature, **one.options)
        result = run(coarse, scores, segments)
        assert result.shape == (*batch, 8, 7)
        every_coarse = np.broadcast_to(coarse, (*batch, *one.coarse.shape))
        every_scores = np.broadcast_to(scores, (*batch, *scores.shape[scores.ndim - core :]))
        every_segments = None if segments is None else np.broadcast_to(segments, (*batch, 8, 7))
        for index in np.ndindex(batch):
            labels = None if every_segments is None else every_segments[index]
            alone = run(every_coarse[index], every_scores[index], labels)
            assert_agree(result[index].ravel(), alone.ravel(), one.labels, 1e-12)


@every_operator
def test_an_image_of_one_row_is_a_signal_and_a_volume_of_one_slice_an_image(operator):
    case = make_case(np.random.default_rng(20), np.float64, (3, 4), (10, 13), segments=6)
    image = operator(case.coarse, case.scores, case.segments)
    volume = operator(case.coarse[None], case.scores, case.segments[None], ndim=3)
    assert_allclose(volume[0], image, rtol=1e-14)
    signal = operator(case.coarse[0], case.scores, case.segments[0], ndim=1)
    row = operator(case.coarse[:1], case.scores, case.segments[:1])
    assert_allclose(signal, row[0], rtol=1e-14)
