"""Potentials φ: how strongly a score attracts mass (paper eq. 9, propositions 1 and 2).

Every named potential is φ(s) = exp(u(s) / ε) with an increasing u, so that all of them have the same limits
in ε and the operators can work with differences of u, which never overflow:

| name          | u(s)           | φ(s)                                      |
|---------------|----------------|-------------------------------------------|
| "exponential" | s              | exp(s/ε); the paper calls it "tensor"     |
| "power"       | log s          | s^γ with γ = 1/ε                          |
| "log-odds"    | log(s / (1-s)) | (s/(1-s))^γ with γ = 1/ε                  |

The paper's exp((s-0.5)/ε) differs from exp(s/ε) by a factor that cancels.
A callable φ is taken as it is: u = log φ, and ε plays no part.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

Potential: TypeAlias = "str | Callable[[Tensor], Tensor]"

# Scores of exactly 0 (or 1, for log-odds) would have φ = 0 (or infinity), where the paper wants φ > 0: they
# are taken as this much away, which is the limit to within a weight of 1e-300^γ.
_TINY = 1e-300


def _log(scores: Tensor) -> Tensor:
    return scores.clamp(min=_TINY).log()


def _logit(scores: Tensor) -> Tensor:
    return _log(scores) - _log(1 - scores)


_UTILITIES: dict[str, Callable[[Tensor], Tensor]] = {"power": _log, "log-odds": _logit}
POTENTIALS = ("exponential", *_UTILITIES)
_ALIASES = {"tensor": "exponential"}  # the paper's word


def check_potential(potential: Potential) -> Potential:
    """Return a potential, by its name in `POTENTIALS` where it has one.

    Raises:
        ValueError: an unknown name.
        TypeError: neither a string nor a callable.
    """
    if isinstance(potential, str):
        potential = _ALIASES.get(potential, potential)
        if potential not in POTENTIALS:
            raise ValueError(f"potential must be one of {POTENTIALS} or a callable, got {potential!r}")
    elif not callable(potential):
        raise TypeError(f"potential must be a name or a callable, got {type(potential).__name__}")
    return potential


def utility(potential: Potential, scores: Tensor, temperature: float) -> tuple[Tensor, float]:
    """Return u(s) and the temperature that divides it.

    The logarithmic potentials and callables are evaluated in float64, since a small temperature magnifies
    each rounding of a logarithm.

    Args:
        potential: a name of the table above, or φ itself: scores in [0, 1] to positive, finite values.
        scores: any shape, in [0, 1].
        temperature: ε > 0.

    Raises:
        ValueError: a callable returned another shape or values that are not positive and finite.
    """
    if potential == "exponential":
        return scores, temperature
    scores = scores.to(torch.float64)
    if isinstance(potential, str):
        return _UTILITIES[potential](scores), temperature
    weights = potential(scores)
    if not isinstance(weights, Tensor) or weights.is_complex() or weights.shape != scores.shape:
        tensor = isinstance(weights, Tensor)
        found = f"{weights.dtype} of shape {tuple(weights.shape)}" if tensor else type(weights).__name__
        raise ValueError(
            f"potential must return a real tensor of the scores' shape {tuple(scores.shape)}, got {found}"
        )
    if not bool((weights.isfinite() & (weights > 0)).all()):
        raise ValueError("potential must return positive, finite values for all scores in [0, 1]")
    return weights.to(torch.float64).log(), 1.0
