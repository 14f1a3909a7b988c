"""Attention rollout: how much of each patch reaches the tokens from which a vision transformer answers.

Abnar and Zuidema (2020), "Quantifying attention flow in transformers", section 3.1. It needs no library: the
weights are read while the model computes them, whichever way it does (`nn.MultiheadAttention`, PyTorch's
fused attention, its own softmax), and neither its modules nor its settings are changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from usu.models.contexts import differentiable
from usu.models.grids import token_grid
from usu.models.targets import Target, answers
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


class _Rollout(TorchFunctionMode):  # type: ignore[misc, unused-ignore]
    """Multiplies the attention of each layer into `rows` (B, N, N) while a model runs.

    In such a mode PyTorch skips the fast path of its encoder layers, which hides the attention.
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count
        self.rows: Tensor | None = None
        self.last: _Attention | None = None

    def __torch_function__(
        self, func: Any, types: Iterable[Any], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func not in _RECORDERS:
            return func(*args, **(kwargs or {}))
        result, found = _RECORDERS[func](func, *args, **(kwargs or {}))
        if found is not None:
            self._follow(found)
        return result

    def _follow(self, found: _Attention) -> None:
        weights = self._checked(found.weights)
        weights = weights.to(torch.promote_types(weights.dtype, torch.float32))
        mean = weights.mean(1) if weights.dim() == 4 else weights
        through = 0.5 * mean + 0.5 * torch.eye(mean.shape[-1], dtype=mean.dtype, device=mean.device)
        through = through / through.sum(-1, keepdim=True)
        self.rows = through if self.rows is None else through @ self.rows
        self.last = found

    def _checked(self, weights: Tensor) -> Tensor:
        shape = tuple(weights.shape)
        queries, keys = shape[-2:]
        if weights.dim() > 4 or shape[0] != self.count:
            raise ValueError(
                f"{_UNDEFINED}it attends within windows (weights {shape} for {self.count} images), so no "
                "layer relates all tokens; use a CAM source, such as source='gradcam'"
            )
        if queries != keys or (self.rows is not None and keys != self.rows.shape[-1]):
            before = keys if self.rows is None else self.rows.shape[-1]
            raise ValueError(
                f"{_UNDEFINED}attention goes from {before} tokens to {queries} with weights {shape}, and "
                "rollout needs the same tokens in all layers; use a CAM source, such as source='gradcam'"
            )
        return weights


def rollout(
    model: nn.Module, inputs: Tensor, targets: Sequence[Target], layer: str | nn.Module | None
) -> CoarseMap:
    """Return the attention rollout of each image.

    With W the mean over a layer's heads, A = (W + I) / 2 with its rows divided by their sums, and the rollout
    is the product of all layers' A. The map is the row of the token that the answer is read from, usually the
    class token, or the mean of several rows, such as those of all patches if the network pools them. The
    answer's gradient after the last attention shows which they are; otherwise the map does not depend on the
    target. A row sums to 1, and the map to 1 less the share of the class token and other prefix tokens.

    The model must be a vision transformer whose layers attend among all tokens. For the arguments see
    `usu.sources.find_source`.

    Returns:
        The maps (B, gh, gw), each value at least 0, with `mass="total"`; one forward pass per image.

    Raises:
        ValueError: a model without attention, with windows (Swin) or a changing number of tokens; tokens
            that do not form a grid; a layer; a target out of range; a model in training mode.
    """
    wanted = checked_targets("rollout", model, inputs, targets, layer)
    with differentiable(model):
        with _Rollout(len(inputs)) as followed:
            outputs = model(inputs.detach().requires_grad_().clone())
        total = answers(outputs, wanted).sum()
        if followed.rows is None or followed.last is None:
            raise ValueError(f"{_UNDEFINED}it runs no attention; use a CAM source, such as source='gradcam'")
        read = _read_tokens(total, followed.last)
    rows = torch.einsum("bn,bnm->bm", read.to(followed.rows) / read.sum(1, keepdim=True), followed.rows)
    grid = token_grid(rows.shape[1], inputs.shape[-2:])
    if grid is None:
        raise ValueError(
            f"{_UNDEFINED}its {rows.shape[1]} tokens do not form a grid of the inputs' proportions "
            f"{tuple(inputs.shape[-2:])}"
        )
    patches = rows[:, rows.shape[1] - grid[0] * grid[1] :]
    return CoarseMap(
        values=patches.reshape(len(inputs), *grid).to(inputs.dtype),
        mass="total",
        source="rollout",
        forward_passes=(1,) * len(inputs),
    )


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
