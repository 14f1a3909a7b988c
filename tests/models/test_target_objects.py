"""Targets that are objects: Captum's tuples, pytorch-grad-cam's classes, and similarity to an embedding."""

import numpy as np
import pytest
import torch
from torch import nn

import usu
from tests.helpers.networks import fingerprint
from usu.models.target_objects import EachImage, Entry, Similarity
from usu.models.targets import answers, check_targets, name_of

FEW = {"segmentation": {"quadtree": (4,)}, "scoring": "mask", "baselines": "zeros"}


def images(count=None, seed=0, size=16):
    shape = (3, size, size) if count is None else (count, 3, size, size)
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


class Several(nn.Module):
    """Gives (B, 3, 4) scores, of three questions with four answers each."""

    def __init__(self, wrap=lambda scores: scores):
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(nn.Conv2d(3, 6, 3, stride=4, padding=1), nn.Tanh())
        self.head = nn.Linear(6 * 16, 12)
        self.wrap = wrap

    def forward(self, batch):
        return self.wrap(self.head(self.features(batch).flatten(1)).view(-1, 3, 4))


def by_hand(model, image, score, layer="features"):
    """Return Σ_c mean(∂f/∂A_c)·A_c, (gh, gw), and f_t as it is and with the upper left quarter blank."""
    kept = []
    handle = model.get_submodule(layer).register_forward_hook(lambda *call: kept.append(call[-1]))
    answer = score(model(image[None].clone().requires_grad_()))
    handle.remove()
    (gradient,) = torch.autograd.grad(answer, kept[0])
    blank = image.clone()
    half = image.shape[-1] // 2
    blank[:, :half, :half] = 0
    with torch.no_grad():
        masked = score(model(blank[None]))
    cells = (gradient.mean((2, 3), keepdim=True) * kept[0]).sum(1)[0]
    return cells.detach(), float(answer.detach()), float(masked)


def check(found, expected, unit="units of the answer"):
    cells, whole, masked = expected
    torch.testing.assert_close(found.coarse, cells, rtol=1e-4, atol=1e-6)
    assert float(cells.abs().max()) > 1e-4
    assert (found.answer, found.answer_unit) == (pytest.approx(whole, abs=1e-5), unit)
    assert float(found.raw_scores[0][0]) == pytest.approx(whole - masked, abs=1e-5)
    assert abs(whole - masked) > 1e-4


# --- Captum's tuples


WRAPS = {
    "tensor": lambda scores: scores,
    "record": lambda scores: {"logits": scores, "hidden": scores[:, :, :2]},
    "tuple": lambda scores: (scores, scores.sum(2)),
}


@pytest.mark.parametrize("wrap", WRAPS)
def test_a_tuple_names_an_entry_of_a_larger_output(wrap):
    model, plain = Several(WRAPS[wrap]).eval(), Several().eval()
    before = fingerprint(model)
    found = usu.explain(model, images(), (1, 2), **FEW)
    check(found, by_hand(plain, images(), lambda outputs: outputs[0, 1, 2]))
    assert (found.target, found.probability) == ("(1, 2)", None)
    assert fingerprint(model) == before


def test_tuples_mean_what_they_mean_to_captum():
    captum = pytest.importorskip("captum.attr", reason="needs captum: pip install '.[captum]'")
    model, batch = Several().eval(), images(3)
    for target in ((2, 1), [(0, 1), (2, 3), (1, 0)]):
        expected = captum.LayerGradCam(model, model.features).attribute(batch, target=target)
        found = usu.explain(model, batch, target, **FEW)
        cells = torch.stack([one.coarse for one in found])
        torch.testing.assert_close(cells, expected[:, 0].detach(), rtol=1e-4, atol=1e-6)
        integrated = captum.FeatureAblation(model).attribute(
            batch,
            target=target,
            feature_mask=torch.arange(16).view(4, 4).repeat_interleave(4, 0).repeat_interleave(4, 1),
        )
        source = usu.explain(model, batch, target, source=occlusion(), **FEW)
        for one, values in zip(source, integrated, strict=True):
            torch.testing.assert_close(one.coarse, values[0, ::4, ::4], rtol=1e-4, atol=1e-6)


def occlusion():
    from usu.sources.captum import OcclusionSource

    return OcclusionSource(cells=4, baselines="zeros")


def test_tuples_beside_other_targets():
    assert check_targets((3,), 2, batched=True) == [3, 3]
    assert check_targets((1, 0), 2, batched=True) == [1, 0]  # a tuple of as many classes as images
    assert check_targets((1, 0, 2), 2, batched=True) == [Entry((1, 0, 2))] * 2
    assert check_targets((1, 0), 1, batched=False) == [Entry((1, 0))]
    assert check_targets([(1, 0), 2], 2, batched=True) == [Entry((1, 0)), 2]
    assert check_targets((np.int64(1), 2), 1, batched=False)[0].index == (1, 2)


@pytest.mark.parametrize(
    ("target", "error", "words"),
    [
        ((1, 2, 0), ValueError, r"target \(1, 2, 0\) is of an output of 4 axes, got \(1, 3, 4\)"),
        ((3, 0), ValueError, r"target \(3, 0\) lies outside the model's output \(3, 4\)"),
        ((-1, 0), ValueError, r"from 0 up, got \(-1, 0\)"),
        ([(1, 2), (0, 0)], ValueError, "one index for one image"),
        ((1, 0.5), TypeError, "class index"),
        (1, ValueError, r"must be \(1, classes\), got \(1, 3, 4\).* or a tuple of indices"),
    ],
)
def test_tuples_that_do_not_fit(target, error, words):
    with pytest.raises(error, match=words):
        usu.explain(Several().eval(), images(), target, **FEW)


# --- pytorch-grad-cam's targets


class Dense(nn.Module):
    """Gives a map of scores for each of three classes, (B, 3, 4, 4)."""

    def __init__(self, wrap=lambda scores: scores):
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(nn.Conv2d(3, 6, 3, stride=4, padding=1), nn.Tanh())
        self.head, self.wrap = nn.Conv2d(6, 3, 1), wrap

    def forward(self, batch):
        return self.wrap(self.head(self.features(batch)))


class Classes(Several):
    def forward(self, batch):
        return super().forward(batch)[:, 0]


class OneLogit(Several):
    def forward(self, batch):
        return super().forward(batch)[:, 0, :1]


MASK = np.eye(4, dtype=np.float32)
LIBRARYS = {
    "softmax": (Classes, lambda lib: lib.ClassifierOutputSoftmaxTarget(2), lambda out: out[0].softmax(0)[2]),
    "ReST": (
        Classes,
        lambda lib: lib.ClassifierOutputReST(2),
        lambda out: out[0, 2] + out[0].log_softmax(0)[2],
    ),
    "binary, yes": (OneLogit, lambda lib: lib.BinaryClassifierOutputTarget(1), lambda out: out[0, 0]),
    "binary, no": (OneLogit, lambda lib: lib.BinaryClassifierOutputTarget(0), lambda out: -out[0, 0]),
    "raw": (OneLogit, lambda lib: lib.RawScoresOutputTarget(), lambda out: out[0, 0]),
    "segmentation": (
        Dense,
        lambda lib: lib.SemanticSegmentationTarget(1, MASK),
        lambda out: sum(out[0, 1, row, row] for row in range(4)),
    ),
    "segmentation of a record": (
        lambda: Dense(lambda scores: {"logits": scores}),
        lambda lib: lib.SemanticSegmentationTarget(1, MASK),
        lambda out: sum(out["logits"][0, 1, row, row] for row in range(4)),
    ),
}


@pytest.fixture(scope="module")
def library():
    return pytest.importorskip(
        "pytorch_grad_cam.utils.model_targets", reason="needs pytorch-grad-cam: pip install '.[cam]'"
    )


@pytest.mark.parametrize("case", LIBRARYS)
def test_targets_of_grad_cam_are_of_each_image(case, library):
    make, target, score = LIBRARYS[case]
    model, batch = make().eval(), images(2, seed=3)
    target = target(library)
    found = usu.explain(model, batch, target, layer="features", **FEW)
    for one, image in zip(found, batch, strict=True):
        check(one, by_hand(model, image, score))
    assert found[0].target.startswith(type(target).__name__)
    if "record" not in case:  # Score-CAM reads images one by one
        each = usu.explain(model, batch, [target, target], layer="features", source="scorecam", **FEW)
        assert each[1].answer == found[1].answer


def test_a_class_of_grad_cam_is_the_class(library):
    model = Classes().eval()
    found = usu.explain(model, images(), library.ClassifierOutputTarget(2), class_names=list("abcd"), **FEW)
    plain = usu.explain(model, images(), 2, **FEW)
    assert (found.target, found.class_name, found.probability) == (2, "c", plain.probability)
    torch.testing.assert_close(found.attribution, plain.attribution)


def test_names_and_errors_of_grad_cams_targets(library):
    (named,) = check_targets(library.ClassifierOutputSoftmaxTarget(7), 1, batched=False)
    assert name_of(named) == "ClassifierOutputSoftmaxTarget(7)"
    with pytest.raises(ValueError, match=r"SoftmaxOutputTarget must return one score .* got shape \(4"):
        usu.explain(Classes().eval(), images(), library.SoftmaxOutputTarget(), **FEW)
    with pytest.raises(TypeError, match=r"0 \(1, 3, 4, 4\), 1 \(1, 3\), and several could be"):
        answers((torch.ones(1, 3, 4, 4), torch.ones(1, 3)), [EachImage(lambda one: one.sum())])


def test_a_box_of_a_detector(library):
    target = library.FasterRCNNBoxScoreTarget([3], np.array([[0.0, 0.0, 4.0, 4.0]]))
    found = [
        {
            "boxes": torch.tensor([[0.0, 0, 4, 3], [8, 8, 9, 9]]),
            "labels": torch.tensor([3, 3]),
            "scores": torch.tensor([0.75, 0.5]),
        },
        {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64), "scores": torch.zeros(0)},
    ]
    chosen = check_targets(target, 2, batched=True)
    assert answers(found, chosen).tolist() == [0.75 + 0.75, 0.0]  # overlap and score


# --- similarity to an embedding


def clip(kind):
    transformers = pytest.importorskip("transformers", reason="needs transformers: pip install '.[hf]'")
    torch.manual_seed(0)
    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    text = {**small, "vocab_size": 50, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    vision = {**small, "image_size": 32, "patch_size": 8}
    if kind == "CLIP":
        config = transformers.CLIPConfig(
            text_config=text, vision_config={**vision, "projection_dim": 16}, projection_dim=16
        )
        return transformers.CLIPModel(config).eval()
    return transformers.SiglipModel(transformers.SiglipConfig(text_config=text, vision_config=vision)).eval()


TEXTS = torch.tensor([[0, 4, 9, 1], [0, 7, 2, 1], [0, 30, 41, 1]])


@pytest.mark.parametrize("kind", ["CLIP", "SigLIP"])
def test_zero_shot_is_the_same_by_index_and_by_embedding(kind):
    transformers = pytest.importorskip("transformers", reason="needs transformers: pip install '.[hf]'")
    model, image = clip(kind), images(1, size=32)
    before = fingerprint(model)
    scale = model.logit_scale.exp().item()
    inputs = {"pixel_values": image, "input_ids": TEXTS}
    names = ["a cat", "a dog", "an emu"]
    found = usu.explain(model, inputs, "an emu", output="logit", class_names=names, **FEW)
    with torch.no_grad():
        outputs = model(**inputs)
        expected = outputs.logits_per_image[0]
        blank = image.clone()
        blank[..., :16, :16] = 0
        fall = expected[2] - model(pixel_values=blank, input_ids=TEXTS).logits_per_image[0, 2]
    assert (found.target, found.class_name) == (2, "an emu")
    assert found.answer == pytest.approx(float(expected[2]), abs=1e-4)
    assert float(found.raw_scores[0][0]) == pytest.approx(float(fall), abs=1e-4)
    assert found.coarse.shape == (4, 4)
    assert fingerprint(model) == before

    target = Similarity(outputs.text_embeds[2], scale=scale)
    if kind == "CLIP":
        alone = transformers.CLIPVisionModelWithProjection(model.config.vision_config).eval()
        own = {k: v for k, v in model.state_dict().items() if k.startswith("visual_projection")}
        own |= {k: v for k, v in model.state_dict().items() if k.startswith("vision_model")}
    else:
        alone = transformers.SiglipVisionModel(model.config.vision_config).eval()
        own = {k: v for k, v in model.state_dict().items() if k.startswith("vision_model")}
    names = list(alone.state_dict())
    own = own if names[0] in own else {k.removeprefix("vision_model."): v for k, v in own.items()}
    alone.load_state_dict(own)
    again = usu.explain(alone, image[0], target, **FEW)
    torch.testing.assert_close(again.coarse, found.coarse, rtol=1e-3, atol=1e-5)
    shift = again.answer - found.answer  # SigLIP adds a bias
    assert shift == pytest.approx(0 if kind == "CLIP" else -model.logit_bias.item(), abs=1e-4)
    torch.testing.assert_close(again.raw_scores[0], found.raw_scores[0], rtol=1e-3, atol=1e-4)


def test_similarity_is_the_cosine():
    other, rows = np.array([3.0, 4.0, 0.0]), torch.tensor([[0.0, 2.0, 0.0], [1.0, 0.0, 5.0]])
    expected = [8 / 10, 3 / (5 * 26**0.5)]
    assert Similarity(other)(rows).tolist() == pytest.approx(expected)
    assert Similarity(other[None], scale=10)((rows, torch.zeros(2, 4, 4))).tolist() == pytest.approx(
        [10 * one for one in expected]
    )
    with pytest.raises(ValueError, match=r"must be embeddings \(B, 3\), got \(2, 2\)"):
        Similarity(other)(rows[:, :2])
    for wrong in (np.zeros(3), np.ones((2, 3)), np.array([np.nan])):
        with pytest.raises(ValueError, match="embedding must be"):
            Similarity(wrong)


def test_a_processors_list_of_arrays_is_enough():
    model, image = clip("CLIP"), images(size=32)
    found = usu.explain(model, {"pixel_values": [image.numpy()], "input_ids": TEXTS}, 1, **FEW)
    same = usu.explain(model, {"pixel_values": image[None], "input_ids": TEXTS}, 1, **FEW)
    torch.testing.assert_close(found.attribution, same.attribution)
    with pytest.raises(ValueError, match=r"patches that were cut out beforehand cannot be masked"):
        usu.explain(model, {"pixel_values": torch.rand(1, 9, 48), "spatial_shapes": torch.ones(1, 2)}, **FEW)
