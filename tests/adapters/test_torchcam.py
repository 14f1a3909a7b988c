"""torch-cam's extractors: their numbers before ReLU and scaling, redistributed; all left as it was."""

import gc

import pytest
import torch
from torch import nn
from torchvision.models import VisionTransformer

import usu
from tests.helpers.networks import Normalising, Residual, SmallViT, fingerprint, small_cnn

methods = pytest.importorskip("torchcam.methods", reason="torch-cam needs Python 3.11")

from usu.adapters.torchcam import upsample  # noqa: E402

OPTIONS = {"segmentation": {"quadtree": (4, 16)}, "scoring": "mask"}
TARGETS = [0, 4, 2]
CLASSES = {
    "CAM": {"fc_layer": "7"},
    "GradCAM": {},
    "GradCAMpp": {},
    "XGradCAM": {},
    "LayerCAM": {},
    "FinerCAM": {},
    "ScoreCAM": {},
    "ISCAM": {"num_samples": 2},
}
RANDOM = {"SmoothGradCAMpp": {"num_samples": 2}, "SSCAM": {"num_samples": 2}}


@pytest.fixture
def model():
    return small_cnn()


@pytest.fixture
def batch():
    return torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def extractor_of(name, model, layer="4"):
    return getattr(methods, name)(model, layer, **{**CLASSES, **RANDOM}[name])


def coarse_of(explanations):
    return torch.stack([explanation.coarse for explanation in explanations])


@pytest.mark.parametrize("name", [*CLASSES, *RANDOM])
def test_raw_maps_through_the_librarys_steps_are_its_maps(model, batch, name, device):
    model, batch = model.to(device), batch.to(device)
    with extractor_of(name, model) as extractor:
        torch.manual_seed(7)
        outputs = model(batch)
        (expected,) = extractor(TARGETS, outputs)
        torch.manual_seed(7)
        raw = coarse_of(upsample(extractor, batch, TARGETS, mode="usu", **OPTIONS))
        relu = extractor.base_cam._relu if name == "FinerCAM" else extractor._relu
    found = methods.GradCAM._normalize(raw.relu() if relu else raw.clone())
    assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in [*CLASSES, *RANDOM] if name != "LayerCAM"])
def test_maps_keep_their_sign(model, batch, name):
    with extractor_of(name, model, "3") as extractor:
        assert coarse_of(upsample(extractor, batch, TARGETS, mode="usu", **OPTIONS)).amin() < 0


@pytest.mark.parametrize("name", CLASSES)
def test_mass_is_conserved_to_pixels(model, batch, name):
    with extractor_of(name, model) as extractor:
        found = upsample(extractor, batch[0], 2, mode="usu", **OPTIONS)
    assert (found.source, found.layer, found.mass, found.target) == (name, "4", "total", 2)
    coarse = found.coarse.double()
    cells = found.attribution.double().view(4, 4, 4, 4).sum((1, 3))
    assert torch.allclose(cells, coarse, rtol=1e-6, atol=1e-6 * float(coarse.abs().max()))


def test_gradcams_cells_sum_to_the_logit_less_its_bias(model, batch):
    with methods.GradCAM(model, "4") as extractor:
        raw = coarse_of(upsample(extractor, batch, TARGETS, mode="usu", **OPTIONS))
    logits = (model(batch) - model[-1].bias)[range(3), TARGETS]
    assert torch.allclose(raw.sum((1, 2)), logits, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in CLASSES if name != "CAM"])
def test_what_follows_in_place_does_not_overwrite_the_layers_output(batch, name):
    maps = []
    for in_place in (False, True):
        with extractor_of(name, Residual(in_place).eval(), "norm") as extractor:
            torch.manual_seed(7)
            maps.append(coarse_of(upsample(extractor, batch, TARGETS, mode="usu", **OPTIONS)))
    assert torch.equal(*maps)


def test_a_model_that_works_in_place_on_its_inputs(batch):
    maps, kept = [], batch.clone()
    for in_place in (False, True):
        with methods.GradCAM(Normalising(small_cnn(), in_place).eval(), "inner.4") as extractor:
            maps.append(coarse_of(upsample(extractor, batch, mode="usu", **OPTIONS)))
        assert torch.equal(batch, kept)
    assert torch.equal(*maps)


def test_it_is_what_usu_upsample_makes_of_the_same_map(model, batch):
    with methods.XGradCAM(model, "4") as extractor:
        found = upsample(extractor, batch, TARGETS, mode="hybrid", temperature=0.3, **OPTIONS)
    options = {"mode": "hybrid", "temperature": 0.3, "mass": "total", **OPTIONS}
    expected = usu.upsample(coarse_of(found), batch, model, TARGETS, **options)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one.attribution, other.attribution)


def test_no_class_is_the_predicted_one(model, batch):
    with methods.GradCAM(model, "4") as extractor:
        found = upsample(extractor, batch, mode="usu", **OPTIONS)
    assert [each.target for each in found] == model(batch).argmax(1).tolist()


def test_a_layer_is_chosen_among_several(model, batch):
    with methods.LayerCAM(model, ["2", "4"]) as extractor:
        found = upsample(extractor, batch[0], 1, layer="2", mode="usu", **OPTIONS)
        with pytest.raises(ValueError, match=r"one of the extractor's target layers \['2', '4'\], got None"):
            upsample(extractor, batch[0], 1, mode="usu", **OPTIONS)
    with methods.LayerCAM(model, "2") as extractor:
        expected = upsample(extractor, batch[0], 1, mode="usu", **OPTIONS)
    assert torch.equal(found.coarse, expected.coarse)
    assert found.layer == "2"


def test_a_callable_is_explained_like_the_class_it_reads(model, batch):
    with methods.GradCAM(model, "4") as extractor:
        found = upsample(extractor, batch, lambda outputs: outputs[:, 4], mode="usu", **OPTIONS)
        expected = upsample(extractor, batch, [4, 4, 4], mode="usu", **OPTIONS)
    assert torch.equal(coarse_of(found), coarse_of(expected))
    with extractor_of("CAM", model) as extractor, pytest.raises(ValueError, match="arbitrary output targets"):
        upsample(extractor, batch, lambda outputs: outputs[:, 4], mode="usu", **OPTIONS)


def test_batch_equals_one_by_one(model, batch):
    with methods.GradCAMpp(model, "4") as extractor:
        together = upsample(extractor, batch, TARGETS, mode="usu", **OPTIONS)
        for image, target in enumerate(TARGETS):
            alone = upsample(extractor, batch[image], target, mode="usu", **OPTIONS)
            assert torch.allclose(together[image].coarse, alone.coarse, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["GradCAM", "SmoothGradCAMpp", "ScoreCAM"])
def test_forward_passes_are_what_the_model_saw(model, batch, name):
    with extractor_of(name, model) as extractor:
        seen = []
        handle = model[0].register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
        found = upsample(extractor, batch, TARGETS, mode="usu", **OPTIONS)
        handle.remove()
    assert sum(each.forward_passes for each in found) == sum(seen)


def patches(tokens):
    return tokens[:, 1:].transpose(1, 2).reshape(len(tokens), -1, 4, 4)


def test_tokens_through_the_users_reshape_transform(batch):
    model = SmallViT().eval()
    with methods.GradCAM(model, "blocks.1.norm1", reshape_transform=patches) as extractor:
        found = coarse_of(upsample(extractor, batch, TARGETS, mode="usu", **OPTIONS))
    expected = usu.explain(model, batch, TARGETS, layer="blocks.1.norm1", mode="usu", **OPTIONS)
    assert torch.allclose(found, coarse_of(expected), rtol=1e-4, atol=1e-6)


def test_legrad_is_the_librarys():
    """One map, the mean over its layers, of positive gradients of attention."""
    torch.manual_seed(0)
    model = VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=5).eval()
    nn.init.normal_(model.heads.head.weight)
    images, layers = torch.randn(2, 3, 32, 32), list(model.encoder.layers)
    with methods.LeGrad(model, layers) as extractor:
        before = fingerprint(model)
        (expected,) = extractor([1, 2], model(images))
        found = upsample(extractor, images, [1, 2], mode="usu", **OPTIONS)
        assert fingerprint(model) == before
        with pytest.raises(ValueError, match="one map for all its layers"):
            upsample(extractor, images, [1, 2], layer="encoder.layers.encoder_layer_1", mode="usu", **OPTIONS)
    assert torch.allclose(methods.GradCAM._normalize(coarse_of(found)), expected, atol=1e-5)
    assert expected.amax() > 0.99
    assert found[0].layer == "encoder.layers.encoder_layer_0, encoder.layers.encoder_layer_1"


@pytest.mark.parametrize("name", [*CLASSES, *RANDOM])
def test_extractor_and_model_are_left_as_they_were(model, batch, name):
    model[0].weight.requires_grad_(False)
    model[2].weight.grad = torch.ones_like(model[2].weight)
    with extractor_of(name, model) as extractor:
        outputs = model(batch)
        before = fingerprint(model)
        upsample(extractor, batch, TARGETS, mode="usu", **OPTIONS)
        with pytest.raises(ValueError, match="below the model's 5 classes"):
            upsample(extractor, batch, [0, 1, 5], mode="usu", **OPTIONS)
        assert fingerprint(model) == before
        torch.manual_seed(7)
        (found,) = extractor(TARGETS, outputs)  # of the user's own pass, whose graph is still there
    with extractor_of(name, model) as fresh:
        outputs = model(batch)
        torch.manual_seed(7)
        assert torch.equal(found, fresh(TARGETS, outputs)[0])


def test_hooks_record_no_scored_image(model, batch):
    with methods.LayerCAM(model, "4") as extractor:
        upsample(extractor, batch, TARGETS, mode="usu", **OPTIONS)
        assert extractor.hook_a == extractor.hook_g == extractor._hook_outputs == [None]
        assert extractor._hooks_enabled


def test_thirty_calls_keep_nothing_alive(young, model, batch):
    def tensors():
        gc.collect()
        return sum(isinstance(thing, torch.Tensor) for thing in gc.get_objects())

    with methods.GradCAM(model, "4") as extractor:
        upsample(extractor, batch[:1], [1], segmentation={"quadtree": (2,)}, mode="usu")
        few = tensors()
        for _ in range(30):
            upsample(extractor, batch[:1], [1], segmentation={"quadtree": (2,)}, mode="usu")
        assert tensors() <= few


def test_an_extractor_without_hooks_is_refused(model, batch):
    with methods.GradCAM(model, "4") as extractor:
        pass
    with pytest.raises(ValueError, match="inside its `with` block"):
        upsample(extractor, batch, TARGETS, mode="usu", **OPTIONS)


def test_refinecam_is_refused_and_so_is_anything_else(model, batch):
    with methods.RefineCAM(model, ["2", "4"]) as extractor, pytest.raises(ValueError, match="RefineCAM"):
        upsample(extractor, batch, TARGETS, mode="usu", **OPTIONS)
    with pytest.raises(TypeError, match="one of torch-cam's, such as GradCAM, got Linear"):
        upsample(nn.Linear(2, 2), batch, TARGETS, mode="usu", **OPTIONS)


def test_training_mode_is_refused(model, batch):
    with methods.GradCAM(model, "4") as extractor:
        model.train()
        with pytest.raises(ValueError, match="training mode"):
            upsample(extractor, batch, TARGETS, mode="usu", **OPTIONS)
