"""Finding the layer whose activations a coarse map describes, and the grid that its tokens form."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from usu.models.contexts import differentiable

_POOLING = (
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool2d,
    nn.AvgPool2d,
    nn.FractionalMaxPool2d,
    nn.LPPool2d,
)
# Before the patches come none, a class token, perhaps a distillation token or registers (4, 7, 8 or 9).
_PREFIX_TOKENS = (0, 1, 2, 4, 5, 8, 9, 10)
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True, eq=False)
class SpatialLayer:
    """A module of the model whose output is spatial.

    That is (B, C, h, w), or (B, h, w, C) as in a Swin transformer, or tokens (B, N, C) that form a grid.
    """

    name: str
    module: nn.Module

    def grid_of(self, output: Tensor, size: Sequence[int]) -> Tensor:
        """Return the output as (B, C, h, w), prefix tokens dropped, for inputs of `size` pixels.

        Of four axes, the cells are those in the inputs' proportions. If both orders fit, as for (B, 7, 7, 7),
        channels come last if the module is made of linear layers over them.

        Raises:
            ValueError: the output is neither spatial nor a grid of tokens.
        """
        if not isinstance(output, Tensor):
            raise ValueError(
                f"layer {self.name!r} gives a {type(output).__name__}; name one that gives a tensor"
            )
        return grid_of(output, size, f"layer {self.name!r} gives an output", self.module)


def grid_of(values: Tensor, size: Sequence[int], name: str, module: nn.Module | None = None) -> Tensor:
    """Return a layer's output, or shares of its values, as (B, C, h, w), as `SpatialLayer.grid_of` does."""
    shape = tuple(values.shape)
    if len(shape) == 4 and not _are_heads(shape, size, module):
        first, last = _stretch(shape[2:], size), _stretch(shape[1:3], size)
        channels_last = last < first
        if first == last and module is not None:
            channels_last = _is_linear_over(module, shape[3])
        return values.permute(0, 3, 1, 2) if channels_last else values
    found = token_grid(shape[1], size) if len(shape) == 3 else None
    if found is None:
        raise ValueError(
            f"{name} of shape {shape}, which is neither (B, C, h, w) nor (B, h, w, C) nor tokens (B, N, C) "
            f"on a grid of the inputs' proportions {tuple(size)}; name another layer"
        )
    patches = values[:, shape[1] - math.prod(found) :]
    return patches.transpose(1, 2).reshape(len(patches), -1, *found)


def _stretch(cells: Sequence[int], size: Sequence[int]) -> float:
    """Return how far a grid's proportions are from the inputs', as a logarithm of at least 0."""
    return abs(math.log(cells[0] * size[1] / (cells[1] * size[0])))


def is_no_grid(cells: Sequence[int], size: Sequence[int]) -> bool:
    """Return whether two axes are too far from the inputs' proportions to be cells of one stride.

    That is by more than a half, after allowing one cell on either axis for borders and rounding.

    >>> is_no_grid((7, 7), (224, 224)), is_no_grid((1, 7), (8, 200)), is_no_grid((7, 768), (224, 224))
    (False, False, True)
    """
    (rows, columns), (height, width) = cells, size
    tall = (rows - 1) * width > 1.5 * (columns + 1) * height
    wide = (columns - 1) * height > 1.5 * (rows + 1) * width
    return tall or wide


def _are_heads(shape: Sequence[int], size: Sequence[int], module: nn.Module | None) -> bool:
    """Return whether an output is (B, heads, N, channels), as inside attention: N tokens rather than cells.

    If N and the channels could also be rows and columns, the module must consist of linear layers over them.
    """
    _, heads, tokens, channels = shape
    last_are_channels = is_no_grid((tokens, channels), size) or (
        module is not None and _is_linear_over(module, channels)
    )
    are_tokens = heads < channels and token_grid(tokens, size) is not None
    return are_tokens and last_are_channels and is_no_grid((heads, tokens), size)


def _is_linear_over(module: nn.Module, channels: int) -> bool:
    """Return whether a module's last step, judged by its parts, works on a last axis of `channels`."""
    while isinstance(module, nn.Sequential) and len(module):
        module = module[-1]
    parts = list(module.modules())
    if any(isinstance(part, _CONVOLUTIONS) for part in parts):
        return False
    return any(
        (isinstance(part, nn.Linear) and part.out_features == channels)
        or (isinstance(part, nn.LayerNorm) and tuple(part.normalized_shape) == (channels,))
        for part in parts
    )


def token_grid(tokens: int, size: Sequence[int]) -> tuple[int, int] | None:
    """Return the (rows, columns) that the last of `tokens` tokens form over an image of `size` pixels.

    >>> token_grid(197, (224, 224)), token_grid(1 + 7 * 14, (112, 224)), token_grid(23, (224, 224))
    ((14, 14), (7, 14), None)
    """
    height, width = size
    # Fewer patches than tokens before them would be a coincidence.
    for patches in (tokens - prefix for prefix in _PREFIX_TOKENS if tokens - prefix > max(prefix, 1)):
        rows = round((patches * height / width) ** 0.5)
        columns = round(patches / rows) if rows else 0
        if rows * columns == patches and rows * width == columns * height:
            return rows, columns
    return None


def find_layer(
    model: nn.Module,
    inputs: Tensor,
    layer: str | nn.Module | None,
    score: Callable[[Any], Tensor] | None = None,
) -> tuple[SpatialLayer, int]:
    """Find a layer by name, by identity, or as the last one that still has cells.

    That is the last module before pooling with a spatial or token output whose cells all affect the answer;
    in a vision transformer, the patch tokens after the last attention do not.

    Args:
        model: in evaluation mode.
        inputs: (1, C, H, W), one image to try the model on when `layer` is None.
        layer: a dotted name, a module of the model, or None.
        score: the answer, from the model's output of any kind to one score per image (1,); by default the
            largest of its outputs, which must then be a tensor.

    Returns:
        The layer, and the number of forward passes spent on finding it.

    Raises:
        ValueError: no such layer, or none with cells.
        TypeError: neither a name nor a module; without `score`, an output that is not a tensor.
    """
    modules = dict(model.named_modules())
    if isinstance(layer, str):
        if layer not in modules:
            raise ValueError(f"layer {layer!r} is not in the model; its modules are {_some(modules)}")
        return SpatialLayer(layer, modules[layer]), 0
    if isinstance(layer, nn.Module):
        name = next((name for name, module in modules.items() if module is layer), None)
        if name is None:
            raise ValueError(f"layer {type(layer).__name__} is not a module of the model")
        return SpatialLayer(name, layer), 0
    if layer is not None:
        raise TypeError(f"layer must be a module's name, a module or None, got {type(layer).__name__}")
    return _last_with_cells(model, inputs, score or _largest), 1


def _largest(outputs: Any) -> Tensor:
    if not isinstance(outputs, Tensor):
        raise TypeError(
            f"the model must return a tensor of outputs, got {type(outputs).__name__}; for others, explain a "
            "target that is a callable on the output"
        )
    return outputs.max()


def _last_with_cells(model: nn.Module, inputs: Tensor, score: Callable[[Any], Tensor]) -> SpatialLayer:
    size = inputs.shape[-2:]
    seen: list[tuple[SpatialLayer, Tensor]] = []

    def remember(name: str) -> Any:
        def hook(module: nn.Module, _: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.requires_grad and not isinstance(module, _POOLING):
                layer = SpatialLayer(name, module)
                if _looks_spatial(layer, output, size):
                    seen.append((layer, output))

        return hook

    with ExitStack() as hooks, differentiable(model):
        for name, module in model.named_modules():
            hooks.enter_context(module.register_forward_hook(remember(name)))
        answer = score(model(inputs.detach().requires_grad_().clone())).sum()
        for layer, output in reversed(_on_the_stream(seen) if answer.requires_grad else []):
            (gradient,) = torch.autograd.grad(answer, output, retain_graph=True, allow_unused=True)
            if gradient is not None and layer.grid_of(gradient, size).abs().sum((0, 1)).count_nonzero() > 1:
                return layer
    raise ValueError(
        "layer=None found no layer with a spatial or token output that the answer depends on; name one of "
        f"the model's modules: {_some(dict(model.named_modules()))}"
    )


def _looks_spatial(layer: SpatialLayer, output: Tensor, size: Sequence[int]) -> bool:
    if output.dim() not in (3, 4) or len(output) != 1:  # of one image, several items are windows
        return False
    try:
        rows, columns = layer.grid_of(output, size).shape[-2:]
    except ValueError:  # neither cells nor tokens on a grid
        return False
    return rows * columns > 1


def _on_the_stream(seen: list[tuple[SpatialLayer, Tensor]]) -> list[tuple[SpatialLayer, Tensor]]:
    """Drop intermediate results of attention, which do not describe the image's cells.

    These are tokens of another width than the last ones, such as queries, keys and values together; and with
    an axis of heads, (1, heads, N, ...), queries, keys, values or weights.
    """
    tokens = [output.shape for _, output in seen if output.dim() == 3]
    counts = {shape[1] for shape in tokens}
    return [
        (layer, output)
        for layer, output in seen
        if (output.shape[2] == tokens[-1][2] if output.dim() == 3 else output.shape[2] not in counts)
    ]


def _some(modules: dict[str, nn.Module], most: int = 12) -> str:
    names = [name for name in modules if name]
    return ", ".join(names[-most:]) + (f" and {len(names) - most} before them" if len(names) > most else "")
