"""Reading a model's output: the scores of its classes, and whether these already are probabilities."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from usu.arrays.convert import as_floats, is_finite

# How a probability is read off the scores; "given" if they already are probabilities.
Kind: TypeAlias = Literal["softmax", "sigmoid", "given"]

_NAMED = ("logits", "logits_per_image")  # of classifiers, and of images matched with texts
_HELP = "give a callable on the output as target"


def scores_of(outputs: Any, count: int) -> Tensor:
    """Return the scores (count, classes) in a model's output, in float32 or wider.

    Args:
        outputs: a tensor or array; an object or mapping with `logits` or `logits_per_image`, as those of
            Hugging Face; a tuple or mapping with exactly one entry of the right shape. One score per image
            may come without the axis of classes, and that of a single image without any axis.
        count: of images.

    Raises:
        TypeError: no array of numbers, or several that could be the scores.
        ValueError: the wrong shape, values that are not finite.
    """
    try:
        scores = as_floats(find_entry(outputs, 2, count), "the model's output")
    except (TypeError, ValueError) as problem:
        raise type(problem)(f"{problem}; {_HELP}") from None
    if scores.dim() <= 1:
        scores = scores.reshape(count, -1) if scores.numel() == count or count == 1 else scores
    elif scores.shape[2:].numel() == 1:
        scores = scores.flatten(1)
    if scores.dim() != 2 or len(scores) != count:
        raise ValueError(
            f"the model's output must be ({count}, classes), got {tuple(scores.shape)}; for other kinds of "
            f"output, {_HELP}, or a tuple of indices"
        )
    if not is_finite(scores):
        raise ValueError("the model's output has NaN or infinite values; they give no score")
    return scores.to(torch.promote_types(scores.dtype, torch.float32))


def find_entry(
    outputs: Any, axes: int | None = None, count: int | None = None, names: Sequence[str] = _NAMED
) -> Any:
    """Return the array in a model's output; arrays, and what is no container, as they are.

    Args:
        outputs: of the model.
        axes: that it is to have, unless it has one of the names.
        count: of images, the length of its first axis.
        names: under which it is taken first, from a mapping or as an attribute.

    Raises:
        TypeError: several arrays fit, or none.
    """
    for name in names:
        found = outputs.get(name) if isinstance(outputs, Mapping) else getattr(outputs, name, None)
        if isinstance(found, Tensor):
            return found
    if isinstance(outputs, Mapping):
        entries = dict(outputs)
    elif isinstance(outputs, tuple) and any(hasattr(entry, "shape") for entry in outputs):
        entries = dict(enumerate(outputs))
    else:
        return outputs
    shapes = {name: tuple(entry.shape) for name, entry in entries.items() if hasattr(entry, "shape")}
    fitting = [
        name for name, shape in shapes.items() if axes in (None, len(shape)) and count in (None, *shape[:1])
    ]
    if len(fitting) == 1:
        return entries[fitting[0]]
    found = ", ".join(f"{name!r} {shape}" for name, shape in list(shapes.items())[:6]) or "no array"
    which = "several could be" if fitting else "none is"
    raise TypeError(f"the model's output is a {type(outputs).__name__} of {found}, and {which} the scores")


def kind_of(scores: Tensor, squashed: bool | None) -> Kind | None:
    """Return how probabilities are read off scores (n, classes); None if that is not clear.

    Args:
        scores: the model's output for images as they are.
        squashed: whether the model ended in a sigmoid or softmax; None if it could not be watched.
    """
    if not bool(((scores >= 0) & (scores <= 1)).all()):
        return "softmax"
    rounded = any(torch.equal(scores, scores.to(dtype).to(scores)) for dtype in (torch.half, torch.bfloat16))
    if scores.shape[1] > 1 and bool(((scores.sum(1) - 1).abs() < (1e-2 if rounded else 1e-4)).all()):
        return "given"
    return {True: "given", False: "softmax", None: None}[squashed]


def tell_unclear() -> None:
    """Warn that outputs in [0, 1] of a model that could not be watched were taken for probabilities."""
    warnings.warn(
        "the model's outputs lie in [0, 1] and do not sum to 1: they are taken for probabilities, as by "
        "output='given'; if they are logits, pass output='softmax' or 'sigmoid'",
        UserWarning,
        stacklevel=3,
    )


class Watch(TorchDispatchMode):
    """While a model runs, notes which small tensors are made of results of a sigmoid or softmax alone."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Let PyTorch not import its compiler, which takes seconds; for parts of it see `can_be_watched`."""
        return False

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call, unused-ignore]
        self._kept: dict[int, Tensor] = {}  # by storage, which they keep from being used again

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.dim() <= 3:
            name = func._schema.name.removeprefix("aten::").removesuffix("_")
            given = list(_tensors(args))
            if name in _SQUASHING or (name in _KEEPING and given and all(map(self.saw, given))):
                self._kept[_storage(result)] = result
        return result

    def saw(self, tensor: Tensor) -> bool:
        """Return whether a tensor shares the memory of such a result."""
        return _storage(tensor) in self._kept


_SQUASHING = ("sigmoid", "hardsigmoid", "_softmax")
# What probabilities are gathered by, averaged, multiplied, and taken from 1.
_KEEPING = ("cat", "stack", "clone", "_to_copy", "index", "index_select", "mean", "mul", "rsub")


def _tensors(values: Any) -> Iterator[Tensor]:
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _tensors(value)


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def can_be_watched(model: Any) -> bool:
    """Return whether `Watch` sees what a model computes: not if its parts were compiled."""
    return isinstance(model, nn.Module) and not any(hasattr(part, "_orig_mod") for part in model.modules())
