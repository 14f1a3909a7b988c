"""Coarse maps from input gradients, summed into the cells of a grid (paper, supplement E)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from usu.arrays.checks import check_choice
from usu.arrays.convert import Array, as_labels
from usu.models.contexts import frozen
from usu.models.forward import check_evaluation_mode, check_inputs
from usu.operators.lattice import grid as cells_of

# From gradients and inputs, both (B, C, H, W), to the attribution of each input.
KINDS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "magnitude": lambda gradients, inputs: gradients.abs(),
    "signed": lambda gradients, inputs: gradients,
    "times-input": lambda gradients, inputs: gradients * inputs,
}


def differentiate(
    model: nn.Module, inputs: Tensor, targets: Tensor, create_graph: bool = False
) -> tuple[Tensor, Tensor]:
    """Return the logits (B, classes) and ∇ₓ s_y, the gradients of the targets' logits (B, C, H, W).

    Args:
        model: a classifier in which images do not affect each other.
        inputs: (B, C, H, W).
        targets: (B,) class indices.
        create_graph: keep what is needed to differentiate both again.
    """
    with torch.enable_grad():
        inputs = inputs.detach().requires_grad_()
        logits = model(inputs)
        chosen = logits.gather(1, targets[:, None]).sum()
        (gradients,) = torch.autograd.grad(chosen, inputs, create_graph=create_graph)
    return logits, gradients


def attribution(
    model: nn.Module, inputs: Array, target: int | Sequence[int] | Array, *, kind: str = "magnitude"
) -> Tensor:
    """Return the input-gradient attribution of each pixel, summed over channels.

    Args:
        model: a classifier in evaluation mode; left as it was.
        inputs: (C, H, W) or a batch (B, C, H, W).
        target: class index, or one per image.
        kind: "magnitude" |∇ₓ s_y|, which the paper calls gradient magnitude; "signed" ∇ₓ s_y; or
            "times-input" x·∇ₓ s_y.

    Returns:
        (H, W) or (B, H, W), in logits per unit of the inputs (logits, for "times-input").

    Raises:
        ValueError: an unknown kind, inputs or targets that do not fit, a model in training mode.
        TypeError: an argument of the wrong kind.
    """
    check_choice(kind, tuple(KINDS), "kind")
    check_evaluation_mode(model, "model")
    batch, batched = check_inputs(inputs)
    targets = as_labels(target, "target")
    if targets.shape not in ((), (len(batch),)) or bool((targets < 0).any()):
        raise ValueError(
            f"target must be a class index, or one for each of {len(batch)} images, got {target!r}"
        )
    with frozen(model):
        _, gradients = differentiate(model, batch, targets.expand(len(batch)).to(batch.device))
    pixels = KINDS[kind](gradients, batch).sum(1)
    return pixels if batched else pixels[0]


def pooled(
    model: nn.Module,
    inputs: Array,
    target: int | Sequence[int] | Array,
    grid: tuple[int, int],
    *,
    kind: str = "magnitude",
) -> Tensor:
    """Return the attribution of each cell of a grid: the sum of its pixels' input gradients.

    Args:
        model: a classifier in evaluation mode; left as it was.
        inputs: (C, H, W) or a batch (B, C, H, W).
        target: class index, or one per image.
        grid: (rows, columns) of cells; the paper's are (4, 4), (7, 7) and (14, 14).
        kind: as for `attribution`.

    Returns:
        (gh, gw) or (B, gh, gw); each value is the cell's total: redistribute it with mass="total".

    Raises:
        ValueError: as `attribution`, or more cells than pixels.
        TypeError: as `attribution`.

    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).eval()
    >>> cells = pooled(model, torch.zeros(1, 4, 4), 1, (2, 2))
    >>> bool(torch.isclose(cells[0, 0], model[1].weight[1].abs()[[0, 1, 4, 5]].sum()))
    True
    """
    pixels = attribution(model, inputs, target, kind=kind)
    return cells_of(tuple(grid), tuple(pixels.shape[-2:])).sum(pixels.contiguous())


def share_inside(pixels: Tensor, truth: Tensor) -> Tensor:
    """Return the share of each map's magnitude that is inside a mask, (B,); 0 for a map of zeros.

    Args:
        pixels: (B, H, W).
        truth: (B, H, W), of 0 and 1.
    """
    magnitude = pixels.abs().to(torch.float64)
    total = magnitude.sum((-2, -1))
    return (magnitude * truth).sum((-2, -1)) / total.where(total > 0, 1.0)
