"""Networks of timm: built without weights, which come from a file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor
from torchvision.transforms import InterpolationMode

from usu.arrays.checks import suggestion
from usu.models.bundled import TIMM
from usu.models.checkpoints import own_part, read_weights
from usu.models.classifier import Classifier, Preparation, assemble, weights_needed
from usu.models.loading import import_package
from usu.runtime.lazy import install

_EXTRA = install("bench")


def _load_timm(name: str, weights: Path | None) -> Classifier:
    timm = import_package("timm", _EXTRA)
    short = name.removeprefix(TIMM)
    config = _find_config(timm, short)
    prepare = preparation(name, timm.data.resolve_data_config(pretrained_cfg=config.to_dict()))
    if weights is None:
        raise weights_needed(name, _published(config))
    model = timm.create_model(short, pretrained=False)
    state = own_part(read_weights(weights), model, weights)
    class_count = _count_classes(state, config.classifier, name, weights)
    if class_count != model.num_classes:
        model = timm.create_model(short, pretrained=False, num_classes=class_count)
    return assemble(name, model, state, prepare, weights, class_count)


def _find_config(timm: Any, name: str) -> Any:
    try:
        config = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    except RuntimeError:  # a known network with an unknown tag
        config = None
    if config is None:
        known = timm.list_models() + timm.list_pretrained()
        raise ValueError(f"there is no timm model {name!r}{suggestion(name, known)}")
    return config


def preparation(name: str, config: Mapping[str, Any]) -> Preparation:
    """Return timm's evaluation transform as a `Preparation`.

    Args:
        name: of the network, for errors.
        config: as `timm.data.resolve_data_config` returns it.

    Raises:
        ValueError: anything but RGB, resized by its shorter side and cropped to a square in the centre.
    """
    channels, height, width = config["input_size"]
    known = {mode.value: mode for mode in InterpolationMode}
    method, crop = config["interpolation"], config["crop_mode"]
    if channels != 3 or height != width or crop != "center" or method not in known:
        raise ValueError(
            f"{name} takes {channels} channels of {height} × {width} pixels, interpolation {method!r} and "
            f"crop mode {crop!r}; only RGB, resized by its shorter side and cropped to a square in the "
            "centre, is supported"
        )
    size = math.floor(height / config["crop_pct"])
    return Preparation(size, (height, width), tuple(config["mean"]), tuple(config["std"]), known[method])


def _published(config: Any) -> str:
    """Return where the weights of a timm configuration are published, as far as timm knows."""
    if config.hf_hub_id:
        return f"https://huggingface.co/{config.hf_hub_id}/resolve/main/model.safetensors"
    return config.url or "them from their authors"


def _count_classes(state: Mapping[str, Tensor], heads: Any, name: str, weights: Path) -> int:
    """Return the number of outputs that weights are for; of two heads, as in distilled DeiT, the first's."""
    head = heads if isinstance(heads, str) or not heads else heads[0]
    weight = state.get(f"{head}.weight")
    if weight is None:
        raise ValueError(
            f"{weights} has no {head}.weight: it does not hold the weights of the classifier {name}"
        )
    return int(weight.shape[0])
