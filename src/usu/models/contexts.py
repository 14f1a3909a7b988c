"""Context managers that change a model temporarily and restore it afterwards."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle


@contextmanager
def frozen(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Keep gradients from reaching a model's parameters, and restore each one's `requires_grad`."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    try:
        for parameter in trained:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


@contextmanager
def differentiable(model: nn.Module) -> Iterator[None]:
    """Record gradients with respect to a model's inputs, even under `torch.no_grad()`, not its parameters.

    To differentiate by an input, give the model a clone of it, which in-place operations may overwrite.

    Raises:
        ValueError: `torch.inference_mode()` is on, or was when the model was made.
    """
    if torch.is_inference_mode_enabled():
        raise ValueError(
            "gradients are needed here, and torch.inference_mode() allows none: leave it first, or use "
            "torch.no_grad(), which can be overridden"
        )
    parameters = list(model.parameters())
    if any(parameter.is_inference() for parameter in parameters):
        raise ValueError(
            "gradients are needed here, and the model's parameters, made under torch.inference_mode(), allow "
            "none: make or load the model outside of it"
        )
    with frozen(parameters), torch.enable_grad():
        yield


@contextmanager
def counted(model: nn.Module, dtype: torch.dtype) -> Iterator[list[int]]:
    """Note how many images each forward pass takes, and give the model copies of them in `dtype`."""
    seen: list[int] = []

    def note(_: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        seen.append(len(arguments[0]))
        return (arguments[0].to(dtype, copy=True), *arguments[1:])

    with model.register_forward_pre_hook(note):
        yield seen


@contextmanager
def kept_apart(layers: Iterable[nn.Module]) -> Iterator[None]:
    """Let the network continue with a copy of each layer's output, so that what hooks keep stays unchanged.

    Otherwise an in-place ReLU or sum overwrites what a hook has kept, while the gradient that the hook gets
    belongs to the values before it.
    """
    with ExitStack() as hooks:
        for layer in layers:
            for handle in _continue_with_a_copy(layer):
                hooks.enter_context(handle)
        yield


def _continue_with_a_copy(layer: nn.Module) -> tuple[RemovableHandle, RemovableHandle]:
    def copy(_: nn.Module, __: Any, output: Any) -> Any:
        return output.clone() if isinstance(output, Tensor) else output

    def be_last(*_: Any) -> None:  # some libraries add their own hooks later
        hooks = layer._forward_hooks
        hooks[copying.id] = hooks.pop(copying.id)

    copying = layer.register_forward_hook(copy)
    return copying, layer.register_forward_pre_hook(be_last)
