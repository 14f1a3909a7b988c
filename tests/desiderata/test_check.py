"""The checks themselves: right verdicts on known operators, broken ones caught by what they break alone."""

import json
import math
import subprocess
import sys

import cv2
import numpy as np
import pytest
import skimage.transform
import torch

import usu
from usu.desiderata.check import check_desiderata
from usu.desiderata.report import DESIDERATA
from usu.operators.upsamplers import UPSAMPLERS, find_upsampler

FOUR = ("D1", "D2", "D3", "D4")
COARSE, SCORES = np.ones((2, 2)), np.full((4, 4), 0.5)
SATISFIED, VIOLATED, NOT_APPLICABLE = "satisfied", "violated", "not applicable"

# The verdicts of every built-in upsampler, in the order of DESIDERATA: D1 to D5, D1-G, D4', global.
VERDICTS = {
    "usu": "ssssvsss",
    "usu-continuous": "svvvssvs",
    "iwmr": "vssvvsss",
    "hybrid": "vssvvsss",
    "total-conserving": "vvsvssvs",
    "nearest": "ssnsv-ss",
    "bilinear": "vvnvs-vs",  # the total is conserved where H and W are multiples of the grid's
    "bicubic": "vvnvs-vv",
    "lanczos": "vvnvs-vv",
    "conserving": "svnvssvs",
}


@pytest.fixture(scope="module")
def case():
    """A 7×7 map over 56×56 pixels with 30 segments of arbitrary shape."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 30, (14, 14)).repeat(4, 0).repeat(4, 1)
    return rng.random((7, 7), dtype=np.float32), rng.random(30, dtype=np.float32), labels


def initials(report):
    return "".join(
        "-" if name == "D1-G" and f.residual is None else f.verdict[0] for name, f in report.items()
    )


# --- table 2 ---


@pytest.mark.parametrize("name", UPSAMPLERS)
def test_table_2(name, case):
    report = check_desiderata(name, *case)
    assert tuple(report) == DESIDERATA
    assert initials(report) == VERDICTS[name], str(report)


def test_usu_conserves_to_1e_6_relative_in_float32(case):
    report = check_desiderata("usu", *case)
    assert report["D1"].tolerance == 1e-6
    assert report.d1_relative <= report["D1"].residual <= 1e-6


@pytest.mark.parametrize("name", ["bilinear", "bicubic", "lanczos"])
def test_violations_come_with_witnesses_that_can_be_recomputed(name, case):
    coarse, scores, segments = case
    report = check_desiderata(name, coarse, scores, segments)
    upsample = find_upsampler(name)
    dense = scores[segments]

    sums = report["D1"].witness
    assert sums.numbers["sum"] != pytest.approx(sums.numbers["mass"], rel=1e-3)
    assert str(sums.cell) in sums.text

    pair = report["D2"].witness
    assert pair.numbers["score_better"] >= pair.numbers["score_worse"]
    assert pair.numbers["value_better"] < pair.numbers["value_worse"]
    if "given map" in pair.text:
        values = [float(upsample(coarse, dense)[pixel]) for pixel in pair.pixels]
        assert values == pytest.approx([pair.numbers["value_better"], pair.numbers["value_worse"]], rel=1e-5)

    leak = report["D4"].witness
    (pixel,) = leak.pixels
    changed = coarse.copy()
    outside = np.flatnonzero(coarse.ravel() == np.float32(leak.numbers["coarse_before"]))
    changed.ravel()[outside] = leak.numbers["coarse_after"]
    assert (pixel[0] // 8, pixel[1] // 8) == leak.cell != np.unravel_index(outside[0], coarse.shape)
    assert float(upsample(coarse, dense)[pixel]) == pytest.approx(leak.numbers["before"], rel=1e-4)
    assert float(upsample(changed, dense)[pixel]) == pytest.approx(leak.numbers["after"], rel=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("temperature", [1e-4, 0.1, 10.0])
@pytest.mark.parametrize("kind", ["positive", "signed", "sparse"])
def test_usu_and_nearest_satisfy_at_every_dtype_and_temperature(dtype, temperature, kind):
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(3, 4, generator=generator, dtype=torch.float64)
    coarse = {"positive": coarse, "signed": coarse - 0.4, "sparse": (coarse - 0.7).clamp(min=0)}[kind]
    scores = torch.rand(17, 21, generator=generator, dtype=torch.float64).to(dtype)
    for name in ("usu", "nearest"):
        report = check_desiderata(name, coarse.to(dtype), scores, temperature=temperature)
        broken = [short for short, finding in report.items() if finding.verdict == VIOLATED]
        assert broken == ["D5"], str(report)  # what continuity costs is exactly what these do not give up


@pytest.mark.parametrize("name", ["usu", "iwmr", "hybrid", "nearest"])
@pytest.mark.parametrize("mass", ["density", "total"])
def test_superpixels_as_neighbourhoods(name, mass):
    rng = np.random.default_rng(3)
    labels = rng.permutation(np.arange(400) % 9).reshape(20, 20)
    report = check_desiderata(name, rng.random(9), rng.random((20, 20)), neighbourhoods=labels, mass=mass)
    known = VERDICTS[name]
    assert initials(report) == f"{known[:4]}n{known[5:]}", str(report)  # cells without borders have no D5
    assert all(len(finding.witness.cell) == 1 for finding in report.values() if finding.verdict == VIOLATED)


@pytest.mark.parametrize("name", UPSAMPLERS)
def test_totals_give_the_same_verdicts(name, case):
    assert initials(check_desiderata(name, *case, mass="total")) == VERDICTS[name]


def test_underflowing_weights_tie_and_do_not_violate():
    scores = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    report = check_desiderata("usu", np.ones((1, 2), np.float32), scores, temperature=1e-5)
    assert report["D2"].verdict == SATISFIED
    assert report["D3"].verdict == SATISFIED


def test_rounding_after_the_operator_is_within_the_tolerance_of_its_dtype(case):
    operator = find_upsampler("usu")
    report = check_desiderata(lambda coarse, scores: operator(coarse, scores).astype(np.float16), *case)
    assert all(report[name].verdict == SATISFIED for name in FOUR)
    assert report["D1"].tolerance == 2e-3


# --- operators broken on purpose ---


def blocks(pixels, shape):
    """(H, W) to (gh, gw, pixels of a cell)."""
    rows, columns = (length // cells for length, cells in zip(pixels.shape, shape, strict=True))
    return pixels.reshape(shape[0], rows, shape[1], columns).swapaxes(1, 2).reshape(*shape, rows * columns)


def unblocks(cells, size):
    shape = cells.shape[:2]
    rows, columns = (length // count for length, count in zip(size, shape, strict=True))
    return cells.reshape(*shape, rows, columns).swapaxes(1, 2).reshape(size)


def operator(weigh):
    """Make an upsampler from a function of blocked scores (gh, gw, n) to the shares of a cell's mass."""

    def upsample(coarse, scores):
        shares = weigh(blocks(scores, coarse.shape))
        return unblocks(coarse[..., None] * shares.shape[-1] * shares, scores.shape).astype(coarse.dtype)

    return upsample


def softmax(levels):
    weights = np.exp(levels - levels.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def next_cell(scores):
    return np.roll(scores.reshape(-1, scores.shape[-1]), 1, axis=0).reshape(scores.shape)


def sum_over_image(scores):
    weights = np.exp(scores / 0.1)
    return weights / weights.sum() * len(scores)


BROKEN = {
    "by hand": (lambda s: softmax(s / 0.1), set()),
    "normalised by the image's area": (lambda s: softmax(s / 0.1) / (s.shape[0] * s.shape[1]), {"D1"}),
    "one percent lost": (lambda s: softmax(s / 0.1) * 0.99, {"D1"}),
    "mass scaled by the best score": (lambda s: softmax(s / 0.1) * s.max(-1, keepdims=True), {"D1"}),
    "swapped order": (lambda s: softmax((1 - s) / 0.1), {"D2"}),
    "order swapped at the top": (lambda s: softmax(np.minimum(s, 1.8 - s) / 0.1), {"D2", "D3"}),
    "temperature depends on the score": (lambda s: softmax(s / (0.1 + 0.2 * s)), {"D3"}),
    "power potential": (lambda s: softmax(3 * np.log(s + 0.01)), {"D3"}),
    "log-odds potential": (lambda s: softmax(np.log(s + 0.01) - np.log(1.01 - s)), {"D3"}),
    "temperature from the next cell": (
        lambda s: softmax(s / (0.1 + next_cell(s).mean(-1, keepdims=True))),
        {"D4"},
    ),
    "temperature from the image": (lambda s: softmax(s / (0.1 + s[:, :, :1].mean())), {"D3", "D4"}),
    "a sum over the image": (sum_over_image, {"D1", "D4"}),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_operator_is_caught_by_what_it_breaks_and_by_nothing_else(name, dtype):
    weigh, broken = BROKEN[name]
    rng = np.random.default_rng(5)
    report = check_desiderata(
        operator(weigh), rng.random((3, 4)).astype(dtype), rng.random((18, 16)).astype(dtype)
    )
    assert {short for short in FOUR if report[short].verdict == VIOLATED} == broken, str(report)
    assert all(report[short].verdict != NOT_APPLICABLE for short in FOUR)


def test_outside_weights_are_caught_with_the_cell_they_come_from():
    rng = np.random.default_rng(5)
    weigh, _ = BROKEN["temperature from the next cell"]
    report = check_desiderata(operator(weigh), rng.random((3, 4)), rng.random((18, 16)))
    row, column = report["D4"].witness.cell
    previous = np.unravel_index((row * 4 + column - 1) % 12, (3, 4))
    assert f"only the scores in cell ({previous[0]}, {previous[1]}) change" in report["D4"].witness.text


def test_a_leak_from_many_cells_at_once_is_reported_as_such():
    def doubled_by_two(coarse, scores):
        return find_upsampler("nearest")(coarse, scores) * (2 if (coarse > 0.9).sum() >= 2 else 1)

    witness = check_desiderata(doubled_by_two, np.full((3, 3), 0.5), size=(9, 9))["D4"].witness
    assert "goes from 0.5 to 1 when the coarse values of 2 other cells change" in witness.text


def test_a_single_cell_of_many_is_not_lost_in_the_mean():
    def one_cell_off(coarse, scores):
        result = find_upsampler("nearest")(coarse, scores)
        result[:2, :2] *= 1.001
        return result

    finding = check_desiderata(one_cell_off, np.ones((20, 20), np.float32), size=(40, 40))["D1"]
    assert finding.verdict == VIOLATED
    assert finding.witness.cell == (0, 0)


def test_scores_that_matter_only_elsewhere_are_not_taken_for_blindness():
    flat = operator(lambda s: np.ones_like(s) / s.shape[-1] * (0.5 + s.max(-1, keepdims=True)))
    report = check_desiderata(flat, np.ones((2, 2)), np.random.default_rng(0).random((8, 8)))
    assert report["D3"].verdict == SATISFIED
    assert report["D1"].verdict == VIOLATED


# --- anything callable ---

CALLABLES = {
    "cv2 nearest": (lambda a, s: cv2.resize(a, s.shape[::-1], interpolation=cv2.INTER_NEAREST_EXACT), set()),
    "cv2 linear": (
        lambda a, s: cv2.resize(a, s.shape[::-1], interpolation=cv2.INTER_LINEAR),
        {"D1", "D2", "D4"},
    ),
    "cv2 cubic": (
        lambda a, s: cv2.resize(a, s.shape[::-1], interpolation=cv2.INTER_CUBIC),
        {"D1", "D2", "D4"},
    ),
    "cv2 lanczos4": (
        lambda a, s: cv2.resize(a, s.shape[::-1], interpolation=cv2.INTER_LANCZOS4),
        {"D1", "D2", "D4"},
    ),
    "skimage 0": (lambda a, s: skimage.transform.resize(a, s.shape, order=0), set()),
    "skimage 1": (lambda a, s: skimage.transform.resize(a, s.shape, order=1), {"D1", "D2", "D4"}),
    "skimage 3": (lambda a, s: skimage.transform.resize(a, s.shape, order=3), {"D1", "D2", "D4"}),
    "numpy": (lambda a, s: np.kron(a, np.ones((8, 8))), set()),
}


@pytest.mark.parametrize("name", CALLABLES)
def test_functions_of_other_libraries(name, case):
    call, broken = CALLABLES[name]
    report = check_desiderata(call, *case)
    assert {short for short in FOUR if report[short].verdict == VIOLATED} == broken, str(report)
    assert report["D5"].verdict == (SATISFIED if broken else VIOLATED)  # kernels as wide as a cell have steps
    assert report["D3"].verdict == report["D1-G"].verdict == NOT_APPLICABLE


def test_torch_callables_get_tensors():
    def resize(coarse, scores):
        assert isinstance(coarse, torch.Tensor)
        assert coarse.dtype == torch.float64
        assert scores.dtype == torch.float32
        return torch.nn.functional.interpolate(coarse[None, None], scores.shape, mode="bilinear")[0, 0]

    report = check_desiderata(resize, torch.rand(3, 3, dtype=torch.float64), torch.rand(12, 12))
    assert [report[short].verdict for short in FOUR] == [VIOLATED, VIOLATED, NOT_APPLICABLE, VIOLATED]
    assert report.upsampler == "resize"


def test_a_callable_that_writes_into_its_arguments_or_reuses_its_result_does_no_harm():
    buffer = np.zeros((16, 16), np.float32)

    def careless(coarse, scores):
        buffer[:] = usu.redistribute(coarse, scores)
        coarse[:], scores[:] = 0, 0
        return buffer

    coarse, scores = np.ones((4, 4), np.float32), np.random.default_rng(0).random((16, 16), dtype=np.float32)
    report = check_desiderata(careless, coarse, scores)
    assert all(report[short].verdict == SATISFIED for short in FOUR), str(report)
    assert coarse.all()
    assert scores.any()


def test_tensor_scores_beside_an_array_arrive_as_arrays():
    report = check_desiderata("usu", np.ones((2, 2)), torch.rand(6, 6).to(torch.bfloat16))
    assert report["D1"].verdict == SATISFIED


@pytest.mark.parametrize(
    ("own", "checked", "verdict"),
    [
        ("same", "same", SATISFIED),
        ("same", "opposite", VIOLATED),
        ("opposite", "same", SATISFIED),
        ("opposite", "opposite", SATISFIED),
    ],
)
def test_with_the_opposite_order_d2_counts_negative_cells(own, checked, verdict):
    coarse, scores = np.array([[2.0, -1.0]]), np.array([[0.1, 0.9, 0.1, 0.9]])
    upsampler = find_upsampler("usu", negative=own)
    assert check_desiderata(upsampler, coarse, scores, negative=checked)["D2"].verdict == verdict
    named = check_desiderata("usu", coarse, scores, negative=checked)
    assert initials(named) == VERDICTS["usu"].replace("v", "n")  # too small for D5
    for other in ("iwmr", "hybrid", "nearest"):  # which have no other order
        found = check_desiderata(other, coarse, scores, negative=checked)
        assert found["D2"].verdict == SATISFIED


def test_callables_always_get_densities():
    labels = np.array([[0, 1, 1, 1]])
    seen = []

    def spread(coarse, scores):
        seen.append(coarse)
        return coarse[labels]

    report = check_desiderata(spread, [6.0, 6.0], size=(1, 4), neighbourhoods=labels, mass="total")
    np.testing.assert_array_equal(seen[0], [6, 2])
    assert report["D1"].verdict == SATISFIED


# --- the report ---


def test_the_d1_error_is_that_of_the_given_data(case):
    coarse, scores, segments = case
    report = check_desiderata("lanczos", coarse, scores, segments)
    pixels = usu.interpolate(coarse.astype(float), segments.shape, "lanczos")
    gaps = np.abs(pixels.reshape(7, 8, 7, 8).sum((1, 3)) - coarse * 64.0)
    assert report.d1_error == pytest.approx(gaps.mean(), rel=1e-5)
    assert report.d1_relative == pytest.approx(gaps.sum() / (coarse.sum() * 64), rel=1e-5)


def test_reports_are_frozen_readable_and_serialisable(case):
    report = check_desiderata("bicubic", *case)
    with pytest.raises(AttributeError):
        report.calls = 0
    with pytest.raises(TypeError):
        report.findings["D1"] = None
    assert "D1     violated" in str(report)
    again = json.loads(json.dumps(report.plain()))
    assert again["findings"]["D4"]["verdict"] == VIOLATED
    assert again["findings"]["D4"]["witness"]["pixels"] == [list(report["D4"].witness.pixels[0])]


def test_the_same_seed_gives_the_same_report(case):
    assert check_desiderata("bicubic", *case).plain() == check_desiderata("bicubic", *case).plain()


def test_one_cell_has_no_outside():
    report = check_desiderata("usu", [[2.0]], np.random.default_rng(0).random((4, 4)))
    assert report["D4"].verdict == report["D4'"].verdict == NOT_APPLICABLE
    assert "one cell" in report["D4"].witness.text


def test_single_pixel_cells_leave_nothing_to_condition():
    report = check_desiderata(lambda a, s: a * (1 + s), np.ones((3, 3)), np.eye(3))
    assert report["D3"].verdict == NOT_APPLICABLE
    assert report["D1"].verdict == VIOLATED


def test_all_or_nothing_weights_have_no_ratio():
    def winner(scores):
        best = scores == scores.max(-1, keepdims=True)
        return best / best.sum(-1, keepdims=True)

    report = check_desiderata(operator(winner), np.ones((2, 2)), np.random.default_rng(0).random((8, 8)))
    assert report["D3"].verdict == NOT_APPLICABLE
    assert "two positive values" in report["D3"].witness.text
    assert [report[short].verdict for short in ("D1", "D2", "D4")] == [SATISFIED] * 3


def test_an_all_zero_map_must_stay_zero():
    assert check_desiderata("usu", np.zeros((2, 2)), size=(6, 6))["D1"].verdict == SATISFIED
    report = check_desiderata(lambda a, s: np.full(s.shape, 0.1), np.zeros((2, 2)), size=(6, 6))
    assert report["D1"].verdict == VIOLATED
    assert report["D1"].residual == math.inf


# --- residuals against a slow, plain version ---


class Recorded:
    """An upsampler that keeps what went in and what came out."""

    def __init__(self, upsample):
        self.upsample, self.calls = upsample, []

    def __call__(self, coarse, scores):
        result = self.upsample(coarse, scores)
        self.calls.append((coarse.copy(), scores.copy(), np.array(result, dtype=np.float64)))
        return result


def units(coarse, result, owner):
    """What differences in each cell are compared with."""
    areas = np.bincount(owner.ravel())
    masses = coarse.ravel() * areas
    density = np.abs(masses).sum() / areas.sum()
    return masses, np.array([max(np.abs(result[owner == k]).max(), density) for k in range(len(areas))])


def plain_inversion(coarse, scores, result, owner):
    """The largest relative excess of one pixel over another of the same cell and no lower score."""
    masses, unit = units(coarse, result, owner)
    worst = 0.0
    for cell in np.flatnonzero(masses >= 0):
        level, value = scores[owner == cell], result[owner == cell]
        for one in range(len(level)):
            worst = max(worst, (value[level <= level[one]] - value[one]).max() / unit[cell])
    return worst


def plain_locality(calls, owner):
    """The largest change in a cell between the first call and those that keep this cell's data only."""
    coarse, scores, before = calls[0]
    _, unit = units(coarse, before, owner)
    strict, semi = [], []
    for new_coarse, new_scores, after in calls[1:]:
        for cell in range(coarse.size):
            inside = owner == cell
            moved = new_coarse.ravel() != coarse.ravel()
            changed = new_scores != scores
            values = moved.sum() == coarse.size - 1 and not moved[cell] and not changed.any()
            levels = not moved.any() and changed[~inside].all() and not changed[inside].any()
            if values or levels:
                strict.append(np.abs(after - before)[inside].max() / unit[cell])
                semi.append(plain_distortion(coarse, before[inside], after[inside], owner))
    return max(strict), max(semi)


def plain_distortion(coarse, before, after, owner):
    small, large = sorted((before, after), key=np.linalg.norm)
    (factor,), *_ = np.linalg.lstsq(large[:, None], small, rcond=None)
    density = np.abs(coarse.ravel() * np.bincount(owner.ravel())).sum() / owner.size
    return np.abs(small - factor * large).max() / max(np.abs(small).max(), density)


def owner_of(shape, size):
    rows, columns = (
        np.floor((np.arange(n) + 0.5) * cells / n).astype(int) for n, cells in zip(size, shape, strict=True)
    )
    return rows[:, None] * shape[1] + columns


@pytest.mark.parametrize("levels", [2, 5, None], ids=["two scores", "five scores", "all scores differ"])
@pytest.mark.parametrize("name", ["bilinear", "lanczos", "iwmr", "noise"])
def test_residuals_are_those_of_a_slow_plain_version(name, levels):
    rng = np.random.default_rng(7)
    coarse, scores = rng.random((3, 4)) - 0.3, rng.random((11, 17))
    if levels:
        scores = np.round(scores * (levels - 1)) / (levels - 1)
    draws = np.random.default_rng(8)
    noise = {"noise": lambda a, s: np.round(draws.normal(size=s.shape), 1)}
    recorded = Recorded(noise[name] if name in noise else find_upsampler(name))
    report, owner = check_desiderata(recorded, coarse, scores), owner_of(coarse.shape, scores.shape)
    inversions = [plain_inversion(*call, owner) for call in recorded.calls[:6]]
    assert report["D2"].residual == pytest.approx(max(inversions), rel=1e-12, abs=1e-15)
    strict, semi = plain_locality(recorded.calls, owner)
    assert report["D4"].residual == pytest.approx(strict, rel=1e-12, abs=1e-15)
    assert report["D4'"].residual == pytest.approx(semi, rel=1e-9, abs=1e-14)


def test_inversions_in_regions_of_any_shape_and_size():
    rng = np.random.default_rng(2)
    owner = rng.permutation(np.repeat(np.arange(300), np.r_[np.ones(298, int), 40, 62])).reshape(20, 20)
    coarse, scores = rng.random(300), np.round(rng.random((20, 20)), 1)
    recorded = Recorded(lambda a, s: a[owner] * (2 - s**2))
    finding = check_desiderata(recorded, coarse, scores, neighbourhoods=owner)["D2"]
    inversions = [plain_inversion(*call, owner) for call in recorded.calls[:6]]
    assert finding.residual == pytest.approx(max(inversions), rel=1e-12)
    better, worse = finding.witness.pixels
    assert owner[better] == owner[worse] == finding.witness.cell[0]


def test_the_witness_of_an_inversion_is_the_pair_that_makes_the_residual(case):
    finding = check_desiderata("bicubic", *case)["D2"]
    numbers = finding.witness.numbers
    excess = numbers["value_worse"] - numbers["value_better"]
    assert numbers["score_worse"] <= numbers["score_better"]
    assert excess / finding.residual >= abs(numbers["value_worse"])  # the unit is the cell's largest


# --- threads ---


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_small_maps_are_measured_by_one_thread_and_the_threads_come_back(three_threads):
    seen = set()

    def spy(coarse, scores):
        seen.add(torch.get_num_threads())
        return find_upsampler("nearest")(coarse, scores)

    check_desiderata(spy, COARSE, SCORES)
    assert seen == {1}
    assert torch.get_num_threads() == 3
    with pytest.raises(ValueError, match="must be finite"):
        check_desiderata(lambda a, s: np.full(s.shape, np.nan), COARSE, SCORES)
    assert torch.get_num_threads() == 3


# --- bad input ---


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (("cubic", COARSE, SCORES), {}, ValueError, "upsampler must be one of"),
        ((3, COARSE, SCORES), {}, TypeError, "upsampler must be a name or a callable"),
        (("usu", COARSE * np.nan, SCORES), {}, ValueError, "coarse must be finite"),
        (("usu", COARSE[None], SCORES), {}, ValueError, "coarse must be one map"),
        (("usu", COARSE, SCORES * 3), {}, ValueError, r"scores must lie in \[0, 1\]"),
        (("usu", COARSE, SCORES[None]), {}, ValueError, "scores must give one map"),
        (("usu", COARSE, SCORES, np.zeros((4, 4), int)), {}, ValueError, "scores must be \\(P,\\)"),
        (("usu", COARSE, [0.1], np.ones((4, 4), int)), {}, ValueError, "segments has the label 1"),
        (("usu", COARSE), {}, ValueError, "size must be given"),
        (("usu", COARSE), {"size": (4, 0)}, ValueError, "size must be two positive integers"),
        (("usu", COARSE), {"size": 4}, TypeError, "size must be two integers"),
        (("usu", COARSE, SCORES), {"size": (5, 5)}, ValueError, "scores must give one map over"),
        (("usu", COARSE, SCORES), {"temperature": 0}, ValueError, "temperature must be positive"),
        (("nearest", COARSE, SCORES), {"potential": "x"}, ValueError, "potential must be one of"),
        (("usu", COARSE, SCORES), {"mass": "sum"}, ValueError, "mass must be one of"),
        (("nearest", COARSE, SCORES), {"negative": "flip"}, ValueError, "negative must be"),
        (("usu", COARSE, SCORES), {"seed": "x"}, TypeError, "seed must be an integer"),
        (("usu", COARSE, SCORES), {"seed": 10**30}, ValueError, "seed must lie in"),
        (
            ("bilinear", [1.0], SCORES),
            {"neighbourhoods": np.zeros((4, 4), int)},
            ValueError,
            "neighbourhoods must be None",
        ),
        ((lambda a, s: a, COARSE, SCORES), {}, ValueError, "upsampler must return one map over"),
        ((lambda a, s: s / 0, COARSE, SCORES * 0), {}, ValueError, "upsampler's result must be finite"),
        ((lambda a, s: None, COARSE, SCORES), {}, TypeError, "upsampler's result must be an array"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_bad_input_is_refused_by_name(arguments, options, error, message):
    with pytest.raises(error, match=message):
        check_desiderata(*arguments, **options)


def test_checking_loads_no_optional_library():
    code = (
        "import sys, usu.desiderata.check, usu.metrics.errors;"
        "print({'matplotlib', 'skimage', 'cv2', 'pytorch_grad_cam', 'captum'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"
