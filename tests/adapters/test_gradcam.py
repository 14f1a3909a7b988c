"""A user's own CAM object, redistributed: the library's shape, type and range, its objects as they were."""

import gc
import weakref

import numpy as np
import pytest
import pytorch_grad_cam as library
import torch
import torchvision
from pytorch_grad_cam.utils.image import scale_cam_image
from pytorch_grad_cam.utils.model_targets import (
    ClassifierOutputReST,
    ClassifierOutputSoftmaxTarget,
    ClassifierOutputTarget,
    FasterRCNNBoxScoreTarget,
    SemanticSegmentationTarget,
)
from torch import nn

import usu
from tests.helpers.networks import Normalising, Residual, SmallViT, fingerprint, small_cnn
from usu.adapters.gradcam import upsampled
from usu.sources.fullgrad import fullgrad
from usu.sources.registry import find_source

OPTIONS = {"segmentation": {"quadtree": (4, 16)}, "scoring": "mask"}
FINE = {"segmentation": {"quadtree": (4, 64)}, "scoring": "mask"}  # several segments to a cell
FLAT = {**OPTIONS, "temperature": 1e9}  # so hot that each cell's pixels share alike
SOURCES = {
    "GradCAM": "gradcam",
    "HiResCAM": "hirescam",
    "GradCAMPlusPlus": "gradcam++",
    "XGradCAM": "xgradcam",
    "ShapleyCAM": "shapleycam",
    "FinerCAM": "finercam",
    "ScoreCAM": "scorecam",
    "AblationCAM": "ablationcam",
    "LayerCAM": "layercam",
    "EigenCAM": "eigencam",
}
CLASSES = [*SOURCES, "FullGrad"]


@pytest.fixture
def model():
    return small_cnn()


@pytest.fixture
def batch():
    return torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def cam_of(name, model, layers=("4",)):
    chosen = [model.get_submodule(layer) for layer in layers] if name != "FullGrad" else []
    return getattr(library, name)(model, chosen)


def targets(name, classes=(0, 4, 2)):
    """Return targets of the library; Finer-CAM makes its own of what the model predicts."""
    return None if name == "FinerCAM" else [ClassifierOutputTarget(index) for index in classes]


def classes_of(name, model, batch):
    return model(batch).argmax(1).tolist() if name == "FinerCAM" else [0, 4, 2]


def scaled(maps):
    """Scale pixel maps (16 pixels a cell) as the library does a layer's maps, and then their mean."""
    values = 16 * np.maximum(np.stack([np.asarray(one) for one in maps]), 0)
    return scale_cam_image(scale_cam_image(values))


def cells(raw):
    """Return what the library makes of a raw map before it interpolates, repeated over each cell's pixels."""
    return np.kron(scale_cam_image(scale_cam_image(np.maximum(raw, 0))), np.ones((4, 4)))


@pytest.mark.parametrize("name", SOURCES)
def test_raw_maps_are_redistributed_and_then_scaled(model, batch, name, device):
    model, batch = model.to(device), batch.to(device)
    classes = classes_of(name, model, batch)
    raw = find_source(SOURCES[name])(model, batch, classes, "4").values
    explanations = usu.upsample(raw, batch, model, classes, mass="total", mode="usu", **OPTIONS)
    found = upsampled(cam_of(name, model), mode="usu", **OPTIONS)(batch, targets(name))
    expected = scaled([explanation.attribution.cpu() for explanation in explanations])
    assert np.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("name", CLASSES)
def test_what_follows_in_place_does_not_overwrite_the_layers_output(batch, name):
    maps = []
    for in_place in (False, True):
        model = Residual(in_place).eval()
        before = fingerprint(model)
        cam = cam_of(name, model, ["norm"])
        hooked = fingerprint(model)
        maps.append(upsampled(cam, mode="usu", **OPTIONS)(batch, targets(name)))
        assert fingerprint(model) == hooked != before
    assert np.array_equal(*maps)


@pytest.mark.parametrize("name", CLASSES)
def test_a_model_that_works_in_place_on_its_inputs(batch, name):
    maps, kept = [], batch.clone()
    for in_place in (False, True):
        model = Normalising(small_cnn(), in_place).eval()
        maps.append(upsampled(cam_of(name, model, ["inner.4"]), mode="usu", **OPTIONS)(batch, targets(name)))
        assert torch.equal(batch, kept)
    assert np.array_equal(*maps)


def test_inference_mode_is_told_to_be_left(model, batch):
    with library.GradCAM(model, [model[4]]) as cam:
        expected = upsampled(cam, mode="usu", **OPTIONS)(batch, targets("GradCAM"))
        with torch.inference_mode(), pytest.raises(ValueError, match="leave it first"):
            upsampled(cam, mode="usu", **OPTIONS)(batch, targets("GradCAM"))
        with torch.inference_mode():
            batch = batch.clone()
        assert np.array_equal(upsampled(cam, mode="usu", **OPTIONS)(batch, targets("GradCAM")), expected)


def recording(method):
    """Return a subclass that keeps its raw maps."""

    class Recording(method):
        def get_cam_image(self, *arguments):
            self.raw = super().get_cam_image(*arguments)
            return self.raw

    return Recording


@pytest.mark.parametrize("name", SOURCES)
def test_where_scores_do_not_count_cells_are_the_librarys(model, batch, name):
    layers = [model[4]]
    if name == "FinerCAM":
        own = library.FinerCAM(model, layers, base_method=recording(library.GradCAM))
        recorded = own.base_cam
    else:
        own = recorded = recording(getattr(library, name))(model, layers)
    own(batch, targets(name))
    expected = cells(recorded.raw)
    assert np.allclose(upsampled(own, mode="usu", **FLAT)(batch, targets(name)), expected, atol=1e-5)


def test_fullgrads_grids_are_redistributed_and_their_magnitudes_added(model, batch):
    explanations = usu.explain(
        model, batch, [0, 4, 2], source=fullgrad, temperature=0.3, mode="usu", **OPTIONS
    )
    expected = [
        sum(
            usu.redistribute(grid, each.score_map, temperature=0.3, mass="total").abs()
            for grid in (each.coarse, *each.further)
        )
        for each in explanations
    ]
    found = upsampled(cam_of("FullGrad", model), temperature=0.3, mode="usu", **OPTIONS)(
        batch, targets("FullGrad")
    )
    assert np.allclose(found, scaled(expected), atol=1e-5)


@pytest.mark.parametrize("name", CLASSES)
def test_shape_type_and_range_are_the_librarys(model, name):
    wide = torch.randn(2, 3, 16, 24, generator=torch.Generator().manual_seed(2))
    cam = cam_of(name, model)
    expected, found = cam(wide, None), upsampled(cam, mode="usu", **OPTIONS)(wide, None)
    assert (type(found), found.dtype, found.shape) == (type(expected), expected.dtype, expected.shape)
    assert found.min() == 0
    assert found.max() == pytest.approx(1, abs=1e-3)  # the library divides by the maximum + 1e-7
    assert not np.allclose(found, expected, atol=0.01)


@pytest.mark.parametrize("name", ["GradCAM", "ScoreCAM", "FullGrad"])
def test_no_targets_are_the_predicted_classes(model, batch, name):
    wrapped = upsampled(cam_of(name, model), mode="usu", **OPTIONS)
    predicted = targets(name, model(batch).argmax(1).tolist())
    assert np.array_equal(wrapped(batch), wrapped(batch, predicted))


def test_several_layers_are_averaged(model, batch):
    each = [
        upsampled(cam_of("HiResCAM", model, [layer]), mode="usu", **OPTIONS)(batch, targets(""))
        for layer in "04"
    ]
    together = upsampled(cam_of("HiResCAM", model, ["0", "4"]), mode="usu", **OPTIONS)(batch, targets(""))
    assert np.allclose(together, scale_cam_image(np.mean(each, axis=0)), atol=1e-4)
    assert not np.allclose(each[0], each[1], atol=0.01)


@pytest.mark.parametrize("mode", ["iwmr", "hybrid"])
def test_modes(model, batch, mode):
    raw = find_source("layercam")(model, batch, [0, 4, 2], "4").values
    explanations = usu.upsample(raw, batch, model, [0, 4, 2], mass="total", mode=mode, **OPTIONS)
    found = upsampled(cam_of("LayerCAM", model), mode=mode, **OPTIONS)(batch, targets(""))
    assert np.allclose(found, scaled([each.attribution for each in explanations]), atol=1e-5)


@pytest.mark.parametrize(
    "settings", [{"mode": "iwmr", "importance_temperature": 1.0}, {"mode": "usu", "potential": "power"}]
)
def test_settings_reach_the_redistribution(model, batch, settings):
    raw = find_source("layercam")(model, batch, [0, 4, 2], "4").values
    expected, plain = (
        scaled(
            each.attribution
            for each in usu.upsample(raw, batch, model, [0, 4, 2], mass="total", **options, **FINE)
        )
        for options in (settings, {"mode": settings["mode"]})
    )
    found = upsampled(cam_of("LayerCAM", model), **settings, **FINE)(batch, targets(""))
    assert np.allclose(found, expected, atol=1e-5)
    assert not np.allclose(found, plain, atol=0.01)


def test_negative_cells_are_shared_the_opposite_way_where_they_show(model, batch):
    """The library cuts negative values off, except FullGrad's, whose magnitudes it takes."""
    explanations = usu.explain(model, batch, [0, 4, 2], source=fullgrad, mode="usu", **FINE)
    expected, plain = (
        scaled(
            sum(
                usu.redistribute(grid, each.score_map, temperature=0.2, mass="total", negative=negative).abs()
                for grid in (each.coarse, *each.further)
            )
            for each in explanations
        )
        for negative in ("opposite", "same")
    )
    found = upsampled(cam_of("FullGrad", model), negative="opposite", mode="usu", **FINE)(batch, targets(""))
    assert np.allclose(found, expected, atol=1e-5)
    assert not np.allclose(found, plain, atol=0.01)


def test_masked_images_come_as_many_at_a_time_as_was_said(model, batch):
    seen = []
    handle = model[0].register_forward_hook(lambda module, arguments, output: seen.append(len(output)))
    wrapped = upsampled(cam_of("GradCAM", model), perturbations_per_eval=3, mode="usu", **OPTIONS)
    wrapped(batch[:1], [ClassifierOutputTarget(1)])
    handle.remove()
    assert max(seen) == 3


@pytest.mark.parametrize("kind", [ClassifierOutputSoftmaxTarget, ClassifierOutputReST])
def test_other_scores_of_a_class_are_the_users(model, batch, kind):
    own = recording(library.HiResCAM)(model, [model[2]])
    chosen = [kind(index) for index in (0, 4, 2)]
    own(batch, chosen)
    explanations = usu.upsample(
        torch.from_numpy(own.raw), batch, model, [0, 4, 2], mass="total", mode="usu", **OPTIONS
    )
    found = upsampled(own, mode="usu", **OPTIONS)(batch, chosen)
    assert np.allclose(found, scaled([each.attribution for each in explanations]), atol=1e-5)


def test_masks_for_segmentation_are_scored_image_by_image():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3, 4, 1), nn.ReLU(), nn.Conv2d(6, 2, 1), nn.Upsample(scale_factor=4)
    )
    model.eval()
    batch = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(3))
    masks = np.zeros((2, 16, 16), dtype=np.float32)
    masks[0, :8], masks[1, :, 8:] = 1, 1
    chosen = [SemanticSegmentationTarget(0, masks[0]), SemanticSegmentationTarget(1, masks[1])]
    found = upsampled(library.HiResCAM(model, [model[1]]), mode="usu", **OPTIONS)(batch, chosen)
    for image, (category, mask) in enumerate(zip((0, 1), torch.from_numpy(masks), strict=True)):

        def inside(outputs, category=category, mask=mask):
            return (outputs[:, category] * mask).sum((1, 2))

        one = batch[image : image + 1]
        raw = find_source("hirescam")(model, one, [inside], "1").values
        (explanation,) = usu.upsample(raw, one, model, [inside], mass="total", mode="usu", **OPTIONS)
        assert np.allclose(found[image], scaled([explanation.attribution])[0], atol=1e-5)


def test_boxes_of_a_detector():
    torch.manual_seed(0)
    detector = torchvision.models.detection.fasterrcnn_mobilenet_v3_large_320_fpn(
        weights=None, weights_backbone=None, num_classes=3, min_size=64, box_score_thresh=0.0
    ).eval()
    batch = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        (seen,) = detector(batch)
    box = FasterRCNNBoxScoreTarget(seen["labels"][:1].tolist(), seen["boxes"][:1].numpy(), 0.5)

    def grid(pyramid):
        return pyramid["0"]

    with library.EigenCAM(detector, [detector.backbone], grid) as cam:
        expected = cam(batch, [box])
        found = upsampled(cam, segmentation={"quadtree": (4,)}, mode="usu")(batch, [box])
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    assert 0 <= found.min() < found.max() <= 1


def patches(tokens):
    return tokens[:, 1:].transpose(1, 2).reshape(len(tokens), -1, 4, 4)


@pytest.mark.parametrize("name", ["GradCAM", "ShapleyCAM", "EigenCAM"])
def test_tokens_through_the_users_reshape_transform(batch, name):
    model = SmallViT().eval()
    layer = model.blocks[1].norm1
    found = upsampled(getattr(library, name)(model, [layer], patches), mode="usu", **OPTIONS)(
        batch, targets("")
    )
    raw = find_source(SOURCES[name])(model, batch, [0, 4, 2], "blocks.1.norm1").values
    explanations = usu.upsample(raw, batch, model, [0, 4, 2], mass="total", mode="usu", **OPTIONS)
    assert np.allclose(found, scaled([each.attribution for each in explanations]), atol=1e-5)


def test_smoothing_by_augmentation_averages_the_views(model, batch):
    cam = cam_of("GradCAM", model)
    wrapped = upsampled(cam, mode="usu", **OPTIONS)
    views = [
        transform.deaugment_mask(
            torch.from_numpy(wrapped(transform.augment_image(batch), targets("")))[:, None]
        ).numpy()[:, 0]
        for transform in cam.tta_transforms
    ]
    smooth = wrapped(batch, targets(""), aug_smooth=True)
    assert len(views) == 6
    assert np.allclose(smooth, np.mean(views, axis=0), atol=1e-6)


@pytest.mark.parametrize("name", ["GradCAM", "ShapleyCAM"])
def test_eigen_smoothing_is_the_librarys(model, batch, name):
    own = recording(getattr(library, name))(model, [model[4]])
    own(batch, targets(name), eigen_smooth=True)
    expected = cells(own.raw)
    assert np.allclose(
        upsampled(own, mode="usu", **FLAT)(batch, targets(name), eigen_smooth=True), expected, atol=1e-4
    )


def test_finercams_own_options_reach_it(model, batch):
    own = library.FinerCAM(model, [model[4]], base_method=recording(library.GradCAM))
    own(batch, target_idx=1, comparison_categories=[1], alpha=0.5)
    expected = cells(own.base_cam.raw)
    found = upsampled(own, mode="usu", **FLAT)(batch, target_idx=1, comparison_categories=[1], alpha=0.5)
    assert np.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("name", CLASSES)
def test_the_cam_works_on_as_before(model, batch, name):
    cam = cam_of(name, model)
    before, members = cam(batch, targets(name)), set(vars(getattr(cam, "base_cam", cam)))
    upsampled(cam, mode="usu", **OPTIONS)(batch, targets(name))
    with pytest.raises(ValueError, match="finite"):
        upsampled(cam, mode="usu", **OPTIONS)(batch * torch.nan, targets(name))
    assert np.array_equal(cam(batch, targets(name)), before)
    assert set(vars(getattr(cam, "base_cam", cam))) == members


@pytest.mark.parametrize("name", CLASSES)
def test_model_is_left_as_it_was_found(model, batch, name):
    model[0].weight.requires_grad_(False)
    model[2].weight.grad = torch.ones_like(model[2].weight)
    cam = cam_of(name, model)
    before, modules = fingerprint(model), list(model.modules())
    upsampled(cam, mode="usu", **OPTIONS)(batch, targets(name))
    assert fingerprint(model) == before
    assert not batch.requires_grad
    with pytest.raises((ValueError, RuntimeError)):
        upsampled(cam, mode="usu", **OPTIONS)(batch[:, :2], targets(name))
    assert fingerprint(model) == before
    assert list(model.modules()) == modules


@pytest.mark.parametrize("name", CLASSES)
def test_it_works_where_gradients_are_off(model, batch, name):
    wrapped = upsampled(cam_of(name, model), mode="usu", **OPTIONS)
    expected = wrapped(batch, targets(name))
    with torch.no_grad():
        assert np.array_equal(wrapped(batch, targets(name)), expected)


@pytest.mark.parametrize("name", CLASSES)
def test_as_a_context_manager(model, batch, name):
    before = fingerprint(model)
    expected = upsampled(cam_of(name, model), mode="usu", **OPTIONS)(batch, targets(name))
    with upsampled(cam_of(name, model), mode="usu", **OPTIONS) as cam:
        assert fingerprint(model) != before  # the library's hooks
        assert np.array_equal(cam(batch, targets(name)), expected)
    assert fingerprint(model) == before
    if name != "FullGrad":  # its terms need no hooks of the object
        with pytest.raises(ValueError, match="inside its `with` block"):
            cam(batch, targets(name))


def hooks(model):
    return sum(len(module._forward_hooks) for module in model.modules())


@pytest.mark.parametrize("name", ["GradCAM", "ShapleyCAM", "FinerCAM"])
def test_fifty_calls_keep_nothing_alive(young, batch, name):
    def tensors():
        gc.collect()
        return sum(isinstance(thing, torch.Tensor) for thing in gc.get_objects())

    model = small_cnn()
    before = hooks(model)
    cam = cam_of(name, model)
    own = {"scoring": "mask", "segmentation": {"quadtree": (2,)}, "mode": "usu"}
    wrapped, with_cam = upsampled(cam, **own), hooks(model)
    one, chosen = batch[:1], None if name == "FinerCAM" else [ClassifierOutputTarget(1)]
    wrapped(one, chosen)
    few = tensors()
    for _ in range(50):
        wrapped(one, chosen)
    assert tensors() <= few
    assert hooks(model) == with_cam
    alive = weakref.ref(cam)
    gc.disable()
    try:
        del cam, wrapped  # the last references: nothing of the wrapper's goes in circles
        assert alive() is None
    finally:
        gc.enable()
    assert hooks(model) == before


@pytest.mark.parametrize("name", ["GradCAM", "FinerCAM", "ScoreCAM", "FullGrad"])
@pytest.mark.parametrize("count", [0, 2, 4])
def test_targets_that_are_not_one_per_image_are_refused(model, batch, name, count):
    wrapped = upsampled(cam_of(name, model), mode="usu", **OPTIONS)
    with pytest.raises(ValueError, match=f"targets must be one per image, 3, got {count}"):
        wrapped(batch, [ClassifierOutputTarget(0)] * count)


def test_a_layer_that_the_answer_does_not_run_is_refused(model, batch):
    spare = model[0].spare = nn.Conv2d(3, 4, 1).eval()
    wrapped = upsampled(library.GradCAM(model, [spare]), mode="usu", **OPTIONS)
    with pytest.raises(ValueError, match="saw 0 of its 1 target layers"):
        wrapped(batch, targets(""))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"cam": "GradCAM"}, TypeError, "cam must be a BaseCAM or a FinerCAM of pytorch-grad-cam, got str"),
        ({"mode": "nearest"}, ValueError, "mode must be one of"),
        ({"temperature": 0.0}, ValueError, "temperature"),
        ({"colour": "red"}, TypeError, "unknown setting 'colour'"),
    ],
)
def test_bad_arguments(model, change, error, message):
    arguments = {"cam": cam_of("GradCAM", model), **change}
    with pytest.raises(error, match=message):
        upsampled(arguments.pop("cam"), **arguments)


def test_training_mode_is_refused_before_a_pass_changes_statistics(model, batch):
    wrapped = upsampled(cam_of("GradCAM", model), mode="usu", **OPTIONS)
    before = fingerprint(model.train())
    with pytest.raises(ValueError, match="training mode"):
        wrapped(batch)
    assert fingerprint(model) == before


def test_fullgrad_is_not_projected(model, batch):
    with pytest.raises(ValueError, match="eigen_smooth must be False for FullGrad"):
        upsampled(cam_of("FullGrad", model), mode="usu", **OPTIONS)(batch, targets(""), eigen_smooth=True)
