"""A module whose output is spatial, and how the outputs of all modules are noted in a pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from usu.models.grids import grid_of
from usu.models.passes import Pass
from usu.models.tokens import Tokens


@dataclass(frozen=True, eq=False)
class SpatialLayer:
    """A module of the model whose output is spatial.

    That is (B, C, h, w), or (B, h, w, C) as in a Swin transformer, or tokens (B, N, C) that form a grid.

    Attributes:
        name: dotted, within the model.
        module: itself.
        tokens: where the cells lie in its output, if that is known.
    """

    name: str
    module: nn.Module
    tokens: Tokens | None = None

    def grid_of(self, output: Tensor, size: Sequence[int]) -> Tensor:
        """Return the output as (B, C, h, w), prefix tokens dropped, for inputs of `size` pixels.

        Without `tokens`, the cells of four axes are those in the inputs' proportions. If both orders fit, as
        for (B, 7, 7, 7), channels come last if the module is made of linear layers over them.

        Raises:
            ValueError: the output is neither spatial nor a grid of tokens.
        """
        self.check(output)
        if self.tokens is not None:
            return self.tokens.cells(output)
        return grid_of(output, size, f"layer {self.name!r} gives an output", self.module)

    def check(self, output: Any) -> None:
        """Raise ValueError unless the output is a tensor."""
        if not isinstance(output, Tensor):
            raise ValueError(
                f"layer {self.name!r} gives a {type(output).__name__}; name one that gives a tensor"
            )

    def without_cells(self, shape: Sequence[int], seen: Pass) -> ValueError:
        """Return the error that says that an output of this shape does not follow the image cell by cell."""
        if (
            len(shape) > 2
            and shape[0] != seen.count
            and shape[0] % seen.count == 0
            and shape[1] != seen.count
        ):
            return ValueError(
                f"layer {self.name!r} gives {shape[0]} items for {seen.count} images, as of several crops or "
                "windows at once, whose places in the image are not known; name another layer"
            )
        size = " × ".join(map(str, seen.size))
        return ValueError(
            f"layer {self.name!r} gives an output of shape {tuple(shape)}, which is neither (B, C, h, w) "
            f"nor (B, h, w, C) nor tokens (B, N, C) that follow the image of {size} "
            "pixels cell by cell; name another layer, or say where its cells are by tokens=usu.Tokens(...)"
        )


# A module, which of its runs, and the shape of what it gave.
Output: TypeAlias = "tuple[SpatialLayer, int, tuple[int, ...]]"


@contextmanager
def noted_outputs(model: nn.Module) -> Iterator[list[Output]]:
    """Note the shape of each tensor that a module of the model gives, in the order of the pass.

    Where gradients are recorded, these are the tensors that depend on the inputs.
    """
    found: list[Output] = []
    runs: dict[str, int] = {}

    def remember(name: str) -> Any:
        def hook(module: nn.Module, _: Any, output: Any) -> None:
            runs[name] = runs.get(name, -1) + 1
            if isinstance(output, Tensor) and (output.requires_grad or not torch.is_grad_enabled()):
                found.append((SpatialLayer(name, module), runs[name], tuple(output.shape)))

        return hook

    with ExitStack() as hooks:
        for name, module in model.named_modules():
            if not isinstance(module, torch.jit.ScriptModule):  # takes no hooks
                hooks.enter_context(module.register_forward_hook(remember(name)))
        yield found
