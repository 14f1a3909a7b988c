"""What a model is given: the caller's own dtype, mappings of Hugging Face, and clear words for the rest."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import usu
from tests.helpers.networks import fingerprint, small_cnn
from usu.metrics import Judge
from usu.models.forward import Face, as_given, check_inputs
from usu.sources.captum import OcclusionSource

OPTIONS = {"segmentation": {"quadtree": (4,)}, "scoring": "mask", "baselines": "zeros"}


class ScalesByType(nn.Module):
    """A network that brings 8-bit pictures to [0, 1] itself, and takes floats as they are."""

    def __init__(self):
        super().__init__()
        self.inner, self.seen = small_cnn(), set()

    def forward(self, batch):
        self.seen.add(batch.dtype)
        return self.inner(batch if batch.is_floating_point() else batch.float() / 255)


def picture(dtype=np.uint8):
    return np.random.default_rng(0).integers(0, 256, (3, 16, 16)).astype(dtype)


@pytest.mark.parametrize("source", ["occlusion", "rise", "shap", "lime"])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16])
def test_a_model_is_called_with_the_callers_integers(source, dtype):
    model, inputs = ScalesByType().eval(), torch.from_numpy(picture()).to(dtype)
    before = fingerprint(model)
    found = usu.explain(model, inputs, 2, source=source, **OPTIONS)
    assert model.seen == {dtype}
    assert fingerprint(model) == before
    with torch.no_grad():
        expected = model.inner(inputs[None].float() / 255).softmax(1)[0, 2]
    assert found.probability == pytest.approx(float(expected), abs=1e-6)


def test_the_map_is_that_of_the_scaled_picture():
    model, inputs = ScalesByType().eval(), torch.from_numpy(picture())
    occlusion = OcclusionSource(cells=4, baselines="zeros")
    found = usu.explain(model, inputs, 2, source=occlusion, **OPTIONS)
    scaled = usu.explain(model.inner, inputs / 255, 2, source=occlusion, **OPTIONS)
    scale = float(scaled.coarse.abs().max())
    torch.testing.assert_close(found.coarse, scaled.coarse, atol=1e-5 * scale, rtol=0)
    torch.testing.assert_close(found.raw_scores[0], scaled.raw_scores[0], atol=1e-6, rtol=1e-4)
    assert float(scaled.raw_scores[0].abs().max()) > 1e-4


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int64, np.bool_])
def test_callables_get_numpy_in_the_callers_dtype(dtype):
    seen, inner = set(), small_cnn()

    def service(batch):
        seen.add(batch.dtype.type)
        return inner(torch.from_numpy(batch.astype(np.float32)) / 255).detach().numpy()

    image = picture(dtype)
    found = usu.upsample(np.ones((2, 2)), image, service, 1, segmentation={"quadtree": (4,)})
    assert seen == {dtype}
    assert found.probability == pytest.approx(float(torch.from_numpy(service(image[None])).softmax(1)[0, 1]))


@pytest.mark.parametrize("mode", ["usu", "complete"])
@pytest.mark.parametrize("source", [None, "gradcam", "integrated-gradients"])
def test_integers_are_refused_where_gradients_are_needed(mode, source):
    model, inputs = ScalesByType().eval(), torch.from_numpy(picture())
    with pytest.raises(
        TypeError, match=r"inputs are uint8, and .* needs gradients, which integers do not have"
    ):
        usu.explain(model, inputs, 2, source=source, mode=mode)
    assert model.seen == set()


def test_metrics_call_the_model_with_the_callers_integers():
    model, inputs = ScalesByType().eval(), torch.from_numpy(picture())
    judge = Judge(model, inputs, 2)
    with torch.no_grad():
        expected = model.inner(inputs[None].float() / 255).softmax(1)[0, 2]
    assert judge.whole().probabilities.tolist() == [pytest.approx(float(expected))]
    assert model.seen == {torch.uint8}


def test_integers_are_rounded_and_stay_in_their_range():
    batch = torch.tensor([-3.0, 1.4, 1.6, 300.0])
    assert as_given(batch, torch.uint8).tolist() == [0, 1, 2, 255]
    assert as_given(batch, torch.int16).tolist() == [-3, 1, 2, 300]
    assert as_given(batch, None) is batch
    large = torch.tensor([[[2**40 + 1]]])
    assert check_inputs(large)[0].long().tolist() == [large.tolist()]


@pytest.mark.parametrize(
    ("inputs", "error", "words"),
    [
        ([Image.new("RGB", (32, 24))] * 2, TypeError, r"a list of PIL images: apply the model's transform"),
        (Image.new("RGB", (32, 24)), TypeError, r"got a PIL image: apply the model's transform first"),
        (
            np.zeros((24, 32, 3)),
            ValueError,
            r"channels come last: turn them by np\.moveaxis\(inputs, -1, -3\)",
        ),
        (torch.zeros(2, 24, 32, 3), ValueError, r"channels come last: turn them by \.movedim\(-1, -3\)"),
        (
            torch.zeros(24, 32),
            ValueError,
            r"inputs must be \(C, H, W\) or a batch \(B, C, H, W\), got \(24, 32\)",
        ),
        ({"images": torch.zeros(3, 16, 16)}, ValueError, "must hold 'pixel_values', got 'images'"),
    ],
)
def test_other_inputs_get_one_clear_line(inputs, error, words):
    with pytest.raises(error, match=words) as caught:
        usu.explain(small_cnn(), inputs)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 220


def test_narrow_pictures_with_channels_first_are_no_mistake():
    assert check_inputs(torch.zeros(3, 16, 3))[0].shape == (1, 3, 16, 3)
    assert check_inputs(torch.zeros(5, 3, 16, 4))[0].shape == (5, 3, 16, 4)


def test_a_misspelt_layer_fails_before_the_model_is_run():
    model = ScalesByType().eval()
    with pytest.raises(ValueError, match=r"layer 'inner\.44' is not in the model; did you mean 'inner\.4'"):
        usu.explain(model, torch.rand(3, 16, 16), layer="inner.44")
    assert model.seen == set()
    with pytest.raises(ValueError, match=r"'gradcam', .*got 'grad-cam'; did you mean 'gradcam'"):
        usu.explain(model, torch.rand(3, 16, 16), source="grad-cam")
    with pytest.raises(TypeError, match=r"segmentation must be a mapping such as \{'slic': \(16, 64\)\}"):
        usu.explain(model, torch.rand(3, 16, 16), segmentation="slic")
    assert model.seen == set()


class ByKeyword(nn.Module):
    """Takes texts first and images by keyword, as CLIP does; matches them."""

    def __init__(self):
        super().__init__()
        self.vision, self.words = small_cnn(4), nn.Embedding(9, 4)

    def forward(self, input_ids=None, pixel_values=None, scale=3.0):
        images, texts = self.vision(pixel_values), self.words(input_ids).mean(1)
        return {"logits_per_image": scale * images @ texts.T, "image_embeds": images}


def test_a_processors_mapping_is_taken_apart():
    torch.manual_seed(0)
    model, ids = ByKeyword().eval(), torch.tensor([[1, 2], [3, 4], [5, 6]])
    pixels = torch.rand(2, 3, 16, 16)
    before = fingerprint(model)
    given = {"input_ids": ids, "pixel_values": pixels, "scale": 2.0, "pixel_mask": torch.ones(2, 16, 16)}
    found = usu.explain(model, given, class_names=["cat", "dog", "emu"], **OPTIONS)
    assert fingerprint(model) == before
    with torch.no_grad():
        shares = model(ids, pixels, 2.0)["logits_per_image"].softmax(1)
    assert [one.target for one in found] == shares.argmax(1).tolist()
    assert [one.probability for one in found] == pytest.approx(shares.amax(1).tolist())
    assert {one.layer for one in found} == {"vision.4"}
    alone = usu.explain(
        model, {**given, "pixel_values": pixels[:1]}, "dog", class_names=["cat", "dog", "emu"]
    )
    assert (alone.target, alone.class_name) == (1, "dog")
    with pytest.raises(ValueError, match="'pixel_mask' with padding"):
        usu.explain(model, {**given, "pixel_mask": torch.zeros(2, 16, 16)})


def test_a_face_has_the_modules_of_its_model():
    model = small_cnn()
    face = Face(model, integers=torch.uint8)
    assert dict(face.named_modules()).keys() == dict(model.named_modules()).keys()
    assert list(face.parameters()) == list(model.parameters())
    assert not face.training
    batch = torch.full((1, 3, 16, 16), 7.4)
    with pytest.raises(RuntimeError):  # the network has weights in float32
        face(batch)
    assert torch.equal(Face(model)(batch), model(batch))
