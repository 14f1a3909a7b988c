"""One image as one model sees it, and the cost of making maps of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn

import usu
from usu.explanation import Explanation
from usu.models.baselines import make_fill
from usu.operators.coarse import Coarse
from usu.scoring.budget import Budgeted
from usu.scoring.order import Order
from usu.scoring.registry import Scoring
from usu.settings import settings_of
from usu.sources.coarse_map import CoarseMap
from usu.sources.registry import find_source

BATCH = 16
# Sources that only ask for the model's answers; all others look inside it.
BLACK_BOX = ("rise", "occlusion", "shap", "lime")


class Counting(nn.Module):
    """A model that counts the images that go through it.

    Args:
        model: in evaluation mode; used for gradients and hooks.
        quick: the same function, used for everything else.
    """

    def __init__(self, model: nn.Module, quick: nn.Module) -> None:
        super().__init__()
        self.model = model
        self._quick = (quick,)  # in a tuple, so that it is not a submodule: a trace takes no hooks
        self.passes = 0

    def forward(self, batch: Tensor) -> Tensor:
        """Return the outputs (B, classes)."""
        self.passes += len(batch)
        (quick,) = self._quick
        outputs: Tensor = (self.model if torch.is_grad_enabled() else quick)(batch)
        return outputs

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """Use the model itself even where no gradients are needed: the quick one takes no hooks."""
        quick, self._quick = self._quick, (self.model,)
        try:
            yield
        finally:
            self._quick = quick


@dataclass(frozen=True)
class Cost:
    """What something cost: forward passes, and seconds of processor time."""

    passes: int
    seconds: float

    def __add__(self, other: Cost) -> Cost:
        """Return the sum."""
        return Cost(self.passes + other.passes, self.seconds + other.seconds)


@dataclass(frozen=True, eq=False)
class Costed:
    """Something that was made, and what it cost."""

    made: Any
    cost: Cost


class Subject:
    """One image to explain. What several maps share is made once, and counts in the cost of each of them.

    Args:
        model: a classifier in evaluation mode.
        inputs: (C, H, W).
        picture: (3, H, W), RGB in [0, 1].
        target: class index.
        quick: the same function as the model, for passes without gradients; the model itself if None.
        settings: fields of `usu.Settings` that differ from its defaults.
        positive: whether negative values of coarse maps are set to 0, for every upsampler alike.
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
        self._set_aside = Cost(0, 0.0)  # of everything that is shared

    @property
    def size(self) -> tuple[int, int]:
        """Return (H, W)."""
        return self.inputs.shape[-2], self.inputs.shape[-1]

    @cached_property
    def fill(self) -> Tensor:
        """What replaces masked pixels, (C, H, W): the blurred inputs, for every method."""
        return make_fill(self.inputs[None], "blur")[0]

    def answers(self, batch: Tensor) -> Tensor:
        """Return the target's softmax probability (B,) for inputs (B, C, H, W)."""
        with torch.no_grad():
            parts = [self.model(part).softmax(1)[:, self.target] for part in batch.split(BATCH)]
        return torch.cat(parts)

    def keep(self, masks: Tensor) -> Tensor:
        """Return the answers (B,) for masks (B, H, W), 1 for a pixel that stays and 0 for the fill."""
        kept = [
            self.answers(torch.lerp(self.fill, self.inputs, part[:, None].to(self.inputs)))
            for part in masks.split(BATCH)
        ]
        return torch.cat(kept)

    def coarse(self, source: str) -> Coarse:
        """Return the coarse map of one source, as tensors."""
        found: Coarse = self.share(("coarse", source), lambda: self._coarse(source)).made
        return found

    @cached_property
    def way(self) -> Scoring:
        """How segments are scored."""
        return settings_of("usu", self.settings).way

    def key_of_scores(self, source: str | None) -> tuple[str, str | None]:
        """Return the key under which scores are shared: of a source, if they start from its coarse map."""
        return "scoring", source if isinstance(self.way, Order) else None

    def scoring(self, source: str | None = None) -> Explanation:
        """Return a record whose scores are the pipeline's, for a source's coarse map or for none.

        Its passes are the pipeline's: a gradient counts as two more.
        """
        key = self.key_of_scores(source)
        if key not in self._shared:
            found = self.share(key, partial(self.scored, key[1]))
            self._shared[key] = replace(found, cost=Cost(found.made.forward_passes, found.cost.seconds))
        record: Explanation = self._shared[key].made
        return record

    def scored(self, source: str | None, **changes: Any) -> Explanation:
        """Run the pipeline for its scores, which mode "usu" leaves unfiltered, with some settings changed."""
        coarse = Coarse(self.inputs.new_zeros(1, 1)) if source is None else self.coarse(source)

        def given(*_: Any) -> CoarseMap:
            cells = coarse.map(lambda values: values[None])
            return CoarseMap(
                cells.values, coarse.mass, neighbourhoods=coarse.neighbourhoods, further=cells.further
            )

        settings = {"scoring": self.way, **self.settings, **changes, "mode": "usu", "images": self.picture}
        record: Explanation = usu.explain(self.model, self.inputs, self.target, source=given, **settings)
        return record

    def passes_of_scores(self) -> int:
        """Return how many passes the pipeline's scores cost."""
        return self.way.passes if isinstance(self.way, Budgeted) else self.scoring().forward_passes

    def share(self, key: Any, make: Callable[[], Any]) -> Costed:
        """Return what was already made under this key, or make it and note its cost."""
        if key not in self._shared:
            self._shared[key] = self.measured(make)
            self._set_aside += self._shared[key].cost
        return self._shared[key]

    def cost_of(self, *keys: Any) -> Cost:
        """Return the joint cost of shared things."""
        return sum((self._shared[key].cost for key in keys), Cost(0, 0.0))

    def measured(self, make: Callable[[], Any]) -> Costed:
        """Call something and note its passes and seconds, without those of what is shared."""
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
