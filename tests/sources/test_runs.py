"""A backbone that runs on several images: each gradient goes with the activation of its own run."""

import numpy as np
import pytest
import pytorch_grad_cam as library
import torch
from pytorch_grad_cam.utils.image import scale_cam_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn

import usu
from tests.helpers.networks import SmallViT, fingerprint, small_cnn
from usu.adapters.gradcam import upsampled
from usu.sources.registry import find_source

CAMS = ("gradcam", "gradcam++", "hirescam", "xgradcam", "layercam", "shapleycam", "finercam")
FLAT = {"segmentation": {"quadtree": (4, 16)}, "temperature": 1e9, "mode": "usu"}


class Pair(nn.Module):
    """Compares an image with a second one, which is fixed."""

    def __init__(self, second_first, backbone=None):
        super().__init__()
        self.backbone, self.second_first = backbone or small_cnn(), second_first
        self.second = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(7))

    def forward(self, batch):
        if self.second_first:
            other = self.backbone(self.second)
            return self.backbone(batch) * other
        own = self.backbone(batch)
        return own * self.backbone(self.second)


class Both(nn.Module):
    """Looks at the image and at its mirror image."""

    def __init__(self, backbone=None):
        super().__init__()
        self.backbone = backbone or small_cnn()

    def forward(self, batch):
        return self.backbone(batch) + 2 * self.backbone(batch.flip(-1))


@pytest.fixture
def batch():
    return torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", [*CAMS, "eigencam"])
@pytest.mark.parametrize("second_first", [True, False])
def test_the_explained_image_has_its_own_run(batch, name, second_first):
    """The map is that of the backbone alone, of an answer that is a multiple of its own."""
    model = Pair(second_first).eval()
    before = fingerprint(model)
    weight = model.backbone(model.second)[0].detach()
    found = find_source(name)(model, batch, [1, 3], "backbone.4").values
    assert fingerprint(model) == before
    alone = small_cnn()
    with torch.no_grad():
        alone[-1].weight *= weight[:, None]
        alone[-1].bias *= weight
    expected = find_source(name)(alone, batch, [1, 3], "4").values
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", [*CAMS, "eigencam"])
def test_of_two_runs_on_the_image_one_must_be_chosen(batch, name):
    model = Both().eval()
    before = fingerprint(model)
    with pytest.raises(
        ValueError, match=r"layer 'backbone\.4' runs 2 times .* runs \[0, 1\]: say which by run=0"
    ):
        find_source(name)(model, batch, [1, 3], "backbone.4")
    assert fingerprint(model) == before


def test_a_mirrored_run_is_turned_back(batch):
    """The second run's map is the first's of the mirrored image, mirrored, and twice as large."""
    model = Both().eval()
    first = find_source("gradcam")(model, batch.flip(-1), [1, 3], "backbone.4", run=0).values
    second = find_source("gradcam")(model, batch, [1, 3], "backbone.4", run=1).values
    torch.testing.assert_close(second, 2 * first.flip(-1), rtol=1e-4, atol=1e-6)


class Zoomed(nn.Module):
    """Looks at the image, and at its lower right part."""

    def __init__(self):
        super().__init__()
        self.backbone = small_cnn()

    def forward(self, batch):
        return self.backbone(batch) + self.backbone(batch[..., 8:, 8:])


def test_a_run_that_sees_a_part_alone_is_refused(batch):
    model = Zoomed().eval()
    assert find_source("gradcam")(model, batch, [1, 3], "backbone.4", run=0).values.shape == (2, 4, 4)
    with pytest.raises(ValueError, match="which is neither"):
        find_source("gradcam")(model, batch, [1, 3], "backbone.4", run=1)


def test_crops_in_one_batch_are_refused(batch):
    class Stacked(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = small_cnn()

        def forward(self, batch):
            return self.backbone(torch.cat([batch, batch.flip(-1)])).unflatten(0, (2, -1)).mean(0)

    with pytest.raises(ValueError, match="gives 4 items for 2 images, as of several crops"):
        find_source("gradcam")(Stacked().eval(), batch, [1, 3], "backbone.4")


@pytest.mark.parametrize(
    ("run", "error", "message"),
    [
        (2, ValueError, "run must be from 0 to 1"),
        (1, ValueError, "does not depend on run 1"),
        ("a", TypeError, "run"),
    ],
)
def test_bad_runs(batch, run, error, message):
    with pytest.raises(error, match=message):
        find_source("gradcam")(Pair(second_first=False).eval(), batch, [1, 3], "backbone.4", run=run)


def test_ablation_and_fullgrad_need_one_run(batch):
    with pytest.raises(ValueError, match=r"ablationcam replaces layer .* in all of its 2 runs"):
        find_source("ablationcam")(Both().eval(), batch, [1, 3], "backbone.4")
    with pytest.raises(ValueError, match="fullgrad adds up the 2 runs of layer"):
        find_source("fullgrad")(Both().eval(), batch, [1, 3], None)


@pytest.mark.parametrize("second_first", [True, False])
def test_rollout_of_the_explained_image(batch, second_first):
    found = find_source("rollout")(Pair(second_first, SmallViT()).eval(), batch, [1, 3], None).values
    torch.testing.assert_close(found, find_source("rollout")(SmallViT().eval(), batch, [1, 3], None).values)


def test_rollout_asks_which_of_two_runs(batch):
    model = Both(SmallViT()).eval()
    with pytest.raises(ValueError, match="attends to 2 images or crops side by side"):
        find_source("rollout")(model, batch, [1, 3], None)
    found = find_source("rollout")(model, batch, [1, 3], None, run=0).values
    torch.testing.assert_close(found, find_source("rollout")(SmallViT().eval(), batch, [1, 3], None).values)


@pytest.mark.parametrize("second_first", [True, False])
def test_the_adapter_of_pytorch_grad_cam_pairs_runs(batch, second_first):
    model = Pair(second_first).eval()
    raw = find_source("gradcam")(model, batch, [1, 3], "backbone.4").values
    with library.GradCAM(model, [model.backbone[4]]) as cam:
        found = upsampled(cam, **FLAT)(batch, [ClassifierOutputTarget(1), ClassifierOutputTarget(3)])
    expected = np.kron(scale_cam_image(scale_cam_image(np.maximum(raw.numpy(), 0))), np.ones((4, 4)))
    assert np.allclose(found, expected, atol=1e-4)
    model = Both().eval()
    with library.GradCAM(model, [model.backbone[4]]) as cam:
        with pytest.raises(ValueError, match="say which by run=0"):
            upsampled(cam, **FLAT)(batch, [ClassifierOutputTarget(1)] * 2)
        raw = find_source("gradcam")(model, batch, [1, 1], "backbone.4", run=1).values
        found = upsampled(cam, run=1, **FLAT)(batch, [ClassifierOutputTarget(1)] * 2)
    expected = np.kron(scale_cam_image(scale_cam_image(np.maximum(raw.numpy(), 0))), np.ones((4, 4)))
    assert np.allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("second_first", [True, False])
def test_the_adapter_of_torch_cam_pairs_runs(batch, second_first):
    methods = pytest.importorskip("torchcam.methods")
    from usu.adapters.torchcam import upsample

    model = Pair(second_first).eval()
    raw = find_source("gradcam")(model, batch, [1, 3], "backbone.4").values
    with methods.GradCAM(model, "backbone.4") as extractor:
        found = upsample(extractor, batch, [1, 3], **FLAT)
    torch.testing.assert_close(torch.stack([one.coarse for one in found]), raw, rtol=1e-4, atol=1e-6)
    both = methods.GradCAM(Both().eval(), "backbone.4")
    with both, pytest.raises(ValueError, match="say which by run=0"):
        upsample(both, batch, [1, 3], **FLAT)


def test_adapters_take_tokens(batch):
    captum = pytest.importorskip("captum.attr")
    from usu.adapters.captum import upsample

    model = SmallViT().eval()
    tokens = usu.Tokens((4, 4), prefix=1, order="columns")
    attributions = captum.LayerGradientXActivation(model, model.blocks[0].norm1).attribute(
        batch, target=[1, 3]
    )
    expected = attributions[:, 1:].sum(-1).view(2, 4, 4).mT.detach()
    for forward_func in (model, lambda images: model(images)):
        found = upsample(attributions, batch, forward_func, [1, 3], tokens=tokens, **FLAT)
        torch.testing.assert_close(torch.stack([one.coarse for one in found]), expected)
    with pytest.raises(ValueError, match=r"tokens=usu\.Tokens"):
        upsample(attributions, batch, lambda images: model(images), [1, 3], **FLAT)
    chosen = [ClassifierOutputTarget(1), ClassifierOutputTarget(3)]
    with library.GradCAM(model, [model.blocks[1].norm1]) as cam:
        said = upsampled(cam, tokens=usu.Tokens((4, 4), prefix=1), **FLAT)(batch, chosen)
        sought = upsampled(cam, **FLAT)(batch, chosen)
    assert np.allclose(said, sought)
    assert said.std() > 0
