"""Attention rollout: how much of each patch reaches the tokens from which a vision transformer answers.

Abnar and Zuidema (2020), "Quantifying attention flow in transformers", section 3.1. It needs no library: the
weights are read while the model computes them, whichever way it does (`nn.MultiheadAttention`, PyTorch's
fused attention, its own softmax), and neither its modules nor its settings are changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from usu.models.attention import Results
from usu.models.contexts import differentiable
from usu.models.diagnosis import (
    as_written,
    check_differentiable,
    check_watchable,
    uncompiled,
    why_no_gradient,
)
from usu.models.layers import Output, noted_outputs, place_of_tokens
from usu.models.passes import watched
from usu.models.runs import checked_run
from usu.models.targets import Target, answers
from usu.models.tokens import Tokens
from usu.sources._answer import checked_targets
from usu.sources.coarse_map import CoarseMap

_UNDEFINED = "rollout is not defined for this model: "


@dataclass(frozen=True, eq=False)
class _Attention:
    """One run of attention: weights (B, heads, N, M) or (B, N, M), and a result whose `axis` is the tokens.

    The rest of the network continues with the result, so that its gradient shows which tokens are read.
    """

    weights: Tensor
    result: Tensor
    axis: int


_Call: TypeAlias = "tuple[Any, _Attention | None]"


def _fused(
    function: Callable[..., Any], query: Tensor, key: Tensor, value: Tensor, *mask: Any, **options: Any
) -> _Call:
    result = function(query, key, value, *mask, **options)
    # Attention to the rows of the identity gives the weights themselves, including masks and scale.
    identity = torch.eye(key.shape[-2], dtype=key.dtype, device=key.device)
    with torch.no_grad():
        rows = identity.expand(*key.shape[:-1], key.shape[-2])
        weights = function(query, key, rows, *mask, **options)
    return result, _Attention(weights, result, axis=-2)


def _multi_head(function: Callable[..., Any], *arguments: Any, **options: Any) -> _Call:
    wanted = {"need_weights": True, "average_attn_weights": False}
    result, weights = function(*arguments, **{**options, **wanted})
    found = _Attention(weights.detach(), result, axis=0)
    if not options.get("need_weights", True):
        return (result, None), found
    return (result, weights.mean(1) if options.get("average_attn_weights", True) else weights), found


def _softmax(function: Callable[..., Any], input: Tensor, dim: int | None = None, **options: Any) -> _Call:
    result = function(input, dim, **options)
    over_keys = result.dim() >= 4 and dim in (-1, result.dim() - 1)
    return result, _Attention(result.detach(), result, axis=-2) if over_keys else None


_RECORDERS: dict[Any, Callable[..., _Call]] = {
    F.scaled_dot_product_attention: _fused,
    F.multi_head_attention_forward: _multi_head,
    F.softmax: _softmax,
    torch.softmax: _softmax,
    Tensor.softmax: _softmax,
}


@dataclass(eq=False)
class _Chain:
    """Attention of which each run follows from the one before: their product (B, N, N), and the last."""

    rows: Tensor
    last: _Attention


class _Rollout(TorchFunctionMode):  # type: ignore[misc, unused-ignore]
    """Multiplies the attention of each layer into the rows of its chain while a model runs.

    There is one chain, unless the model attends to several images or crops. Attention that does not depend on
    the inputs, as of a second image that is fixed, is left out. In such a mode PyTorch skips the fast path of
    its encoder layers, which hides the attention.
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count
        self.chains: list[_Chain] = []

    def __torch_function__(
        self, func: Any, types: Iterable[Any], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func not in _RECORDERS:
            return func(*args, **(kwargs or {}))
        result, found = _RECORDERS[func](func, *args, **(kwargs or {}))
        if found is not None and found.result.requires_grad:
            self._follow(found)
        return result

    def _follow(self, found: _Attention) -> None:
        chain = self._chain_of(found.result)
        weights = self._checked(found.weights, chain)
        weights = weights.to(torch.promote_types(weights.dtype, torch.float32))
        mean = weights.mean(1) if weights.dim() == 4 else weights
        through = 0.5 * mean + 0.5 * torch.eye(mean.shape[-1], dtype=mean.dtype, device=mean.device)
        through = through / through.sum(-1, keepdim=True)
        if chain is None:
            self.chains.append(_Chain(through, found))
        else:
            chain.rows, chain.last = through @ chain.rows, found

    def _chain_of(self, result: Tensor) -> _Chain | None:
        """Return the chain that a result of attention follows from; None if it starts one."""
        if not self.chains:
            return None
        before = [chain.last.result for chain in self.chains]
        gradients = torch.autograd.grad(result.sum(), before, retain_graph=True, allow_unused=True)
        found = [chain for chain, slope in zip(self.chains, gradients, strict=True) if slope is not None]
        if len(found) > 1:
            raise ValueError(
                f"{_UNDEFINED}attention follows from {len(found)} others that run side by side, and "
                "rollout needs one after the other; use a CAM source, such as source='gradcam'"
            )
        return found[0] if found else None

    def _checked(self, weights: Tensor, chain: _Chain | None) -> Tensor:
        shape = tuple(weights.shape)
        queries, keys = shape[-2:]
        if weights.dim() > 4 or shape[0] != self.count:
            raise ValueError(
                f"{_UNDEFINED}it attends within windows (weights {shape} for {self.count} images), so no "
                "layer relates all tokens; use a CAM source, such as source='gradcam'"
            )
        before = keys if chain is None else chain.rows.shape[-1]
        if queries != keys or keys != before:
            raise ValueError(
                f"{_UNDEFINED}attention goes from {before} tokens to {queries} with weights {shape}, and "
                "rollout needs the same tokens in all layers; use a CAM source, such as source='gradcam'"
            )
        return weights


def rollout(
    model: nn.Module,
    inputs: Tensor,
    targets: Sequence[Target],
    layer: str | nn.Module | None,
    *,
    tokens: Tokens | None = None,
    run: int | None = None,
) -> CoarseMap:
    """Return the attention rollout of each image.

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
    wanted = checked_targets("rollout", model, inputs, targets, layer)
    model = uncompiled(model)
    check_watchable(model, "rollout")
    check_differentiable(model, "rollout")
    with as_written(model):
        return _rolled_out(model, inputs, wanted, tokens, run)


def _rolled_out(
    model: nn.Module, inputs: Tensor, wanted: list[Target], tokens: Tokens | None, run: int | None
) -> CoarseMap:
    with differentiable(model):
        with watched(model, inputs) as seen, noted_outputs(model) as noted, _Rollout(len(inputs)) as followed:
            outputs = model(inputs.detach().requires_grad_().clone())
        total = answers(outputs, wanted).sum()
        if not total.requires_grad:
            raise ValueError(f"{_UNDEFINED}its answer has no gradient; {why_no_gradient(model)}")
        if not followed.chains:
            raise ValueError(f"{_UNDEFINED}it runs no attention; use a CAM source, such as source='gradcam'")
        chain = _chosen(followed.chains, total, run)
        read = _read_tokens(total, chain.last)
    rows = torch.einsum("bn,bnm->bm", read.to(chain.rows) / read.sum(1, keepdim=True), chain.rows).detach()
    count, spent = rows.shape[1], 0
    if tokens is None:
        several = len(followed.chains) > 1
        if several:
            noted = _of_chain(noted, followed.chains.index(chain))
        tokens, spent = place_of_tokens(model, inputs[:1].detach(), count, seen, noted, Results, several)
    if tokens is None:
        raise ValueError(
            f"{_UNDEFINED}its {count} tokens do not follow the image of {seen.size[0]} × {seen.size[1]} "
            "pixels cell by cell; if you know where they lie, say it by tokens=usu.Tokens(...)"
        )
    patches = replace(tokens, axis=1).cells(rows[:, :, None])[:, 0]
    return CoarseMap(
        values=patches.to(inputs.dtype),
        mass="total",
        source="rollout",
        forward_passes=(1 + spent, *[1] * (len(inputs) - 1)),
    )


def _of_chain(noted: Sequence[Output], number: int) -> list[Output]:
    """Return what each module gave in the run that belongs to a chain."""
    runs: dict[str, list[Output]] = {}
    for one in noted:
        runs.setdefault(one[0].name, []).append(one)
    return [one for one in noted if runs[one[0].name].index(one) == number]


def _chosen(chains: Sequence[_Chain], total: Tensor, run: int | None) -> _Chain:
    """Return the chain that the answer depends on, or the one of several that the caller asks for."""
    results = [chain.last.result for chain in chains]
    gradients: Sequence[Tensor | None] = [None] * len(results)
    if total.requires_grad:
        gradients = torch.autograd.grad(total, results, retain_graph=True, allow_unused=True)
    bearing = [number for number, gradient in enumerate(gradients) if gradient is not None]
    if run is not None:
        return chains[checked_run(run, len(chains), "of attention")]
    if len(bearing) > 1:
        raise ValueError(
            f"the model attends to {len(bearing)} images or crops side by side, and the answer depends on "
            f"runs {bearing}: say which by run={bearing[0]} or another of them"
        )
    return chains[bearing[0] if bearing else -1]


def _read_tokens(total: Tensor, last: _Attention) -> Tensor:
    """Return which tokens (B, N) of the last attention's result the answers depend on."""
    gradient = None
    if total.requires_grad and last.result.requires_grad:
        (gradient,) = torch.autograd.grad(total, last.result, allow_unused=True)
    if gradient is not None:
        images = 1 if last.axis == 0 else 0
        axes = (images, last.axis % gradient.dim())
        rest = [axis for axis in range(gradient.dim()) if axis not in axes]
        read = gradient.permute(*axes, *rest).flatten(2).ne(0).any(2)
        if bool(read.any(1).all()):
            return read
    raise ValueError(
        f"{_UNDEFINED}the answer depends on no token after the last attention; are all weights of the head 0?"
    )
