"""Network cards: JSON files that say how a network is built, where its weights are, what its input is."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode

from usu.arrays.checks import suggestion
from usu.models.bundled import TIMM
from usu.models.checkpoints import State, read_weights
from usu.models.classifier import Classifier, Preparation, assemble
from usu.models.outputs import scores_of
from usu.runtime.files import read_json
from usu.runtime.lazy import needed

_FIELDS = ("network", "options", "weights", "prepare", "class_names")
_PREPARATION = ("size", "crop", "mean", "std", "channels", "white", "interpolation")
_MODES = {mode.value: mode for mode in InterpolationMode}


def load_card(path: Path, name: str) -> Classifier:
    """Load the classifier that a card describes; of a card that is not one's own, see what it imports first.

    Args:
        path: a JSON object. `network` is a torchvision classifier, "timm:NAME" or "MODULE:FACTORY", called
            with `options`. `weights` is a file (torch's or safetensors) or an object from names of modules
            to files, "" being the whole network; what comes later replaces what came before. `prepare` has
            `size` (pixels, or [height, width]), `mean` and `std`, and may have `crop` (the share of the
            resized side that is kept, 1), `channels` ("RGB" or "BGR"), `white` (1, or 255) and
            `interpolation` ("bicubic"). `class_names` may be left out. Files are relative to the card.
        name: what the classifier is called.

    Raises:
        ValueError: a card that is no such object, or weights that are not this network's.
        OSError: a file cannot be opened.
        ImportError: the network's package is missing.
    """
    card = _read(path)
    model = _build(path, card["network"], card.get("options", {}))
    names = card.get("class_names")
    if names is not None and not (isinstance(names, list) and all(isinstance(one, str) for one in names)):
        raise ValueError(f"{path}: class_names must be a list of names, got {names!r:.60}")
    prepare = _preparation(path, card["prepare"])
    classifier = assemble(name, model, _state(path, card["weights"], model), prepare, path, 0)
    with torch.no_grad():
        count = scores_of(model(torch.zeros(1, 3, *prepare.crop)), 1).shape[1]
    if names is not None and len(names) != count:
        raise ValueError(f"{path}: class_names has {len(names)} names, but the network {count} outputs")
    return replace(classifier, class_names=None if names is None else tuple(names))


def _read(path: Path) -> dict[str, Any]:
    try:
        card = read_json(path)
    except ValueError as problem:
        raise ValueError(f"{path} is not a network card: {problem}") from problem
    _check(path, "the card", card, _FIELDS, ("network", "weights", "prepare"))
    return dict(card)


def _check(path: Path, what: str, found: Any, known: tuple[str, ...], needed: tuple[str, ...]) -> None:
    if not isinstance(found, dict):
        raise ValueError(f"{path}: {what} must be an object with {', '.join(needed)}, got {found!r:.60}")
    for name in found:
        if name not in known:
            raise ValueError(f"{path}: {what} has the unknown {name!r}{suggestion(name, known)}")
    for name in needed:
        if name not in found:
            raise ValueError(f"{path}: {what} lacks {name!r}; it has {', '.join(known)}")


def _build(path: Path, network: Any, options: Any) -> nn.Module:
    """Return the network without weights, in evaluation mode."""
    if not isinstance(network, str) or not isinstance(options, dict):
        wrong, kind = ("options", "an object") if isinstance(network, str) else ("network", "a name")
        raise ValueError(
            f"{path}: {wrong} must be {kind}, got {(options if isinstance(network, str) else network)!r:.60}"
        )
    module, _, name = network.rpartition(":")
    build: Callable[..., Any]
    if f"{module}:" == TIMM:
        with needed("networks of timm need it", "bench"):
            from timm import create_model
        build = partial(create_model, name)
    elif module:
        build = _factory(path, module, name)
    else:
        from torchvision.models import get_model

        build = partial(get_model, name)
    try:
        model = build(**options)
    except Exception as problem:
        raise ValueError(f"{path}: network {network!r} cannot be built: {problem}") from problem
    if not isinstance(model, nn.Module):
        raise ValueError(f"{path}: network {network!r} made a {type(model).__name__}, not a torch module")
    return model.eval()


def _factory(path: Path, module: str, name: str) -> Callable[..., Any]:
    if module.partition(".")[0] in sys.stdlib_module_names:  # what it has is no network, but may run anything
        raise ValueError(f"{path}: network '{module}:{name}' is of Python's own library: name a network")
    try:
        found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, TypeError, ValueError) as problem:
        raise ValueError(f"{path}: network '{module}:{name}' is not found: {problem}") from problem
    return found


def _state(path: Path, weights: Any, model: nn.Module) -> State:
    files = {"": weights} if isinstance(weights, str) else weights
    if not isinstance(files, dict) or not files or not all(isinstance(one, str) for one in files.values()):
        raise ValueError(
            f'{path}: weights must be a file, or an object such as {{"features": "trunk.safetensors", '
            f'"head": "head.safetensors"}}, got {weights!r:.60}'
        )
    state: dict[str, Tensor] = {}
    for module, file in files.items():
        prefix = f"{module}." if module else ""
        if module and module not in dict(model.named_modules()):
            near = suggestion(module, dict(model.named_children()))
            raise ValueError(f"{path}: weights has {module!r}, which is no module of the network{near}")
        state |= {f"{prefix}{key}": value for key, value in read_weights(path.parent / file).items()}
    return state


def _preparation(path: Path, given: Any) -> Preparation:
    _check(path, "prepare", given, _PREPARATION, ("size", "mean", "std"))
    size, crop, white = given["size"], given.get("crop", 1), given.get("white", 1)
    sides = size if isinstance(size, list) else [size, size]
    if len(sides) != 2 or not all(type(side) is int and side > 0 for side in sides):
        raise ValueError(f"{path}: size must be a number of pixels or [height, width], got {size!r}")
    for name, value, most in (("crop", crop, 1), ("white", white, 65535)):
        if type(value) not in (int, float) or not 0 < value <= most:
            raise ValueError(f"{path}: {name} must be above 0 and at most {most}, got {value!r:.60}")
    if max(sides) / crop > _LARGEST:
        raise ValueError(
            f"{path}: size over crop must be at most {_LARGEST} pixels, got {size!r} over {crop!r}"
        )
    mean, std = (_triple(path, name, given[name]) for name in ("mean", "std"))
    choices = {"channels": ("RGB", "BGR"), "interpolation": tuple(_MODES)}
    chosen = {name: given.get(name, default) for name, default in _DEFAULTS.items()}
    for name, value in chosen.items():
        if not isinstance(value, str) or value not in choices[name]:
            raise ValueError(f"{path}: {name} must be one of {', '.join(choices[name])}, got {value!r}")
    return Preparation(
        round(min(sides) / crop),
        (sides[0], sides[1]),
        mean,
        std,
        interpolation=_MODES[chosen["interpolation"]],
        white=float(white),
        bgr=chosen["channels"] == "BGR",
    )


_MOST = 1e6  # of means and deviations
_LARGEST = 2**14  # pixels of a side
_DEFAULTS = {"channels": "RGB", "interpolation": "bicubic"}


def _triple(path: Path, name: str, values: Any) -> tuple[float, ...]:
    given = values if isinstance(values, list) else [values] * 3
    numbers = all(type(one) in (int, float) and abs(one) < _MOST for one in given)
    if len(given) != 3 or not numbers:
        raise ValueError(
            f"{path}: {name} must be a number or three, in the channels' order, got {values!r:.60}"
        )
    if name == "std" and not all(one > 0 for one in given):
        raise ValueError(f"{path}: std must be above 0, got {values!r}")
    return tuple(map(float, given))
