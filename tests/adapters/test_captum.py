"""What Captum's methods returned, of layers and of features, brought to pixels."""

import math

import captum.attr as library
import pytest
import torch
from captum._utils.models.linear_model import SkLearnLinearRegression
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchvision.models.swin_transformer import SwinTransformer

import usu
from tests.helpers.networks import SmallViT, small_cnn
from usu.adapters import captum

OPTIONS = {"segmentation": {"quadtree": (4, 16)}, "scoring": "mask"}
TARGETS = [4, 2]


@pytest.fixture
def model():
    return small_cnn()


@pytest.fixture
def batch():
    return torch.randn(2, 3, 16, 24, generator=torch.Generator().manual_seed(1))


def smooth_cnn():
    return nn.Sequential(
        *(nn.Softplus() if isinstance(part, nn.ReLU) else part for part in small_cnn())
    ).eval()


def superpixels(count=9, size=(16, 24)):
    return usu.segment(torch.zeros(3, *size), (count,), "quadtree").levels[0]


# --- attributions of layers


def cells_of(found, rows, columns):
    height, width = found.attribution.shape
    return (
        found.attribution.double().view(rows, height // rows, columns, width // columns).sum((1, 3)).float()
    )


LAYERED = {
    "gradcam": lambda model, layer: library.LayerGradCam(model, layer),
    "conductance": lambda model, layer: library.LayerConductance(model, layer),
    "integrated gradients": lambda model, layer: library.LayerIntegratedGradients(model, layer),
    "gradient x activation": lambda model, layer: library.LayerGradientXActivation(model, layer),
}


@pytest.mark.parametrize("method", LAYERED)
def test_layer_attributions_keep_their_cells(model, batch, method):
    attributions = LAYERED[method](model, model[4]).attribute(batch, target=TARGETS)
    found = captum.upsample(attributions, batch, model, TARGETS, mode="usu", **OPTIONS)
    expected = attributions.detach().sum(1).float()
    assert len(found) == 2
    for one, cells, target in zip(found, expected, TARGETS, strict=True):
        assert (one.mass, one.target, tuple(one.coarse.shape)) == ("total", target, (4, 6))
        assert torch.equal(one.coarse, cells)
        assert torch.allclose(cells_of(one, 4, 6), cells, atol=1e-6 * float(cells.abs().max()) * 10)


def test_gradcam_sums_to_logit_less_bias(model, batch):
    attributions = library.LayerGradCam(model, model[4]).attribute(batch[:1], target=3)
    found = captum.upsample(attributions, batch[0], model, 3, mode="usu", **OPTIONS)
    logit = (model(batch[:1])[0, 3] - model[-1].bias[3]).item()
    assert found.attribution.sum().item() == pytest.approx(logit, rel=1e-4)


def test_conductance_sums_to_the_difference_of_answers(batch):
    model = smooth_cnn()
    attributions = library.LayerConductance(model, model[4]).attribute(batch, target=TARGETS, n_steps=200)
    found = captum.upsample(attributions, batch, model, TARGETS, mode="usu", **OPTIONS)
    difference = (model(batch) - model(torch.zeros_like(batch)))[range(2), TARGETS]
    for one, expected in zip(found, difference.tolist(), strict=True):
        assert one.attribution.sum().item() == pytest.approx(expected, rel=0.02)


def test_density_and_other_settings_pass_through(model, batch):
    attributions = library.LayerGradCam(model, model[4]).attribute(batch[:1], target=3)
    total = captum.upsample(attributions, batch[0], model, 3, mode="usu", **OPTIONS)
    dense = captum.upsample(attributions, batch[0], model, 3, mass="density", mode="hybrid", **OPTIONS)
    assert (dense.mass, dense.mode) == ("density", "hybrid")
    assert dense.attribution.sum().item() == pytest.approx(16 * total.attribution.sum().item(), rel=1e-3)


def test_tokens_become_a_grid_without_the_class_token(batch):
    model = SmallViT().eval()
    layer = model.blocks[0].norm1
    attributions = library.LayerGradientXActivation(model, layer).attribute(batch, target=TARGETS)
    assert attributions.shape == (2, 1 + 24, 16)
    found = captum.upsample(attributions, batch, model, TARGETS, mode="usu", **OPTIONS)
    expected = attributions.detach()[:, 1:].sum(-1).view(2, 4, 6)
    assert torch.allclose(torch.stack([one.coarse for one in found]), expected)


def test_channels_may_come_last(model, batch):
    attributions = torch.randn(1, 16, 4, 6, generator=torch.Generator().manual_seed(0))
    first = captum.upsample(attributions, batch[0], model, 1, mode="usu", **OPTIONS)
    last = captum.upsample(attributions.movedim(1, -1), batch[0], model, 1, mode="usu", **OPTIONS)
    assert torch.allclose(first.attribution, last.attribution, atol=1e-6)


def test_cells_need_not_have_the_inputs_proportions_to_the_pixel():
    torch.manual_seed(0)
    model = SwinTransformer([4, 4], 24, [1, 1], [2, 2], [4, 4], num_classes=5).eval()
    wide = torch.randn(1, 3, 90, 128)  # 22 × 32 cells
    attributions = library.LayerGradientXActivation(model, model.features[1]).attribute(wide, target=3)
    (found,) = captum.upsample(attributions, wide, model, 3, mode="usu", **OPTIONS)
    assert torch.equal(found.coarse, attributions[0].detach().sum(-1))
    assert found.coarse.shape == (22, 32)


@pytest.mark.parametrize("name", ["features.1", "norm"])
def test_gradcam_of_channels_that_come_last_is_refused(name):
    torch.manual_seed(0)
    model = SwinTransformer([4, 4], 16, [1, 2], [2, 4], [4, 4], num_classes=5).eval()
    square = torch.randn(1, 3, 32, 32)
    attributions = library.LayerGradCam(model, model.get_submodule(name)).attribute(square, target=3)
    with pytest.raises(ValueError, match="LayerGradCam sums axis 1"):
        captum.upsample(attributions, square, model, 3, mode="usu", **OPTIONS)
    found = captum.upsample(
        torch.rand(1, 1, 1, 7), square[..., :8, :], model, 3, mode="usu", **OPTIONS
    )  # of stride 4
    assert found[0].coarse.shape == (1, 7)


# --- attributions of features


def ablation(model, inputs, mask, targets=None):
    return library.FeatureAblation(model).attribute(
        inputs, feature_mask=mask, target=targets or TARGETS[: len(inputs)], perturbations_per_eval=4
    )


def falls(model, image, mask, target):
    """The fall of the answer as each feature is set to 0, by its id, in plain loops."""
    return {
        feature: (model(image) - model(image * (mask != feature)))[0, target].item()
        for feature in mask.unique().tolist()
    }


def sums_over(found, labels):
    count = int(labels.max()) + 1
    return torch.zeros(count).double().index_add(0, labels.flatten(), found.attribution.double().flatten())


@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (2, 1), (2, 3)])
def test_a_feature_counts_once_whatever_its_size(model, batch, shape):
    labels = superpixels(9)
    mask = (3 * labels + 5).expand(*shape, 16, 24).contiguous()  # ids with gaps
    found = captum.upsample(
        ablation(model, batch, mask), batch, model, TARGETS, feature_mask=mask, mode="usu", **OPTIONS
    )
    for one, image, target in zip(found, batch, TARGETS, strict=True):
        expected = falls(model, image[None], 3 * labels + 5, target)
        sums = sums_over(one, labels).tolist()
        assert one.mass == "total"
        assert len(one.coarse) == 9
        for label in range(9):
            assert sums[label] == pytest.approx(expected[3 * label + 5], abs=1e-5)


def test_features_may_differ_from_image_to_image(model, batch):
    several = [superpixels(9), superpixels(5).flip(-1)]
    mask = torch.stack(several)[:, None]
    found = captum.upsample(
        ablation(model, batch, mask), batch, model, TARGETS, feature_mask=mask, mode="usu", **OPTIONS
    )
    for one, image, labels, target in zip(found, batch, several, TARGETS, strict=True):
        expected = falls(model, image[None], labels, target)
        assert sums_over(one, labels).tolist() == pytest.approx(list(expected.values()), abs=1e-5)


def test_channels_in_features_of_their_own_add_up(model, batch):
    labels = superpixels(6)
    mask = torch.stack([labels + 6 * channel for channel in range(3)])[None]
    image = batch[:1]
    found = captum.upsample(
        ablation(model, image, mask), batch[0], model, 4, feature_mask=mask, mode="usu", **OPTIONS
    )
    expected = falls(model, image, mask, 4)
    for label, total in enumerate(sums_over(found, labels).tolist()):
        assert total == pytest.approx(sum(expected[label + 6 * channel] for channel in range(3)), abs=1e-5)


def test_features_that_cross_share_their_values_by_size():
    # One channel in an upper and a lower half, one in three unequal columns: six regions, worked by hand.
    rows = torch.tensor([0, 1])[:, None].expand(2, 6)
    columns = torch.tensor([2, 2, 2, 7, 7, 9]).expand(2, 6)
    mask = torch.stack([rows, columns])[None]
    value = {0: 6.0, 1: -12.0, 2: 3.0, 7: 4.0, 9: -2.0}
    attributions = torch.tensor([value[int(feature)] for feature in mask.flatten()]).view(1, 2, 2, 6)
    masses, labels = captum.regions(attributions[0], mask[0])
    upper = [6 * 3 / 6 + 3 / 2, 6 * 2 / 6 + 4 / 2, 6 / 6 - 2 / 2]
    lower = [-12 * 3 / 6 + 3 / 2, -12 * 2 / 6 + 4 / 2, -12 / 6 - 2 / 2]
    found = masses[labels]
    assert found[0].tolist() == [upper[0]] * 3 + [upper[1]] * 2 + [upper[2]]
    assert found[1].tolist() == [lower[0]] * 3 + [lower[1]] * 2 + [lower[2]]
    assert masses.sum().item() == pytest.approx(sum(value.values()))


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.booleans())
@settings(max_examples=50)
def test_regions_keep_the_sum_over_features(seed, features, shared):
    generator = torch.Generator().manual_seed(seed)
    mask = torch.randint(0, features, (1 if shared else 3, 5, 7), generator=generator).expand(3, 5, 7)
    values = torch.randn(features, generator=generator, dtype=torch.float64)
    masses, labels = captum.regions(values[mask], mask)
    assert labels.unique().tolist() == list(range(len(masses)))
    assert masses.sum().item() == pytest.approx(values[mask.unique()].sum().item(), abs=1e-9)


@pytest.mark.filterwarnings("ignore:You are providing multiple inputs for Lime / Kernel SHAP")
@pytest.mark.parametrize("method", ["kernel shap", "lime"])
def test_surrogate_models_of_the_library(model, batch, method):
    labels = superpixels(6)
    explainer = {
        "kernel shap": lambda: library.KernelShap(model),
        "lime": lambda: library.Lime(model, SkLearnLinearRegression()),
    }[method]()
    torch.manual_seed(0)
    attributions = explainer.attribute(
        batch, target=TARGETS, feature_mask=labels[None, None], n_samples=60, perturbations_per_eval=10
    )
    found = captum.upsample(
        attributions, batch, model, TARGETS, feature_mask=labels[None, None], mode="usu", **OPTIONS
    )
    for one, raw in zip(found, attributions, strict=True):
        values = torch.stack([raw[0][labels == label][0] for label in range(6)])
        assert torch.allclose(sums_over(one, labels).float(), values, atol=1e-5)
        assert values.std() > 1e-4


# --- what cannot be brought to pixels


def with_mask(attributions, mask):
    return {"attributions": attributions, "feature_mask": mask}


BAD = {
    "other features": (
        with_mask(torch.arange(1152.0).view(1, 3, 16, 24), superpixels(4)),
        "not constant over feature",
    ),
    "a layer and a mask": (
        with_mask(torch.ones(1, 3, 4, 6), superpixels(4)),
        "must have the shape of inputs",
    ),
    "a mask of another size": (
        with_mask(torch.ones(1, 3, 16, 24), superpixels(4, (16, 16))),
        "does not broadcast",
    ),
    "pixels without a mask": ({"attributions": torch.ones(1, 3, 16, 24)}, "pass the feature_mask"),
    "a linear layer": (
        {"attributions": torch.ones(1, 12)},
        r"attributions are of shape \(1, 12\), which is neither",
    ),
    "tokens that form no grid": ({"attributions": torch.ones(1, 23, 8)}, "which is neither"),
    "one score for two images": ({"attributions": torch.ones(2, 3, 4, 6)}, "must be of each of 1 images"),
    "not finite": ({"attributions": torch.full((1, 3, 4, 6), math.nan)}, "must be finite"),
    "an unknown mass": ({"attributions": torch.ones(1, 3, 4, 6), "mass": "sum"}, "mass"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_attributions(model, batch, case):
    arguments, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        captum.upsample(inputs=batch[0], forward_func=model, target=1, mode="usu", **arguments, **OPTIONS)


def test_a_tuple_of_attributions_is_refused(model, batch):
    with pytest.raises(TypeError, match="attributions must be one tensor, got tuple"):
        captum.upsample((torch.ones(1, 3, 4, 6),), batch[0], model, 1, mode="usu", **OPTIONS)


def test_fractional_features_are_refused(model, batch):
    with pytest.raises(TypeError, match="feature_mask must be integer labels"):
        captum.upsample(
            torch.ones(1, 3, 16, 24),
            batch[0],
            model,
            1,
            feature_mask=torch.ones(1, 1, 16, 24),
            mode="usu",
            **OPTIONS,
        )
