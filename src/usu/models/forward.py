"""Calling a model, or any callable, on a batch, and the checks that this needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from usu.arrays.convert import Array, as_floats, check_finite

ForwardFunc: TypeAlias = Callable[[Any], Any]


def run(forward_func: ForwardFunc, batch: Any) -> Any:
    """Return the output of a model, or of any callable, for a batch, without gradients.

    Raises:
        TypeError: a model fails on inputs whose dtype is not that of its weights.
    """
    try:
        with torch.no_grad():
            return forward_func(batch)
    except RuntimeError as problem:
        first = next(forward_func.parameters(), None) if isinstance(forward_func, nn.Module) else None
        if first is None or first.dtype == batch.dtype:
            raise
        given, weights = (str(dtype).removeprefix("torch.") for dtype in (batch.dtype, first.dtype))
        raise TypeError(
            f"inputs are {given}, but the model's weights are {weights}: give inputs in {weights}"
        ) from problem


def check_evaluation_mode(forward_func: Any, name: str = "forward_func") -> None:
    """Check that an argument can be called and that, if it is a model, no part of it is in training mode.

    Raises:
        TypeError: not callable.
        ValueError: a part is in training mode: dropout or batch statistics would make every score noise.
    """
    if not callable(forward_func):
        raise TypeError(f"{name} must be callable, got {type(forward_func).__name__}")
    if isinstance(forward_func, nn.Module):
        training = [
            path or "the model itself" for path, part in forward_func.named_modules() if part.training
        ]
        if training:
            raise ValueError(
                f"{name} is in training mode ({len(training)} modules, the first is {training[0]}); "
                "call model.eval() first"
            )


def check_inputs(inputs: Array) -> tuple[Tensor, bool]:
    """Return inputs as (B, C, H, W) and whether they came as a batch.

    Raises:
        ValueError: another rank, an empty array, values that are not finite.
    """
    tensor = check_finite(as_floats(inputs, "inputs").detach(), "inputs")
    if tensor.dim() not in (3, 4):
        raise ValueError(f"inputs must be (C, H, W) or a batch (B, C, H, W), got {tuple(tensor.shape)}")
    if tensor.is_inference():  # gradients cannot be taken with respect to it
        tensor = tensor.clone()
    return (tensor, True) if tensor.dim() == 4 else (tensor[None], False)
