"""From the attention of a vision transformer to a map of its patches: rollout, and relevance by gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from usu.models.targets import Target
from usu.models.tokens import Tokens
from usu.sources.attention import Chain, Reading, followed
from usu.sources.coarse_map import CoarseMap


def rollout(
    model: nn.Module,
    inputs: Tensor,
    targets: Sequence[Target],
    layer: str | nn.Module | None,
    *,
    tokens: Tokens | None = None,
    run: int | None = None,
) -> CoarseMap:
    """Return the attention rollout of each image: how much of each patch reaches the answer.

    Abnar and Zuidema (2020), "Quantifying attention flow in transformers", section 3.1.

    With W the mean over a layer's heads, A = (W + I) / 2 with its rows divided by their sums, and the rollout
    is the product of all layers' A. The map is the row of the token that the answer is read from, usually the
    class token, or the mean of several rows, such as those of all patches if the network pools them. The
    answer's gradient after the last attention shows which they are; otherwise the map does not depend on the
    target. A row sums to 1, and the map to 1 less the share of the class token and of other tokens that are
    not patches.

    The model must be a vision transformer whose layers attend among all tokens. For the arguments see
    `usu.sources.find_source`, and for `tokens` and `run` `usu.explain`.

    Returns:
        The maps (B, gh, gw), each value at least 0, with `mass="total"`; one forward pass per image, and for
        the first those by which its cells are found, unless the network is known.

    Raises:
        ValueError: a model without attention, with windows (Swin) or a changing number of tokens; tokens
            that do not form a grid; a layer; a target out of range; a model in training mode; a model that
            attends to several images, without `run`.
    """
    return followed(_ROLLOUT, model, inputs, targets, layer, tokens, run)


def attention_relevance(
    model: nn.Module,
    inputs: Tensor,
    targets: Sequence[Target],
    layer: str | nn.Module | None,
    *,
    tokens: Tokens | None = None,
    run: int | None = None,
) -> CoarseMap:
    """Return how much each patch matters to the target, by attention weighted with its gradient.

    Chefer, Gur and Wolf (2021), "Generic attention-model explainability", rules 5 and 6 for self-attention.
    With W the weights of a layer, ∇W the target's gradient by them and A the mean over heads of the positive
    part of ∇W ⊙ W, the relevance R starts as the identity, and each layer adds A R. The map is the row of
    the token that the answer is read from, or the mean of several rows, as in `rollout`. Unlike a rollout
    it depends on the target, and its total is in no unit of the answer.

    For the arguments, the models that it is defined for and the errors see `rollout`.

    Returns:
        The maps (B, gh, gw), each value at least 0, with `mass="total"`; one forward pass per image, with a
        gradient, and for the first those by which its cells are found, unless the network is known.
    """
    return followed(_RELEVANCE, model, inputs, targets, layer, tokens, run)


def _product(chain: Chain, _: Tensor) -> Tensor:
    """Return the product of (W + I) / 2 over the layers, the rows of each divided by their sums."""
    rows = torch.eye(chain.kept[0].shape[-1]).to(chain.kept[0])
    for mean in chain.kept:
        through = 0.5 * mean + 0.5 * torch.eye(mean.shape[-1]).to(mean)
        rows = through / through.sum(-1, keepdim=True) @ rows
    return rows


def _relevance(chain: Chain, total: Tensor) -> Tensor:
    """Return the relevance of all tokens to all, (B, N, N)."""
    sought: Any = [run.sought for run in chain.runs]
    gradients = torch.autograd.grad(total, sought, retain_graph=True, allow_unused=True)
    rows = torch.eye(chain.kept[0].shape[-1]).to(chain.kept[0]).expand(len(chain.kept[0]), -1, -1)
    for run, weights, gradient in zip(chain.runs, chain.kept, gradients, strict=True):
        if gradient is not None:
            slopes = run.slopes(gradient).to(weights).reshape(weights.shape)
            rows = rows + (slopes * weights).clamp(min=0).mean(1) @ rows
    return rows


_ROLLOUT = Reading("rollout", lambda weights: weights.mean(1), _product)
_RELEVANCE = Reading("attention-relevance", lambda weights: weights, _relevance)
