"""Why a model shows no gradient or no layer, and what works on it all the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

ELSEWHERE = "take source='occlusion', 'rise', 'shap' or 'lime', which only call the model"


def check_watchable(model: nn.Module, source: str) -> None:
    """Raise ValueError for a model whose layers cannot be watched: TorchScript, or an exported program."""
    if isinstance(model, torch.jit.ScriptModule):
        kind = "TorchScript (traced, scripted or frozen)"
    elif is_exported(model):
        kind = "a program of torch.export"
    else:
        return
    raise ValueError(
        f"source {source!r} watches the layers of a model as it runs, and this one is {kind}, which runs "
        f"none: give the nn.Module that it was made of, or {ELSEWHERE}"
    )


def check_differentiable(model: nn.Module, source: str) -> None:
    """Raise ValueError for a model with quantised layers, through which there is no gradient."""
    if is_quantised(model):
        raise ValueError(f"source {source!r} needs gradients; {why_no_gradient(model)}")


def is_quantised(model: nn.Module) -> bool:
    """Return whether a model has quantised layers, which have no gradients."""
    return any("quantized" in type(module).__module__ for module in model.modules())


def is_exported(model: nn.Module) -> bool:
    """Return whether a model is what `torch.export` makes: its mode is fixed, and `eval()` raises."""
    return isinstance(model, torch.fx.GraphModule) and "eval" in vars(model)


def why_no_gradient(model: nn.Module) -> str:
    """Return the likely reason why an answer has no gradient by the inputs, and what to do, as a clause."""
    if is_quantised(model):
        reason = "its quantised layers have none: give the model before quantisation"
    elif any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
        reason = "a part of it is TorchScript: give the nn.Module that it was made of"
    else:
        reason = "a part of it runs under torch.no_grad() or detaches what it gives: take that out"
    return f"{reason}, or {ELSEWHERE}"


def uncompiled(model: nn.Module) -> nn.Module:
    """Return the module that `torch.compile` was given, or the model as it is."""
    original = getattr(model, "_orig_mod", None)
    return original if isinstance(original, nn.Module) else model


@contextmanager
def as_written(model: nn.Module) -> Iterator[None]:
    """Run modules as they are written, not as `module.compile()` has compiled them."""
    compiled = {
        module: module._compiled_call_impl
        for module in model.modules()
        if getattr(module, "_compiled_call_impl", None) is not None
    }
    try:
        for module in compiled:
            module._compiled_call_impl = None
        yield
    finally:
        for module, call in compiled.items():
            module._compiled_call_impl = call
