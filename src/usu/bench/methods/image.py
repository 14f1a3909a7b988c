"""One image as one model sees it, and what it costs to make maps of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

import usu
from usu.explanation import Explanation
from usu.models.baselines import make_fill
from usu.operators.coarse import Coarse
from usu.sources.registry import find_source

BATCH = 16
# Sources that only ask for answers; all others look inside the model.
BLACK_BOX = ("rise", "occlusion", "shap", "lime")


class Counting(nn.Module):
    """A model that counts the images that go through it.

    Args:
        model: in evaluation mode; runs where gradients are wanted or hooks are to be.
        quick: the same function, which runs elsewhere.
    """

    def __init__(self, model: nn.Module, quick: nn.Module) -> None:
        super().__init__()
        self.model = model
        self._quick = (quick,)  # in a tuple, so that it is no module of this one: a trace takes no hooks
        self.passes = 0

    def forward(self, batch: Tensor) -> Tensor:
        """Return the outputs (B, classes)."""
        self.passes += len(batch)
        (quick,) = self._quick
        outputs: Tensor = (self.model if torch.is_grad_enabled() else quick)(batch)
        return outputs

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """Let the model itself run where gradients are not wanted, too: the quick one takes no hooks."""
        quick, self._quick = self._quick, (self.model,)
        try:
            yield
        finally:
            self._quick = quick


@dataclass(frozen=True)
class Cost:
    """What something took: forward passes, and seconds of processor time."""

    passes: int
    seconds: float

    def __add__(self, other: Cost) -> Cost:
        """Return both together."""
        return Cost(self.passes + other.passes, self.seconds + other.seconds)


@dataclass(frozen=True, eq=False)
class Costed:
    """A thing and what it took to make."""

    made: Any
    cost: Cost


class Subject:
    """One image to explain. What several maps need is made once, and counts in the cost of each of them.

    Args:
        model: a classifier in evaluation mode.
        inputs: (C, H, W).
        picture: (3, H, W), RGB in [0, 1].
        target: class index.
        quick: the same function as the model, for passes without gradients; the model itself if None.
        settings: fields of `usu.Settings` that differ from its defaults.
        positive: whether coarse maps lose their negative values, for every upsampler alike.
        seed: of everything random.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: Tensor,
        picture: Tensor,
        target: int,
        *,
        quick: nn.Module | None = None,
        settings: dict[str, Any] | None = None,
        positive: bool = False,
        seed: int = 0,
    ) -> None:
        self.model = Counting(model, quick or model).eval()
        self.inputs, self.picture, self.target = inputs, picture, target
        self.settings, self.positive, self.seed = settings or {}, positive, seed
        self._shared: dict[Any, Costed] = {}
        self._set_aside = Cost(0, 0.0)  # what all that is shared took

    @property
    def size(self) -> tuple[int, int]:
        """Return (H, W)."""
        return self.inputs.shape[-2], self.inputs.shape[-1]

    @cached_property
    def fill(self) -> Tensor:
        """What masked pixels become, (C, H, W): the blurred inputs, for every method."""
        return make_fill(self.inputs[None], "blur")[0]

    def answers(self, batch: Tensor) -> Tensor:
        """Return the target's softmax probability (B,) for inputs (B, C, H, W)."""
        with torch.no_grad():
            parts = [self.model(part).softmax(1)[:, self.target] for part in batch.split(BATCH)]
        return torch.cat(parts)

    def keep(self, masks: Tensor) -> Tensor:
        """Return the answers (B,) where masks (B, H, W) are 1 for a pixel that stays and 0 for the fill."""
        kept = [
            self.answers(torch.lerp(self.fill, self.inputs, part[:, None].to(self.inputs)))
            for part in masks.split(BATCH)
        ]
        return torch.cat(kept)

    def coarse(self, source: str) -> Coarse:
        """Return the coarse map of one source, as tensors."""
        found: Coarse = self.share(("coarse", source), lambda: self._coarse(source)).made
        return found

    def scoring(self) -> Explanation:
        """Return a record whose scores are the pipeline's; they depend on no coarse map."""
        found: Explanation = self.share("scoring", self._scoring).made
        return found

    def share(self, key: Any, make: Callable[[], Any]) -> Costed:
        """Return what is already made under this key, or make it and note what it took."""
        if key not in self._shared:
            self._shared[key] = self.measured(make)
            self._set_aside += self._shared[key].cost
        return self._shared[key]

    def cost_of(self, *keys: Any) -> Cost:
        """Return what shared things took together."""
        return sum((self._shared[key].cost for key in keys), Cost(0, 0.0))

    def measured(self, make: Callable[[], Any]) -> Costed:
        """Call something and note the passes and seconds that it took, less those of what is shared."""
        passes, start, aside = self.model.passes, time.process_time(), self._set_aside
        made = make()
        spent = Cost(self.model.passes - passes, time.process_time() - start)
        return Costed(
            made,
            Cost(
                spent.passes - (self._set_aside.passes - aside.passes),
                spent.seconds - (self._set_aside.seconds - aside.seconds),
            ),
        )

    def _coarse(self, source: str) -> Coarse:
        with nullcontext() if source in BLACK_BOX else self.model.hooked():
            found = find_source(source)(self.model, self.inputs[None], [self.target], None)
        coarse = found[0].map(torch.as_tensor)
        return coarse.map(lambda cells: cells.clamp(min=0)) if self.positive else coarse

    def _scoring(self) -> Explanation:
        record: Explanation = usu.upsample(
            self.inputs.new_zeros(1, 1),
            self.inputs,
            self.model,
            self.target,
            images=self.picture,
            **self.settings,
        )
        return record
