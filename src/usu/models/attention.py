"""Attention as a model runs it, by whatever function: noticed, or switched off, as convolutions can be."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

_SOFTMAX = (F.softmax, torch.softmax, Tensor.softmax)
# Products of activations with each other, as attention without a softmax has them.
_PRODUCTS = (torch.matmul, torch.bmm, torch.einsum, Tensor.matmul, Tensor.__matmul__, Tensor.bmm)


def _is_attention(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    if func in (F.scaled_dot_product_attention, F.multi_head_attention_forward):
        return True
    given = args[0] if args else kwargs.get("input")
    if func in _SOFTMAX:
        axis = kwargs.get("dim", args[1] if len(args) > 1 else None)
        return isinstance(given, Tensor) and given.dim() > 2 and axis in (-1, given.dim() - 1)
    if func not in _PRODUCTS:
        return False
    operands = [one for one in args if isinstance(one, Tensor)]
    return len(operands) > 1 and all(one.dim() > 2 for one in operands)


class Noticed(TorchFunctionMode):  # type: ignore[misc, unused-ignore]
    """Calls `notice` each time that a model attends; in such a mode PyTorch takes no fast path around it."""

    def __init__(self, notice: Callable[[], None]) -> None:
        super().__init__()
        self.notice = notice

    def __torch_function__(
        self, func: Any, types: Iterable[Any], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if _is_attention(func, args, kwargs or {}):
            self.notice()
        return func(*args, **(kwargs or {}))


class Results(TorchFunctionMode):  # type: ignore[misc, unused-ignore]
    """Calls `see` with the tokens (B, N, C) that each attention of PyTorch's functions gives."""

    def __init__(self, see: Callable[[Any], None]) -> None:
        super().__init__()
        self.see = see

    def __torch_function__(
        self, func: Any, types: Iterable[Any], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is F.scaled_dot_product_attention:
            self.see(result.movedim(-2, 1).flatten(2))
        elif func is F.multi_head_attention_forward:
            self.see(result[0].transpose(0, 1))
        return result


class Apart(TorchFunctionMode):  # type: ignore[misc, unused-ignore]
    """Keeps each place of a network to itself, so that a change of the input stays with its own cells.

    A token attends to itself alone, where there are as many queries as keys; and of a convolution's kernel
    there remains the part that lies over the output's own share of the input, the centre for a stride of 1.
    """

    def __torch_function__(
        self, func: Any, types: Iterable[Any], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        options = dict(kwargs or {})
        if func is F.scaled_dot_product_attention:
            found = _own_value(*args, **options)
            return func(*args, **options) if found is None else found
        if func is F.multi_head_attention_forward:
            options = _with_diagonal_mask(args, options)
        if func in _CONVOLUTIONS:
            args, options = _with_own_share(args, options)
        result = func(*args, **options)
        if func in _SOFTMAX and _is_attention(func, args, options):
            return _own_weights(result)
        return result


_CONVOLUTIONS = (F.conv1d, F.conv2d, F.conv3d)


def with_own_keys(query: Tensor, value: Tensor) -> Tensor:
    """Return values (…, heads, M, d) with as many heads as the queries: groups of them may share keys."""
    if value.dim() > 2 and query.shape[-3] != value.shape[-3]:
        return value.repeat_interleave(query.shape[-3] // value.shape[-3], -3)
    return value


def _own_value(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> Tensor | None:
    if query.shape[-2] != key.shape[-2]:
        return None
    value = with_own_keys(query, value)
    return value.expand(*query.shape[:-1], value.shape[-1]).clone()


def _with_diagonal_mask(args: tuple[Any, ...], options: dict[str, Any]) -> dict[str, Any]:
    query, key = args[0], args[1]
    adds_keys = any(part is not None and part is not False for part in args[7:10])
    if len(query) != len(key) or adds_keys or len(args) > 14:
        return options
    apart = ~torch.eye(len(query), dtype=torch.bool, device=query.device)
    return {**options, "attn_mask": apart, "key_padding_mask": None, "is_causal": False}


def _own_weights(weights: Tensor) -> Tensor:
    if weights.shape[-1] != weights.shape[-2]:
        return weights
    return torch.eye(weights.shape[-1], dtype=weights.dtype, device=weights.device).expand_as(weights).clone()


def _with_own_share(args: tuple[Any, ...], options: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of a convolution with 0 in its kernel where it reaches beyond its own share."""
    named = dict(
        zip(("input", "weight", "bias", "stride", "padding", "dilation", "groups"), args, strict=False)
    )
    named.update(options)
    weight, padding = named["weight"], named.get("padding", 0)
    own = torch.zeros(weight.shape[2:], dtype=weight.dtype, device=weight.device)
    parts = []
    for axis, size in enumerate(own.shape):
        stride = _along(named.get("stride", 1), axis)
        before = 0 if isinstance(padding, str) else _along(padding, axis)
        before = before or (size - stride) // 2  # without padding the centre is its own
        start = max(0, min(before // _along(named.get("dilation", 1), axis), size - stride))
        parts.append(slice(start, start + stride))
    share = own[tuple(parts)]
    share.fill_((own.numel() / share.numel()) ** 0.5)  # as large an output
    return (), {**named, "weight": weight * own}


def _along(value: Any, axis: int) -> int:
    return int(value if isinstance(value, int) else value[min(axis, len(value) - 1)])
