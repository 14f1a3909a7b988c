"""Network cards: the network, weights from several files, and the preparation that a card states."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from usu import cli, explain
from usu.bench.networks import load_network
from usu.bench.results.folder import read_rows
from usu.models import load_classifier


class Small(nn.Module):
    """A trunk and a linear head on its mean."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU())
        self.head = nn.Linear(4, classes)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(batch).mean((2, 3)))


def build(classes: int) -> Small:
    return Small(classes)


def not_a_network() -> int:
    return 3


def number_of() -> dict[str, Any]:
    return {"size": 16, "mean": 0.5, "std": 0.5}


@pytest.fixture
def network() -> Small:
    torch.manual_seed(0)
    return Small().eval()


@pytest.fixture
def card(network: Small, tmp_path: Path) -> dict[str, Any]:
    """Return a card whose trunk is in half precision, as safetensors, and whose head is torch's."""
    trunk = {name: value.half() for name, value in network.features.state_dict().items()}
    save_file(trunk, tmp_path / "trunk.safetensors")
    torch.save(network.head.state_dict(), tmp_path / "head.pt")
    return {
        "network": f"{__name__}:build",
        "options": {"classes": 3},
        "weights": {"features": "trunk.safetensors", "head": "head.pt"},
        "prepare": number_of(),
    }


def written(card: Any, folder: Path) -> Path:
    path = folder / "small.json"
    path.write_text(json.dumps(card), encoding="utf-8")
    return path


def picture(size: tuple[int, int] = (40, 30)) -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(noise)


def test_trunk_and_head_come_from_their_files(network: Small, card: dict[str, Any], tmp_path: Path) -> None:
    found = load_classifier(str(written(card, tmp_path)))
    assert (found.name, found.model.training, found.class_names) == ("small", False, None)
    batch = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    halved = nn.Sequential(*network.features).half().float()
    expected = network.head(halved(batch).mean((2, 3)))
    torch.testing.assert_close(found.model(batch), expected)


def test_the_preparation_is_the_cards(card: dict[str, Any], tmp_path: Path) -> None:
    card["prepare"] = {
        **{"size": [8, 12], "crop": 0.5, "channels": "BGR", "white": 255, "interpolation": "bilinear"},
        **{"mean": [1, 2, 3], "std": [4, 5, 6]},
    }
    found = load_classifier("mine", written(card, tmp_path))
    inputs, shown = found.prepare(picture())
    # By Pillow: the shorter side of 40 × 30 to 16, then the middle of 12 × 8.
    small = picture().resize((21, 16), Image.Resampling.BILINEAR)
    left, top = round((21 - 12) / 2), (16 - 8) // 2
    middle = np.asarray(small.crop((left, top, left + 12, top + 8)), dtype=np.float32)
    np.testing.assert_allclose(shown.permute(1, 2, 0) * 255, middle, atol=1e-4)
    expected = (middle[..., ::-1] - [1, 2, 3]) / [4, 5, 6]
    np.testing.assert_allclose(inputs.permute(1, 2, 0), expected, atol=1e-4)
    assert found.name == "mine"


def test_one_file_may_hold_all_and_a_later_one_replaces(
    network: Small, card: dict[str, Any], tmp_path: Path
) -> None:
    save_file(network.state_dict(), tmp_path / "all.safetensors")
    other = {"weight": torch.ones(3, 4), "bias": torch.arange(3.0)}
    save_file(other, tmp_path / "other.safetensors")
    whole = load_classifier("a", written({**card, "weights": "all.safetensors"}, tmp_path)).model
    both = {"": "all.safetensors", "head": "other.safetensors"}
    changed = load_classifier("b", written({**card, "weights": both}, tmp_path)).model
    batch = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(whole(batch), network(batch))
    features = network.features(batch).mean((2, 3))
    torch.testing.assert_close(changed(batch), features.sum(1, keepdim=True) + torch.arange(3.0))


def test_a_card_of_timm_is_read_by_the_benchmark(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    model = timm.create_model("resnet10t", num_classes=4).eval()
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    card = {"network": "timm:resnet10t", "options": {"num_classes": 4}, "weights": "model.safetensors"}
    path = written({**card, "prepare": {**number_of(), "size": 32}}, tmp_path)
    found = load_network("small", path)
    assert (found.name, found.class_count) == ("small", 4)
    batch = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(found.classifier.model(batch), model(batch))


def test_gradcam_takes_the_trunks_last_maps(card: dict[str, Any], tmp_path: Path) -> None:
    card["class_names"] = ["ant", "bee", "cat"]
    found = load_classifier(str(written(card, tmp_path)))
    inputs, shown = found.prepare(picture())
    record = explain(found.model, inputs, images=shown)
    assert record.coarse_map.values.shape == (8, 8)
    assert found.class_names == ("ant", "bee", "cat")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"wieghts": "x"}, "unknown 'wieghts'"),
        ({"network": "torchvision_of_mine:build"}, "'torchvision_of_mine:build' is not found"),
        ({"network": f"{__name__}:not_a_network", "options": {}}, "made a int, not a torch module"),
        ({"options": {"depth": 3}}, "cannot be built: .*depth"),
        ({"weights": {"feature": "trunk.safetensors"}}, "'feature', which is no module .*features"),
        ({"weights": {"features": "trunk.safetensors"}}, "does not hold the weights of small: it lacks head"),
        ({"weights": []}, r"weights must be a file, or an object .* got \[\]"),
        ({"class_names": ["ant"]}, "class_names has 1 names, but the network 3 outputs"),
        ({"prepare": {"size": 16, "mean": 0.5}}, "prepare lacks 'std'"),
        ({"prepare": {**number_of(), "size": "16"}}, "size must be a number of pixels"),
        ({"prepare": {**number_of(), "crop": 87.5}}, "crop must be above 0 and at most 1, got 87.5"),
        ({"prepare": {**number_of(), "std": 0}}, "std must be above 0, got 0"),
        ({"prepare": {**number_of(), "mean": [1, 2]}}, r"mean must be a number or three, .* got \[1, 2\]"),
        ({"prepare": {**number_of(), "channels": "GBR"}}, "channels must be one of RGB, BGR, got 'GBR'"),
    ],
)
def test_what_is_wrong_with_a_card_is_named(
    change: dict[str, Any], message: str, card: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        load_classifier(str(written({**card, **change}, tmp_path)))


def test_files_that_are_no_card_or_not_there(card: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must be an object with network, weights, prepare"):
        load_classifier(str(written([1], tmp_path)))
    (tmp_path / "small.json").write_text("{")
    with pytest.raises(ValueError, match="is not a network card"):
        load_classifier(str(tmp_path / "small.json"))
    with pytest.raises(FileNotFoundError):
        load_classifier(str(tmp_path / "other.json"))
    with pytest.raises(FileNotFoundError):
        load_classifier(str(written({**card, "weights": "absent.pt"}, tmp_path)))


def test_the_benchmark_names_a_card_by_its_file_and_tables_take_several_folders(
    card: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(card, tmp_path)
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        picture((40, 30 + len(folder))).save(tmp_path / folder / f"{folder}.png")
        words = ["--upsampler", "nearest", "bilinear", "--metric", "sparseness"]
        data, out = str(tmp_path / folder), str(tmp_path / f"results-{folder}")
        run = ["bench", "run", "--data", data, "--model", str(path), *words, "--out", out]
        assert cli.main(run) == 0
        assert "small: 1 images" in capsys.readouterr().out
    folders = [str(tmp_path / f"results-{folder}") for folder in ("one", "two")]
    rows = [row for folder in folders for row in read_rows(folder).to_pylist()]
    assert {row["model"] for row in rows} == {"small"}
    mean = np.mean([row["value"] for row in rows if row["upsampler"] == "bilinear"])
    assert cli.main(["bench", "table", *folders, "--layout", "table9"]) == 0
    assert f"{mean:.3f}" in capsys.readouterr().out
    assert cli.main(["bench", "run", "--data", data, "--model", str(path), "small", "--out", out]) == 2
    assert "--model has two networks called small" in capsys.readouterr().err
