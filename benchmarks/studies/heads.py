"""Linear heads for networks that lack one for a data set: features once, then logistic regression.

    python -m benchmarks.studies.heads DATA

DATA holds the data sets and `weights`. Each head is a small file in results/heads, with the accuracy on the
test part, which no choice saw, in results/heads/accuracy.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from sklearn.linear_model import LogisticRegressionCV
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from benchmarks.studies.configurations import CONFIGURATIONS, DATA, HEADS, Configuration
from usu.bench.datasets.cifar10 import read_cifar10
from usu.bench.datasets.cub200 import read_cub200
from usu.bench.datasets.files import Dataset
from usu.bench.datasets.registry import find_dataset
from usu.models import load_classifier
from usu.models.classifier import Classifier, Preparation
from usu.models.compiled import quickened
from usu.runtime.files import written_whole

SEED, BATCH, FOLDS = 0, 25, 5
STRENGTHS = np.logspace(-4, 0, 5)  # C, chosen by cross-validation on the training part


def main() -> None:
    """Train the heads that are missing, and measure all that a configuration uses."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, metavar="DATA")
    data = parser.parse_args().data
    HEADS.mkdir(parents=True, exist_ok=True)
    path = HEADS / "accuracy.json"
    known = json.loads(path.read_bytes()) if path.exists() else {}
    for one in CONFIGURATIONS:
        name = f"{one.dataset}-{one.model}"
        if name in known:
            continue
        if one.head:
            train(one, data)
        known[name] = accuracy(one, data)
        with written_whole(path) as file:
            file.write(json.dumps(known, indent=1).encode() + b"\n")
        print(name, known[name], flush=True)


def train(one: Configuration, data: Path) -> None:
    """Train a head on the features of the training part, and write it."""
    with tempfile.TemporaryDirectory() as folder:
        empty = nn.Linear(_width(one), 10)
        _write(one, {"weight": empty.weight.detach(), "bias": empty.bias.detach()})
        classifier = load_classifier(str(one.write(data, Path(folder))))
    trunk = classifier.model
    setattr(trunk, one.head, nn.Identity())
    part = training_part(one.dataset, data / DATA[one.dataset])
    features, labels = outputs(trunk, classifier.prepare, part)
    scale = StandardScaler().fit(features)
    fit = LogisticRegressionCV(
        Cs=STRENGTHS,
        cv=FOLDS,
        random_state=SEED,
        max_iter=2000,
        use_legacy_attributes=False,
        l1_ratios=(0,),
        scoring="accuracy",
    )
    fit.fit(scale.transform(features), labels)
    weight = fit.coef_ / scale.scale_  # so that the head takes features as they are
    bias = fit.intercept_ - weight @ scale.mean_
    _write(one, {"weight": torch.from_numpy(weight).float(), "bias": torch.from_numpy(bias).float()})


def _width(one: Configuration) -> int:
    return {"vgg16": 512, "efficientnet-lite0": 1280, "vit_tiny_patch16_224": 192}[one.model]


def _write(one: Configuration, head: dict[str, Tensor]) -> None:
    one.file.unlink(missing_ok=True)
    save_file({name: value.contiguous() for name, value in head.items()}, one.file)
    load_file(one.file)


def training_part(dataset: str, folder: Path) -> Dataset:
    """Return the images to train on."""
    return read_cub200(folder, train=True) if dataset == "cub200" else read_cifar10(folder / "train")


def outputs(network: nn.Module, prepare: Preparation, dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Return what a network says of all images of a data set, (n, values), and their labels (n,)."""
    quick, found = None, []
    for start in range(0, len(dataset.items), BATCH):
        batch = torch.stack([prepare(dataset.open(item))[0] for item in dataset.items[start : start + BATCH]])
        quick = quick or quickened(network, batch[0])
        with torch.no_grad():
            found.append(quick(batch).numpy().copy())
    return np.concatenate(found), np.array([item.label for item in dataset.items])


def accuracy(one: Configuration, data: Path) -> dict[str, float]:
    """Return the share of test images whose class is the network's first."""
    dataset = find_dataset(one.dataset, data / DATA[one.dataset])
    classifier = classifier_of(one, data)
    logits, labels = outputs(classifier.model, classifier.prepare, dataset)
    right = logits.argmax(1) == labels
    return {"accuracy": round(float(right.mean()), 4), "images": len(labels)}


def classifier_of(one: Configuration, data: Path) -> Classifier:
    """Return the network of a configuration."""
    if not one.network:
        return load_classifier(one.model)
    with tempfile.TemporaryDirectory() as folder:
        return load_classifier(str(one.write(data, Path(folder))))


if __name__ == "__main__":
    main()
