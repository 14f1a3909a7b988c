"""The public face of the metrics: three lines, without a benchmark."""

import copy
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.integrate import trapezoid
from torch import nn

import usu.metrics
from tests.helpers.networks import Normalising, Residual, fingerprint, small_cnn
from usu.metrics import METRICS, Judge, errors, localisation, statistics
from usu.metrics.faithfulness.labels import LABELS

SIDE, LARGE = 28, 32  # the random picture of 32 pixels has several segments of each kind
FEW = ["deletion-mean", "infidelity", "road", "irof-grid"]


class Corner(nn.Module):
    """The first logit is the sum of the top left quarter of the image, the second is 0."""

    def forward(self, batch):
        logits = batch[:, :, : SIDE // 2, : SIDE // 2].sum((1, 2, 3))
        return torch.stack([logits, torch.zeros_like(logits)], dim=1)


def corner():
    """Return the model, an image of 1/196 in the quarter that counts and 0 elsewhere, and its right map."""
    inputs = torch.zeros(1, SIDE, SIDE)
    inputs[:, : SIDE // 2, : SIDE // 2] = 1 / 196
    return Corner().eval(), inputs, (inputs[0] > 0).double()


def random_inputs(dtype=torch.float32):
    return torch.rand(3, LARGE, LARGE, generator=torch.Generator().manual_seed(0)).to(dtype)


def random_map(seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(LARGE, LARGE, generator=generator, dtype=torch.float64)


def judge_of(model=None, inputs=None, target=2, **options):
    return Judge(model or small_cnn(), random_inputs() if inputs is None else inputs, target, **options)


def sigmoid(logits):
    return 1 / (1 + np.exp(-np.asarray(logits)))


def test_values_by_hand():
    """The logit is 1, that of the blackened quarter 0; a quarter of the pixels carries all of it."""
    model, inputs, right = corner()
    names = ["infidelity", "pixel-flipping", "deletion-mean", "sparseness", "irof-grid"]
    scores = Judge(model, inputs, 0).score(right, names)
    assert list(scores) == names
    # Where a pixel turns black the map says 1/196, which is what the logit loses.
    assert scores["infidelity"] == pytest.approx(0, abs=1e-12)
    # Of 8 steps the first two take the quarter; the curve starts after the first.
    heights = sigmoid([0.5, 0, 0, 0, 0, 0, 0, 0])
    assert scores["pixel-flipping"] == pytest.approx(trapezoid(heights) / 7, rel=1e-6)
    # The mean is a quarter of the value; 3.5 of 14 steps bring the quarter there.
    heights = sigmoid(1 - 0.75 * np.minimum(np.arange(15) / 3.5, 1))
    assert scores["deletion-mean"] == pytest.approx(trapezoid(heights) / 14 / sigmoid(1), rel=1e-6)
    # A quarter of the values is 1, the others are 0: the Gini index is 3/4.
    assert scores["sparseness"] == pytest.approx(0.75, abs=1e-6)
    assert math.isnan(scores["irof-grid"])  # the image is one cell of 28 pixels


def test_road_by_hand():
    model, inputs, right = corner()
    rows = Judge(model, inputs, 0).score({"first": right, "last": -right}, "road")
    # Where the quarter goes last, 40 % of it is left when 90 % of pixels are gone: the class stays first.
    assert rows["last"]["road"] == 1
    # Where it goes first, it is left in part at 10 and 20 %, and all of it is noise from 30 % on.
    assert 2 / 9 <= rows["first"]["road"] < 1


def test_twice_the_map_forecasts_twice_the_change():
    model, inputs, right = corner()
    scores = Judge(model, inputs, 0).score(
        {"right": right, "twice": 2 * right, "none": 0 * right}, "infidelity"
    )
    # After patch k of the 14 × 14, a share of the logit of 1 is lost; twice the map is wrong by that share.
    lost = np.cumsum(right.reshape(14, 2, 14, 2).sum((1, 3)).ravel().numpy()) / 196
    assert scores["twice"]["infidelity"] == pytest.approx((lost**2).mean())
    assert scores["none"]["infidelity"] == pytest.approx((lost**2).mean())


def test_several_maps_get_a_row_each_and_share_every_pass():
    maps = {"one": random_map(1), "two": random_map(2)}
    judge = judge_of()
    rows = judge.score(maps, FEW)
    assert list(rows) == ["one", "two"]
    together = judge.passes
    for name, values in maps.items():
        assert judge.score(values, FEW) == rows[name]
        assert judge_of().score(values, FEW) == pytest.approx(rows[name], rel=1e-5)
    assert judge.passes == together  # all answers were known
    assert rows["one"]["infidelity"] != rows["two"]["infidelity"]


def test_scores_are_those_of_the_benchmark():
    maps = torch.stack([random_map(1), random_map(2)])
    image = random_inputs()
    rows = Judge(small_cnn(), 2 * image - 1, 2, image=image).score(dict(zip("ab", maps, strict=True)))
    judge = Judge(small_cnn(), 2 * image - 1, 2, image=image)  # as usu.bench.worker
    for name, metric in METRICS.items():
        values = metric.measure(judge, maps).tolist()
        np.testing.assert_equal([rows[key][name] for key in "ab"], values)
    assert list(rows["a"]) == list(METRICS)


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor, lambda values: values.float().tolist()])
def test_maps_of_any_kind(kind):
    values = random_map().float().double()
    expected = judge_of().score(values, FEW)
    assert judge_of().score(kind(values), FEW) == expected


def test_a_stack_comes_back_in_its_kind():
    judge, maps = judge_of(), torch.stack([random_map(1), random_map(2)])
    found = METRICS["sparseness"].measure(judge, maps.numpy())
    assert isinstance(found, np.ndarray)
    np.testing.assert_array_equal(found, METRICS["sparseness"].measure(judge, maps))


def test_a_callable_gets_batches_of_the_kind_of_the_inputs():
    model, kinds = small_cnn(), set()

    def answer(batch):
        kinds.add(type(batch))
        with torch.no_grad():
            return model(torch.as_tensor(batch)).numpy()

    scores = Judge(answer, random_inputs().numpy(), 2).score(random_map(), FEW)
    assert kinds == {np.ndarray}
    assert scores == pytest.approx(judge_of(model).score(random_map(), FEW), rel=1e-5)
    module = Judge(model, random_inputs().numpy(), 2)  # a module takes tensors
    assert module.score(random_map(), FEW) == pytest.approx(scores, rel=1e-5)


def test_the_class_by_name_and_the_predicted_one():
    model, inputs = small_cnn(), random_inputs()
    predicted = int(model(inputs[None]).argmax())
    judge = Judge(model, inputs)
    assert (judge.target, judge.passes) == (predicted, 1)
    judge.score(random_map(), "infidelity")
    assert judge.passes == 1 + 14 * 14  # the image itself was known
    assert Judge(model, inputs, "c", class_names=["a", "b", "c", "d", "e"]).target == 2


def test_without_an_image_the_inputs_are_stretched():
    inputs = random_inputs()
    stretched = (inputs - inputs.min()) / (inputs.max() - inputs.min())
    torch.testing.assert_close(Judge(small_cnn(), 4 * inputs - 2, 2).image, stretched)
    grey = Judge(*corner()[:2], 0)
    assert tuple(grey.image.shape) == (3, SIDE, SIDE)
    assert torch.equal(grey.image[0], grey.image[2])
    assert float(judge_of(inputs=torch.ones(3, SIDE, SIDE)).image.max()) == 0


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_models_of_another_precision(dtype):
    scores = judge_of(small_cnn().to(dtype), random_inputs(dtype)).score(random_map())
    exact = judge_of(inputs=random_inputs(dtype).float()).score(random_map())
    assert all(map(math.isfinite, scores.values()))
    rough = {
        name: exact[name] for name in ("deletion-blur", "insertion-mean", "sparseness", "pixel-flipping")
    }
    assert {name: scores[name] for name in rough} == pytest.approx(rough, rel=0.02)


@pytest.mark.parametrize("in_place", [True, False])
def test_models_that_overwrite_what_they_are_given(in_place):
    inputs, before = random_inputs(), random_inputs()
    models = [Normalising(Residual(each), each).eval() for each in (in_place, False)]
    found, expected = (Judge(model, inputs).score(random_map(), FEW) for model in models)
    assert found == pytest.approx(expected, rel=1e-5)
    assert torch.equal(inputs, before)


class Failing(nn.Module):
    """Fails after some batches."""

    def __init__(self, batches):
        super().__init__()
        self.inner, self.left = small_cnn(), batches

    def forward(self, batch):
        self.left -= 1
        if self.left < 0:
            raise RuntimeError("no more")
        return self.inner(batch)


def test_model_and_inputs_are_left_as_they_were_also_after_an_exception():
    model, inputs, values = Failing(3).eval(), random_inputs().requires_grad_(), random_map()
    before = fingerprint(model), inputs.detach().clone(), values.clone(), torch.get_rng_state()
    state = copy.deepcopy(np.random.get_state())  # noqa: NPY002
    judge = Judge(model, inputs, 2)
    with pytest.raises(RuntimeError, match="no more"):
        judge.score(values)
    model.left = 10**6
    judge.score(values)  # goes on from where it was
    assert fingerprint(model) == before[0]
    assert inputs.grad is None
    for found, kept in zip((inputs, values, torch.get_rng_state()), before[1:], strict=True):
        assert torch.equal(found, kept)
    np.testing.assert_equal(np.random.get_state(), state)  # noqa: NPY002
    assert torch.is_grad_enabled()


def test_a_model_that_is_trained_again_is_refused():
    model, inputs = small_cnn(), random_inputs()
    judge = judge_of(model, inputs)
    before = judge.score(random_map(), "infidelity")
    inputs.zero_()  # the judge has its own
    assert judge.score(random_map(), "infidelity") == before
    model[3].train()
    with pytest.raises(ValueError, match="model is in training mode"):
        judge.score(random_map(), "infidelity")


def test_answers_before_an_exception_are_kept():
    model = Failing(3).eval()
    judge = judge_of(model, perturbations_per_eval=50)
    with pytest.raises(RuntimeError):
        judge.score(random_map(), "infidelity")
    assert judge.passes == 150
    model.left = 2
    judge.score(random_map(), "infidelity")
    assert judge.passes == 14 * 14 + 1


@pytest.mark.parametrize(
    ("maps", "metrics", "error", "message"),
    [
        (random_map(), "deletion", ValueError, "'deletion'; did you mean 'deletion-mean' or 'deletion-blur'"),
        (random_map(), ["PixelFlipping"], ValueError, "metrics has the unknown .* mean 'pixel-flipping'"),
        (random_map(), "x", ValueError, "'x'; known are infidelity, infidelity-minmax, .*irof-felzenszwalb"),
        (random_map(), 3, ValueError, "metrics has the unknown name 3"),
        (random_map(), [], ValueError, "metrics is empty"),
        ({}, "road", ValueError, "maps is empty"),
        (
            random_map()[:9],
            "road",
            ValueError,
            r"maps must be \(32, 32\), the size of the inputs, got \(9, 32\)",
        ),
        (torch.zeros(2, LARGE, LARGE), "road", ValueError, r"got \(2, 32, 32\); give several maps by name"),
        ({"usu": np.zeros((7, 7))}, "road", ValueError, r"maps\['usu'\] must be \(32, 32\)"),
        ({"a": random_map() * math.inf}, "road", ValueError, r"maps\['a'\] must be finite"),
        ("a map", "road", TypeError, "maps must be an array"),
        ({"a": object()}, "road", TypeError, r"maps\['a'\] must be an array"),
    ],
)
def test_bad_maps_and_metrics(maps, metrics, error, message):
    judge = judge_of()
    with pytest.raises(error, match=message) as raised:
        judge.score(maps, metrics)
    assert judge.passes == 0
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (lambda batch: (batch.mean((2, 3)), batch.amax((2, 3))), TypeError, "several could be the scores"),
        (lambda batch: batch, ValueError, r"must be \(32, classes\), got \(32, 3, 32, 32\)"),
        (lambda batch: batch.mean((2, 3))[:1], ValueError, r"the model's output must be \(32, classes\)"),
        (lambda batch: batch.mean((1, 2, 3))[:, None], ValueError, "two or more classes"),
        (lambda batch: batch.mean((2, 3)) * math.nan, ValueError, "the model's output has NaN or infinite"),
        (
            lambda batch: batch.mean((2, 3))[:, :2],
            ValueError,
            "target must be below the model's 2 classes, got 2",
        ),
    ],
)
def test_bad_answers(answer, error, message):
    with pytest.raises(error, match=message):
        Judge(answer, random_inputs(), 2).score(random_map(), "infidelity")


def test_inputs_of_another_dtype_than_the_weights_are_told_about():
    with pytest.raises(TypeError, match="inputs are float64, but the model's weights are float32"):
        Judge(small_cnn(), random_inputs(torch.float64))


def test_how_to_read_a_metric():
    assert list(METRICS) == list(LABELS)
    for name, metric in METRICS.items():
        assert {field: getattr(metric, field) for field in vars(LABELS[name])} == vars(LABELS[name])
        assert metric.description
        assert "\n" not in metric.description
    assert METRICS["road"].title == "ROAD"
    assert (METRICS["road"].heading, METRICS["irof-grid"].heading) == ("ROAD ↓", "IROF, grid of 28 px ↑")
    assert not METRICS["road"].higher_is_better
    assert METRICS["irof"].higher_is_better


def test_the_page_has_every_metric_as_its_label_has_it():
    rows = [
        f"| `{name}` | {metric.heading} | {metric.range} | {metric.description} |"
        for name, metric in METRICS.items()
    ]
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert "\n".join(["| name | title | values | what it asks |", "|---|---|---|---|", *rows, ""]) in page


def test_values_are_in_the_range_that_the_label_states():
    judge = judge_of()
    scores = [judge.score(factor * random_map(seed)) for seed, factor in enumerate((1, -5, 1e-3))]
    for name, metric in METRICS.items():
        words = re.match(r"[\[(](.+?), (.+?)[\])]", metric.range).groups()
        low, high = (float(word.replace("n", "1e3").replace("∞", "inf")) for word in words)
        values = [row[name] for row in scores]
        assert all(low <= value <= high for value in values), name
        assert name == "road" or len(set(values)) == 3, name


def test_the_face_shows_what_it_says():
    for name in usu.metrics.__all__:
        assert getattr(usu.metrics, name) is not None
        assert name in dir(usu.metrics)
    assert usu.metrics.error_maps is errors.error_maps is usu.error_maps
    assert usu.metrics.pointing_game is localisation.pointing_game
    assert usu.metrics.paired_test is statistics.paired_test
    with pytest.raises(AttributeError, match="attribute road_runner"):
        _ = usu.metrics.road_runner


@pytest.mark.parametrize(
    "statement",
    [
        "import usu.metrics",
        "from usu.metrics.faithfulness import LABELS",
        "from usu.metrics import paired_test",
    ],
)
def test_labels_and_statistics_load_no_torch(statement):
    program = f"import sys; {statement}; print('torch' in sys.modules, 'scipy' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "False"]
