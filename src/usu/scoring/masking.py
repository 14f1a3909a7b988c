"""Masked perturbation: what the model's answer loses without a segment, or gains from it alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TypeAlias

import torch
from torch import Tensor

from usu.scoring.perturbation import Perturbation, Request


def normalise(raw_scores: Tensor) -> Tensor:
    """Return raw scores clipped at 0 and divided by the largest; all 0 if none is positive.

    >>> normalise(torch.tensor([-1.0, 1.0, 4.0]))
    tensor([0.0000, 0.2500, 1.0000])
    """
    positive = raw_scores.clamp(min=0)
    largest = positive.max()
    return positive / largest if float(largest) > 0 else torch.zeros_like(positive)


Masking: TypeAlias = Callable[[Perturbation, Sequence[Request]], "list[Tensor]"]


def _mask(perturbed: Perturbation, requests: Sequence[Request]) -> list[Tensor]:
    outputs = perturbed.one_by_one(requests, alone=False)
    return [perturbed.references[r.image] - values for r, values in zip(requests, outputs, strict=True)]


def _keep(perturbed: Perturbation, requests: Sequence[Request]) -> list[Tensor]:
    floors = perturbed.filled([request.image for request in requests])
    outputs = perturbed.one_by_one(requests, alone=True)
    return [values - floor for values, floor in zip(outputs, floors, strict=True)]


def _both(perturbed: Perturbation, requests: Sequence[Request]) -> list[Tensor]:
    pairs = zip(_mask(perturbed, requests), _keep(perturbed, requests), strict=True)
    return [(masked + kept) / 2 for masked, kept in pairs]


MASKINGS: Mapping[str, Masking] = MappingProxyType({"mask": _mask, "keep": _keep, "both": _both})
