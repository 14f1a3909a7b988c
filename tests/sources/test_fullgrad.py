"""FullGrad: the library's terms with their signs, which add up to the answer."""

import gc

import numpy as np
import pytest
import pytorch_grad_cam as library
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_grad_cam.utils.image import scale_accross_batch_and_channels, scale_cam_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn

import usu
from tests.helpers.networks import SmallViT, fingerprint, small_cnn
from usu.models.targets import answers
from usu.sources.fullgrad import fullgrad, terms

TARGETS = [0, 4, 2]
OPTIONS = {"segmentation": {"quadtree": (4, 16)}}


def with_biases(model, seed=0):
    """Give every bias and every running statistic a value of its own: many are zero or one at first."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(getattr(module, "bias", None), nn.Parameter):
            module.bias.data = 0.2 * torch.randn(module.bias.shape, generator=generator).to(module.bias)
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
    return model.eval()


def images(count, side, seed=1):
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def model():
    return with_biases(small_cnn())


@pytest.fixture
def batch():
    return images(3, 16)


def torchvision_model(name):
    torch.manual_seed(0)
    return with_biases(getattr(torchvision.models, name)(weights=None))


def vgg16_with_a_small_head():
    """Return VGG16 without its three linear layers, whose 120 million random weights take seconds to draw."""
    with torch.device("meta"):
        model = torchvision.models.vgg16(weights=None, init_weights=False)
    torch.manual_seed(0)
    model.classifier = nn.Linear(512 * 49, 5)
    model.features.to_empty(device="cpu")
    for module in model.features:
        if isinstance(module, nn.Conv2d):
            module.reset_parameters()
    return with_biases(model)


def test_a_case_worked_by_hand():
    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU(), nn.Flatten(), nn.Linear(2, 1)).eval()
    for parameter, values in zip(model.parameters(), ([2.0], [1.0], [3.0, 5.0], [7.0]), strict=True):
        parameter.data = torch.tensor(values).reshape(parameter.shape)
    inputs = torch.tensor([[[[1.0, -4.0]]]])  # 2·1 + 1 = 3 passes the ReLU, 2·(-4) + 1 does not
    bias, own = terms(model, inputs, lambda outputs: outputs[:, 0])
    assert (bias.layer, bias.values.tolist()) == ("0", [[[[3.0, 0.0]]]])  # 1 · slope 3
    assert (own.layer, own.values.tolist()) == (None, [[[[6.0, 0.0]]]])  # 1 · 2 · slope 3
    assert model(inputs).item() == 3 + 6 + 7  # the last bias belongs to no pixel


def through_the_librarys_steps(found, size):
    """Return the library's map: magnitudes, scaled and resized channel by channel, added and scaled."""
    scaled = [scale_accross_batch_and_channels(np.abs(term.values.cpu().numpy()), size) for term in found]
    layers = [scaled[-1], *(maps.sum(1)[:, None] for maps in scaled[:-1])]
    return scale_cam_image(np.concatenate(layers, axis=1).sum(1))


NETWORKS = {
    "small": (lambda: with_biases(small_cnn()), 16),
    "vit": (lambda: with_biases(SmallViT()), 16),
    "vgg16": (vgg16_with_a_small_head, 32),
    "resnet18": (lambda: torchvision_model("resnet18"), 32),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_terms_through_the_librarys_steps_are_the_librarys_map(name, device):
    make, side = NETWORKS[name]
    model, inputs = make().to(device), images(1, side).to(device)
    found = terms(model, inputs, lambda outputs: answers(outputs, [3]))
    with library.FullGrad(model, []) as cam:
        names = {module: path for path, module in model.named_modules()}
        assert sorted(names[layer] for layer in cam.target_layers) == sorted(
            term.layer for term in found[:-1]
        )
        expected = cam(inputs, [ClassifierOutputTarget(3)])
    assert np.allclose(through_the_librarys_steps(found, (side, side)), expected, atol=1e-5)


@given(seed=st.integers(0, 2**16))
@settings(max_examples=20)
def test_terms_sum_to_the_logit_less_the_last_bias(seed):
    model = with_biases(small_cnn(), seed).double()
    inputs = images(2, 16, seed).double()
    total = sum(term.values.sum((1, 2, 3)) for term in terms(model, inputs, lambda outputs: outputs[:, 1]))
    expected = model(inputs)[:, 1] - model[-1].bias[1]
    assert torch.allclose(total, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("name", "side"), [("resnet50", 64), ("squeezenet1_1", 64)])
def test_torchvisions_networks_are_complete_too(name, side):
    model, inputs = torchvision_model(name), images(2, side)
    found = fullgrad(model, inputs, [3, 5], None)
    logits = model(inputs)[[0, 1], [3, 5]].detach()
    if name == "resnet50":  # the other one ends in a convolution, whose bias is a term
        logits -= model.fc.bias.detach()[[3, 5]]
    total = sum(grid.double().sum((1, 2)) for grid in (found.values, *found.further))
    assert torch.allclose(total, logits.double(), rtol=1e-5, atol=1e-5 * float(logits.abs().max()))


class Same(nn.Conv2d):
    """A convolution that pads by itself, as EfficientNet's do."""

    def forward(self, batch):
        return nn.functional.conv2d(
            nn.functional.pad(batch, (1, 1, 1, 1)), self.weight, self.bias, self.stride
        )


def test_kinds_of_a_convolution_and_batch_norms_without_weights_are_complete_too():
    torch.manual_seed(0)
    layers = [Same(3, 4, 3, stride=2), nn.BatchNorm2d(4, affine=False), nn.ReLU()]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5, bias=False))
    model[1].running_mean.normal_()
    model[1].running_var.uniform_(0.5, 1.5)
    inputs = images(2, 16).double()
    found = terms(model.eval().double(), inputs, lambda outputs: outputs[:, 1])
    assert [term.layer for term in found] == ["0", "1", None]
    total = sum(term.values.sum((1, 2, 3)) for term in found)
    assert torch.allclose(total, model(inputs)[:, 1], rtol=1e-10, atol=1e-12)


def test_a_batch_norm_that_does_more_is_no_linear_map_and_has_no_term():
    class WithActivation(nn.BatchNorm2d):
        def forward(self, batch):
            return super().forward(batch).relu()

    model = nn.Sequential(nn.Conv2d(3, 4, 3), WithActivation(4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    found = terms(with_biases(model), images(1, 8), lambda outputs: outputs[:, 1])
    assert [term.layer for term in found] == ["0", None]


class Twice(nn.Module):
    """A convolution that runs twice, and one that the answer does not depend on."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.idle = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 1)

    def forward(self, batch):
        self.idle(batch)
        hidden = nn.functional.relu(self.conv(batch), inplace=True)
        return nn.functional.relu(self.conv(hidden), inplace=True).mean((2, 3))


def test_a_layer_that_runs_twice_has_two_terms():
    model, inputs = with_biases(Twice()).double(), images(2, 8).double()
    found = terms(model, inputs, lambda outputs: outputs[:, 1])
    assert [term.layer for term in found] == ["conv", "conv", None]
    total = sum(term.values.sum((1, 2, 3)) for term in found)
    assert torch.allclose(total, model(inputs)[:, 1], rtol=1e-10)


def test_grids_are_the_sums_of_their_layers(model, batch):
    found = fullgrad(model, batch, TARGETS, None)
    by_layer = {
        t.layer: t.values.sum(1) for t in terms(model, batch, lambda outputs: answers(outputs, TARGETS))
    }
    assert (found.mass, found.source, found.layer) == ("total", "fullgrad", None)
    assert torch.allclose(found.values, by_layer["2"] + by_layer["3"], atol=1e-6)
    assert [tuple(grid.shape) for grid in found.further] == [(3, 8, 8), (3, 16, 16)]
    assert torch.equal(found.further[0], by_layer["0"])
    assert torch.equal(found.further[1], by_layer[None])
    assert all((grid < 0).any() and (grid > 0).any() for grid in (found.values, *found.further))


def test_layers_of_the_inputs_own_size_join_the_inputs_term():
    model = with_biases(Twice())
    found = fullgrad(model, images(2, 8), [0, 1], None)
    assert (tuple(found.values.shape), found.further) == ((2, 8, 8), ())


def test_one_cell_for_the_whole_image_does_not_count_as_the_coarse_map():
    torch.manual_seed(0)
    squeeze = torchvision.ops.SqueezeExcitation(8, 2)
    model = with_biases(nn.Sequential(nn.Conv2d(3, 8, 2, 2), squeeze, nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    found = fullgrad(model, images(1, 8), [0], None)
    assert [tuple(grid.shape[1:]) for grid in (found.values, *found.further)] == [(4, 4), (1, 1), (8, 8)]


def test_a_vision_transformer_has_the_bias_of_its_patches_only():
    model = torchvision.models.VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=5)
    nn.init.normal_(model.heads.head.weight)
    found = fullgrad(with_biases(model), images(2, 32), [0, 1], None)
    assert [tuple(grid.shape) for grid in (found.values, *found.further)] == [(2, 4, 4), (2, 32, 32)]
    assert found.values.abs().amin() > 0


def test_the_pixel_map_sums_to_the_answer(model, batch):
    explanations = usu.explain(model, batch, TARGETS, source=fullgrad, mode="usu", **OPTIONS)
    logits = (model(batch) - model[-1].bias)[range(3), TARGETS].detach()
    for explanation, logit in zip(explanations, logits, strict=True):
        assert explanation.attribution.double().sum().item() == pytest.approx(logit.item(), rel=1e-5)
        assert [tuple(grid.shape) for grid in explanation.further] == [(8, 8), (16, 16)]
        cells = explanation.attribution.double().view(4, 4, 4, 4).sum((1, 3))
        middle, pixels = (grid.double() for grid in explanation.further)
        expected = explanation.coarse.double()
        expected = expected + middle.view(4, 2, 4, 2).sum((1, 3)) + pixels.view(4, 4, 4, 4).sum((1, 3))
        assert torch.allclose(cells, expected, atol=1e-6 * float(expected.abs().max()))


def test_a_callable_is_explained_like_the_class_it_reads(model, batch):
    found = fullgrad(model, batch, [lambda outputs: outputs[:, 4]] * 3, None)
    expected = fullgrad(model, batch, [4] * 3, None)
    assert torch.equal(found.values, expected.values)


def test_batch_equals_one_by_one(model, batch):
    together = fullgrad(model, batch, TARGETS, None)
    for image, target in enumerate(TARGETS):
        alone = fullgrad(model, batch[image : image + 1], [target], None)
        for several, one in zip(
            (together.values, *together.further), (alone.values, *alone.further), strict=True
        ):
            assert torch.allclose(several[image], one[0], rtol=1e-4, atol=1e-6)


def test_forward_passes_are_what_the_model_saw(model, batch):
    seen = []
    handle = model[0].register_forward_hook(lambda module, arguments, output: seen.append(len(output)))
    found = fullgrad(model, batch, TARGETS, None)
    handle.remove()
    assert (seen, found.forward_passes) == ([3], (1, 1, 1))


def test_half_precision(model, batch):
    found = fullgrad(model.to(torch.bfloat16), batch.to(torch.bfloat16), TARGETS, None)
    assert found.values.dtype == found.further[0].dtype == torch.bfloat16
    assert found.values.isfinite().all()


def test_it_works_where_gradients_are_off(model, batch):
    expected = fullgrad(model, batch, TARGETS, None).values
    with torch.no_grad():
        assert torch.equal(fullgrad(model, batch, TARGETS, None).values, expected)
        assert not torch.is_grad_enabled()


def test_model_is_left_as_it_was_found(model, batch):
    model[0].weight.requires_grad_(False)
    model[2].weight.grad = torch.ones_like(model[2].weight)
    before = fingerprint(model)
    fullgrad(model, batch, TARGETS, None)
    assert fingerprint(model) == before
    assert not batch.requires_grad
    with pytest.raises(ValueError, match="below the model's 5 classes"):
        fullgrad(model, batch, [0, 1, 5], None)
    assert fingerprint(model) == before


def test_fifty_calls_keep_nothing_alive(young, model, batch):
    def tensors():
        gc.collect()
        return sum(isinstance(thing, torch.Tensor) for thing in gc.get_objects())

    fullgrad(model, batch, TARGETS, None)
    before, few = fingerprint(model), tensors()
    for _ in range(50):
        fullgrad(model, batch, TARGETS, None)
    assert tensors() <= few
    assert fingerprint(model) == before


class Detached(nn.Module):
    def forward(self, batch):
        return batch.detach().flatten(1)


@pytest.mark.parametrize(
    ("network", "layer", "message"),
    [
        (small_cnn, "4", "layer must be None for source 'fullgrad'"),
        (lambda: small_cnn().train(), None, "training mode"),
        (Detached, None, "can be differentiated by its inputs"),
        (
            lambda: nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False), nn.Flatten()),
            None,
            "running statistics of batch norm '0'",
        ),
        (
            lambda: nn.Sequential(nn.Conv2d(3, 3, 1, padding=1), nn.Flatten()),
            None,
            "layer '0' has 18 × 18 cells, more than the 16 × 16 pixels",
        ),
    ],
)
def test_bad_values(batch, network, layer, message):
    model = network()
    model = model.eval() if message != "training mode" else model
    before = fingerprint(model)
    with pytest.raises(ValueError, match=message):
        fullgrad(model, batch, [0, 1, 2], layer)
    assert fingerprint(model) == before
