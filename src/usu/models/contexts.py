"""Context managers that change a model for a while and leave it as it was."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Keep gradients from reaching the model's parameters, and give back each one's `requires_grad`."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        for parameter in trained:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


@contextmanager
def differentiable(model: nn.Module) -> Iterator[None]:
    """Record gradients by a model's inputs, also under `torch.no_grad()`, and none by its parameters.

    Whoever takes gradients by an input gives the model a clone of it, which steps in place may overwrite.

    Raises:
        ValueError: `torch.inference_mode()` is on, or was when the model was made.
    """
    if torch.is_inference_mode_enabled():
        raise ValueError(
            "gradients are needed here, and torch.inference_mode() allows none: leave it first, or use "
            "torch.no_grad(), under which they can be had"
        )
    if any(parameter.is_inference() for parameter in model.parameters()):
        raise ValueError(
            "gradients are needed here, and the model's parameters, made under torch.inference_mode(), allow "
            "none: make or load the model outside of it"
        )
    with frozen(model), torch.enable_grad():
        yield


@contextmanager
def kept_apart(layers: Iterable[nn.Module]) -> Iterator[None]:
    """Let the network go on with a copy of each layer's output, so that what hooks keep of it stays as it is.

    Otherwise a ReLU or a sum in place overwrites what a hook has kept, while the gradient that the hook gets
    is by the values from before.
    """
    handles: list[RemovableHandle] = []
    try:
        for layer in layers:
            handles.extend(_go_on_with_a_copy(layer))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _go_on_with_a_copy(layer: nn.Module) -> tuple[RemovableHandle, RemovableHandle]:
    def copy(_: nn.Module, __: Any, output: Any) -> Any:
        return output.clone() if isinstance(output, Tensor) else output

    def be_last(*_: Any) -> None:  # some libraries add hooks of their own later on
        hooks = layer._forward_hooks
        hooks[copying.id] = hooks.pop(copying.id)

    copying = layer.register_forward_hook(copy)
    return copying, layer.register_forward_pre_hook(be_last)
