"""Calling a model, or any callable, on a batch, and the checks that this needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from usu.arrays.convert import Array, as_floats, check_finite
from usu.models.diagnosis import is_exported

ForwardFunc: TypeAlias = Callable[[Any], Any]


def run(forward_func: ForwardFunc, batch: Any) -> Any:
    """Call a model or any callable on a batch without gradients; a mismatch of dtypes raises TypeError."""
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
    """Raise TypeError for what cannot be called, and ValueError for a model with a part in training mode.

    In training mode, dropout or batch statistics would make every score noise.
    """
    if not callable(forward_func):
        raise TypeError(f"{name} must be callable, got {type(forward_func).__name__}")
    if isinstance(forward_func, nn.Module):
        if is_exported(forward_func):  # its mode is that of the model that was exported
            return
        training = [
            path or "the model itself"
            for path, part in forward_func.named_modules()
            if getattr(part, "training", False)  # frozen TorchScript has none
        ]
        if training:
            raise ValueError(
                f"{name} is in training mode ({len(training)} modules, the first is {training[0]}); "
                "call model.eval() first"
            )


def check_inputs(inputs: Array) -> tuple[Tensor, bool]:
    """Return inputs as (B, C, H, W) and whether they came as a batch; raise ValueError if they do not fit."""
    tensor = check_finite(as_floats(inputs, "inputs").detach(), "inputs")
    if tensor.dim() not in (3, 4):
        raise ValueError(f"inputs must be (C, H, W) or a batch (B, C, H, W), got {tuple(tensor.shape)}")
    if tensor.is_inference():  # gradients cannot be taken with respect to it
        tensor = tensor.clone()
    return (tensor, True) if tensor.dim() == 4 else (tensor[None], False)
