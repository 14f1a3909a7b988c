"""The first lines that people write, on the networks they have: a picture in four lines."""

from types import SimpleNamespace

import pytest
import torch
import torchvision
from PIL import Image
from torch import nn

import usu
from tests.helpers.networks import small_cnn
from usu.cli import main
from usu.models.naming import find_class_names, name_of_model

FEW = {"segmentation": {"quadtree": (4,)}}


def small_vit():
    transformers = pytest.importorskip("transformers", reason="needs transformers: pip install '.[hf]'")
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        image_size=64,
        patch_size=16,
        id2label={0: "cat", 1: "dog", 2: "emu"},
    )
    model = transformers.ViTForImageClassification(config).eval()
    nn.init.normal_(model.classifier.weight, std=0.5)
    return model


def small_convnext():
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    return timm.create_model("convnext_atto", pretrained=False, num_classes=3).eval()


def resnet():
    torch.manual_seed(0)
    return torchvision.models.resnet18(weights=None, num_classes=3).eval()


NETWORKS = {
    "torchvision": (resnet, "ResNet", "layer4"),
    "timm": (small_convnext, "convnext_atto", "norm_pre"),
    "Hugging Face": (small_vit, "ViTForImageClassification", None),
}


@pytest.mark.parametrize("library", NETWORKS)
def test_a_picture_in_four_lines(library, tmp_path, monkeypatch, capsys):
    make, name, layer = NETWORKS[library]
    model, x = make(), torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))
    explanation = usu.explain(model, x, class_names=["cat", "dog", "emu"], **FEW)
    explanation.save_image(tmp_path / "map.png")
    with Image.open(tmp_path / "map.png") as drawn:
        assert drawn.width > 500
    with torch.no_grad():
        outputs = model(x[None])
    shares = getattr(outputs, "logits", outputs).softmax(1)[0]
    assert explanation.target == int(shares.argmax())
    assert explanation.probability == pytest.approx(float(shares.max()), abs=1e-6)
    assert explanation.class_name == ["cat", "dog", "emu"][explanation.target]
    assert explanation.model == name
    # Attention relevance, the default of a transformer, is of all layers.
    assert explanation.layer is None if layer is None else explanation.layer.startswith(layer)
    explanation.save(tmp_path / "one.npz")
    monkeypatch.chdir(tmp_path)
    assert main(["report", "one.npz", "--quick"]) == 0, capsys.readouterr()
    for page in (explanation.to_html(), (tmp_path / "report.html").read_text(encoding="utf-8")):
        assert f'"title": "{explanation.class_name}"' in page
        assert f'"model": "{name}"' in page


def test_a_processors_dictionary_is_enough():
    model, x = small_vit(), torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    processor = pytest.importorskip("transformers").ViTImageProcessor(size={"height": 64, "width": 64})
    photograph = Image.fromarray((x[0].movedim(0, -1).numpy() * 255).astype("uint8"))
    batch = processor(images=photograph, return_tensors="pt")
    found = usu.explain(model, batch, **FEW)
    with torch.no_grad():
        shares = model(**batch).logits.softmax(1)[0]
    assert (found.target, found.class_name) == (
        int(shares.argmax()),
        model.config.id2label[int(shares.argmax())],
    )
    assert found.probability == pytest.approx(float(shares.max()), abs=1e-6)
    assert found.coarse.shape == (4, 4)
    named = usu.explain(model, batch, "emu", **FEW)
    assert (named.target, named.class_name) == (2, "emu")


def test_class_names_are_the_callers_or_the_models():
    hugging = SimpleNamespace(config=SimpleNamespace(id2label={1: "dog", 0: "cat"}, name_or_path="me/vit"))
    assert find_class_names(None, hugging) == ("cat", "dog")
    assert find_class_names({"1": "b", "0": "a"}, hugging) == ("a", "b")
    assert name_of_model(hugging) == "me/vit"
    unnamed = SimpleNamespace(config=SimpleNamespace(id2label={0: "LABEL_0", 1: "LABEL_1"}))
    assert find_class_names(None, unnamed) is None
    of_timm = SimpleNamespace(pretrained_cfg={"label_names": ["n01", "n02"], "architecture": "vit_tiny"})
    assert (find_class_names(None, of_timm), name_of_model(of_timm)) == (("n01", "n02"), "vit_tiny")
    assert find_class_names("imagenet")[285] == "Egyptian cat"
    for wrong, words in (
        (["a", 1], "must be text, got 1"),
        ({0: "a", 2: "b"}, "every class"),
        ("cars", "'imagenet'"),
    ):
        with pytest.raises((TypeError, ValueError), match=words):
            find_class_names(wrong)


def test_without_a_display_show_says_what_to_do(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    found = usu.explain(small_cnn(), torch.rand(3, 16, 16), 1, **FEW)
    with pytest.raises(RuntimeError, match=r"opens no window: write a file, save_image\('map\.png'\)"):
        found.show()


def test_show_gives_the_figure_to_the_backend(monkeypatch):
    import matplotlib.pyplot as plt

    shown = []
    monkeypatch.setattr(plt, "get_backend", lambda: "window")
    monkeypatch.setattr(plt, "show", lambda: shown.append(plt.gcf().canvas.manager.canvas.figure))
    found = usu.explain(small_cnn(), torch.rand(3, 16, 16), 1, class_names=list("abcde"), **FEW)
    found.show()
    plt.close("all")
    assert shown[0].get_suptitle().startswith("b, probability ")


def test_plot_is_there_without_an_import():
    assert callable(usu.plot.overlay_figure)
