"""The fast metrics of block A against Quantus itself, and the faults that its adapter works around."""

import gc
import subprocess
import sys
import weakref

import numpy as np
import pytest
import quantus
import skimage.data
import torch
from PIL import Image
from quantus.functions.normalise_func import normalise_by_max
from quantus.helpers import asserts, utils
from torch import nn

from tests.helpers.networks import fingerprint, small_cnn
from usu.adapters.quantus import QUANTUS_SCORES, quantus_score
from usu.metrics import METRICS, Judge
from usu.models.classifier import Preparation
from usu.models.loading import load_classifier

SIDE = 56  # a network of convolutions takes any size: 14 patches of 4
quiet = pytest.mark.filterwarnings("ignore:The settings for perturbing:UserWarning")


class Recording(nn.Module):
    """A model that keeps the bytes of every image that it is given."""

    def __init__(self, model):
        super().__init__()
        self.model, self.seen = model, []

    def forward(self, batch):
        self.seen += [image.cpu().numpy().copy() for image in batch]
        return self.model(batch)


def photograph(name, mean=127 / 255, std=128 / 255, side=SIDE):
    prepare = Preparation(side, (side, side), (mean,) * 3, (std,) * 3)
    return prepare(Image.fromarray(getattr(skimage.data, name)()))


def smooth(generator, side=SIDE):
    coarse = torch.rand(1, 1, 7, 7, generator=generator, dtype=torch.float64)
    return nn.functional.interpolate(coarse, size=(side, side), mode="bilinear")[0, 0]


def cells(generator, side=SIDE):
    """Constant on 7 × 7 cells, two of which are equal as well: ties everywhere."""
    coarse = torch.rand(7, 7, generator=generator, dtype=torch.float64)
    coarse[3, 3] = coarse[0, 6]
    return coarse.repeat_interleave(side // 7, 0).repeat_interleave(side // 7, 1)


def sparse(generator, side=SIDE):
    values = torch.randn(side, side, generator=generator, dtype=torch.float64)
    return values * (torch.rand(side, side, generator=generator) < 0.02)


KINDS = {
    "smooth": smooth,
    "cells": cells,
    "signed cells": lambda generator: cells(generator) - 0.5,
    "negative": lambda generator: smooth(generator) - 2,
    "sparse": sparse,
    "zero": lambda _: torch.zeros(SIDE, SIDE, dtype=torch.float64),
}
PHOTOGRAPHS = ("chelsea", "astronaut", "coffee")


def maps_of(kinds):
    return torch.stack([KINDS[kind](torch.Generator().manual_seed(n)) for n, kind in enumerate(kinds)])


@pytest.mark.parametrize("name", QUANTUS_SCORES)
@pytest.mark.parametrize(
    ("photo", "kinds"),
    [
        ("chelsea", ["smooth", "sparse"]),
        ("astronaut", ["cells", "zero"]),
        ("coffee", ["signed cells", "negative"]),
    ],
    ids=PHOTOGRAPHS,
)
def test_the_same_perturbed_inputs_and_scores(name, photo, kinds):
    inputs, picture = photograph(photo)
    maps = maps_of(kinds)
    fast, slow = Recording(small_cnn()).eval(), Recording(small_cnn()).eval()
    judge = Judge(fast, inputs, 3, image=picture, seed=5, perturbations_per_eval=7)
    ours = METRICS[name].measure(judge, maps).numpy()
    theirs = [quantus_score(name, slow, inputs, 3, values, seed=5) for values in maps]
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    assert judge.passes == len(fast.seen)
    # A constant map has no order: Quantus is not asked, while here it runs along with the others.
    ordered = [each for each in slow.seen if not np.array_equal(each, inputs.numpy())]
    if name == "road":
        assert_equal_but_for_rounding(fast.seen, ordered)
    else:
        assert {image.tobytes() for image in ordered} <= {image.tobytes() for image in fast.seen}


def assert_equal_but_for_rounding(ours, theirs):
    """ROAD's systems are solved otherwise: a value in a million may round to its neighbour in float32."""
    stacked = np.stack(ours)
    for image in theirs:
        distances = np.abs(stacked - image).reshape(len(ours), -1)
        nearest = distances[distances.max(1).argmin()]
        assert nearest.max() <= np.spacing(np.float32(np.abs(image).max()))
        assert (nearest > 0).mean() <= 1e-4


def test_equal_scores_on_a_trained_network():
    classifier = load_classifier("efficientnet-lite0")
    inputs, picture = photograph("chelsea", side=84)
    with torch.no_grad():
        target = int(classifier.model(inputs[None]).argmax())
    maps = smooth(torch.Generator().manual_seed(0), side=84)[None]
    judge = Judge(classifier.model, inputs, target, image=picture, perturbations_per_eval=8)
    for name in QUANTUS_SCORES:
        ours = float(METRICS[name].measure(judge, maps)[0])
        theirs = quantus_score(name, classifier.model, inputs, target, maps[0])
        assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-5), name


def test_all_of_block_a_but_what_it_names_twice_is_in_quantus():
    assert set(QUANTUS_SCORES) == {name for name, metric in METRICS.items() if metric.block == "A"}


def test_the_model_and_the_random_state_are_left_as_they_were():
    model, (inputs, _) = small_cnn(), photograph("chelsea")
    values = maps_of(["smooth"])[0]
    before, area, check = fingerprint(model), utils.calculate_auc, asserts.assert_attributions
    np.random.seed(3)  # noqa: NPY002
    expected = np.random.RandomState(3).uniform()
    quantus_score("pixel-flipping", model, inputs, 1, values)
    with pytest.raises(IndexError):
        quantus_score("pixel-flipping", model, inputs, 99, values)
    assert fingerprint(model) == before
    assert (utils.calculate_auc, asserts.assert_attributions) == (area, check)
    assert np.random.uniform() == expected  # noqa: NPY002


def test_no_model_is_kept():
    model, (inputs, _) = small_cnn(), photograph("chelsea")
    quantus_score("pixel-flipping", model, inputs, 1, maps_of(["smooth"])[0])
    kept = weakref.ref(model)
    del model
    gc.collect()
    assert kept() is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "faithfulness"}, "name must be one of"),
        ({"model": small_cnn().train()}, "training mode"),
        ({"attribution": torch.zeros(7, 7)}, r"attribution must be \(56, 56\)"),
        ({"inputs": torch.zeros(3, 20, 20), "attribution": torch.zeros(20, 20)}, "14 × 14 squares"),
    ],
)
def test_bad_arguments(arguments, message):
    good = {
        "name": "infidelity",
        "model": small_cnn(),
        "inputs": torch.zeros(3, SIDE, SIDE),
        "target": 0,
        "attribution": torch.zeros(SIDE, SIDE),
    }
    with pytest.raises(ValueError, match=message):
        quantus_score(**(good | arguments))


def test_a_missing_quantus_names_the_extra():
    program = "import sys; sys.modules['quantus'] = None; import usu.adapters.quantus"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "pip install 'usu-xai[bench]'" in run.stderr


# From here on: each fault of Quantus that is worked around. A failure says that it is mended.


def grey(count=2):
    """Return a network, inputs and maps (B, 1, 28, 28), on which faults with RGB do not show."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 5), nn.ReLU(), nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(36, 4)
    )
    rng = np.random.default_rng(1)
    return model.eval(), rng.random((count, 1, 28, 28), dtype=np.float32), rng.random((count, 1, 28, 28))


def rgb():
    rng = np.random.default_rng(2)
    return {
        "model": small_cnn(),
        "x_batch": rng.random((1, 3, 28, 28), dtype=np.float32),
        "y_batch": np.array([1]),
        "a_batch": rng.random((1, 1, 28, 28)),
        "channel_first": True,
    }


@pytest.mark.skipif(hasattr(np, "trapz"), reason="this NumPy still has trapz")
def test_fault_areas_call_a_function_that_numpy_dropped():
    with pytest.raises(AttributeError, match="trapz"):
        utils.calculate_auc(np.ones(3))


def test_fault_irof_compares_a_mask_without_channels():
    with pytest.raises(AssertionError, match="same as the mask"):
        quantus.IROF(disable_warnings=True)(**rgb())


def test_fault_road_takes_features_for_pixels():
    with pytest.raises(IndexError):
        quantus.ROAD(percentages=[50], disable_warnings=True)(**rgb())


@quiet
def test_fault_road_returns_the_first_batch_alone():
    model, inputs, maps = grey()
    with torch.no_grad():
        right = model(torch.from_numpy(inputs)).argmax(1).numpy()
    wrong = np.array([right[0], (right[1] + 1) % 4])
    call = {"model": model, "x_batch": inputs, "y_batch": wrong, "a_batch": maps, "channel_first": True}
    metric = quantus.ROAD(percentages=[1], disable_warnings=True)
    assert metric(batch_size=1, **call) == {1: 1.0}  # the mean over both would be 0.5
    assert metric(batch_size=2, **call) == {1: 0.5}


@quiet
def test_fault_irof_fills_with_the_mean_of_the_batch(monkeypatch):
    monkeypatch.setattr(utils, "calculate_auc", lambda values, batched: np.asarray(values).mean(1))
    monkeypatch.setattr(
        utils,
        "get_superpixel_segments",
        lambda img, segmentation_method: np.arange(784).reshape(28, 28) // 196,
    )
    model, inputs, maps = grey()
    inputs[1] += 3
    labels = np.array([0, 1])
    metric = quantus.IROF(disable_warnings=True, return_aggregate=False)
    together = metric(model=model, x_batch=inputs, y_batch=labels, a_batch=maps, channel_first=True)
    first = {"x_batch": inputs[:1], "y_batch": labels[:1], "a_batch": maps[:1]}
    alone = metric(model=model, channel_first=True, **first)
    assert together[0] != pytest.approx(alone[0], rel=1e-4)


def test_fault_one_maximum_for_the_whole_batch():
    assert normalise_by_max(np.array([[1.0], [4.0]])).tolist() == [[0.25], [1.0]]


@quiet
def test_fault_monotonicity_stops_at_mixed_probabilities():
    model, inputs, maps = grey()

    class Certain(nn.Module):
        """Gives the second image a probability of nearly 0."""

        def forward(self, batch):
            logits = model(batch)
            return logits + torch.tensor([0.0, -60.0, 0.0, 0.0])

    metric = quantus.MonotonicityCorrelation(nr_samples=1, features_in_step=98, disable_warnings=True)
    labels = np.array([0, 1])
    with pytest.raises(ValueError, match="NumPy boolean array indexing assignment"):
        metric(model=Certain().eval(), x_batch=inputs, y_batch=labels, a_batch=maps, channel_first=True)


@pytest.mark.parametrize(
    "values", [np.zeros((1, 1, 28, 28)), np.full((1, 1, 28, 28), 0.5), -rgb()["a_batch"] - 1]
)
def test_fault_maps_that_are_refused(values):
    with pytest.raises(AssertionError):
        quantus.Sparseness(disable_warnings=True)(**rgb() | {"a_batch": values})


@quiet
def test_fault_patches_that_do_not_divide_the_image():
    metric = quantus.Infidelity(perturb_patch_sizes=[16], n_perturb_samples=1, disable_warnings=True)
    with pytest.raises(IndexError):
        metric(**rgb())


def test_fault_models_are_kept_for_ever():
    arguments = rgb()
    kept = weakref.ref(arguments["model"])
    quantus.PixelFlipping(features_in_step=98, disable_warnings=True)(**arguments)
    del arguments
    gc.collect()
    assert kept() is not None
    utils.PyTorchModel._get_last_softmax_layer_index.cache_clear()
    gc.collect()
    assert kept() is None
