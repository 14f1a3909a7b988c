"""Networks by name: right weights and preparation, a fingerprint that sees any change, no download."""

from __future__ import annotations

import copy
import hashlib
import socket
import sys
from pathlib import Path

import pytest
import skimage.data
import torch
import torchvision.models as zoo
from PIL import Image
from safetensors.torch import save_file

from usu.bench.datasets.files import Dataset, Item
from usu.bench.networks import check_labels, load_network, weights_hash
from usu.models.classifier import imagenet_class_names
from usu.models.timm import preparation

PHOTOGRAPH = Image.fromarray(skimage.data.chelsea())  # 451 × 300


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked for weights")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(scope="module")
def timm():
    return pytest.importorskip("timm")


def saved(model, path):
    torch.save(model.state_dict(), path)
    return path


def slow_hash(state):
    """Return the fingerprint of a state dict, value by value, through copies."""
    total = hashlib.sha256()
    for name in sorted(state):
        value = state[name]
        shape = "(" + ", ".join(map(str, value.shape)) + ("," if value.dim() == 1 else "") + ")"
        total.update(f"{name} {shape} {value.dtype}\n".encode())
        total.update(value.numpy().tobytes(order="C"))
    return total.hexdigest()[:16]


# Networks of usu.models.loading


def test_packaged_weights(device):
    network = load_network("efficientnet-lite0", device=device)
    model = network.classifier.model
    assert not model.training
    assert {value.device.type for value in model.state_dict().values()} == {device.type}
    assert network.class_count == 1000
    assert network.weights_hash == slow_hash({key: value.cpu() for key, value in model.state_dict().items()})
    assert network.weights_hash == load_network("efficientnet-lite0").weights_hash
    inputs, _ = network.classifier.prepare(PHOTOGRAPH)
    with torch.no_grad():
        best = int(model(inputs[None].to(device)).argmax())
    assert network.classifier.class_names[best] in {"tabby", "tiger cat", "Egyptian cat"}


@pytest.mark.parametrize("name", ["vgg16", "resnet50", "vit_b_16"])
def test_torchvision_without_weights_says_how_to_get_them(name):
    with pytest.raises(ValueError, match=rf"{name} needs its trained weights.*https://.*FILE") as caught:
        load_network(name)
    assert "\n" not in str(caught.value)


def test_torchvision_of_ten_classes_from_a_file(tmp_path):
    torch.manual_seed(0)
    model = zoo.squeezenet1_1(weights=None, num_classes=10).eval()
    network = load_network("squeezenet1_1", saved(model, tmp_path / "ten.pth"))
    assert (network.name, network.class_count, network.classifier.class_names) == ("squeezenet1_1", 10, None)
    assert network.weights_hash == slow_hash(model.state_dict())
    inputs, _ = network.classifier.prepare(PHOTOGRAPH)
    with torch.no_grad():
        assert torch.equal(network.classifier.model(inputs[None]), model(inputs[None]))


def test_unknown_name():
    with pytest.raises(ValueError, match=r"no model 'resnet1'; did you mean .*'resnet18'"):
        load_network("resnet1")


# The fingerprint


@pytest.fixture
def small():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(6, 2))
    return model.eval()


def test_fingerprint_is_pinned():
    model = torch.nn.Linear(2, 1)
    model.load_state_dict({"weight": torch.tensor([[1.0, -2.0]]), "bias": torch.tensor([0.5])})
    content = b"bias (1,) torch.float32\n\0\0\0\x3fweight (1, 2) torch.float32\n\0\0\x80\x3f\0\0\0\xc0"
    assert weights_hash(model) == hashlib.sha256(content).hexdigest()[:16] == "5bee5173448bc00a"


def test_fingerprint_of_every_kind_of_value(small):
    assert weights_hash(small) == slow_hash(small.state_dict())
    assert weights_hash(copy.deepcopy(small)) == weights_hash(small)
    assert weights_hash(small.to(memory_format=torch.channels_last)) == slow_hash(small.state_dict())
    assert weights_hash(small.to(torch.bfloat16)) != weights_hash(copy.deepcopy(small).float())


CHANGES = {
    "one weight by one bit": lambda model: model[0].weight.data[1, 2, 0, 1].mul_(1 + 2**-23),
    "a buffer": lambda model: model[1].running_mean.add_(1),
    "a counter": lambda model: model[1].num_batches_tracked.add_(1),
    "a shape": lambda model: setattr(model[2].weight, "data", model[2].weight.data.reshape(3, 4)),
    "a type": lambda model: model[2].double(),
    "a name": lambda model: model.add_module("last", model._modules.pop("2")),
    "the sign of a zero": lambda model: model[0].bias.data.fill_(-0.0),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_fingerprint_changes_with(small, change):
    small[0].bias.data.fill_(0.0)
    before = weights_hash(small)
    change(small)
    assert weights_hash(small) != before


def test_fingerprint_does_not_see_order(small):
    state = small.state_dict()
    holder = torch.nn.Module()
    for name in reversed(state):
        part = holder
        *parents, last = name.split(".")
        for parent in parents:
            if parent not in part._modules:
                part.add_module(parent, torch.nn.Module())
            part = part._modules[parent]
        part.register_buffer(last, state[name])
    assert list(holder.state_dict()) != list(state)
    assert weights_hash(holder) == weights_hash(small)


# Labels


def labelled(class_count, *labels):
    items = tuple(Item(f"{number}.jpg", label) for number, label in enumerate(labels))
    return Dataset("birds", Path(), items, class_count)


@pytest.fixture(scope="module")
def five(tmp_path_factory):
    model = zoo.squeezenet1_1(weights=None, num_classes=5)
    return load_network("squeezenet1_1", saved(model, tmp_path_factory.mktemp("five") / "five.pth"))


def test_labels_that_fit(five):
    check_labels(five, labelled(5, 0, 4, None))
    check_labels(five, labelled(None, 0, 4, None))


def test_of_a_data_set_in_part_the_first_classes_are_enough(five):
    check_labels(five, labelled(200, 0, 4, 2))
    with pytest.raises(ValueError, match="birds has 200 classes and squeezenet1_1 5 outputs"):
        check_labels(five, labelled(200, 0, 5))


def test_label_beyond_the_outputs(five):
    with pytest.raises(
        ValueError, match=r"1\.jpg has the label 5, but the outputs of squeezenet1_1 end at 4"
    ):
        check_labels(five, labelled(None, 4, 5))


def test_data_set_of_other_classes(five):
    with pytest.raises(ValueError, match="birds has 3 classes and squeezenet1_1 5 outputs: give it weights"):
        check_labels(five, labelled(3, 0, 1, 2))


# timm


@pytest.fixture(scope="module")
def tiny(timm):
    torch.manual_seed(0)
    return timm.create_model("test_resnet", pretrained=False, num_classes=7).eval()


@pytest.mark.parametrize("write", [saved, lambda model, path: save_file(model.state_dict(), path)])
@pytest.mark.parametrize("name", ["timm:test_resnet", "timm:test_resnet.r160_in1k"])
def test_timm_weights_from_a_file_give_that_model(timm, tiny, tmp_path, write, name):
    path = tmp_path / ("weights.pth" if write is saved else "weights.safetensors")
    write(tiny, path)
    network = load_network(name, str(path))
    assert (network.name, network.classifier.name, network.class_count) == (name, name, 7)
    assert network.weights_hash == slow_hash(tiny.state_dict())
    inputs, picture = network.classifier.prepare(PHOTOGRAPH)
    assert picture.shape == (3, 160, 160)
    transform = timm.data.create_transform(**timm.data.resolve_data_config({}, model=tiny), is_training=False)
    with torch.no_grad():
        expected = tiny(transform(PHOTOGRAPH)[None])
        assert torch.allclose(network.classifier.model(inputs[None]), expected, atol=1e-5)


def test_timm_of_a_thousand_classes_has_their_names(timm, tmp_path):
    model = timm.create_model("test_vit", pretrained=False)
    network = load_network("timm:test_vit", saved(model, tmp_path / "vit.pth"))
    assert network.classifier.class_names == imagenet_class_names()
    assert network.class_count == 1000


def test_timm_with_two_heads(timm, tmp_path):
    model = timm.create_model("deit_tiny_distilled_patch16_224", pretrained=False, num_classes=3)
    network = load_network("timm:deit_tiny_distilled_patch16_224", saved(model, tmp_path / "deit.pth"))
    assert network.class_count == 3


@pytest.mark.parametrize(
    "name",
    ["resnet50.a1_in1k", "vit_base_patch16_224", "inception_v3.tv_in1k", "test_resnet", "tf_efficientnet_b3"],
)
@pytest.mark.parametrize("image", [PHOTOGRAPH, PHOTOGRAPH.rotate(90, expand=True)], ids=["wide", "tall"])
def test_preparation_is_timms_transform(timm, name, image):
    entry = timm.get_pretrained_cfg(name).to_dict()
    config = timm.data.resolve_data_config(pretrained_cfg=entry)
    inputs, picture = preparation(name, config)(image)
    expected = timm.data.create_transform(**config, is_training=False)(image)
    assert torch.allclose(inputs, expected, atol=1e-6)
    mean, std = (torch.tensor(config[key])[:, None, None] for key in ("mean", "std"))
    assert torch.allclose(picture, expected * std + mean, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"crop_mode": "squash"}, "crop mode 'squash'"),
        ({"crop_mode": "border"}, "crop mode 'border'"),
        ({"input_size": (3, 224, 192)}, "224 × 192 pixels"),
        ({"input_size": (1, 224, 224)}, "1 channels"),
        ({"interpolation": "random"}, "interpolation 'random'"),
    ],
)
def test_transform_that_cannot_be_expressed(timm, change, message):
    config = timm.data.resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg("resnet18").to_dict())
    preparation("timm:resnet18", config)
    with pytest.raises(ValueError, match=f"timm:resnet18 takes .*{message}.* is supported"):
        preparation("timm:resnet18", config | change)


def test_timm_network_that_squashes_is_refused_by_name(timm, tmp_path):
    with pytest.raises(ValueError, match=r"timm:efficientnet_b5 takes .*crop mode 'squash'"):
        load_network("timm:efficientnet_b5", tmp_path / "b5.pth")


def test_timm_without_weights_says_where_they_are(timm):
    where = r"https://huggingface\.co/timm/resnet18\.a1_in1k/resolve/main/model\.safetensors once"
    with pytest.raises(ValueError, match=rf"timm:resnet18 needs its trained weights.*{where}"):
        load_network("timm:resnet18")


@pytest.mark.parametrize("name", ["resnet_18", "resnet18.no_such_tag", "hf-hub:timm/resnet18.a1_in1k", ""])
def test_unknown_timm_name(timm, name):
    with pytest.raises(ValueError, match=f"there is no timm model '{name}'"):
        load_network(f"timm:{name}")


def test_timm_weights_of_another_network(timm, tiny, tmp_path):
    path = saved(tiny, tmp_path / "resnet.pth")
    with pytest.raises(ValueError, match=r"resnet\.pth has no head\.weight: .*classifier timm:test_vit"):
        load_network("timm:test_vit", path)
    with pytest.raises(
        ValueError, match=r"resnet\.pth does not hold the weights of timm:resnet18: "
    ) as caught:
        load_network("timm:resnet18", path)
    assert "\n" not in str(caught.value)


def test_timm_network_without_a_classifier(timm, tiny, tmp_path):
    with pytest.raises(
        ValueError, match=r"it does not hold the weights of the classifier timm:vit_small_patch14"
    ):
        load_network("timm:vit_small_patch14_dinov2", saved(tiny, tmp_path / "resnet.pth"))


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("bad.safetensors", r"bad\.safetensors is not a file of safetensors"),
        ("bad.pth", "not a file of weights"),
    ],
)
def test_file_that_holds_no_weights(timm, tmp_path, file, message):
    (tmp_path / file).write_bytes(b"these are not weights")
    with pytest.raises(ValueError, match=message):
        load_network("timm:test_resnet", tmp_path / file)


@pytest.mark.parametrize("file", ["absent.safetensors", "absent.pth"])
def test_missing_weights_file(timm, tmp_path, file):
    with pytest.raises(FileNotFoundError, match="absent"):
        load_network("timm:test_resnet", tmp_path / file)


def test_missing_timm_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match=r"need timm: pip install 'usu-xai\[bench\]'"):
        load_network("timm:resnet18")
