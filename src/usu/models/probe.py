"""Which part of a layer's output moves as one strip of the image is changed: its cells, found by trial.

The image is changed in one strip at a time, each as high or as wide as a cell. The strips of rows and of
columns that move a token most are its cell. Attention and convolutions spread every change, so each place is
kept to itself meanwhile; if a network shows nothing that way, it is tried as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from itertools import pairwise
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from usu.arrays.convert import is_finite
from usu.models.attention import Apart
from usu.models.passes import Pass
from usu.models.tokens import Tokens

# What calls a function with each output of a layer, for as long as it is entered.
Tap: TypeAlias = "Callable[[Callable[[Any], None]], AbstractContextManager[Any]]"

# The index of a strip of an image (C, *size).
Box: TypeAlias = "tuple[slice, ...]"

# Images per forward call, the unchanged one included.
_BATCH = 16
# Of the cells, how many must move their own token most where neighbours overlap.
_ENOUGH = 0.8


def outputs_of(module: nn.Module) -> Tap:
    """Return what calls a function with each output of a module."""
    return lambda see: module.register_forward_hook(lambda _, __, output: see(output))


def probed(
    model: nn.Module, image: Tensor, tap: Tap, run: int, likely: Tokens, seen: Pass
) -> tuple[Tokens | None, int]:
    """Return the layout of a layer's output with the grid and the axis of `likely`, and the passes spent.

    Args:
        model: in evaluation mode; left unchanged.
        image: (1, C, H, W).
        tap: of the layer.
        run: which of its runs in a forward pass, from 0.
        likely: what the layout is thought to be.
        seen: what a pass showed.

    Returns:
        None in place of the layout if the output does not move cell by cell.
    """
    strips = [
        _strips(likely.grid[axis], seen.size[axis], seen.grids().get(likely.grid, (0, 0))[axis])
        for axis in range(len(seen.size))
    ]
    edges = _edges(likely.grid, seen) if not seen.in_place else []
    boxes = [_across(axis, slice(*strip)) for axis, own in enumerate(strips) for strip in own] + edges
    spent = 0
    for apart in (True, False):
        moved, passes = _moved(model, image, partial(_distances, tap, run, likely), boxes, apart)
        spent += passes
        if moved is not None:
            found = _read(moved[: len(boxes) - len(edges)], likely)
            if found is not None and bool((moved[len(boxes) - len(edges) :] > 0).any(1).all()):
                return found, spent
    return None, spent


def _strips(count: int, length: int, stride: int) -> list[tuple[int, int]]:
    """Return the pixels of each of `count` cells along an axis: by the stride if it fits, or even shares."""
    if stride and count in (length // stride, -(-length // stride)):
        return [(cell * stride, min((cell + 1) * stride, length)) for cell in range(count)]
    return list(pairwise(cell * length // count for cell in range(count + 1)))


def _across(axis: int, strip: slice) -> Box:
    """Return the index of a strip of one axis, for arrays (C, *size)."""
    return (*(slice(None),) * (1 + axis), strip)


def _edges(grid: tuple[int, ...], seen: Pass) -> list[Box]:
    """Return strips along all borders, which a network that crops ignores.

    They are a quarter of a cell wide, or a cell at the ends, where strides may leave out a rest.
    """
    found = []
    for axis, (side, cells) in enumerate(zip(seen.size, grid, strict=True)):
        wide = -(-side // cells)
        found += [_across(axis, slice(0, -(-wide // 4))), _across(axis, slice(-wide, None))]
    return found


def _moved(
    model: nn.Module,
    image: Tensor,
    distances_among: Callable[[int], AbstractContextManager[list[Tensor]]],
    boxes: Sequence[Box],
    apart: bool,
) -> tuple[Tensor | None, int]:
    """Return how far each change moves each token, (changes, N); None if the output is of another kind."""
    spread = float(image.float().std())
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    changed = image + (spread if spread > 0 else 1.0) * noise.to(image)
    found: list[Tensor] = []
    spent = 0
    for start in range(0, len(boxes), _BATCH - 1):
        count = 1 + len(boxes[start : start + _BATCH - 1])
        batch = image.repeat(count, *(1,) * (image.dim() - 1))
        for own, box in zip(batch[1:], boxes[start:], strict=False):
            own[box] = changed[0][box]
        spent += len(batch)
        with torch.no_grad(), Apart() if apart else nullcontext(), distances_among(len(batch)) as distances:
            model(batch)
        if not distances:
            return None, spent
        found += distances
    return torch.cat(found), spent


@contextmanager
def _distances(tap: Tap, run: int, likely: Tokens, count: int) -> Iterator[list[Tensor]]:
    """Note how far each image's tokens are from the first's, (count - 1, N), in one run of a layer."""
    runs, found = 0, []

    def see(output: Any) -> None:
        nonlocal runs
        runs += 1
        ranks = (3, len(likely.grid) + 2)
        fits = isinstance(output, Tensor) and output.dim() in ranks and output.is_floating_point()
        if runs - 1 != run or not fits or output.shape[likely.batch_axis] != count:
            return
        if (output.dim() > 3 and likely.axis == 0) or not is_finite(output):
            return
        tokens = likely.in_rows(output).to(torch.promote_types(output.dtype, torch.float32))
        if tokens.shape[1] == len(likely):
            found.append((tokens[1:] - tokens[:1]).norm(dim=2).cpu())

    with tap(see):
        yield found


def _read(moved: Tensor, likely: Tokens) -> Tokens | None:
    """Return the layout that movements (gh + gw, N) show, if each cell has a token of its own."""
    cells = math.prod(likely.grid)
    strength = torch.ones(moved.shape[1], dtype=moved.dtype)
    cell = torch.zeros(moved.shape[1], dtype=torch.int64)
    for part in moved.split(list(likely.grid)):  # a token's strip along each axis
        most, strip = (part.square() / part.square().sum(0).clamp(min=1e-30)).max(0)
        strength, cell = strength * most, cell * len(part) + strip
    if min(likely.grid) > 1 and float(strength.max()) == 0:
        return None
    order = strength.argsort()
    ranks = torch.empty_like(order).scatter(0, order, torch.arange(len(order)))
    # Of several tokens with one cell, the one that moves most is its own.
    highest = torch.full((cells,), -1).scatter_reduce(0, cell, ranks, "amax")
    chosen = places = order[highest[highest >= 0]]
    rest = torch.ones(len(strength), dtype=torch.bool)
    rest[chosen] = False
    weakest = float(strength[chosen].min())
    if len(chosen) == cells and weakest > 0:
        alone = not rest.any() or float(strength[rest].max()) < 0.5 * weakest
        if alone:
            return Tokens.at(places, len(strength), likely.grid, likely.axis)
    return _nearly(cell, strength, likely)


def _nearly(cell: Tensor, strength: Tensor, likely: Tokens) -> Tokens | None:
    """Return the layout row by row if nearly all tokens fit it, and the others are off by a cell."""
    cells = math.prod(likely.grid)
    if min(likely.grid) < 3:  # where every cell is next to every other
        return None
    own, found = (torch.stack(torch.unravel_index(one, likely.grid)) for one in (torch.arange(cells), cell))
    best: tuple[float, int] = (0.0, 0)
    for prefix in range(len(strength) - cells + 1):
        part = slice(prefix, prefix + cells)
        off = (found[:, part] - own).abs().amax(0)
        rest = torch.cat([strength[:prefix], strength[prefix + cells :]])
        still = float(rest.max()) < 0.5 * float(strength[part].median()) if len(rest) else True
        if still and bool(((off <= 1) & (strength[part] > 0)).all()):
            best = max(best, (float((off == 0).double().mean()), -prefix))
    if best[0] < _ENOUGH:
        return None
    return Tokens(likely.grid, -best[1], len(strength) - cells + best[1], axis=likely.axis)
