"""Captum: its attributions of layers and of features brought to pixels.

A value of such an attribution is a share of an answer (for Conductance and Integrated Gradients, of the
difference between two answers) and belongs to all pixels of a cell or a feature together, hence
`mass="total"`. This includes LayerGradCam, whose weights are means of gradients: at the last layer of a
network that ends in global average pooling and one linear layer, its cells sum to the logit less its bias.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from usu import pipeline
from usu.arrays.convert import Array, as_floats, as_labels, check_finite
from usu.models.alone import one_at_a_time
from usu.models.forward import ForwardFunc, check_inputs
from usu.models.grids import grid_of, is_no_grid
from usu.models.layers import noted_outputs, placed
from usu.models.passes import watched
from usu.models.targets import Targets
from usu.models.tokens import Tokens
from usu.operators.lattice import Mass


@one_at_a_time("forward_func")
def upsample(
    attributions: Tensor,
    inputs: Array,
    forward_func: ForwardFunc,
    target: Targets,
    *,
    feature_mask: Array | None = None,
    mass: Mass = "total",
    tokens: Tokens | None = None,
    **settings: Any,
) -> Any:
    """Bring the attributions of a Captum method to pixels.

    Without `feature_mask`, they are a layer's attributions, as of LayerGradCam or LayerConductance; their
    channels are summed, with their signs, and tokens before the patches (class, registers) are dropped. With
    it, they are what FeatureAblation, KernelShap or Lime repeated on every pixel and every channel of each
    feature; a feature's value is counted once, not once per element.

    Args:
        attributions: of a layer (B, C, h, w), (B, h, w, C) or tokens (B, N, C); with `feature_mask`
            (B, C, H, W).
        inputs: (B, C, H, W), or (C, H, W) for attributions of one image.
        forward_func: any callable from a batch to (B, classes) outputs.
        target: class index, or one per image.
        feature_mask: as it was given to Captum: integers that broadcast to the inputs. If the channels of a
            pixel belong to several features, each feature's value is first shared evenly among its elements.
        mass: "total", unless the method's values are densities.
        tokens: where the cells lie in the attributions of a layer. Without it they are looked for in the
            layers of `forward_func` that give outputs of the attributions' shape, if it is a module; tokens
            of other callables are refused.
        **settings: what `usu.upsample` takes, such as images, mode and temperature.

    Returns:
        An `Explanation`, or a list of them for a batch.

    Raises:
        ValueError: attributions that are not a grid of cells, that have the inputs' own size, or that are not
            constant over each feature.
        TypeError: attributions that are not one tensor.
    """
    batch, batched = check_inputs(inputs)
    images = 1 if tokens is not None and tokens.axis == 0 and feature_mask is None else 0
    given = _checked(attributions, len(batch), images).to(batch.device)
    labels: Any = None
    if feature_mask is None:
        values: Any = _cells(given, batch, forward_func, tokens)
    else:
        values, labels = _features(given, as_labels(feature_mask, "feature_mask").to(given.device), batch)
    if not batched:  # one image, given without a batch axis, is explained without one
        values, labels = values[0], labels and labels[0]
    return pipeline.upsample(
        values, inputs, forward_func, target, neighbourhoods=labels, mass=mass, **settings
    )


def _checked(attributions: Any, count: int, images: int = 0) -> Tensor:
    if not isinstance(attributions, Tensor):
        raise TypeError(
            f"attributions must be one tensor, got {type(attributions).__name__}; of a tuple, pass the entry "
            "that belongs to the image or to the layer's output"
        )
    given = check_finite(as_floats(attributions.detach(), "attributions"), "attributions")
    if given.dim() <= images or given.shape[images] != count:
        raise ValueError(
            f"attributions must be of each of {count} images, got shape {tuple(given.shape)}; a forward "
            "function that returns one score for a whole batch cannot be explained image by image"
        )
    return given.to(torch.promote_types(given.dtype, torch.float32))


def _cells(attributions: Tensor, batch: Tensor, forward_func: ForwardFunc, tokens: Tokens | None) -> Tensor:
    """Return a layer's attributions (B, h, w), summed over channels."""
    shape, size = tuple(attributions.shape), batch.shape[-2:]
    if tokens is not None:
        return tokens.cells(attributions).sum(1)
    if len(shape) == 4 and shape[-2:] == tuple(size):
        raise ValueError(
            f"attributions of shape {shape} have the inputs' own size: they are pixel maps already; if they "
            "are constant over features, pass the feature_mask"
        )
    if len(shape) == 4 and shape[1] == 1 and is_no_grid(shape[2:], size):
        raise ValueError(
            f"attributions of shape {shape} are not a grid of the inputs' proportions {tuple(size)}: "
            "LayerGradCam sums axis 1, which holds rows if channels come last; take "
            "usu.explain(source='gradcam') or another layer. If they are cells after all, pass "
            "attributions[:, 0] to usu.upsample with mass='total'"
        )
    if isinstance(forward_func, nn.Module) and len(shape) in (3, 4):
        found = _tokens_of(forward_func, batch[:1], shape)
        if found is not None:
            return found.cells(attributions).sum(1)
    if len(shape) == 3:
        raise ValueError(
            f"attributions are of shape {shape}, which is neither (B, C, h, w) nor that of a layer of "
            "forward_func "
            "whose tokens follow the inputs cell by cell: say where the cells are by tokens=usu.Tokens(...)"
        )
    return grid_of(attributions, size, "attributions are").sum(1)


def _tokens_of(model: nn.Module, image: Tensor, shape: tuple[int, ...]) -> Tokens | None:
    """Return where the cells lie in the outputs of a model's layers of this shape, but for the batch."""
    with torch.no_grad(), watched(model, image) as seen, noted_outputs(model) as noted:
        model(image.clone())
    alike = [one for one in noted if one[2][1:] == shape[1:] and one[2][0] == 1]
    for layer, run, own in reversed(alike[-2:]):
        found, _ = placed(model, image, layer, run, own, seen)
        if found is not None:
            return found
    if alike and len(shape) == 4 and seen.attends:
        raise alike[-1][0].without_cells(shape, seen)
    return None


def _features(attributions: Tensor, feature_mask: Tensor, inputs: Tensor) -> Any:
    """Return the masses and the label map of each image's `regions`."""
    if attributions.shape != inputs.shape:
        raise ValueError(
            f"with feature_mask, attributions must have the shape of inputs {tuple(inputs.shape)}, got "
            f"{tuple(attributions.shape)}"
        )
    try:
        masks = feature_mask.expand_as(inputs)
    except RuntimeError:
        raise ValueError(
            f"feature_mask of shape {tuple(feature_mask.shape)} does not broadcast to inputs "
            f"{tuple(inputs.shape)}"
        ) from None
    return zip(*map(regions, attributions, masks), strict=True)


def regions(attribution: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return masses (K,) and labels (H, W) of one image's features, from (C, H, W) each.

    A region is the pixels whose channels lie in the same features, and gets the share of each feature that
    lies in it: the whole of a feature that spans all channels, or one channel of a superpixel.
    """
    features, index, sizes = mask.unique(return_inverse=True, return_counts=True)
    flat = attribution.double().flatten()
    highest, lowest = (
        flat.new_zeros(len(features)).scatter_reduce(0, index.flatten(), flat, kind, include_self=False)
        for kind in ("amax", "amin")
    )
    spread = highest - lowest
    if bool((spread > 1e-5 * flat.abs().max()).any()):
        feature = int(features[spread.argmax()])
        raise ValueError(
            f"attributions are not constant over feature {feature} of feature_mask: they were not computed "
            "with it (overlapping windows, as of Occlusion, form no features)"
        )
    density = (attribution.double() / sizes[index]).sum(0).flatten()
    together, labels = index.flatten(1).unique(dim=1, return_inverse=True)
    masses = density.new_zeros(together.shape[1]).index_add(0, labels, density)
    return masses.to(attribution.dtype), labels.view(mask.shape[-2:])
