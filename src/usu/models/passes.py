"""What one forward pass shows of where things lie: the grids of its convolutions, and whether it attends."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from usu.models.attention import Noticed

Grid = tuple[int, ...]
# The convolutions over so many dimensions.
CONVOLUTIONS: dict[int, type[nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


@dataclass(eq=False)
class Pass:
    """What a forward pass gave.

    Attributes:
        size: (H, W) of the images; (L,) of signals, (D, H, W) of volumes.
        count: of the images.
        strides: of each grid that a convolution gave, in pixels of the image, in the order of the pass.
        attends: whether activations were multiplied with each other, so that their axes may be tokens.
        in_place: whether the first convolution gets the images as they lie, normalised at most.
        running: names of the modules that run, outermost first.
        attending: names of the modules that attend.
    """

    size: Grid
    count: int
    strides: dict[Grid, Grid] = field(default_factory=dict)
    attends: bool = False
    in_place: bool = False
    running: list[str] = field(default_factory=list)
    attending: set[str] = field(default_factory=set)

    def grids(self) -> Mapping[Grid, Grid]:
        """Return each grid and its stride: the last convolution's first, then what halving makes of them."""
        return _with_halves(tuple(self.strides.items()))

    def notice(self) -> None:
        """Note that the module that runs attends."""
        self.attends = True
        if self.running:
            self.attending.add(self.running[-1])


@lru_cache(maxsize=16)  # each layer of a network asks for the same
def _with_halves(strides: tuple[tuple[Grid, Grid], ...]) -> Mapping[Grid, Grid]:
    found = dict(reversed(strides))
    for cells, stride in list(found.items()):
        for power in range(1, 5):
            wide = tuple(step << power for step in stride)
            for up in (True, False):  # whether a last odd cell is padded or left out
                sides = tuple(_halved(side, power, up) for side in cells)
                if min(sides) > 0:
                    found.setdefault(sides, wide)
    return MappingProxyType(found)


def _halved(side: int, times: int, up: bool) -> int:
    return -(-side >> times) if up else side >> times


@contextmanager
def watched(model: nn.Module, inputs: Tensor) -> Iterator[Pass]:
    """Note what the forward passes inside show, for `inputs` (B, C, *size)."""
    rank = inputs.dim()
    seen = Pass(tuple(inputs.shape[2:]), len(inputs))
    first: list[bool] = []

    def note(layer: Any, arguments: tuple[Any, ...], output: Any) -> None:
        before = arguments[0] if arguments else None
        if not isinstance(before, Tensor) or before.dim() != rank or output.dim() != rank:
            return
        if not first:
            first.append(True)
            seen.in_place = _lies_as(before.detach()[:1], inputs.detach()[:1])
        if len(output) == len(inputs):
            scale = [
                max(1, round(whole / own)) for whole, own in zip(seen.size, before.shape[2:], strict=True)
            ]
            grid = tuple(output.shape[2:])
            seen.strides.pop(grid, None)  # the last one counts, and comes last
            seen.strides[grid] = tuple(map(operator.mul, scale, layer.stride))

    with ExitStack() as undo:
        for name, module in model.named_modules():
            if isinstance(module, torch.jit.ScriptModule):  # takes no hooks
                continue
            for handle in _kept_account(name, module, seen.running):
                undo.enter_context(handle)
            if isinstance(module, CONVOLUTIONS[rank - 2]):
                undo.enter_context(module.register_forward_hook(note))
        undo.enter_context(Noticed(seen.notice))
        yield seen


def _kept_account(name: str, module: nn.Module, running: list[str]) -> tuple[RemovableHandle, ...]:
    def start(*_: Any) -> None:
        running.append(name)

    def end(*_: Any) -> None:
        running.pop()

    return module.register_forward_pre_hook(start), module.register_forward_hook(end)


def _lies_as(before: Tensor, image: Tensor) -> bool:
    """Return whether the first channel (1, C, *size) is one of the image's, or their mean, scaled."""
    if before.shape[2:] != image.shape[2:]:
        return False
    wide = torch.promote_types(image.dtype, torch.float32)
    own = before[0, 0].to(wide).flatten()
    channels = torch.cat([image[0], image[0].mean(0, keepdim=True)]).to(wide).flatten(1)
    own, channels = own - own.mean(), channels - channels.mean(1, keepdim=True)
    likeness = (channels @ own).abs() / (channels.norm(dim=1) * own.norm()).clamp(min=1e-30)
    return bool(likeness.max() > 0.95)
