"""Raw Grad-CAM maps from pytorch-grad-cam, before its ReLU, min-max scaling and resizing."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from usu.layers import find_layer, frozen
from usu.scoring import check_outputs
from usu.sources import CoarseMap

try:
    from pytorch_grad_cam import GradCAM
except ImportError as missing:
    raise ImportError("Grad-CAM needs pytorch-grad-cam: pip install 'usu-xai[cam]'") from missing


def gradcam(
    model: nn.Module, inputs: Tensor, targets: Sequence[int], layer: str | nn.Module | None
) -> CoarseMap:
    """Return the signed Grad-CAM map Σ_c w_c·A_c of the target logit.

    For a network that ends in global average pooling and one linear layer, the cells of the last layer's map
    sum to the logit less its bias: they are masses, hence `mass="total"`.

    Args:
        model: in evaluation mode; left as it was found.
        inputs: (B, C, H, W).
        targets: one class index per image.
        layer: name, module, or None for the last layer with cells.

    Returns:
        The map (B, gh, gw), and the layer's name.

    Raises:
        ValueError: no such layer, or one without cells; a target out of range.
    """
    found, passes = find_layer(model, inputs[:1], layer)
    size = inputs.shape[-2:]
    cam = GradCAM(model, [found.module], reshape_transform=lambda output: found.grid_of(output, size))
    recorded = cam.activations_and_grads
    try:
        with frozen(model), torch.enable_grad():
            outputs = recorded(inputs.detach().requires_grad_())
            check_outputs(outputs, len(inputs), targets)
            outputs[range(len(inputs)), list(targets)].sum().backward()
        if not recorded.gradients:
            raise ValueError(f"the answer does not depend on layer {found.name!r}; name an earlier one")
        # A module that runs several times, such as a shared activation, counts by its last run.
        activations, gradients = recorded.activations[-1].numpy(), recorded.gradients[-1].numpy()
        values = cam.get_cam_image(inputs, found.module, targets, activations, gradients)
    finally:
        recorded.release()
    return CoarseMap(
        values=torch.from_numpy(values).to(inputs),
        mass="total",
        source="gradcam",
        layer=found.name,
        forward_passes=(1 + passes, *[1] * (len(inputs) - 1)),
    )
