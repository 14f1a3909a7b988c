"""The whole pipeline: every stage is kept, mass is conserved, and the model is left as it was found."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import usu
from tests.helpers.networks import SmallViT, fingerprint, small_cnn
from usu.models.layers import find_layer
from usu.plot import overlay_figure
from usu.sources.registry import find_source

OPTIONS = {"segmentation": {"quadtree": (4, 16)}, "scoring": "mask"}


@pytest.fixture
def model():
    return small_cnn()


@pytest.fixture
def inputs():
    return torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(1))


def test_explanation_keeps_every_stage(model, inputs):
    found = usu.explain(model, inputs, 2, mode="usu", **OPTIONS)
    assert found.attribution.shape == found.score_map.shape == found.h_map.shape == (16, 16)
    assert found.coarse.shape == (4, 4)
    assert found.image.shape == (3, 16, 16)
    assert found.image.min() == 0
    assert found.image.max() == 1
    assert [len(scores) for scores in found.scores] == [4, 16]
    assert len(found.partitions) == len(found.raw_scores) == 2
    assert found.target == 2
    assert found.probability == pytest.approx(model(inputs[None]).softmax(1)[0, 2].item())
    assert (found.source, found.layer, found.mass, found.mode) == ("gradcam", "4", "total", "usu")
    # One pass to find the layer, one for Grad-CAM, f(x), and 4 + 16 masked images.
    assert found.forward_passes == 1 + 1 + 1 + 20
    assert found.settings["temperature"] == 0.2
    assert {"usu-xai", "torch", "numpy"} <= found.versions.keys()


def test_forward_passes_are_what_the_model_saw(model, inputs):
    seen = []
    handle = model[0].register_forward_hook(lambda module, arguments, output: seen.append(len(output)))
    found = usu.explain(model, inputs, mode="usu", **OPTIONS)
    handle.remove()
    assert found.forward_passes == sum(seen)


def test_cells_sum_to_logit_less_bias_and_mass_is_conserved(model, inputs):
    found = usu.explain(model, inputs, 1, mode="usu", **OPTIONS)
    logit = model(inputs[None])[0, 1] - model[-1].bias[1]
    assert found.coarse.sum().item() == pytest.approx(logit.item(), rel=1e-5)
    cells = found.attribution.double().view(4, 4, 4, 4).sum((1, 3))
    coarse = found.coarse.double()
    assert torch.allclose(cells, coarse, rtol=1e-6, atol=1e-6 * float(coarse.abs().max()))


@pytest.mark.parametrize("mode", ["iwmr", "hybrid"])
def test_other_modes_conserve_the_total(model, inputs, mode):
    strict = usu.explain(model, inputs, 1, mode="usu", **OPTIONS)
    soft = usu.explain(model, inputs, 1, mode=mode, **OPTIONS)
    assert soft.mode == mode
    assert torch.allclose(soft.attribution.sum(), strict.attribution.sum(), rtol=1e-4)
    assert not torch.allclose(soft.attribution, strict.attribution)
    assert torch.equal(soft.score_map, strict.score_map)


def test_grad_cam_equals_the_library_before_its_scaling(model, inputs):
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.image import scale_cam_image
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    raw = find_source("gradcam")(model, inputs[None], [3], "4").values.numpy()
    assert raw.min() < 0  # signed: the ReLU comes later
    with GradCAM(model, [model[4]]) as cam:
        expected = cam(inputs[None], [ClassifierOutputTarget(3)])
    scaled = scale_cam_image(scale_cam_image(np.maximum(raw, 0), (16, 16)))
    assert np.allclose(scaled, expected, atol=1e-5)


def test_batch_with_different_targets_equals_one_by_one(model, inputs):
    batch = torch.stack([inputs, inputs.flip(-1), inputs.roll(3, 1)])
    together = usu.explain(model, batch, [0, 4, 2], mode="usu", **OPTIONS)
    for image, target in enumerate([0, 4, 2]):
        alone = usu.explain(model, batch[image], target, layer="4", mode="usu", **OPTIONS)
        assert together[image].target == target
        assert torch.allclose(together[image].attribution, alone.attribution, rtol=1e-4, atol=1e-5)


def test_several_hierarchies_are_averaged_depth_by_depth(model, inputs):
    image = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(2))
    found = usu.explain(
        model,
        inputs,
        1,
        images=image,
        segmentation={"quadtree": (4, 16), "watershed": (9,)},
        mixing="mean",
        mode="usu",
    )
    maps = [scores[labels] for scores, labels in zip(found.scores, found.partitions, strict=True)]
    assert len(maps) == 3
    assert torch.allclose(found.score_map, sum(maps) / 3, atol=1e-6)


def test_own_hierarchy_and_own_source(model, inputs):
    halves = torch.arange(16).ge(8).long().expand(16, 16).contiguous()

    def constant(model, inputs, targets, layer):
        return usu.CoarseMap(torch.ones(len(inputs), 2, 2), source="constant")

    found = usu.explain(model, inputs, 1, source=constant, segmentation=usu.Hierarchy([halves]), mode="usu")
    assert torch.equal(found.partitions[0], halves)
    assert found.attribution.sum() == pytest.approx(256, rel=1e-5)  # densities: each of 4 cells has mass 64
    assert (found.source, found.layer) == ("constant", None)
    assert found.settings["segmentation"] == {"own": [2]}


def test_superpixel_neighbourhoods(model, inputs):
    superpixels = usu.segment(torch.zeros(3, 16, 16), (5,), "quadtree").levels[0]
    values = torch.tensor([1.0, -2.0, 3.0, 0.0, 5.0])
    found = usu.upsample(
        values, inputs, model, 1, neighbourhoods=superpixels, mass="total", mode="usu", **OPTIONS
    )
    sums = torch.zeros(5).index_add(0, superpixels.flatten(), found.attribution.flatten())
    assert torch.allclose(sums, values, atol=1e-5)


def test_numpy_and_a_callable_that_is_no_model(model, inputs):
    def session(batch):
        assert isinstance(batch, np.ndarray)
        with torch.no_grad():
            return model(torch.from_numpy(batch)).numpy()

    coarse = np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)
    found = usu.upsample(coarse, inputs.numpy(), session, 1, mode="usu", **OPTIONS)
    assert isinstance(found.attribution, np.ndarray)
    assert isinstance(found.score_map, np.ndarray)
    again = usu.upsample(torch.from_numpy(coarse), inputs, model, 1, mode="usu", **OPTIONS)
    assert np.allclose(found.attribution, again.attribution.numpy(), atol=1e-6)


LABELS = torch.arange(4).repeat_interleave(4).repeat(16, 1)  # (16, 16), four columns


@pytest.mark.parametrize("kind", [lambda labels: labels, Tensor.numpy, Tensor.tolist, Tensor.int])
def test_labels_of_any_kind_come_back_in_the_inputs(model, inputs, kind):
    coarse = torch.tensor([1.0, -2.0, 3.0, 0.0])
    expected = usu.upsample(coarse, inputs, model, 1, neighbourhoods=LABELS, mode="usu", **OPTIONS)
    found = usu.upsample(coarse, inputs, model, 1, neighbourhoods=kind(LABELS), mode="usu", **OPTIONS)
    both = usu.upsample(
        coarse.expand(2, 4),
        inputs.expand(2, -1, -1, -1),
        model,
        1,
        neighbourhoods=kind(LABELS),
        mode="usu",
        **OPTIONS,
    )
    for one in (found, *both):
        assert torch.equal(one.neighbourhoods, LABELS.to(one.neighbourhoods.dtype))
        assert torch.allclose(one.attribution, expected.attribution, rtol=1e-3)


def test_labels_in_numpy_where_the_inputs_are():
    found = usu.upsample(
        np.ones(4),
        np.random.default_rng(0).random((3, 16, 16)),
        lambda batch: batch.mean((2, 3)),
        1,
        neighbourhoods=LABELS,
        mode="usu",
        output="logit",  # means of channels lie in [0, 1], as probabilities do
        **OPTIONS,
    )
    assert isinstance(found.neighbourhoods, np.ndarray)


@pytest.mark.parametrize("kind", [Tensor.tolist, list, torch.Tensor.numpy])
def test_labels_for_each_image(model, inputs, kind):
    labels = torch.stack([LABELS, LABELS.T])
    batch = torch.stack([inputs, inputs])
    found = usu.upsample(
        torch.ones(2, 4), batch, model, 1, neighbourhoods=kind(labels), mode="usu", **OPTIONS
    )
    assert all(torch.equal(one.neighbourhoods, own) for one, own in zip(found, labels, strict=True))
    with pytest.raises(ValueError, match=r"neighbourhoods of coarse must be one label map .*, 2, got 1"):
        usu.upsample(
            torch.ones(2, 4), batch, model, 1, neighbourhoods=kind(labels[:1]), mode="usu", **OPTIONS
        )


@pytest.mark.parametrize(
    ("coarse", "labels", "error", "message"),
    [
        (torch.ones(3), LABELS, ValueError, "neighbourhoods has the label 3"),
        (torch.ones(5), LABELS, ValueError, "neighbourhoods has no pixel for label 4"),
        (torch.ones(4), LABELS[:8], ValueError, "label map of the lattice's shape"),
        (torch.ones(4), LABELS.float(), TypeError, "neighbourhoods must be integer labels"),
        (torch.ones(4), torch.tensor(3), ValueError, r"must be label maps of 2 axes, got shape \(\)"),
        (torch.ones(20, 20), None, ValueError, "coarse has a grid of"),
    ],
)
def test_maps_that_do_not_fit_are_refused_before_scores(model, inputs, coarse, labels, error, message):
    seen = []

    def source(model, batch, targets, layer):
        return usu.CoarseMap(coarse[None], neighbourhoods=labels)

    def further(model, batch, targets, layer):
        return usu.CoarseMap(torch.ones(1, 2, 2), further=(coarse[None],))

    handle = model.register_forward_hook(lambda *_: seen.append(1))
    with pytest.raises(error, match=message):
        usu.upsample(coarse, inputs, model, 1, neighbourhoods=labels, mode="usu", **OPTIONS)
    for own in (source, further) if labels is None else (source,):
        with pytest.raises(error, match=message):
            usu.explain(model, inputs, 1, source=own, mode="usu", **OPTIONS)
    handle.remove()
    assert len(seen) <= 3  # the answers to explain, once for each call


def test_vision_transformer_and_non_square_inputs():
    model = SmallViT().eval()
    wide = torch.randn(3, 16, 32, generator=torch.Generator().manual_seed(0))
    found = usu.explain(model, wide, 1, source="gradcam", mode="usu", **OPTIONS)
    assert found.coarse.shape == (4, 8)
    # After the last attention only the class token counts: the last layer with cells comes before it.
    assert found.layer == "blocks.1.norm1"
    assert found.coarse.abs().min() > 0


def test_layer_that_gives_no_tensor_is_refused():
    with pytest.raises(ValueError, match=r"layer 'blocks.0.self_attn' gives a tuple"):
        usu.explain(
            SmallViT().eval(), torch.randn(3, 16, 16), 1, layer="blocks.0.self_attn", mode="usu", **OPTIONS
        )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("vgg11", "features"),
        ("resnet18", "layer4"),
        ("vit_b_32", "encoder.layers.encoder_layer_11.ln_1"),
        ("mobilenet_v3_small", "features"),
        ("swin_t", "permute"),
        ("densenet121", "features"),
    ],
)
def test_layer_of_torchvision_classifiers(name, expected):
    import torchvision

    model = torchvision.models.get_model(name, weights=None).eval()
    if name == "vit_b_32":  # starts with a head of zeros, on which no answer depends
        nn.init.normal_(model.heads.head.weight)
    layer, passes = find_layer(model, torch.randn(1, 3, 224, 224), None)
    assert (layer.name, passes) == (expected, 1)


def test_model_is_left_as_it_was_found(model, inputs):
    model[0].weight.requires_grad_(False)
    model[2].weight.grad = torch.ones_like(model[2].weight)
    before = fingerprint(model)
    usu.explain(model, inputs, mode="usu", **OPTIONS)
    assert fingerprint(model) == before
    with torch.no_grad():
        usu.explain(model, inputs, mode="usu", **OPTIONS)
    assert fingerprint(model) == before


@pytest.mark.parametrize("failing_call", [1, 2, 3, 4, 5])
def test_model_is_left_as_it_was_found_after_an_exception(model, inputs, failing_call):
    before = fingerprint(model)
    calls = []

    class Failing(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model

        def forward(self, batch):
            calls.append(len(batch))
            outputs = self.inner(batch)
            if len(calls) == failing_call:
                raise RuntimeError("out of luck")
            return outputs

    with pytest.raises(RuntimeError, match="out of luck"):
        usu.explain(Failing().eval(), inputs, perturbations_per_eval=4, mode="usu", **OPTIONS)
    assert len(calls) == failing_call
    assert fingerprint(model) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": 5}, "target must be below the model's 5 classes, got 5"),
        ({"target": -1}, "target must be a class index"),
        ({"mode": "best"}, "mode must be one of"),
        ({"source": "tarot"}, "source must be one of"),
        ({"layer": "17"}, "layer '17' is not in the model"),
        ({"layer": nn.ReLU()}, "layer ReLU is not a module of the model"),
        ({"layer": "6"}, "layer '6' gives an output of shape"),
        ({"temperature": 0}, "temperature must be positive"),
        ({"importance_temperature": -1}, "importance_temperature must be positive"),
        ({"segmentation": {"voronoi": (4,)}}, "segmentation must name methods of"),
        ({"segmentation": {}}, "segmentation must name at least one"),
        ({"segmentation": usu.Hierarchy([[[0, 1]]])}, "hierarchy has label maps"),
        ({"images": torch.rand(3, 8, 8)}, "images must be one picture of the inputs' size"),
        ({"images": torch.full((3, 16, 16), 255.0)}, r"images must lie in \[0, 1\]"),
        ({"inputs": torch.full((3, 16, 16), torch.nan)}, "inputs must be finite"),
        ({"inputs": torch.rand(16, 16)}, r"inputs must be \(C, H, W\)"),
        ({"negative": "flip"}, "negative must be"),
        ({"potential": "log"}, "potential must be one of"),
        ({"source": "gradcamm"}, "source must be one of .*, got 'gradcamm'"),
    ],
)
def test_bad_values(model, inputs, change, message):
    arguments = {"model": model, "inputs": inputs, "target": 1, **OPTIONS, **change}
    with pytest.raises(ValueError, match=message):
        usu.explain(**arguments)


@pytest.mark.parametrize("name", ["source", "output", "baselines"])
def test_unknown_names_are_refused_before_the_model_runs(model, inputs, name):
    model.register_forward_pre_hook(lambda *_: pytest.fail("the model ran"))
    with pytest.raises(ValueError, match=f"{name} must be one of .* or a callable, got 'x'"):
        usu.explain(model, inputs, mode="usu", **{name: "x"})


@pytest.mark.parametrize("name", ["output", "baselines"])
def test_settings_refuse_unknown_names(name):
    with pytest.raises(ValueError, match=f"{name} must be one of .*, got 'x'"):
        usu.Settings(**{name: "x"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"temprature": 1}, "unknown setting 'temprature'"),
        ({"model": torch.sum}, "model must be a torch.nn.Module"),
        ({"layer": 4}, "layer must be a module's name"),
        ({"source": 4}, "source must be a name or a callable"),
        ({"segmentation": "watershed"}, "segmentation must be a mapping"),
        ({"segmentation": [np.zeros((16, 16))]}, "segmentation must be made of usu.Hierarchy"),
    ],
)
def test_bad_types(model, inputs, change, message):
    arguments = {"model": model, "inputs": inputs, "target": 1, **OPTIONS, **change}
    with pytest.raises(TypeError, match=message):
        usu.explain(mode="usu", **arguments)


def test_training_mode_is_refused(model, inputs):
    with pytest.raises(ValueError, match=r"training mode .* call model.eval\(\)"):
        usu.explain(model.train(), inputs, mode="usu")
    assert model.training


def test_model_without_cells_names_the_way_out(inputs):
    flat = nn.Sequential(nn.Flatten(), nn.Linear(768, 4)).eval()
    with pytest.raises(ValueError, match="layer=None found no layer"):
        usu.explain(flat, inputs, mode="usu")


@pytest.mark.parametrize(
    ("coarse", "message"),
    [
        (torch.ones(1, 4, 4), "coarse must have 2 axes"),
        (torch.full((4, 4), torch.inf), "coarse must be finite"),
        (torch.ones(17, 4), "coarse has a grid of"),
    ],
)
def test_bad_coarse_maps(model, inputs, coarse, message):
    with pytest.raises(ValueError, match=message):
        usu.upsample(coarse, inputs, model, 1, mode="usu", **OPTIONS)


def test_an_unknown_mass_is_the_callers_or_the_sources(model, inputs):
    def source(*_):
        return usu.CoarseMap(torch.ones(1, 4, 4), mass="totl")

    with pytest.raises(ValueError, match=r"^mass of coarse must be one of .*, got 'totl'"):
        usu.upsample(torch.ones(4, 4), inputs, model, 1, mass="totl", mode="usu", **OPTIONS)
    with pytest.raises(ValueError, match=r"^mass of source's values must be one of .*, got 'totl'"):
        usu.explain(model, inputs, 1, source=source, mode="usu", **OPTIONS)


def test_passes_of_a_source_are_integers_of_any_kind(model, inputs, tmp_path):
    def counted(passes):
        return usu.CoarseMap(torch.ones(1, 4, 4), forward_passes=(passes,))

    found = usu.explain(model, inputs, 1, source=lambda *_: counted(np.int64(3)), mode="usu", **OPTIONS)
    assert type(found.forward_passes) is int
    found.save(tmp_path / "found.npz")
    with pytest.raises(TypeError, match=r"forward_passes in integers, got \(3.5,\)"):
        usu.explain(model, inputs, 1, source=lambda *_: counted(3.5), mode="usu", **OPTIONS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": torch.rand(3, 8, 8)}, "images must be one picture of the inputs' size"),
        ({"placement": "whole"}, "placement must be a usu.Placement"),
        ({"placement": usu.Placement.whole((8, 8))}, "placement is of inputs of"),
        ({"segmentation": {"quadtree": (16, 4)}}, "counts must be increasing"),
        ({"segmentation": {"slic": 4}}, "segmentation by 'slic': counts must be increasing"),
        ({"segmentation": {"slic": None}}, "segmentation by 'slic': counts must be increasing"),
        ({"segmentation": {"quadtree": (257,)}}, "counts asks for 257 segments"),
        ({"segmentation": usu.Hierarchy([[[0, 1]]])}, "hierarchy has label maps"),
    ],
)
def test_what_does_not_fit_is_refused_before_the_source_runs(model, inputs, change, message):
    def dear(model, inputs, targets, layer):
        pytest.fail("the source ran")

    with pytest.raises((TypeError, ValueError), match=message):
        usu.explain(model, inputs, 1, source=dear, mode="usu", **{**OPTIONS, **change})


def test_grey_inputs_give_a_record_that_can_be_shown():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 5, 4, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    inputs = torch.rand(2, 1, 16, 16)
    for found in usu.explain(model.eval(), inputs, 1, mode="usu", **OPTIONS):
        assert found.image.shape == (3, 16, 16)
        assert (found.image == found.image[0]).all()
        assert found._repr_html_()
        assert overlay_figure(found).axes
    given = usu.upsample(
        torch.rand(4, 4), inputs[0], model, 1, images=torch.rand(1, 16, 16), mode="usu", **OPTIONS
    )
    assert given.image.shape == (3, 16, 16)


def test_a_batch_of_one_has_hierarchies_per_image_as_any_batch(model, inputs):
    several = [usu.segment(torch.zeros(3, 16, 16), (count,), "quadtree") for count in (4, 9)]
    for batch in (inputs[None], torch.stack([inputs, inputs])):
        coarse = torch.ones(len(batch), 4, 4)
        found = usu.upsample(coarse, batch, model, 1, segmentation=[several] * len(batch), mode="usu")
        assert [len(one.partitions) for one in found] == [2] * len(batch)
    with pytest.raises(ValueError, match="segmentation has entries for 2 images, inputs are 1"):
        usu.upsample(torch.ones(1, 4, 4), inputs[None], model, 1, segmentation=several, mode="usu")


@pytest.mark.parametrize("kind", ["array", "tensor"])
@pytest.mark.parametrize("target", [1, None])
def test_inputs_of_another_dtype_than_the_model_are_named(model, inputs, kind, target):
    wide = inputs.double() if kind == "tensor" else inputs.double().numpy()
    message = "inputs are float64, but the model's weights are float32: give inputs in float32"
    with pytest.raises(TypeError, match=message):
        usu.explain(model, wide, target, mode="usu", **OPTIONS)


def test_a_model_that_takes_other_dtypes_than_its_own_is_let_alone(model, inputs):
    class Casting(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model

        def forward(self, batch):
            return self.inner(batch.float())

    found = usu.upsample(torch.ones(4, 4), inputs.double(), Casting().eval(), 1, mode="usu", **OPTIONS)
    assert found.probability == pytest.approx(model(inputs[None]).softmax(1)[0, 1].item())
