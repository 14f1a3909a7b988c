"""Attribution by input gradients, which `usu.worlds.aggregation` sums into cells (paper, supplement E)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from usu.arrays.convert import Array, as_labels
from usu.models.contexts import frozen
from usu.models.forward import check_evaluation_mode, check_inputs


def differentiate(
    model: nn.Module, inputs: Tensor, targets: Tensor, create_graph: bool = False
) -> tuple[Tensor, Tensor]:
    """Return the logits (B, classes) and ∇ₓ s_y, the gradients of the targets' logits (B, C, H, W).

    Images must not affect each other in the model. With `create_graph` both can be differentiated again.
    """
    with torch.enable_grad():
        inputs = inputs.detach().requires_grad_()
        logits = model(inputs)
        chosen = logits.gather(1, targets[:, None]).sum()
        (gradients,) = torch.autograd.grad(chosen, inputs, create_graph=create_graph)
    return logits, gradients


def attribution(model: nn.Module, inputs: Array, target: int | Sequence[int] | Array) -> Tensor:
    """Return |∇ₓ s_y| of each pixel, the paper's gradient magnitude, summed over channels.

    Args:
        model: a classifier in evaluation mode; left as it was.
        inputs: (C, H, W) or a batch (B, C, H, W).
        target: class index, or one per image.

    Returns:
        (H, W) or (B, H, W), in logits per unit of the inputs.

    Raises:
        ValueError: inputs or targets that do not fit, a model in training mode.
        TypeError: an argument of the wrong kind.
    """
    check_evaluation_mode(model, "model")
    batch, batched = check_inputs(inputs)
    targets = as_labels(target, "target")
    if targets.shape not in ((), (len(batch),)) or bool((targets < 0).any()):
        raise ValueError(
            f"target must be a class index, or one for each of {len(batch)} images, got {target!r}"
        )
    with frozen(model.parameters()):
        _, gradients = differentiate(model, batch, targets.expand(len(batch)).to(batch.device))
    pixels = gradients.abs().sum(1)
    return pixels if batched else pixels[0]


def share_inside(pixels: Tensor, truth: Tensor) -> Tensor:
    """Return the share of each map's (B, H, W) magnitude inside its mask of 0 and 1, (B,); of zeros 0."""
    magnitude = pixels.abs().to(torch.float64)
    total = magnitude.sum((-2, -1))
    return (magnitude * truth).sum((-2, -1)) / total.where(total > 0, 1.0)
