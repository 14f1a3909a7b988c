"""What is explained: a class of each image, or any score that can be computed from the model's output."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeGuard

import numpy as np
import torch
from torch import Tensor

from usu.arrays.checks import suggestion
from usu.arrays.convert import Array, as_floats, is_finite
from usu.models.outputs import Kind, kind_of, scores_of
from usu.models.target_objects import EachImage, Entry, of_gradcam

Target: TypeAlias = "int | Callable[[Any], Any]"
Targets: TypeAlias = "Target | str | tuple[int, ...] | Sequence[Target | str | tuple[int, ...]] | Array"
Output: TypeAlias = "str | Callable[[Tensor], Tensor]"
Link: TypeAlias = Callable[[Tensor], Tensor]


def check_targets(
    target: Targets, count: int, batched: bool, class_names: Sequence[str] | None = None
) -> list[Target]:
    """Return one target per image: a class index, or a callable on the model's output.

    Args:
        target: an index, a class's name, a callable, a target of pytorch-grad-cam, or for a batch a list with
            one of these per image. A tuple of indices names an entry of an output of more than two axes, as
            in Captum; for a batch of as many images, give a list of tuples.
        count: of images.
        batched: whether the images came as a batch, so that a list is allowed.
        class_names: names in the order of the outputs, for targets given by name.

    Raises:
        TypeError: anything else.
        ValueError: a negative index, an unknown name, or not as many targets as images.
    """
    if isinstance(target, str) or callable(target):
        return [_single(target, class_names)] * count
    if _is_index(target) and not (batched and len(target) == count):
        return [_single(target, class_names)] * count
    if isinstance(target, list | tuple) and any(
        isinstance(one, str | tuple) or callable(one) for one in target
    ):
        _check_count((len(target),), count, batched)
        return [_single(one, class_names) for one in target]
    array = np.asarray(target.detach().cpu() if isinstance(target, Tensor) else target)
    if array.dtype.kind not in "iu":
        raise TypeError(f"target must be a class index or one per image, got {target!r}")
    _check_count(array.shape, count, batched)
    return [_single(int(index), class_names) for index in np.broadcast_to(array, count)]


def _check_count(shape: tuple[int, ...], count: int, batched: bool) -> None:
    if len(shape) > 1 or (len(shape) == 1 and (shape[0] != count or not batched)):
        expected = f"one index or {count}, one per image" if batched else "one index for one image"
        raise ValueError(f"target must be {expected}, got shape {shape}")


def _is_index(target: Any) -> TypeGuard[tuple[int, ...]]:
    """Return whether a target is a tuple of integers, Captum's way to name an entry of the output."""
    whole = isinstance(target, tuple) and len(target) > 0
    return whole and all(isinstance(one, int | np.integer) and not isinstance(one, bool) for one in target)


def _single(target: Target | str | tuple[int, ...], class_names: Sequence[str] | None) -> Target:
    if isinstance(target, tuple) and _is_index(target):
        if min(target) < 0:
            raise ValueError(f"target must be made of indices from 0 up, got {target}")
        return int(target[0]) if len(target) == 1 else Entry(tuple(map(int, target)))
    if isinstance(target, str):
        if class_names is None:
            raise TypeError(
                f"target must be a class index or a callable, or `class_names` given, got {target!r}"
            )
        return find_class(class_names, target)
    if isinstance(target, type):
        raise TypeError(f"target must be a class index, a name or a callable, got {target!r}: call it first")
    if callable(target):
        found: Target = of_gradcam(target)
        return found
    if isinstance(target, bool) or not isinstance(target, int | np.integer):
        raise TypeError(f"target must be a class index, a name or a callable, got {target!r}")
    if target < 0:
        raise ValueError(f"target must be a class index from 0 up, got {target}")
    return int(target)


def find_class(class_names: Sequence[str] | None, text: str) -> int:
    """Return the index of the class that `text` names: an exact name, an index, or a unique part of a name.

    The first of these that fits is taken, so that a class called "1" is found before the class of index 1.
    Case does not matter, unless it alone distinguishes two classes.

    Args:
        class_names: names; None allows indices only.
        text: what the user wrote.

    Raises:
        ValueError: no such class, or several, which are then listed.

    >>> find_class(["tabby", "Persian cat", "Siamese cat"], "persian")
    1
    """
    text = text.strip()
    if re.fullmatch(r"[+-]?\d+", text) and text not in (class_names or ()):
        index = int(text)
        if index < 0 or (class_names is not None and index >= len(class_names)):
            highest = "" if class_names is None else f" to {len(class_names) - 1}"
            raise ValueError(f"target: class {index} is out of range: indices go from 0{highest}")
        return index
    if class_names is None:
        raise ValueError(f"target: the class names of this model are not known: give an index, not {text!r}")
    lowered = text.casefold()
    for matches in (
        [index for index, name in enumerate(class_names) if name == text],
        [index for index, name in enumerate(class_names) if name.casefold() == lowered],
        [index for index, name in enumerate(class_names) if lowered and lowered in name.casefold()],
    ):
        if len(matches) == 1:
            return matches[0]
        if matches:
            listed = ", ".join(f"{index} {class_names[index]}" for index in matches[:8])
            more = f" and {len(matches) - 8} more" if len(matches) > 8 else ""
            raise ValueError(
                f"target {text!r} fits several classes: {listed}{more}; name one in full or by index"
            )
    raise ValueError(f"target: no class is named {text!r}{suggestion(text, class_names)}")


def _softmax(outputs: Tensor) -> Tensor:
    if outputs.shape[1] == 1:
        raise ValueError(
            "output must not be 'probability' for a model of one output, whose softmax is always 1: pass "
            "output='logit', or output='sigmoid' if the one output is a logit, 'given' if it is a probability"
        )
    return outputs.softmax(dim=1)


def _probability(outputs: Tensor) -> Tensor:
    """Return rows that already sum to 1 as they are, and the softmax of others."""
    return outputs if kind_of(outputs.detach(), None) == "given" else _softmax(outputs)


_LINKS: dict[str, Link] = {
    "probability": _probability,
    "softmax": _softmax,
    "sigmoid": torch.sigmoid,
    "given": lambda outputs: outputs,
    "logit": lambda outputs: outputs,
}


def find_link(output: Output) -> Link:
    """Return the function of (B, classes) outputs whose entry is f_t; raise ValueError for unknown names.

    "probability" is the softmax, unless the outputs already are probabilities, which sum to 1.
    """
    if callable(output):
        return output
    if not isinstance(output, str) or output not in _LINKS:
        raise ValueError(f"output must be one of {tuple(_LINKS)} or a callable, got {output!r}")
    return _LINKS[output]


def unit_of_answer(target: Target, output: Output, kind: Kind | None = None) -> str:
    """Return the unit of f_t; if target or output is a callable, "units of the answer".

    Args:
        target: what is explained.
        output: what is scored.
        kind: of the model's outputs; if they already are probabilities, output="logit" takes these.
    """
    if callable(target) or callable(output):
        return "units of the answer"
    return "logits" if output == "logit" and kind != "given" else "probability"


def answers(outputs: Any, targets: Sequence[Target], link: Link = _LINKS["logit"]) -> Tensor:
    """Return f_t of each image, (n,) in float32 or wider, differentiable if the outputs are.

    Args:
        outputs: of the model, for n images: (n, classes), or anything if every target is a callable.
        targets: one per image. An index selects its class of what `link` returns for the outputs; a callable
            gets the outputs as they are and returns one score per image.
        link: from (n, classes) outputs to as many.

    Raises:
        TypeError: outputs or scores that are not arrays of real numbers.
        ValueError: the wrong shape, values that are not finite, a target beyond the classes, the softmax of
            one output.
    """
    count = len(targets)
    own = {_key(target): target for target in targets if callable(target)}
    columns = {key: _own_score(target, outputs, count) for key, target in own.items()}
    indices = [target for target in targets if isinstance(target, int)]
    if indices:
        linked = _linked(check_outputs(outputs, count, indices), link)
        columns.update({index: linked[:, index] for index in indices})
    return torch.stack([columns[_key(target)][row] for row, target in enumerate(targets)])


def _key(target: Target) -> int:
    """Return a key for a target: an index as it is; for a callable, which may be unhashable, below 0."""
    return target if isinstance(target, int) else -id(target)


def _linked(outputs: Tensor, link: Link) -> Tensor:
    linked = link(outputs)
    if not isinstance(linked, Tensor) or linked.shape != outputs.shape:
        raise ValueError(f"output must keep the shape {tuple(outputs.shape)} of the model's outputs")
    if linked.is_complex() or not is_finite(linked):
        raise ValueError("output must return finite real numbers for the model's outputs")
    return linked


def _own_score(target: Callable[[Any], Any], outputs: Any, count: int) -> Tensor:
    scores = as_floats(target(outputs), "the result of target")
    if scores.shape != (count,):
        raise ValueError(
            f"target, a callable on the model's output, must return one score for each of {count} images, "
            f"got shape {tuple(scores.shape)}"
        )
    if not is_finite(scores):
        raise ValueError("target returned NaN or infinite scores")
    return scores.to(torch.promote_types(scores.dtype, torch.float32))


def check_outputs(outputs: Any, count: int, indices: Sequence[int] = ()) -> Tensor:
    """Return the scores (count, classes) in a model's output; see `usu.models.outputs.scores_of`.

    Raises:
        TypeError: no array of numbers.
        ValueError: the wrong shape, values that are not finite, an index beyond the classes.
    """
    scores = scores_of(outputs, count)
    if max(indices, default=0) >= scores.shape[1]:
        raise ValueError(f"target must be below the model's {scores.shape[1]} classes, got {max(indices)}")
    return scores


def probabilities(
    outputs: Any, targets: Sequence[Target], kind: Kind | None = "softmax"
) -> list[float | None]:
    """Return the probability of each image's class.

    None if there is none: the target is a callable, the softmax is of one output, or `kind` is None.
    """
    if kind is None or all(callable(target) for target in targets):
        return [None] * len(targets)
    rows = check_outputs(outputs, len(targets)).detach()
    if rows.shape[1] == 1 and kind == "softmax":
        return [None] * len(targets)
    pairs = zip(_LINKS[kind](rows), targets, strict=True)
    return [None if callable(target) else float(row[target]) for row, target in pairs]


def name_of(target: Target) -> int | str:
    """Return a target as a record can store it: an index as it is, a callable as its name."""
    if isinstance(target, int):
        return target
    if isinstance(target, Entry | EachImage):
        return str(target)
    name: str = getattr(target, "__qualname__", type(target).__name__)
    return name.replace(".<locals>", "")
