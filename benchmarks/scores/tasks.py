"""What a method that makes pixel maps is given, and how its forward passes and its own time are counted."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

import usu
from benchmarks.scores.photographs import Photograph
from usu.bench.methods.image import Counting, Subject
from usu.sources.registry import find_source


class Timed(Counting):
    """A model that counts the images that go through it, and the CPU seconds that they take."""

    def __init__(self, model: nn.Module, quick: nn.Module) -> None:
        super().__init__(model, quick)
        self.seconds = 0.0

    def forward(self, batch: Tensor) -> Tensor:
        """Return the outputs (B, classes)."""
        start = time.process_time()
        outputs = super().forward(batch)
        self.seconds += time.process_time() - start
        return outputs


class Task(Subject):
    """One photograph to explain; a fresh one for every method.

    Attributes:
        photograph: with `inputs` and `picture` (3, H, W) and `target`.
        model: counts its passes; in evaluation mode. Without gradients a frozen copy runs, whose layers
            cannot be hooked.
    """

    def __init__(self, photograph: Photograph, model: nn.Module, quick: nn.Module, fetch: Fetch) -> None:
        super().__init__(model, photograph.inputs, photograph.picture, photograph.target)
        self.photograph = photograph
        self.model = Timed(model, quick).eval()
        self._fetch = fetch

    def _coarse(self, source: str) -> usu.CoarseMap:
        """Raw Grad-CAM at a cost of one pass: the layer is searched for once and for all photographs."""
        inputs = self.inputs[None]
        layer = _last_layer(self.model.model, inputs, self.target)
        return find_source(source)(self.model, inputs, [self.target], f"model.{layer}")

    def made_by(self, method: str) -> dict[str, np.ndarray]:
        """Return another method's maps, by name, to combine them: its passes and its time count here too."""
        made = self._fetch(method)
        # A method that gives several maps at several prices counts by the dearest of them.
        self.model.passes += max(one.passes for one in made.maps.values())
        self.model.seconds -= made.seconds_outside
        return {name: one.values for name, one in made.maps.items()}


@dataclass(frozen=True, eq=False)
class Costed:
    """A map (H, W) and the passes that it took, where the maps of one call differ in them."""

    values: Any
    passes: int


@dataclass(frozen=True, eq=False)
class Made:
    """What a method made of a photograph: maps by name, and its CPU seconds outside the model."""

    maps: dict[str, Costed]
    seconds_outside: float


Pixels: TypeAlias = "np.ndarray | Tensor | Costed"
Method: TypeAlias = Callable[[Task], "Pixels | Mapping[str, Pixels]"]
Fetch: TypeAlias = Callable[[str], Made]


def make(name: str, method: Method, task: Task) -> Made:
    """Run a method; one that returns a single map gives it its own name.

    Raises:
        ValueError: a map that is not one finite number per pixel.
    """
    start = time.process_time()
    found = method(task)
    outside = time.process_time() - start - task.model.seconds
    maps = {}
    for key, value in (found if isinstance(found, Mapping) else {name: found}).items():
        costed = value if isinstance(value, Costed) else Costed(value, task.model.passes)
        values = torch.as_tensor(costed.values).detach().numpy().astype(np.float32)
        if values.shape != tuple(task.photograph.inputs.shape[-2:]) or not np.isfinite(values).all():
            raise ValueError(f"{key!r} of {task.photograph.name} is no finite map, shape {values.shape}")
        maps[key] = Costed(values, costed.passes)
    return Made(maps, outside)


_LAYERS: dict[nn.Module, str] = {}


def _last_layer(model: nn.Module, inputs: Tensor, target: int) -> str:
    """Return the layer that Grad-CAM describes; found once, since the search costs a forward pass."""
    if model not in _LAYERS:
        _LAYERS[model] = find_source("gradcam")(model, inputs, [target], None).layer
    return _LAYERS[model]
