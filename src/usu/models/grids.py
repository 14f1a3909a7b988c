"""Which grids of cells the shape of a layer's output allows, for images of a given size."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from torch import Tensor, nn

from usu.models.passes import Pass
from usu.models.tokens import Tokens

# Before the patches come none, a class token, perhaps a distillation token or registers (4, 7, 8 or 9).
_PREFIX_TOKENS = (0, 1, 2, 4, 5, 8, 9, 10)
# Detection tokens and learned prompts are up to a hundred.
_MOST_EXTRA = 128
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def grid_of(values: Tensor, size: Sequence[int], name: str, module: nn.Module | None = None) -> Tensor:
    """Return a layer's output, or shares of its values, as (B, C, h, w), as `SpatialLayer.grid_of` does."""
    shape = tuple(values.shape)
    if len(shape) == 4 and not _are_heads(shape, size, module):
        return values.permute(0, 3, 1, 2) if _channels_last(shape, size, module) else values
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


def layouts(shape: Sequence[int], seen: Pass, module: nn.Module | None = None) -> Iterator[Tokens]:
    """Yield where the cells may lie in an output of this shape, the likeliest first.

    Args:
        shape: of the output.
        seen: the forward pass that gave it, whose convolutions say which grids there are.
        module: that gave it, which decides where all else is alike.
    """
    if len(seen.size) != 2:
        yield from _layouts_of_convolutions(shape, seen)
    elif len(shape) == 4 and shape[0] == seen.count:
        yield from _layouts_of_four(shape, seen, module)
    elif len(shape) == 3:
        yield from _layouts_of_tokens(shape, seen)


def _layouts_of_convolutions(shape: Sequence[int], seen: Pass) -> Iterator[Tokens]:
    """Yield the layouts of signals and volumes: on a grid that a convolution gave in the same pass."""
    ndim, found = len(seen.size), []
    if len(shape) == ndim + 2 and shape[0] == seen.count:
        grids = {axis: tuple(shape[axis : axis + ndim]) for axis in (2, 1)}
        found = [Tokens(grid, axis=axis) for axis, grid in grids.items() if grid in seen.grids()]
    yield from found
    if len(shape) == 3 and seen.attends:
        yield from (one for one in _layouts_of_tokens(shape, seen) if one not in found)


def _layouts_of_four(shape: Sequence[int], seen: Pass, module: nn.Module | None) -> Iterator[Tokens]:
    first, last = Tokens((shape[2], shape[3]), axis=2), Tokens((shape[1], shape[2]), axis=1)
    known = [one for one in (first, last) if one.grid in seen.grids()]
    if len(known) == 1:
        yield known[0]
        return
    if _are_heads(shape, seen.size, module) or (seen.attends and seen.strides and not known):
        return
    for one in (last, first) if _channels_last(shape, seen.size, module) else (first, last):
        if known or not is_no_grid(one.grid, seen.size):
            yield one


def _layouts_of_tokens(shape: Sequence[int], seen: Pass) -> Iterator[Tokens]:
    axes = [axis for axis in (1, 2) if shape[0] == seen.count] + [0] * (shape[1] == seen.count)
    found = []
    for axis in axes:
        count, width = shape[axis], shape[2 if axis < 2 else 1]
        guess = token_grid(count, seen.size) if axis < 2 and len(seen.size) == 2 else None
        for grid in [*seen.grids(), *([guess] if guess and not seen.strides else [])]:
            extra = count - math.prod(grid)
            if width > 1 and math.prod(grid) > 1 and 0 <= extra <= max(math.prod(grid), _MOST_EXTRA):
                found.append(Tokens(grid, prefix=extra, axis=axis))
        if guess and guess not in {one.grid for one in found}:
            found.append(Tokens(guess, prefix=count - math.prod(guess), axis=axis))
    yield from sorted(found, key=lambda one: (one.axis == 2, one.prefix))


def _channels_last(shape: Sequence[int], size: Sequence[int], module: nn.Module | None) -> bool:
    """Return whether (B, a, b, c) are rows, columns, channels, rather than channels first."""
    first, last = _stretch(shape[2:], size), _stretch(shape[1:3], size)
    if first == last and module is not None:
        return _is_linear_over(module, shape[3])
    return last < first
