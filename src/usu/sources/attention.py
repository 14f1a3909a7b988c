"""Attention as a vision transformer runs it, layer after layer, and the tokens from which the answer is read.

It needs no library: the weights are read while the model computes them, whichever way it does
(`nn.MultiheadAttention`, PyTorch's fused attention, its own softmax), and neither its modules nor its
settings are changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge
from torch.overrides import TorchFunctionMode

from usu.models.attention import Results, with_own_keys
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


class UndefinedError(ValueError):
    """Says why no attention can be followed through a model."""


@dataclass(frozen=True, eq=False)
class Attention:
    """One run of attention.

    Attributes:
        weights: (B, heads, N, M) or (B, N, M), without gradients.
        result: whose `axis` is the tokens. The rest of the network continues with it, so that its gradient
            shows which tokens are read.
        axis: of the tokens.
        sought: what the answer's gradient is taken by to find that by the weights.
        values: (B, heads, M, d) if `sought` is their weighted sums; None if it is the weights.
    """

    weights: Tensor
    result: Tensor
    axis: int
    sought: Tensor | GradientEdge
    values: Tensor | None = None

    def slopes(self, gradient: Tensor) -> Tensor:
        """Return the gradient by the weights, as they are shaped, from the one by `sought`."""
        if self.values is not None:
            gradient = gradient @ with_own_keys(gradient, self.values).transpose(-2, -1)
        return gradient.reshape(self.weights.shape)


_Call: TypeAlias = "tuple[Any, Attention | None]"


def _fused(
    function: Callable[..., Any], query: Tensor, key: Tensor, value: Tensor, *mask: Any, **options: Any
) -> _Call:
    result = function(query, key, value, *mask, **options)
    # Attention to the rows of the identity gives the weights themselves, including masks and scale.
    identity = torch.eye(key.shape[-2], dtype=key.dtype, device=key.device)
    with torch.no_grad():
        rows = identity.expand(*key.shape[:-1], key.shape[-2])
        weights = function(query, key, rows, *mask, **options)
    return result, Attention(weights, result, -2, result, value.detach())


def _multi_head(function: Callable[..., Any], *arguments: Any, **options: Any) -> _Call:
    wanted = {"need_weights": True, "average_attn_weights": False}
    result, weights = function(*arguments, **{**options, **wanted})
    found = None
    if weights.requires_grad:
        # PyTorch gives a view of the weights that it multiplies the values by.
        found = Attention(weights.detach(), result, 0, GradientEdge(*weights.grad_fn.next_functions[0]))
    if not options.get("need_weights", True):
        return (result, None), found
    return (result, weights.mean(1) if options.get("average_attn_weights", True) else weights), found


def _softmax(function: Callable[..., Any], input: Tensor, dim: int | None = None, **options: Any) -> _Call:
    result = function(input, dim, **options)
    over_keys = result.dim() >= 4 and dim in (-1, result.dim() - 1)
    return result, Attention(result.detach(), result, -2, result) if over_keys else None


_RECORDERS: dict[Any, Callable[..., _Call]] = {
    F.scaled_dot_product_attention: _fused,
    F.multi_head_attention_forward: _multi_head,
    F.softmax: _softmax,
    torch.softmax: _softmax,
    Tensor.softmax: _softmax,
}


@dataclass(frozen=True, eq=False)
class Chain:
    """Attention of which each run follows from the one before; of each its weights as they were kept."""

    runs: list[Attention]
    kept: list[Tensor]


class _Followed(TorchFunctionMode):  # type: ignore[misc, unused-ignore]
    """Notes the attention of each layer, in chains, while a model runs.

    There is one chain, unless the model attends to several images or crops. Attention that does not depend on
    the inputs, as of a second image that is fixed, is left out. In such a mode PyTorch skips the fast path of
    its encoder layers, which hides the attention.
    """

    def __init__(self, count: int, keep: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.count, self.keep = count, keep
        self.chains: list[Chain] = []

    def __torch_function__(
        self, func: Any, types: Iterable[Any], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func not in _RECORDERS:
            return func(*args, **(kwargs or {}))
        result, found = _RECORDERS[func](func, *args, **(kwargs or {}))
        if found is not None and found.result.requires_grad:
            self._follow(found)
        return result

    def _follow(self, found: Attention) -> None:
        chain = self._chain_of(found.result)
        self._check(tuple(found.weights.shape), chain)
        wide = found.weights.to(torch.promote_types(found.weights.dtype, torch.float32))
        kept = self.keep(wide if wide.dim() == 4 else wide[:, None])
        if chain is None:
            self.chains.append(Chain([found], [kept]))
        else:
            chain.runs.append(found)
            chain.kept.append(kept)

    def _chain_of(self, result: Tensor) -> Chain | None:
        """Return the chain that a result of attention follows from; None if it starts one."""
        if not self.chains:
            return None
        before = [chain.runs[-1].result for chain in self.chains]
        gradients = torch.autograd.grad(result.sum(), before, retain_graph=True, allow_unused=True)
        found = [chain for chain, slope in zip(self.chains, gradients, strict=True) if slope is not None]
        if len(found) > 1:
            raise UndefinedError(
                f"attention follows from {len(found)} others that run side by side, and it "
                "needs one after the other; use a CAM source, such as source='gradcam'"
            )
        return found[0] if found else None

    def _check(self, shape: tuple[int, ...], chain: Chain | None) -> None:
        queries, keys = shape[-2:]
        if len(shape) > 4 or shape[0] != self.count:
            raise UndefinedError(
                f"it attends within windows (weights {shape} for {self.count} images), so no "
                "layer relates all tokens; use a CAM source, such as source='gradcam'"
            )
        before = keys if chain is None else chain.kept[0].shape[-1]
        if queries != keys or keys != before:
            raise UndefinedError(
                f"attention goes from {before} tokens to {queries} with weights {shape}, and it "
                "needs the same tokens in all layers; use a CAM source, such as source='gradcam'"
            )


@dataclass(frozen=True)
class Reading:
    """What a source reads from attention.

    Attributes:
        source: its name.
        keep: returns what is needed of the weights (B, heads, N, N) of each run.
        rows: from a chain and the sum of the answers returns how much of each token, in columns, reaches
            each token, in rows, (B, N, N).
    """

    source: str
    keep: Callable[[Tensor], Tensor]
    rows: Callable[[Chain, Tensor], Tensor]


def followed(
    reading: Reading,
    model: nn.Module,
    inputs: Tensor,
    targets: Sequence[Target],
    layer: str | nn.Module | None,
    tokens: Tokens | None,
    run: int | None,
) -> CoarseMap:
    """Return a map of each image: the row of the token that the answer is read from.

    For the arguments and what is raised see `usu.sources.rollout.rollout`.
    """
    wanted = checked_targets(reading.source, model, inputs, targets, layer)
    model = uncompiled(model)
    check_watchable(model, reading.source)
    check_differentiable(model, reading.source)
    try:
        with as_written(model):
            values, spent = _patches(reading, model, inputs, wanted, tokens, run)
    except UndefinedError as why:
        raise UndefinedError(f"{reading.source} is not defined for this model: {why}") from None
    return CoarseMap(
        values=values.to(inputs.dtype),
        mass="total",
        source=reading.source,
        forward_passes=(1 + spent, *[1] * (len(inputs) - 1)),
    )


def _patches(
    reading: Reading,
    model: nn.Module,
    inputs: Tensor,
    wanted: list[Target],
    tokens: Tokens | None,
    run: int | None,
) -> tuple[Tensor, int]:
    """Return the maps (B, gh, gw), and the passes by which their cells were found."""
    with differentiable(model):
        with (
            watched(model, inputs) as seen,
            noted_outputs(model) as noted,
            _Followed(len(inputs), reading.keep) as found,
        ):
            outputs = model(inputs.detach().requires_grad_().clone())
        total = answers(outputs, wanted).sum()
        if not total.requires_grad:
            raise UndefinedError(f"its answer has no gradient; {why_no_gradient(model)}")
        if not found.chains:
            raise UndefinedError("it runs no attention; use a CAM source, such as source='gradcam'")
        chain = _chosen(found.chains, total, run)
        read = _read_tokens(total, chain.runs[-1])
        rows = reading.rows(chain, total)
    row = torch.einsum("bn,bnm->bm", read.to(rows) / read.sum(1, keepdim=True), rows).detach()
    count, spent = row.shape[1], 0
    if tokens is None:
        several = len(found.chains) > 1
        if several:
            noted = _of_chain(noted, found.chains.index(chain))
        tokens, spent = place_of_tokens(model, inputs[:1].detach(), count, seen, noted, Results, several)
    if tokens is None:
        raise UndefinedError(
            f"its {count} tokens do not follow the image of {seen.size[0]} × {seen.size[1]} "
            "pixels cell by cell; if you know where they lie, say it by tokens=usu.Tokens(...)"
        )
    return replace(tokens, axis=1).cells(row[:, :, None])[:, 0], spent


def _of_chain(noted: Sequence[Output], number: int) -> list[Output]:
    """Return what each module gave in the run that belongs to a chain."""
    runs: dict[str, list[Output]] = {}
    for one in noted:
        runs.setdefault(one[0].name, []).append(one)
    return [one for one in noted if runs[one[0].name].index(one) == number]


def _chosen(chains: Sequence[Chain], total: Tensor, run: int | None) -> Chain:
    """Return the chain that the answer depends on, or the one of several that the caller asks for."""
    results = [chain.runs[-1].result for chain in chains]
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


def _read_tokens(total: Tensor, last: Attention) -> Tensor:
    """Return which tokens (B, N) of the last attention's result the answers depend on."""
    gradient = None
    if total.requires_grad and last.result.requires_grad:
        (gradient,) = torch.autograd.grad(total, last.result, retain_graph=True, allow_unused=True)
    if gradient is not None:
        images = 1 if last.axis == 0 else 0
        axes = (images, last.axis % gradient.dim())
        rest = [axis for axis in range(gradient.dim()) if axis not in axes]
        read = gradient.permute(*axes, *rest).flatten(2).ne(0).any(2)
        if bool(read.any(1).all()):
            return read
    raise UndefinedError(
        "the answer depends on no token after the last attention; are all weights of the head 0?"
    )
