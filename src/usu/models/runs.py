"""A layer that runs several times in a forward pass: which of its runs a map describes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def recorded(module: nn.Module) -> Iterator[list[Any]]:
    """Note what a layer returns in each of its runs."""
    outputs: list[Any] = []
    with module.register_forward_hook(lambda _, __, output: outputs.append(output)):
        yield outputs


@dataclass(eq=False)
class Runs:
    """What a layer gave in each of its runs, and the gradients of a backward pass at these outputs.

    Attributes:
        outputs: of each run since the last `take`.
        gradients: of each run; None until a backward pass reaches it.
        listening: whether runs are noted.
    """

    outputs: list[Any] = field(default_factory=list)
    gradients: list[Any] = field(default_factory=list)
    listening: bool = True

    def note(self, _: nn.Module, __: Any, output: Any) -> None:
        """Note a run, as a forward hook."""
        if not self.listening:
            return
        if isinstance(output, Tensor) and output.requires_grad:
            output.register_hook(_put(self.gradients, len(self.outputs)))
        self.outputs.append(output)
        self.gradients.append(None)

    def take(self) -> tuple[list[Any], list[Any]]:
        """Return outputs and gradients, and forget them."""
        taken = self.outputs, list(self.gradients)  # a copy: hooks may be called again
        self.outputs, self.gradients = [], []
        return taken


def _put(gradients: list[Any], run: int) -> Callable[[Tensor], None]:
    def put(gradient: Tensor) -> None:
        gradients[run] = gradient

    return put


def checked_run(run: Any, count: int, name: str) -> int:
    """Return the number of a layer's run from 0; raise ValueError if it has no such run."""
    if isinstance(run, bool) or not isinstance(run, int):
        raise TypeError(f"run must be the number of a run of layer {name!r}, from 0, got {run!r}")
    if not 0 <= run < count:
        raise ValueError(
            f"run must be from 0 to {count - 1}, as layer {name!r} runs {count} times, got {run}"
        )
    return run


def choose_run(outputs: Sequence[Any], bearing: Sequence[int], run: int | None, name: str) -> int:
    """Return which run of a layer counts: the one that is asked for, the only one, or the last of a chain.

    Args:
        outputs: of each run, with their graph.
        bearing: the runs on which the answer depends.
        run: what the caller asks for.
        name: of the layer.

    Raises:
        ValueError: no such run; a run on which the answer does not depend; several runs none of which follows
            from all others, as of two images or two crops.
    """
    if run is not None:
        if checked_run(run, len(outputs), name) not in bearing:
            raise ValueError(
                f"the answer does not depend on run {run} of layer {name!r}, but on {list(bearing)}"
            )
        return run
    if not bearing:
        raise ValueError(f"the answer does not depend on layer {name!r}; name an earlier one")
    last = bearing[-1]
    if len(bearing) > 1 and not follows(outputs[last], [outputs[one] for one in bearing[:-1]]):
        raise ValueError(
            f"layer {name!r} runs {len(outputs)} times in a forward pass, as for several images or crops, "
            "and "
            f"the answer depends on runs {list(bearing)}: say which by run={bearing[0]} or another of them"
        )
    return last


def follows(output: Tensor, earlier: Sequence[Tensor]) -> bool:
    """Return whether an output is made of all the earlier ones, as of a shared activation."""
    gradients = torch.autograd.grad(output.sum(), earlier, retain_graph=True, allow_unused=True)
    return all(gradient is not None for gradient in gradients)
