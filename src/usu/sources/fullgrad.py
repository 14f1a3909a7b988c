"""FullGrad as a source: the input's and every bias's share of the answer, raw and signed.

A network of ReLUs, pooling and linear maps is linear in its input and its biases around each image, so that
f(x) = Σ x·∂f/∂x + Σ_layers Σ b·∂f/∂b (Srinivas and Fleuret, 2019, proposition 1). The biases are those of
`nn.Conv2d` and its subclasses, and of `nn.BatchNorm2d`, b - mean·w/√(var + eps), with w = 1 and b = 0 if it
has none. pytorch-grad-cam takes neither subclasses of a convolution nor batch norms without w and b. All
other biases are left out: those of `nn.Linear`, which belong to no pixel, of other convolutions and norms,
and of batch norms with their own forward, which may do more (timm's end in an activation). The terms sum to
the answer less the share of those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from usu.models.contexts import differentiable
from usu.models.diagnosis import (
    as_written,
    check_differentiable,
    check_watchable,
    uncompiled,
    why_no_gradient,
)
from usu.models.runs import follows
from usu.models.targets import Target, answers
from usu.sources._answer import checked_targets
from usu.sources.coarse_map import CoarseMap

Score: TypeAlias = Callable[[Any], Tensor]


@dataclass(frozen=True, eq=False)
class Term:
    """The contribution of one bias, or of the input, to the answer.

    Attributes:
        layer: name of the layer with the bias; None for the input.
        values: (B, C, h, w), one map per channel, in float32 or wider.
    """

    layer: str | None
    values: Tensor


def terms(model: nn.Module, inputs: Tensor, score: Score) -> list[Term]:
    """Return the terms of FullGrad, the layers in the order in which they ran, the input last.

    Args:
        model: in evaluation mode; left unchanged.
        inputs: (B, C, H, W).
        score: from the model's output to one score per image, (B,).

    Raises:
        ValueError: the scores do not depend on the inputs; a batch norm without running statistics.
    """
    ran: list[tuple[str, nn.Module, list[Tensor]]] = []
    gave: dict[str, list[Tensor]] = {}
    with _recorded(model, ran, gave), differentiable(model):
        leaf = inputs.detach().requires_grad_()
        scores = score(model(leaf.clone()))
        _check_one_after_the_other(gave)
        for _, _, gradients in ran:
            gradients.clear()  # of that check
        (slope,) = (
            torch.autograd.grad(scores.sum(), leaf, allow_unused=True) if scores.requires_grad else [None]
        )
    if slope is None:
        raise ValueError(
            "fullgrad needs a model whose answer can be differentiated by its inputs; "
            f"{why_no_gradient(model)}"
        )
    found = [
        Term(name, _wide(_bias(name, layer)[:, None, None]) * _wide(gradients[0]))
        for name, layer, gradients in ran
        if gradients  # empty if the answer does not depend on the layer
    ]
    return [*found, Term(None, _wide(inputs.detach()) * _wide(slope))]


def fullgrad(
    model: nn.Module, inputs: Tensor, targets: Sequence[Target], layer: str | nn.Module | None
) -> CoarseMap:
    """Return the terms of each image summed over channels and layers: one map per grid size.

    In a vision transformer, only the convolution that makes the patches has a bias that is used. For the
    arguments see `usu.sources.find_source`.

    Returns:
        `values` on the coarsest grid of more than one cell, the others as `further`, coarse to fine: the last
        is the grid of single pixels, with the input's own term.

    Raises:
        ValueError: a layer; as `terms`; a layer with more cells than the inputs have pixels.
    """
    chosen = checked_targets("fullgrad", model, inputs, targets, layer)
    model = uncompiled(model)
    check_watchable(model, "fullgrad")
    check_differentiable(model, "fullgrad")
    with as_written(model):
        main, *further = grids(model, inputs, lambda outputs: answers(outputs, chosen))
    return CoarseMap(
        values=main.to(inputs.dtype),
        mass="total",
        source="fullgrad",
        further=tuple(grid.to(inputs.dtype) for grid in further),
        forward_passes=(1,) * len(inputs),
        output="logit",
    )


def grids(model: nn.Module, inputs: Tensor, score: Score) -> list[Tensor]:
    """Return the terms summed over channels and over the layers of one grid size, (B, h, w) for each size.

    The coarsest grid of more than one cell comes first, then the others, coarse to fine.

    Raises:
        ValueError: as `terms`; a layer with more cells than the inputs have pixels.
    """
    height, width = inputs.shape[-2:]
    sums: dict[tuple[int, int], Tensor] = {}
    for term in terms(model, inputs, score):
        rows, columns = term.values.shape[-2:]
        if rows > height or columns > width:
            raise ValueError(
                f"layer {term.layer!r} has {rows} × {columns} cells, more than the {height} × {width} pixels"
            )
        maps = term.values.sum(1)
        sums[rows, columns] = sums[rows, columns] + maps if (rows, columns) in sums else maps
    # A squeeze-and-excitation block has one cell: its term is added, but says nothing about location.
    main = min(sums, key=lambda grid: (grid == (1, 1), grid[0] * grid[1]))
    return [sums[main], *(sums[grid] for grid in sorted(sums) if grid != main)]


def _wide(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _bias(name: str, layer: nn.Module) -> Tensor:
    """Return what a layer with a bias adds to a linear map of its input, (C,)."""
    bias: Any = layer.bias
    if isinstance(layer, nn.BatchNorm2d):
        if layer.running_mean is None or layer.running_var is None:
            raise ValueError(f"fullgrad needs the running statistics of batch norm {name!r}, which has none")
        shift = -layer.running_mean / torch.sqrt(layer.running_var + layer.eps)
        bias = bias + layer.weight * shift if layer.affine else shift
    return bias.detach()  # type: ignore[no-any-return]


def _has_bias(layer: nn.Module) -> bool:
    if isinstance(layer, nn.BatchNorm2d):
        return type(layer).forward is nn.BatchNorm2d.forward
    return isinstance(layer, nn.Conv2d) and layer.bias is not None


def _check_one_after_the_other(gave: dict[str, list[Tensor]]) -> None:
    """Raise ValueError if a layer runs on several images or crops: their cells lie in different places."""
    for name, outputs in gave.items():
        if len(outputs) > 1 and not follows(outputs[-1], outputs[:-1]):
            raise ValueError(
                f"fullgrad adds up the {len(outputs)} runs of layer {name!r}, which look at several images "
                "or crops, so that their cells lie in different places: take source='gradcam' with run="
            )
    gave.clear()


@contextmanager
def _recorded(
    model: nn.Module, ran: list[tuple[str, nn.Module, list[Tensor]]], gave: dict[str, list[Tensor]]
) -> Iterator[None]:
    """Note each run of a layer with a bias, what it gave, and the gradient there once that is known."""

    def note(name: str) -> Callable[..., None]:
        def hook(layer: nn.Module, _: Any, output: Tensor) -> None:
            if output.requires_grad:
                gradients: list[Tensor] = []
                ran.append((name, layer, gradients))
                gave.setdefault(name, []).append(output)
                # A tensor's hook sees the layer's own output, even if an in-place ReLU follows.
                output.register_hook(gradients.append)

        return hook

    with ExitStack() as hooks:
        for name, layer in model.named_modules():
            if _has_bias(layer):
                hooks.enter_context(layer.register_forward_hook(note(name)))
        yield
