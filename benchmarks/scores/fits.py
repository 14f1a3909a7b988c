"""Variants of the fit of scores by order, among which its constants were chosen on the choosing half.

Each takes the place of what the library does while a `with fit(name)` lasts; none is an option of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import cycle
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from usu.models.baselines import make_fill
from usu.scoring import order
from usu.scoring.perturbation import Perturbation

TURNS = ("blur", "mean", "noise")  # fills in turn, step by step
_SMOOTH = 0.3  # weight of the total variation, in the unit of the ridge's
_EDGE = 0.1  # difference of mean colours, of values in standard deviations, at which an edge's weight is 1/e


class Last(order._Fit):
    """Ends with the numbers as they are, not with their mean over the path."""

    def results(self, perturbed: Perturbation) -> list[Any]:
        """Return the records of the last step."""
        self.total, self.kept = self.numbers, 1
        return super().results(perturbed)


class Whole(order._Fit):
    """Ends with the mean over all steps."""

    def advance(self, slope: Tensor, ridge: float, kept: bool) -> None:
        """Step, and count every step in the mean."""
        super().advance(slope, ridge, kept=True)


class Smooth(order._Fit):
    """Also held by the total variation of the numbers' changes over borders of segments."""

    by_colour = False

    @classmethod
    def of(cls, perturbed: Perturbation, image: int, hierarchies: Sequence[Any]) -> Smooth:
        """Begin as ever, and find the borders of all partitions, each with its part of their length."""
        fit = super().of(perturbed, image, hierarchies)
        pixels, pairs, weights, first = perturbed.inputs[image].flatten(1), [], [], 0
        for labels, count in zip(fit.partitions, fit.counts, strict=True):
            steps = [(labels[1:], labels[:-1]), (labels[:, 1:], labels[:, :-1])]
            both = torch.cat([torch.stack([a.flatten(), b.flatten()]) for a, b in steps], 1).sort(0).values
            found, lengths = both[:, both[0] != both[1]].unique(dim=1, return_counts=True)
            weight = lengths.to(fit.start) / lengths.sum()
            if cls.by_colour:
                sums = pixels.new_zeros(len(pixels), count).index_add_(1, labels.flatten(), pixels)
                colours = sums / torch.bincount(labels.flatten())
                weight *= (
                    (-(colours[:, found[0]] - colours[:, found[1]]).norm(dim=0) / _EDGE).exp().to(weight)
                )
            pairs.append(found + first)
            weights.append(weight)
            first += count
        fit.pairs, fit.weights = torch.cat(pairs, 1), torch.cat(weights)
        return fit

    def pull(self, ridge: float) -> Tensor:
        """Return the gradient of the ridge and of the total variation."""
        found = super().pull(ridge)
        one, other = self.pairs
        change = self.numbers - self.start
        signs = _SMOOTH * self.weights * (change[one] - change[other]).sign()
        return found.index_add_(0, one, signs).index_add_(0, other, -signs)


class Edges(Smooth):
    """The same, less over borders where the colour changes."""

    by_colour = True


def in_turn(self: Perturbation, images: Sequence[int], kept: Tensor) -> Tensor:
    """Return the slopes of copies with the next fill, step by step."""
    if not hasattr(self, "turns"):
        self.turns = cycle([make_fill(self.inputs, name) for name in TURNS])
    with patch.object(self, "fills", next(self.turns)), patch.object(self, "_last", None):
        return slopes(self, images, kept)


slopes = Perturbation.slopes
FITS: dict[str, tuple[Any, str, Any]] = {
    "rate 0.1": (order, "_RATE", 0.1),
    "rate 1": (order, "_RATE", 1.0),
    "softness 0.2": (order, "_SOFTNESS", 0.2),
    "softness 0.8": (order, "_SOFTNESS", 0.8),
    "the last step": (order, "_Fit", Last),
    "the mean of all steps": (order, "_Fit", Whole),
    "total variation": (order, "_Fit", Smooth),
    "total variation by colour": (order, "_Fit", Edges),
    "fills in turn": (Perturbation, "slopes", in_turn),
}


@contextmanager
def fit(name: str | None, start: Callable[[], Tensor] | None = None) -> Iterator[None]:
    """Let scores by order be fitted in another way, or begin at another map (H, W) than the coarse one's."""
    with ExitStack() as changed:
        if name is not None:
            owner, what, value = FITS[name]
            changed.enter_context(patch.object(owner, what, value))
        if start is not None:
            pixels = start()
            changed.enter_context(patch.object(Perturbation, "start", lambda *_: pixels))
        yield
