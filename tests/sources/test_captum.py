"""Captum's occlusion, integrated gradients and LIME as sources: its numbers, every pass counted."""

import dataclasses
import itertools

import captum.attr as library
import numpy as np
import pytest
import torch
from torch import nn

import usu
from tests.helpers.networks import fingerprint, small_cnn
from usu.models.baselines import make_fill
from usu.sources.captum import IntegratedGradientsSource, LimeSource, OcclusionSource

OPTIONS = {"segmentation": {"quadtree": (4, 16)}}
TARGETS = [4, 2]
# Small enough for tests; 16 × 24 pixels in cells of 4 × 4.
SOURCES = {
    "integrated-gradients": IntegratedGradientsSource(cells=4, n_steps=20),
    "occlusion": OcclusionSource(cells=4),
    "lime": LimeSource(superpixels=12, n_samples=70),
}
PASSES = {"integrated-gradients": 20, "occlusion": 1 + 24, "lime": 70}
every_source = pytest.mark.parametrize("name", SOURCES)


@pytest.fixture
def model():
    return small_cnn()


@pytest.fixture
def batch():
    return torch.randn(2, 3, 16, 24, generator=torch.Generator().manual_seed(1))


def maps(found):
    return [values.flatten() for values in found.values]


def smooth_cnn():
    return nn.Sequential(
        *(nn.Softplus() if isinstance(part, nn.ReLU) else part for part in small_cnn())
    ).eval()


@every_source
def test_baselines_may_differ_from_image_to_image(model, batch, name):
    fills = torch.stack([torch.zeros_like(batch[0]), batch[0]])
    found = maps(dataclasses.replace(SOURCES[name], baselines=fills)(model, batch, TARGETS, None))
    for image in range(2):
        alone = dataclasses.replace(SOURCES[name], baselines=fills[image])
        (expected,) = maps(alone(model, batch[[image]], [TARGETS[image]], None))
        assert torch.allclose(found[image], expected, atol=1e-6)


@pytest.mark.parametrize("baselines", ["zeros", "blur"])
def test_integrated_gradients_are_the_librarys_pooled(model, batch, baselines):
    found = IntegratedGradientsSource(cells=4, n_steps=37, baselines=baselines)(model, batch, TARGETS, None)
    raw = library.IntegratedGradients(model).attribute(
        batch, make_fill(batch, baselines), target=TARGETS, n_steps=37
    )
    pooled = raw.sum(1).view(2, 4, 4, 6, 4).sum((2, 4)).float()
    assert (found.mass, found.source, found.layer) == ("total", "integrated-gradients", None)
    assert torch.allclose(found.values, pooled, atol=1e-5)
    assert found.values.min() < 0


def test_integrated_gradients_cells_sum_to_the_difference_of_answers(batch):
    model = smooth_cnn()
    found = IntegratedGradientsSource()(model, batch, TARGETS, None)
    difference = (model(batch) - model(torch.zeros_like(batch)))[range(2), TARGETS]
    assert found.values.shape == (2, 14, 21)
    assert torch.allclose(found.values.sum((1, 2)), difference, rtol=1e-4)


def test_occlusion_is_the_librarys_with_windows_side_by_side(model, batch):
    found = OcclusionSource(cells=4)(model, batch, TARGETS, None)
    window = (3, 4, 4)
    raw = library.Occlusion(model).attribute(
        batch, window, window, baselines=make_fill(batch, "blur"), target=TARGETS
    )
    assert (found.mass, found.source, found.layer) == ("total", "occlusion", None)
    assert torch.allclose(found.values, raw[:, 0, ::4, ::4].float(), atol=1e-5)


def test_occlusion_of_a_size_that_is_no_multiple(model, device):
    model, rows, columns = model.to(device).double(), 3, 5
    image = torch.randn(1, 3, 10, 17, generator=torch.Generator().manual_seed(3)).double().to(device)
    found = OcclusionSource(cells=3, baselines="mean")(model, image, [1], None)
    assert found.values.shape == (1, rows, columns)
    for row, column in itertools.product(range(rows), range(columns)):
        masked = image.clone()
        for y, x in itertools.product(range(10), range(17)):
            if (int((y + 0.5) * rows / 10), int((x + 0.5) * columns / 17)) == (row, column):
                masked[0, :, y, x] = image[0].mean((1, 2))
        fall = (model(image) - model(masked))[0, 1].item()
        assert found.values[0, row, column].item() == pytest.approx(fall, abs=1e-9)


def test_cells_are_square_and_never_without_a_pixel(model):
    for size, expected in {(28, 28): (14, 14), (56, 28): (28, 14), (9, 30): (9, 30)}.items():
        assert OcclusionSource()(model, torch.zeros(1, 3, *size), [0], None).values.shape == (1, *expected)


def test_lime_is_the_regression_of_the_authors_package(model, batch):
    from lime.lime_base import LimeBase

    source = SOURCES["lime"]
    image, fill, present, outputs = batch[:1], make_fill(batch[:1], "blur"), [], []
    labels = source(model, image, [2], None).neighbourhoods[0]

    def watched(masked):
        kept = (masked == image[0]).all(1)
        for row, picture in zip(kept, masked, strict=True):
            present.append([bool(row[labels == label].all()) for label in range(12)])
            assert torch.equal(picture, torch.where(row, image[0], fill[0]))
        outputs.extend(model(masked).detach().tolist())
        return model(masked)

    class Watched(nn.Module):
        def forward(self, masked):
            return watched(masked)

    found = source(Watched().eval(), image, [2], None)
    data = np.array(present, dtype=float)
    assert data[0].all()
    assert 0.4 < data[1:].mean() < 0.6
    distances = 1 - data.sum(1) / np.sqrt(np.maximum(data.sum(1), 1) * 12)

    def kernel(distance):
        return np.sqrt(np.exp(-(distance**2) / 0.25**2))

    _, pairs, _, _ = LimeBase(kernel, random_state=0).explain_instance_with_data(
        data, np.array(outputs), distances, 2, 12, feature_selection="none"
    )
    weights = torch.tensor([weight for _, weight in sorted(pairs)])
    assert torch.allclose(found.values[0].double(), weights, atol=1e-5)
    assert found.values[0].std() > 1e-3


def test_lime_finds_the_effects_of_an_additive_answer():
    weights = torch.randn(8, 12, generator=torch.Generator().manual_seed(2))

    class Additive(nn.Module):
        def forward(self, batch):
            return (batch[:, 0] * weights).sum((1, 2))[:, None]

    image = torch.randn(1, 3, 8, 12, generator=torch.Generator().manual_seed(3))
    found = LimeSource(superpixels=5, n_samples=1500, baselines="zeros")(Additive().eval(), image, [0], None)
    labels, values = found.neighbourhoods[0], found.values[0]
    effects = torch.zeros(5).index_add(0, labels.flatten(), (image[0, 0] * weights).flatten())
    assert torch.allclose(values, effects, atol=0.05 * float(effects.abs().max()))


def test_lime_is_deterministic_by_seed_and_leaves_the_generators(model, batch):
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first, again = (maps(SOURCES["lime"](model, batch, TARGETS, None)) for _ in range(2))
    other = maps(LimeSource(superpixels=12, n_samples=70, seed=1)(model, batch, TARGETS, None))
    assert all(map(torch.equal, first, again))
    assert not torch.equal(first[0], other[0])
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


def test_lime_superpixels_differ_from_image_to_image(model, batch):
    found = SOURCES["lime"](model, batch, TARGETS, None)
    assert [len(values) for values in found.values] == [12, 12]
    assert not torch.equal(*found.neighbourhoods)
    explained = usu.explain(model, batch, TARGETS, source=SOURCES["lime"], mode="usu", **OPTIONS)
    for one, values, labels in zip(explained, found.values, found.neighbourhoods, strict=True):
        sums = torch.zeros(12).index_add(0, labels.flatten(), one.attribution.flatten())
        assert torch.allclose(sums, values, atol=1e-6 * float(values.abs().max()) * 10)


@pytest.mark.parametrize("name", ["integrated-gradients", "occlusion"])
def test_mass_is_conserved_to_pixels(model, batch, name):
    found = usu.explain(model, batch[0], 2, source=SOURCES[name], mode="usu", **OPTIONS)
    assert (found.source, found.layer, found.mass) == (name, None, "total")
    cells = found.attribution.double().view(4, 4, 6, 4).sum((1, 3))
    coarse = found.coarse.double()
    assert torch.allclose(cells, coarse, rtol=1e-6, atol=1e-6 * float(coarse.abs().max()))


@every_source
def test_forward_passes_are_what_the_model_saw(model, batch, name):
    seen = []
    handle = model[0].register_forward_hook(lambda module, arguments, output: seen.append(len(output)))
    found = SOURCES[name](model, batch, TARGETS, None)
    handle.remove()
    assert sum(found.forward_passes) == sum(seen)
    assert found.forward_passes == (PASSES[name],) * 2
    assert max(seen) <= 16


@every_source
def test_batch_equals_one_by_one(model, batch, name):
    together = maps(SOURCES[name](model, batch, TARGETS, None))
    for image, target in enumerate(TARGETS):
        (alone,) = maps(SOURCES[name](model, batch[image : image + 1], [target], None))
        assert torch.allclose(together[image], alone, atol=1e-6)


@every_source
def test_target_may_be_a_callable_on_the_output(model, batch, name):
    by_index = maps(SOURCES[name](model, batch, TARGETS, None))
    columns = [lambda outputs, target=target: outputs[:, target] for target in TARGETS]
    for one, other in zip(by_index, maps(SOURCES[name](model, batch, columns, None)), strict=True):
        assert torch.equal(one, other)


@every_source
def test_works_where_gradients_are_off(model, batch, name):
    expected = maps(SOURCES[name](model, batch, TARGETS, None))
    with torch.no_grad():
        assert all(map(torch.equal, maps(SOURCES[name](model, batch, TARGETS, None)), expected))
        assert not torch.is_grad_enabled()


@every_source
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats(model, batch, name, dtype):
    rounded = batch.to(dtype)  # superpixels follow the least change of a picture without any structure
    expected = maps(SOURCES[name](model, rounded.float(), TARGETS, None))
    found = maps(SOURCES[name](model.to(dtype), rounded, TARGETS, None))
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == dtype
        assert torch.allclose(one.float(), other, atol=0.3 * float(other.abs().max()))


@every_source
def test_model_is_left_as_it_was_found(model, batch, name):
    model[0].weight.requires_grad_(False)
    model[2].weight.grad = torch.ones_like(model[2].weight)
    before = fingerprint(model)
    SOURCES[name](model, batch, TARGETS, None)
    assert fingerprint(model) == before
    assert not batch.requires_grad


class Failing(nn.Module):
    """A network that fails at one of its calls, after its layers."""

    def __init__(self, inner, failing_call):
        super().__init__()
        self.inner, self.left = inner, failing_call

    def forward(self, batch):
        outputs = self.inner(batch)
        self.left -= 1
        if self.left == 0:
            raise RuntimeError("out of luck")
        return outputs


@every_source
@pytest.mark.parametrize("failing_call", [1, 2, 3])
def test_model_is_left_as_it_was_found_after_an_exception(model, batch, name, failing_call):
    failing, state = Failing(model, failing_call).eval(), torch.get_rng_state()
    before = fingerprint(failing)
    with pytest.raises(RuntimeError, match="out of luck"):
        SOURCES[name](failing, batch, TARGETS, None)
    assert fingerprint(failing) == before
    assert torch.equal(torch.get_rng_state(), state)


@every_source
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"targets": [1, 2, 3]}, "target must be one index or 2, one per image"),
        ({"targets": [1, 5]}, "target must be below the model's 5 classes, got 5"),
        ({"targets": [1, -1]}, "target must be a class index from 0 up"),
        ({"layer": "4"}, "layer must be None for source .*, got '4'"),
    ],
)
def test_bad_values(model, batch, name, change, message):
    arguments = {"model": model, "inputs": batch, "targets": TARGETS, "layer": None, **change}
    before = fingerprint(model)
    with pytest.raises(ValueError, match=message):
        SOURCES[name](**arguments)
    assert fingerprint(model) == before


@every_source
def test_training_mode_is_refused_and_kept(model, batch, name):
    with pytest.raises(ValueError, match="training mode"):
        SOURCES[name](model.train(), batch, TARGETS, None)
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize(
    ("source", "options", "error", "message"),
    [
        (OcclusionSource, {"cells": 0}, ValueError, "cells must be at least 1, got 0"),
        (OcclusionSource, {"cells": 2.5}, TypeError, r"cells must be an integer, got 2\.5"),
        (IntegratedGradientsSource, {"cells": -3}, ValueError, "cells must be at least 1, got -3"),
        (IntegratedGradientsSource, {"n_steps": 0}, ValueError, "n_steps must be at least 1, got 0"),
        (LimeSource, {"superpixels": 0}, ValueError, "superpixels must be at least 1, got 0"),
        (LimeSource, {"n_samples": 1}, ValueError, "n_samples must be at least 2, got 1"),
        (LimeSource, {"kernel_width": 0}, ValueError, "kernel_width must be positive, got 0"),
        (LimeSource, {"kernel_width": "wide"}, TypeError, "kernel_width must be a number"),
        (LimeSource, {"seed": True}, TypeError, "seed must be an integer, got True"),
    ],
)
def test_bad_settings(source, options, error, message):
    with pytest.raises(error, match=message):
        source(**options)


@pytest.mark.parametrize("source", [OcclusionSource(1), IntegratedGradientsSource(1, 1), LimeSource(1, 2)])
def test_the_smallest_settings(model, batch, source):
    assert all(values.numel() == 1 for values in source(model, batch[..., :16], TARGETS, None).values)


class GradientFree(nn.Module):
    """A network that can give no gradients."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    @torch.no_grad()
    def forward(self, batch):
        return self.inner(batch)


@every_source
def test_networks_without_gradients(model, batch, name):
    free = GradientFree(model).eval()
    if name == "integrated-gradients":
        with pytest.raises(ValueError, match="'integrated-gradients' needs gradients"):
            SOURCES[name](free, batch, TARGETS, None)
    else:
        expected = maps(SOURCES[name](model, batch, TARGETS, None))
        assert all(map(torch.equal, maps(SOURCES[name](free, batch, TARGETS, None)), expected))
