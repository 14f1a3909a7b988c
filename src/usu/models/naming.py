"""What a model is called, and its classes, as far as the model itself or the caller says."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

ClassNames: TypeAlias = "Sequence[str] | Mapping[int, str] | str"


def find_class_names(class_names: ClassNames | None, model: Any = None) -> tuple[str, ...] | None:
    """Return the names of the classes in the order of the outputs, or None if they are not known.

    Args:
        class_names: a list; a mapping from indices; "imagenet" for its 1,000 classes, from torchvision; None
            to ask the model.
        model: with names of its own in its configuration, as those of Hugging Face and timm may have.

    Raises:
        ValueError: a mapping with gaps, another word than "imagenet".
        TypeError: names that are not text.
    """
    if class_names is None:
        return _own_names(model)
    if isinstance(class_names, str):
        if class_names != "imagenet":
            raise ValueError(f"class_names must be a list of names or 'imagenet', got {class_names!r}")
        from usu.models.classifier import imagenet_class_names

        return imagenet_class_names()
    if not isinstance(class_names, Iterable):
        raise TypeError(f"class_names must be a list of names or a mapping, got {class_names!r}")
    names = _in_order(class_names) if isinstance(class_names, Mapping) else tuple(class_names)
    if not all(isinstance(name, str) for name in names):
        wrong = next(name for name in names if not isinstance(name, str))
        raise TypeError(f"class_names must be text, got {wrong!r}")
    return names


def _in_order(names: Mapping[int, str]) -> tuple[str, ...]:
    by_index = {int(index): name for index, name in names.items()}
    if sorted(by_index) != list(range(len(by_index))):
        raise ValueError("class_names, a mapping, must name every class from 0 up")
    return tuple(by_index[index] for index in range(len(by_index)))


def _own_names(model: Any) -> tuple[str, ...] | None:
    labels = getattr(getattr(model, "config", None), "id2label", None)  # Hugging Face
    if isinstance(labels, Mapping) and labels:
        names = _in_order(labels)
        return None if all(re.fullmatch(r"LABEL_\d+", name) for name in names) else names
    listed = _timm(model).get("label_names")
    return tuple(map(str, listed)) if isinstance(listed, Sequence) and listed else None


def name_of_model(model: Any) -> str:
    """Return the name in a model's configuration (Hugging Face, timm), or that of its class."""
    config = getattr(model, "config", None)
    name = getattr(config, "name_or_path", None) or _timm(model).get("architecture")
    return str(name) if isinstance(name, str) else getattr(model, "__name__", type(model).__name__)


def _timm(model: Any) -> Mapping[str, Any]:
    found = getattr(model, "pretrained_cfg", None)
    return found if isinstance(found, Mapping) else {}


def name_of_class(names: Sequence[str] | None, target: int | str) -> str | None:
    """Return the name of a class, if it is one and has one."""
    return names[target] if names is not None and isinstance(target, int) and target < len(names) else None
