"""pytorch-grad-cam's methods as sources: its numbers before its scaling, every pass counted, nothing left."""

import gc
import weakref

import numpy as np
import pytest
import pytorch_grad_cam as library
import torch
from pytorch_grad_cam.utils.image import scale_cam_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget, FinerWeightedTarget
from torch import nn

import usu
from tests.helpers.networks import Residual, SmallViT, fingerprint, small_cnn
from usu.sources.registry import SOURCES, find_source

OPTIONS = {"segmentation": {"quadtree": (4, 16)}}
CLASSES = {
    "gradcam": library.GradCAM,
    "hirescam": library.HiResCAM,
    "gradcam++": library.GradCAMPlusPlus,
    "xgradcam": library.XGradCAM,
    "layercam": library.LayerCAM,
    "shapleycam": library.ShapleyCAM,
    "finercam": library.FinerCAM,
    "eigencam": library.EigenCAM,
    "scorecam": library.ScoreCAM,
    "ablationcam": library.AblationCAM,
}
GRADIENT_FREE = ("eigencam", "scorecam", "ablationcam")
SUMMING = ("gradcam", "hirescam", "xgradcam")
TARGETS = [0, 4, 2]


@pytest.fixture
def model():
    return small_cnn()


@pytest.fixture
def batch():
    return torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def test_all_of_them_are_sources():
    assert set(CLASSES) <= set(SOURCES)


def library_targets(name, model, batch):
    if name != "finercam":
        return [ClassifierOutputTarget(target) for target in TARGETS]
    found = []
    for logits, target in zip(model(batch).tolist(), TARGETS, strict=True):
        nearest = sorted(range(len(logits)), key=lambda index: abs(logits[index] - logits[target]))
        found.append(FinerWeightedTarget(nearest[0], nearest[1:4], 1))
    return found


@pytest.mark.parametrize("layer", ["0", "2", "4"])
@pytest.mark.parametrize("name", CLASSES)
def test_raw_map_through_the_librarys_scaling_is_the_librarys_map(model, batch, name, layer):
    raw = find_source(name)(model, batch, TARGETS, layer).values.numpy()
    scaled = scale_cam_image(scale_cam_image(np.maximum(raw, 0), (16, 16)))
    with CLASSES[name](model, [model.get_submodule(layer)]) as cam:
        expected = cam(batch, library_targets(name, model, batch))
    assert np.allclose(scaled, expected, atol=1e-5)


# Layer-CAM takes positive gradients, which before a ReLU belong to positive activations: see the tokens.
@pytest.mark.parametrize("name", [name for name in CLASSES if name != "layercam"])
def test_maps_keep_their_sign(model, batch, name):
    assert find_source(name)(model, batch, TARGETS, "2").values.min() < 0


@pytest.mark.parametrize("name", SUMMING)
def test_cells_at_the_last_layer_sum_to_logit_less_bias(model, batch, name):
    found = find_source(name)(model, batch, TARGETS, None)
    logits = (model(batch) - model[-1].bias)[range(3), TARGETS]
    assert found.mass == "total"
    assert torch.allclose(found.values.sum((1, 2)), logits, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", CLASSES)
def test_what_follows_in_place_does_not_overwrite_the_layers_output(batch, name):
    expected, found = (
        find_source(name)(Residual(in_place).eval(), batch, TARGETS, "norm").values
        for in_place in (False, True)
    )
    assert torch.equal(found, expected)


@pytest.mark.parametrize("name", ["gradcam", "hirescam"])
def test_gradcam_by_hand_before_a_sum_and_a_relu_in_place(batch, name):
    model = Residual(in_place=True).eval()
    with torch.no_grad():
        shortcut = model.first(batch)
        cells = model.norm(model.second(shortcut))
        weights = model.head.weight[TARGETS][:, :, None, None] / cells[0, 0].numel()
        gradients = weights * (cells + shortcut > 0)
    if name == "gradcam":
        gradients = gradients.mean((2, 3), keepdim=True)
    found = find_source(name)(model, batch, TARGETS, "norm").values
    torch.testing.assert_close(found, (gradients * cells).sum(1))


class TwoConvolutions(nn.Module):
    """Two convolutions of one grid, with one ReLU for both, or one for each."""

    def __init__(self, shared, classes=5):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 6, 3, 4, 1), nn.Conv2d(6, 6, 3, padding=1)
        self.head = nn.Linear(6, classes)
        self.relu = nn.ReLU()
        self.other = self.relu if shared else nn.ReLU()

    def forward(self, batch):
        hidden = self.other(self.first(batch))
        return self.head(self.relu(self.second(hidden)).mean((2, 3)))


@pytest.mark.parametrize("name", ["gradcam", "hirescam"])
def test_a_layer_that_runs_twice_counts_by_its_last_run(batch, name):
    model = TwoConvolutions(shared=True).eval()
    found = find_source(name)(model, batch, TARGETS, "relu").values.sum((1, 2))
    expected = (model(batch) - model.head.bias)[range(3), TARGETS]
    torch.testing.assert_close(found, expected.detach())


def test_eigencam_takes_the_last_run_too(batch):
    shared, apart = (
        find_source("eigencam")(TwoConvolutions(shared).eval(), batch, TARGETS, "relu").values
        for shared in (True, False)
    )
    assert torch.equal(shared, apart)


def test_finercam_differentiates_the_lead_and_its_weights():
    model = small_cnn()
    nn.init.zeros_(model[-1].bias)
    inputs = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(5))
    logits = model(inputs)[0].detach().requires_grad_()
    nearest = (logits - logits[1]).abs().argsort()[1:4]
    weights = logits.softmax(0)[nearest]
    lead = (weights * (logits[1] - logits[nearest])).sum() / weights.sum()
    (slope,) = torch.autograd.grad(lead, logits)
    raw = find_source("finercam")(model, inputs, [1], "4").values
    assert raw.sum().item() == pytest.approx((slope * logits).sum().item(), rel=1e-4)


@pytest.mark.parametrize("layer", ["4", None])
@pytest.mark.parametrize("name", CLASSES)
def test_forward_passes_are_what_the_model_saw(model, batch, name, layer):
    seen = []
    handle = model[0].register_forward_hook(lambda module, arguments, output: seen.append(len(output)))
    found = find_source(name)(model, batch, TARGETS, layer)
    handle.remove()
    assert sum(found.forward_passes) == sum(seen)
    each = {"scorecam": 1 + 12, "ablationcam": 1 + 1 + 12}.get(name, 1)
    assert found.forward_passes == (each + (layer is None), each, each)


@pytest.mark.parametrize("name", CLASSES)
def test_batch_equals_one_by_one(model, batch, name):
    together = find_source(name)(model, batch, TARGETS, "4").values
    for image, target in enumerate(TARGETS):
        alone = find_source(name)(model, batch[image : image + 1], [target], "4").values[0]
        assert torch.allclose(together[image], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in CLASSES if name != "finercam"])
def test_a_callable_is_explained_like_the_class_it_reads(model, batch, name):
    expected = find_source(name)(model, batch, [4, 4, 2], "4").values
    found = find_source(name)(model, batch, [lambda outputs: outputs[:, 4], 4, 2], "4").values
    assert torch.allclose(found, expected, atol=1e-6)


def test_finercam_compares_classes_only(model, batch):
    before = fingerprint(model)
    with pytest.raises(ValueError, match="its targets must be class indices"):
        find_source("finercam")(model, batch, [lambda outputs: outputs[:, 4]] * 3, "4")
    assert fingerprint(model) == before


def test_finercam_has_nothing_to_compare_one_output_with(batch):
    model = small_cnn(classes=1)
    before = fingerprint(model)
    with pytest.raises(ValueError, match="finercam compares classes: the model has one output"):
        find_source("finercam")(model, batch, [0, 0, 0], "4")
    assert fingerprint(model) == before


class InADictionary(nn.Module):
    """A network that returns a dictionary, as torchvision's segmentation networks do."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, batch):
        return {"out": self.inner(batch)}


@pytest.mark.parametrize("name", [name for name in CLASSES if name != "finercam"])
def test_outputs_of_any_kind_through_a_callable(model, batch, name):
    wrapped, targets = InADictionary(model).eval(), [lambda outputs: outputs["out"][:, 4]] * 3
    if name in ("scorecam", "ablationcam"):
        with pytest.raises(TypeError, match="which a dictionary does not allow"):
            find_source(name)(wrapped, batch, targets, "inner.4")
        return
    expected = find_source(name)(model, batch, [4] * 3, "4").values
    assert torch.allclose(find_source(name)(wrapped, batch, targets, "inner.4").values, expected, atol=1e-6)


@pytest.mark.parametrize("name", CLASSES)
def test_mass_is_conserved_to_pixels(model, batch, name):
    found = usu.explain(model, batch[0], 2, source=name, mode="usu", **OPTIONS)
    assert (found.source, found.layer, found.mass) == (name, "4", "total")
    cells = found.attribution.double().view(4, 4, 4, 4).sum((1, 3))
    coarse = found.coarse.double()
    assert torch.allclose(cells, coarse, rtol=1e-6, atol=1e-6 * float(coarse.abs().max()))


@pytest.mark.parametrize("name", [name for name in CLASSES if name != "ablationcam"])
def test_tokens_of_a_vision_transformer(name):
    model = SmallViT().eval()
    wide = torch.randn(2, 3, 16, 32, generator=torch.Generator().manual_seed(0))
    found = find_source(name)(model, wide, [1, 3], None)
    assert (found.values.shape, found.layer) == ((2, 4, 8), "blocks.1.norm1")
    assert (found.values.amin((1, 2)) < 0).all()
    assert (found.values.amax((1, 2)) > 0).all()


def test_shapleycam_takes_the_curvature_of_attention():
    model = SmallViT().eval()
    square = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    curved = find_source("shapleycam")(model, square, [1], "blocks.0.norm1").values
    assert not torch.allclose(curved, find_source("gradcam")(model, square, [1], "blocks.0.norm1").values)


def test_shapleycam_is_gradcam_where_the_rest_is_linear(model, batch):
    curved, plain = (
        find_source(name)(model, batch, TARGETS, "4").values for name in ("shapleycam", "gradcam")
    )
    assert torch.allclose(curved, plain, atol=1e-6)


def test_ablationcam_refuses_tokens():
    model = SmallViT().eval()
    before = fingerprint(model)
    with pytest.raises(ValueError, match=r"ablationcam needs a layer of shape .* 'blocks\.1' gives tokens"):
        find_source("ablationcam")(model, torch.zeros(1, 3, 16, 16), [1], "blocks.1")
    assert fingerprint(model) == before


class GradientFree(nn.Module):
    """A network that can give no gradients."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    @torch.no_grad()
    def forward(self, batch):
        return self.inner(batch)


@pytest.mark.parametrize("name", GRADIENT_FREE)
def test_gradient_free_methods_need_no_gradients(model, batch, name):
    expected = find_source(name)(model, batch, TARGETS, "4").values
    found = find_source(name)(GradientFree(model).eval(), batch, TARGETS, "inner.4")
    assert torch.equal(found.values, expected)


@pytest.mark.parametrize("name", CLASSES)
def test_every_method_works_where_gradients_are_off(model, batch, name):
    expected = find_source(name)(model, batch, TARGETS, None).values
    with torch.no_grad():
        assert torch.equal(find_source(name)(model, batch, TARGETS, None).values, expected)
        assert not torch.is_grad_enabled()


@pytest.mark.parametrize("name", ["gradcam", "shapleycam", "eigencam", "scorecam", "ablationcam"])
def test_half_precision(model, batch, name):
    model, batch = model.to(torch.bfloat16), batch.to(torch.bfloat16)
    values = find_source(name)(model, batch, TARGETS, "4").values
    assert values.dtype == torch.bfloat16
    assert values.isfinite().all()


@pytest.mark.parametrize("name", CLASSES)
def test_model_is_left_as_it_was_found(model, batch, name):
    model[0].weight.requires_grad_(False)
    model[2].weight.grad = torch.ones_like(model[2].weight)
    before, modules = fingerprint(model), list(model.modules())
    find_source(name)(model, batch, TARGETS, None)
    assert fingerprint(model) == before
    assert list(model.modules()) == modules
    assert not batch.requires_grad


class Failing(nn.Module):
    """A network that fails at one of its calls, inside or after its layers."""

    def __init__(self, inner, failing_call):
        super().__init__()
        self.inner, self.left = inner, failing_call

    def forward(self, batch):
        outputs = self.inner(batch)
        self.left -= 1
        if self.left == 0:
            raise RuntimeError("out of luck")
        return outputs


FAILURES = [(name, call) for name in CLASSES for call in (1, 2)]
FAILURES += [("scorecam", 3), ("scorecam", 4), ("ablationcam", 3), ("ablationcam", 4), ("ablationcam", 5)]


@pytest.mark.parametrize(("name", "failing_call"), FAILURES)
def test_model_is_left_as_it_was_found_after_an_exception(model, batch, name, failing_call):
    failing = Failing(model, failing_call).eval()
    before, modules = fingerprint(failing), list(failing.modules())
    with pytest.raises(RuntimeError, match="out of luck"):
        find_source(name)(failing, batch, TARGETS, None)
    assert fingerprint(failing) == before
    assert list(failing.modules()) == modules


@pytest.mark.parametrize("name", CLASSES)
def test_fifty_calls_keep_nothing_alive(young, batch, name):
    def tensors():
        gc.collect()
        return sum(isinstance(thing, torch.Tensor) for thing in gc.get_objects())

    model = small_cnn()
    source, before = find_source(name), fingerprint(model)
    source(model, batch, TARGETS, None)
    few = tensors()
    for _ in range(50):
        source(model, batch, TARGETS, None)
    assert tensors() <= few
    assert fingerprint(model) == before
    alive = weakref.ref(model)
    del model
    gc.collect()
    assert alive() is None


@pytest.mark.parametrize("name", CLASSES)
def test_outputs_die_without_the_garbage_collector(young, model, batch, name):
    seen = []
    handle = model[4].register_forward_hook(lambda module, _, output: seen.append(weakref.ref(output)))
    gc.collect()
    gc.disable()
    try:
        find_source(name)(model, batch, TARGETS, "4")
        assert seen
        assert [output() for output in seen] == [None] * len(seen)
    finally:
        gc.enable()
        handle.remove()


@pytest.mark.parametrize("name", ["scorecam", "ablationcam"])
def test_activations_are_recorded_in_the_first_pass_only(model, batch, name):
    layer, hooks = model[4], []
    handle = model[0].register_forward_hook(lambda *_: hooks.append(len(layer._forward_hooks)))
    find_source(name)(model, batch, TARGETS, "4")
    handle.remove()
    assert hooks[0] == 3  # two of the library, and the one by which the network goes on with a copy
    assert hooks[-1] == 1


@pytest.mark.parametrize("name", ["scorecam", "ablationcam"])
def test_no_progress_bar_and_the_librarys_own_stays(model, batch, name, capfd):
    find_source(name)(model, batch, TARGETS, "4")
    assert capfd.readouterr() == ("", "")
    with CLASSES[name](model, [model[4]]) as cam:
        cam(batch, library_targets(name, model, batch))
    assert "it/s" in capfd.readouterr().err


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"targets": [1, 2]}, "target must be one index or 3, one per image"),
        ({"targets": [1, 2, 5]}, "target must be below the model's 5 classes, got 5"),
        ({"targets": [1, 2, -1]}, "target must be a class index from 0 up"),
        ({"layer": "17"}, "layer '17' is not in the model"),
        ({"layer": "6"}, "layer '6' gives an output of shape"),
    ],
)
def test_bad_values(model, batch, name, change, message):
    before = fingerprint(model)
    arguments = {"model": model, "inputs": batch, "targets": TARGETS, "layer": "4", **change}
    with pytest.raises(ValueError, match=message):
        find_source(name)(**arguments)
    assert fingerprint(model) == before


@pytest.mark.parametrize("name", CLASSES)
def test_layers_that_the_answer_does_not_run_are_named(model, batch, name):
    model[0].spare = nn.Conv2d(3, 4, 1)
    with pytest.raises(ValueError, match=r"layer '0\.spare'"):
        find_source(name)(model.eval(), batch, TARGETS, "0.spare")


@pytest.mark.parametrize("name", CLASSES)
def test_training_mode_is_refused_and_kept(model, batch, name):
    with pytest.raises(ValueError, match="training mode"):
        find_source(name)(model.train(), batch, TARGETS, "4")
    assert all(module.training for module in model.modules())
