"""pytorch-grad-cam's objects: where their maps come from, and what they leave behind in a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

try:
    from pytorch_grad_cam.ablation_layer import AblationLayer
    from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection
except ImportError as missing:
    raise ImportError("CAM methods need pytorch-grad-cam: pip install 'usu-xai[cam]'") from missing


def curved_map(
    cam: Any,
    inputs: Tensor,
    layer: nn.Module,
    targets: Sequence[Any],
    activations: Tensor,
    gradients: Tensor,
    eigen_smooth: bool = False,
) -> Any:
    """Return the map (B, gh, gw) of a method whose weights take second derivatives, such as Shapley-CAM.

    The library's own `get_cam_image` does not bring the activations of a transformer to their grid.
    """
    if not gradients.requires_grad:  # the rest of the network is linear: no curvature
        gradients = gradients + 0 * activations
    weights = cam.get_cam_weights(inputs, layer, targets, activations, gradients)
    cells = activations if cam.reshape_transform is None else cam.reshape_transform(activations)
    weighted = weights[:, :, None, None] * cells.detach().cpu().numpy()
    return get_2d_projection(weighted) if eigen_smooth else weighted.sum(1)


@contextmanager
def put_back(model: nn.Module, layer: nn.Module) -> Iterator[None]:
    """Undo what Ablation-CAM leaves behind if a pass fails: a hook, and its own layer in the model."""
    hooks = set(layer._forward_hooks)
    try:
        yield
    finally:
        for hook in set(layer._forward_hooks) - hooks:
            del layer._forward_hooks[hook]
        for parent in list(model.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, AblationLayer):
                    setattr(parent, name, layer)
