"""The metrics of faithfulness against slow float64 versions and cases that are worked out by hand."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import trapezoid
from torch import nn

import usu
from tests.helpers.networks import fingerprint, small_cnn
from usu.metrics import METRICS, Judge
from usu.metrics.faithfulness.curves import STEPS, TIE_SEEDS
from usu.metrics.faithfulness.infidelity import SQUARES
from usu.metrics.faithfulness.road import imputed
from usu.models.baselines import make_fill

SIDE, TARGET = 28, 2
LARGE = 32  # the random picture has several segments of each kind
ORDERED = sorted(set(METRICS) - {name for name in METRICS if name.startswith(("infi", "spar"))})
CURVES = [name for name in METRICS if name.startswith(("deletion", "insertion"))]
RAW_CURVES = [name for name in CURVES if not name.endswith("smooth")]


class Linear(nn.Module):
    """The target's logit is Σ w x over pixels and channels, the other logit is 0."""

    def __init__(self, weights):
        super().__init__()
        self.register_buffer("weights", weights)

    def forward(self, batch):
        logits = (batch.to(self.weights.dtype) * self.weights).sum((1, 2, 3))
        return torch.stack([logits, torch.zeros_like(logits)], dim=1)


class Recording(nn.Module):
    """A model in float64 that keeps the images that it is given."""

    def __init__(self, model):
        super().__init__()
        self.model, self.seen = model.double().eval(), []

    def forward(self, batch):
        self.seen += list(batch.clone())
        return self.model(batch.double())


def random_picture(side=SIDE):
    return torch.rand(3, side, side, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def picture():
    return random_picture()


def random_maps(count=2, ties=False, side=SIDE):
    values = torch.randn(count, side, side, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return values.round() if ties else values


def judge_of(picture, model=None, target=TARGET, **options):
    model = Recording(small_cnn()).eval() if model is None else model
    return Judge(model, 4 * picture - 2, target, image=picture, **options)


def measure(name, judge, maps):
    return METRICS[name].measure(judge, maps).numpy()


def logit(judge, image):
    with torch.no_grad():
        return float(judge.model.model(image.double()[None])[0, judge.target])


def probability(judge, image):
    with torch.no_grad():
        return float(judge.model.model(image.double()[None]).softmax(1)[0, judge.target])


def slow_raster(judge, values):
    """Return Δ and s after each patch, patch by patch."""
    image, black, patch = judge.inputs.clone(), float(judge.inputs.min()), SIDE // 14
    whole, drops, sums = logit(judge, image), [], []
    for top in range(0, SIDE, patch):
        for left in range(0, SIDE, patch):
            image[:, top : top + patch, left : left + patch] = black
            drops.append(whole - logit(judge, image))
            sums.append(float((values * (judge.inputs - image).double()).sum()))
    return np.array(drops), np.array(sums)


def best(drops, sums):
    return sums * (sums @ drops) / (sums @ sums)


SCALES = {
    "infidelity": lambda values, drops, sums: sums,
    "infidelity-minmax": None,
    "infidelity-sum": lambda values, drops, sums: sums / float(values.sum()),
    "infidelity-scaled": lambda values, drops, sums: best(drops, sums),
}


@pytest.mark.parametrize("name", SCALES)
def test_infidelity_patch_by_patch(picture, name):
    judge, maps = judge_of(picture), random_maps()
    scores = measure(name, judge, maps)
    for values, score in zip(maps, scores, strict=True):
        if SCALES[name] is None:
            values = (values - values.min()) / (values.max() - values.min())
        drops, sums = slow_raster(judge, values)
        scaled = sums if SCALES[name] is None else SCALES[name](values, drops, sums)
        assert score == pytest.approx(((drops - scaled) ** 2).mean(), rel=1e-5)


def test_infidelity_on_squares_that_the_model_saw(picture):
    judge, maps = judge_of(picture), random_maps()
    scores = measure("infidelity-squares", judge, maps)
    black = judge.inputs.min()
    squares = {
        tuple(map(tuple, ((s == black).all(0) & (judge.inputs != black).any(0)).nonzero().tolist())): s
        for s in judge.model.seen
        if not torch.equal(s, judge.inputs)
    }
    for places in squares:
        rows, columns = (sorted({place[axis] for place in places}) for axis in (0, 1))
        assert len(rows) == len(columns) == rows[-1] - rows[0] + 1 == SIDE // 7
        assert len(places) == (SIDE // 7) ** 2
    again = np.random.default_rng(0).integers(0, SIDE - SIDE // 7 + 1, (SQUARES, 2))
    assert {min(places) for places in squares} == set(map(tuple, again.tolist()))
    images = {min(places): image for places, image in squares.items()}
    for values, score in zip(maps, scores, strict=True):
        seen = [images[tuple(corner)] for corner in again.tolist()]
        drops = np.array([logit(judge, judge.inputs) - logit(judge, image) for image in seen])
        sums = np.array([float((values * (judge.inputs - image).double()).sum()) for image in seen])
        assert score == pytest.approx(((drops - best(drops, sums)) ** 2).mean(), rel=1e-5)


@pytest.mark.parametrize("name", ["infidelity", "infidelity-scaled", "infidelity-squares"])
def test_the_weights_of_a_linear_model_have_no_infidelity(picture, name, device):
    weights = random_maps(1).to(device)
    judge = judge_of(picture.to(device), Linear(weights).eval(), target=0)
    maps = torch.cat([weights, weights + 0.1])
    right, wrong = METRICS[name].measure(judge, maps).tolist()
    assert right < 1e-8 < 1e-3 < wrong


@given(st.floats(1e-200, 1e200), st.sampled_from(["infidelity-scaled", "infidelity-squares"]))
@settings(max_examples=12)
def test_best_scaled_infidelity_does_not_know_the_unit(factor, name):
    judge, maps = SHARED.setdefault("judge", judge_of(random_picture())), random_maps()
    np.testing.assert_allclose(measure(name, judge, factor * maps), measure(name, judge, maps), rtol=1e-9)
    np.testing.assert_allclose(measure(name, judge, -maps), measure(name, judge, maps), rtol=1e-9)


SHARED = {}


@given(st.sampled_from(ORDERED), st.sampled_from([0.25, 2.0, 1024.0]))
@settings(max_examples=12)
def test_orders_do_not_know_the_unit(name, factor):
    judge, maps = (
        SHARED.setdefault("large", judge_of(random_picture(LARGE))),
        random_maps(1, ties=True, side=LARGE),
    )
    before = measure(name, judge, maps)
    assert np.isfinite(before).all()
    passes = judge.passes
    np.testing.assert_array_equal(measure(name, judge, factor * maps), before)
    assert judge.passes == passes


def slow_curve(judge, values, fill, insertion, seed):
    """Delete or insert one share of the pixels after the other, sorted pixel by pixel."""
    other = make_fill(judge.inputs[None], fill)[0]
    shuffle = np.random.default_rng(seed).permutation(values.numel())
    order = sorted(range(values.numel()), key=lambda n: (-float(values.flatten()[n]), shuffle[n]))
    start, end = (other, judge.inputs) if insertion else (judge.inputs, other)
    heights = []
    for step in range(STEPS + 1):
        image = start.clone().flatten(1)
        moved = order[: values.numel() * step // STEPS]
        image[:, moved] = end.flatten(1)[:, moved]
        heights.append(probability(judge, image.view_as(start)))
    return trapezoid(heights) / STEPS / probability(judge, judge.inputs)


@pytest.mark.parametrize("name", RAW_CURVES)
@pytest.mark.parametrize("ties", [True, False])
def test_curves_pixel_by_pixel(picture, name, ties):
    judge, maps = judge_of(picture, seed=4), random_maps(1, ties)
    kind, fill = name.split("-")
    slow = [slow_curve(judge, maps[0], fill, kind == "insertion", 4 + n) for n in range(TIE_SEEDS)]
    assert measure(name, judge, maps)[0] == pytest.approx(np.mean(slow), rel=1e-5)


def test_band_limited_curves_are_those_of_a_smoothed_map(picture):
    """Smoothed by sums over all pixels, with weights of a Gaussian that repeats the border outside."""
    judge, maps = judge_of(picture, seed=4), random_maps(2, ties=False)
    reach = np.arange(-3 * SIDE, 4 * SIDE)
    weights = np.exp(-0.5 * ((reach[None] - np.arange(SIDE)[:, None]) / (6 * SIDE / 224)) ** 2)
    weights /= weights.sum(1, keepdims=True)
    folded = np.stack([weights[:, reach.clip(0, SIDE - 1) == pixel].sum(1) for pixel in range(SIDE)], axis=1)
    smooth = torch.from_numpy(np.einsum("ry,myx,cx->mrc", folded, np.asarray(maps), folded))
    for name in RAW_CURVES:
        assert measure(f"{name}-smooth", judge, maps) == pytest.approx(measure(name, judge, smooth), rel=2e-2)
        assert measure(f"{name}-smooth", judge, maps) != pytest.approx(measure(name, judge, maps), rel=1e-3)


def test_deletion_by_hand():
    """Half the pixels carry the logit; each of the first seven steps fills a seventh of them."""
    weights = torch.zeros(1, SIDE, SIDE, dtype=torch.float64)
    weights[:, : SIDE // 2] = 1
    inputs = torch.zeros(1, SIDE, SIDE)
    inputs[:, : SIDE // 2], inputs[:, SIDE // 2 :] = 0.01, -0.01
    judge = Judge(Linear(weights).eval(), inputs, 0, image=torch.zeros(3, SIDE, SIDE))
    logits = np.concatenate([np.linspace(0.01, 0, 8), np.zeros(7)]) * SIDE * SIDE / 2
    heights = 1 / (1 + np.exp(-logits))
    expected = trapezoid(heights) / 14 / heights[0]
    assert measure("deletion-mean", judge, weights)[0] == pytest.approx(expected, rel=1e-5)
    assert measure("insertion-mean", judge, -weights)[0] == pytest.approx(expected, rel=1e-5)  # LeRF


@pytest.mark.parametrize("name", CURVES)
def test_the_curve_of_a_constant_map_depends_on_the_seed_alone(picture, name):
    constants = torch.stack([torch.full((SIDE, SIDE), value) for value in (0.0, 3.0, -1e9)])
    first, second, third = measure(name, judge_of(picture, seed=1), constants)
    assert first == second == third
    assert first != measure(name, judge_of(picture, seed=7), constants)[0]


@pytest.mark.parametrize("name", ["irof-grid", "irof-felzenszwalb"])
def test_irof_segment_by_segment(name):
    from usu.metrics.faithfulness import irof

    judge, maps = judge_of(random_picture(LARGE)), random_maps(side=LARGE)
    labels = irof.grid(judge) if name == "irof-grid" else irof.felzenszwalb(judge)
    count = labels.max() + 1
    assert count == 4 if name == "irof-grid" else count > 1
    for values, score in zip(maps, measure(name, judge, maps), strict=True):
        image, heights = judge.inputs.clone(), []
        for label in sorted(range(count), key=lambda n: -float(values[torch.from_numpy(labels == n)].mean())):
            image[:, torch.from_numpy(labels == label)] = image.mean()
            heights.append(probability(judge, image) / probability(judge, judge.inputs))
        assert score == pytest.approx(count - trapezoid(heights), rel=1e-5)


@pytest.mark.parametrize(("height", "width"), [(224, 224), (240, 240), (56, 85)])
def test_grid_cells_are_28_pixels_wide(height, width):
    from usu.metrics.faithfulness import irof

    judge = Judge(small_cnn(), torch.zeros(3, height, width), 0, image=torch.zeros(3, height, width))
    names = [(row // 28, column // 28) for row in range(height) for column in range(width)]
    ranks = {name: rank for rank, name in enumerate(sorted(set(names)))}
    assert irof.grid(judge).ravel().tolist() == [ranks[name] for name in names]


def test_the_grid_is_not_that_of_the_cells_at_240():
    # 8 × 8 cells would be Grad-CAM's own on EfficientNet-Lite1, where maps that conserve them all tie.
    maps = torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    scores = torch.rand(1, 240, 240, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    nearest, shared = usu.interpolate(maps, (240, 240), "nearest"), usu.redistribute(maps, scores)
    judge = Judge(small_cnn(), torch.rand(3, 240, 240), 0, image=torch.rand(3, 240, 240))
    first, second = measure("irof-grid", judge, torch.cat([nearest, shared]))
    assert first != second


def test_imputation_solves_on_one_thread_and_leaves_the_number_as_it_was(monkeypatch):
    import scipy.linalg
    from threadpoolctl import threadpool_info, threadpool_limits

    def threads():
        return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}

    seen, solve = [], scipy.linalg.solveh_banded
    monkeypatch.setattr(
        scipy.linalg,
        "solveh_banded",
        lambda *given, **named: (seen.append(threads()), solve(*given, **named))[1],
    )
    with threadpool_limits(2, user_api="blas"):
        before = threads()
        imputed(np.ones((1, 6, 6), dtype=np.float32), np.array([7, 8, 14]))
        assert threads() == before
    assert seen == [{1}]


def test_tied_segments_go_in_a_seeded_order(picture):
    picture, maps = picture.repeat(1, 3, 3), torch.zeros(1, 3 * SIDE, 3 * SIDE)
    maps[:, :7] = 0.1
    scores = {float(measure("irof-grid", judge_of(picture, seed=seed), maps)[0]) for seed in (0, 0, 1)}
    assert len(scores) == 2


@given(st.integers(0, 10**6), st.floats(0.05, 0.95))
@settings(max_examples=12)
def test_imputation_is_the_solution_of_its_equations(seed, share):
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(2, 6, 9)).astype(np.float32)
    missing = rng.permutation(54)[: max(1, int(54 * share))]
    filled = image.astype(np.float64).reshape(2, -1)
    filled[:, missing] = imputed(image, missing)
    filled = filled.reshape(image.shape)
    for pixel in missing:
        row, column = divmod(int(pixel), 9)
        near = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]
        near = [(dy, dx) for dy, dx in near if 0 <= row + dy < 6 and 0 <= column + dx < 9]
        weights = np.array([1 / 6 if dy == 0 or dx == 0 else 1 / 12 for dy, dx in near])
        values = np.array([filled[:, row + dy, column + dx] for dy, dx in near])
        np.testing.assert_allclose(filled[:, row, column], weights @ values / weights.sum(), atol=1e-6)


def test_sparseness_by_hand(picture):
    judge = judge_of(picture)
    one = torch.zeros(SIDE, SIDE)
    one[3, 4] = -2
    ramp = torch.arange(1.0, SIDE * SIDE + 1).view(SIDE, SIDE)
    pixels = SIDE * SIDE
    # One pixel: 1 - 1/n; values 1..n: (n² - 1) / 3n over n... that is (n - 1) / 3n · (n + 1) / (n + 1).
    expected = [1 - 1 / pixels, (pixels - 1) / (3 * pixels), 0, 0]
    maps = torch.stack([one, ramp, torch.ones(SIDE, SIDE), torch.zeros(SIDE, SIDE)])
    np.testing.assert_allclose(measure("sparseness", judge, maps), expected, atol=2e-4)
    assert judge.passes == 0


@pytest.mark.parametrize("value", [0.0, 2.5])
def test_constant_maps_have_no_order_in_block_a(value):
    judge, maps = judge_of(random_picture(LARGE)), torch.full((1, LARGE, LARGE), value)
    for name in ("irof", "irof-per-segment", "irof-grid", "monotonicity", "pixel-flipping", "road"):
        assert np.isnan(measure(name, judge, maps)[0]), name
        assert np.isfinite(measure(name, judge, random_maps(1, side=LARGE))[0]), name


def test_infidelity_of_maps_without_a_scale(picture):
    judge = judge_of(picture)
    balanced = torch.zeros(SIDE, SIDE)
    balanced[0, 0], balanced[1, 1] = 1, -1
    maps = torch.stack([torch.zeros(SIDE, SIDE), torch.ones(SIDE, SIDE), balanced])
    none = measure("infidelity", judge, maps)[0]
    assert none == pytest.approx((slow_raster(judge, maps[0].double())[0] ** 2).mean(), rel=1e-5)
    assert measure("infidelity-scaled", judge, maps)[0] == pytest.approx(none)
    assert measure("infidelity-minmax", judge, maps)[:2] == pytest.approx(none)
    sums = measure("infidelity-sum", judge, maps)
    assert sums[0] == pytest.approx(none)
    assert np.isnan(sums[2])


def test_an_image_of_one_segment_has_no_irof():
    judge = Judge(small_cnn(), torch.zeros(3, SIDE, SIDE), 0, image=torch.zeros(3, SIDE, SIDE))
    assert np.isnan(measure("irof-felzenszwalb", judge, random_maps())).all()


def test_an_impossible_class_has_no_curve(picture):
    judge = judge_of(picture, Linear(torch.full((1, SIDE, SIDE), -1e4)).eval(), target=0)
    judge.inputs.abs_()
    assert np.isnan(measure("deletion-mean", judge, random_maps())).all()


@pytest.mark.parametrize("size", [(29, 29), (30, 41), (9, 33)])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_size_and_number_of_channels(size, channels, device):
    generator = torch.Generator().manual_seed(3)
    network = nn.Sequential(
        nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3)
    )
    inputs = torch.randn(channels, *size, generator=generator).to(device)
    picture = torch.rand(3, *size, generator=generator).to(device)
    maps = torch.randn(2, *size, generator=generator).to(device)
    judge = Judge(network.eval().to(device), inputs, 1, image=picture)
    for name, metric in METRICS.items():
        scores = metric.measure(judge, maps)
        assert scores.shape == (2,), name
        assert scores.dtype == torch.float64
        assert scores.device == maps.device
        assert bool(scores.isfinite().all()), name


def test_passes_are_shared_and_counted(picture):
    judge, maps = judge_of(picture, perturbations_per_eval=5), random_maps(3)
    measure("infidelity", judge, maps)
    assert judge.passes == 14 * 14 + 1 == len(judge.model.seen)
    for name in ("infidelity-minmax", "infidelity-sum", "infidelity-scaled"):
        measure(name, judge, maps)
    assert judge.passes == 14 * 14 + 1
    measure("irof", judge, maps)
    before = judge.passes
    measure("irof-per-segment", judge, maps.flip(0))
    assert judge.passes == before
    measure("deletion-blur", judge, maps[:1])
    assert judge.passes == before + STEPS  # no ties: one order; the image itself was known
    measure("deletion-blur", judge, torch.cat([maps[:1], 2 * maps[:1]]))
    assert judge.passes == before + STEPS


def test_the_number_per_pass_does_not_matter(picture):
    maps = random_maps()
    for name in METRICS:
        one, many = (judge_of(picture, perturbations_per_eval=n) for n in (1, 64))
        np.testing.assert_allclose(measure(name, one, maps), measure(name, many, maps), rtol=1e-5, atol=1e-6)


def test_the_model_is_left_as_it_was(picture):
    model = small_cnn()
    before = fingerprint(model)
    judge = judge_of(picture, model)
    measure("infidelity", judge, random_maps())
    with pytest.raises(ValueError, match="target must be below"):
        measure("infidelity", judge_of(picture, model, target=9), random_maps())
    assert fingerprint(model) == before


def test_metrics_can_be_sent_to_another_process():
    for metric in METRICS.values():
        assert pickle.loads(pickle.dumps(metric)).settings == metric.settings


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"model": 3}, TypeError, "model must be callable"),
        ({"model": small_cnn().train()}, ValueError, "model is in training mode"),
        ({"inputs": torch.zeros(1, 3, SIDE, SIDE)}, ValueError, "inputs must be one image"),
        ({"inputs": torch.full((3, SIDE, SIDE), torch.nan)}, ValueError, "inputs must be finite"),
        ({"image": torch.zeros(3, SIDE, 5)}, ValueError, r"image must be \(3, 28, 28\)"),
        ({"image": torch.zeros(1, 3, SIDE, SIDE)}, ValueError, r"image must be \(3, 28, 28\)"),
        ({"image": torch.full((3, SIDE, SIDE), 2.0)}, ValueError, r"image must lie in \[0, 1\]"),
        (
            {"inputs": torch.zeros(4, SIDE, SIDE), "image": None},
            ValueError,
            "inputs, taken as image, must be",
        ),
        ({"target": -1}, ValueError, "target must be a class index from 0 up"),
        ({"target": 1.5}, TypeError, "target must be a class index"),
        ({"target": [1, 2]}, ValueError, "target must be one index for one image"),
        ({"target": "tabby"}, TypeError, "target is the name 'tabby': give class_names"),
        ({"target": "tabby", "class_names": ["dog"]}, ValueError, "no class is named 'tabby'"),
        ({"target": lambda outputs: outputs[:, 0]}, TypeError, "target must be a class index or a name"),
        ({"perturbations_per_eval": 0}, ValueError, "perturbations_per_eval must be at least 1"),
        ({"perturbations_per_eval": 2.5}, TypeError, "perturbations_per_eval must be an integer"),
        ({"seed": -1}, ValueError, "seed must be at least 0"),
        ({"seed": 2**32}, ValueError, "seed must be at most 4294967295"),
    ],
)
def test_bad_judges(change, error, message):
    good = {"model": small_cnn(), "inputs": torch.zeros(3, SIDE, SIDE), "target": 0}
    with pytest.raises(error, match=message):
        Judge(**(good | {"image": torch.zeros(3, SIDE, SIDE)} | change))


@pytest.mark.parametrize(
    "maps", [torch.zeros(SIDE, SIDE), torch.zeros(1, SIDE, 3), random_maps() * torch.inf]
)
def test_bad_maps(picture, maps):
    with pytest.raises(ValueError, match="maps must be"):
        METRICS["sparseness"].measure(judge_of(picture), maps)
