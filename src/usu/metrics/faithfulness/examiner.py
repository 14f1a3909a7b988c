"""What all metrics of one image share: the model's answers, fills, and whatever does not depend on a map."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from usu.arrays.checks import check_count
from usu.arrays.convert import Array, as_floats, as_numpy, check_finite, like
from usu.models.baselines import make_fill
from usu.models.forward import (
    ForwardFunc,
    as_given,
    check_evaluation_mode,
    check_inputs,
    integers_of,
    run,
)
from usu.models.naming import find_class_names
from usu.models.outputs import scores_of
from usu.models.targets import check_targets, find_link
from usu.segmentation.methods import check_image, stretched

Floats: TypeAlias = "np.ndarray[Any, np.dtype[np.floating[Any]]]"
Integers: TypeAlias = "np.ndarray[Any, np.dtype[np.integer[Any]]]"
Mask: TypeAlias = "np.ndarray[Any, np.dtype[np.bool_]]"
T = TypeVar("T")

_LARGEST_SEED = 2**32 - 1  # of NumPy's RandomState


@dataclass(frozen=True)
class Case:
    """One perturbed input: a key that is its own among those of the image, and how it is made."""

    key: bytes
    make: Callable[[], Tensor]


def check_seed(seed: Any) -> None:
    """Raise TypeError or ValueError for a seed that NumPy's RandomState does not take."""
    check_count(seed, "seed", 0)
    if seed > _LARGEST_SEED:
        raise ValueError(f"seed must be at most {_LARGEST_SEED}, got {seed}")


class Answers(NamedTuple):
    """What the model says about the target on some inputs, each (n,)."""

    logits: Floats  # of the target, float32
    probabilities: Floats  # softmax of the target, float32
    hits: Mask  # whether the target is the most probable class


class Examiner:
    """One image and class; remembers the model's answers, which all maps and metrics share.

    Its arguments and attributes are those of `usu.metrics.Judge`, which adds the scores by name.
    """

    def __init__(
        self,
        model: ForwardFunc,
        inputs: Array,
        target: int | str | None = None,
        *,
        image: Array | None = None,
        class_names: Sequence[str] | None = None,
        seed: int = 0,
        perturbations_per_eval: int = 32,
    ) -> None:
        check_evaluation_mode(model, "model")
        check_count(perturbations_per_eval, "perturbations_per_eval", 1)
        check_seed(seed)
        batch, batched = check_inputs(inputs)
        if batched:
            raise ValueError(
                f"inputs must be one image (C, H, W), got {tuple(batch.shape)}; judge one at a time"
            )
        names = None if class_names is None else find_class_names(class_names)
        self.model, self.inputs, self.seed = model, batch[0].clone(), seed  # the caller may change theirs
        self.image = _picture(image, self.inputs)
        self.array: Floats = np.ascontiguousarray(as_numpy(self.inputs))
        self.passes = 0
        self._caller, self._most, self._integers = inputs, perturbations_per_eval, integers_of(inputs)
        self._whole = Case(b"whole", lambda: self.inputs)
        self._known: dict[bytes, tuple[float, float, bool]] = {}
        self._kept: dict[str, Any] = {}
        if target is None:
            logits = self._logits(batch.clone())  # a model may overwrite what it is given
            self.target = int(logits.argmax())
            self._remember([self._whole.key], logits)
        elif isinstance(target, str) and names is None:
            raise TypeError(
                f"target is the name {target!r}: give class_names, too, or the index of the class"
            )
        else:
            [found] = check_targets(target, 1, False, names)
            if callable(found):
                raise TypeError("target must be a class index or a name: metrics ask for its probability")
            if names is not None and found >= len(names):
                raise ValueError(f"target must be below the {len(names)} classes of class_names, got {found}")
            self.target = found

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return int(self.inputs.shape[1]), int(self.inputs.shape[2])

    def kept(self, name: str, make: Callable[[], T]) -> T:
        """Return what `make` returns, called only the first time for each name."""
        if name not in self._kept:
            self._kept[name] = make()
        found: T = self._kept[name]
        return found

    def arrays(self, maps: Array) -> Floats:
        """Return maps (M, H, W) as float64 in NumPy.

        Raises:
            ValueError: maps of another size than the image, values that are not finite.
        """
        values = as_floats(maps, "maps")
        if values.dim() != 3 or tuple(values.shape[1:]) != self.size:
            raise ValueError(f"maps must be (M, {self.size[0]}, {self.size[1]}), got {tuple(values.shape)}")
        found: Floats = check_finite(values, "maps").detach().to(torch.float64).cpu().numpy()
        return found

    def masked(self, mask: Mask, fill: str | float) -> Case:
        """Return the image with another content where `mask`, (H, W) or (C, H, W), is true.

        Args:
            mask: what is replaced.
            fill: "black" (the lowest value of the inputs, as in Quantus), a name of
                `usu.models.baselines.FILLS`, or a number.
        """
        if not mask.any():
            return self._whole

        def make() -> Tensor:
            gone = torch.from_numpy(mask).to(self.inputs.device)
            return torch.where(gone, self._fill(fill), self.inputs)

        packed = hashlib.blake2b(np.packbits(mask).data, digest_size=16).digest()
        return Case(f"{fill!r} {mask.ndim} ".encode() + packed, make)

    def whole(self) -> Answers:
        """Return the answers to the image itself, each (1,)."""
        return self.answers([self._whole])

    def answers(self, cases: Iterable[Case]) -> Answers:
        """Return the model's answers in the order of the cases; known ones are not made again."""
        keys: list[bytes] = []
        waiting: dict[bytes, Tensor] = {}
        for case in cases:
            keys.append(case.key)
            if case.key not in self._known and case.key not in waiting:
                waiting[case.key] = case.make()
                if len(waiting) == self._most:
                    self._run(waiting)
        self._run(waiting)
        rows = [self._known[key] for key in keys]
        return Answers(
            np.array([row[0] for row in rows], dtype=np.float32),
            np.array([row[1] for row in rows], dtype=np.float32),
            np.array([row[2] for row in rows], dtype=np.bool_),
        )

    def tensor(self, image: Floats) -> Tensor:
        """Return a perturbed image (C, H, W) from NumPy in the dtype and on the device of the inputs."""
        return torch.from_numpy(image).to(self.inputs)

    def _run(self, waiting: dict[bytes, Tensor]) -> None:
        if waiting:
            self._remember(list(waiting), self._logits(torch.stack(list(waiting.values()))))
            waiting.clear()

    def _logits(self, batch: Tensor) -> Tensor:
        batch = as_given(batch, self._integers)
        given = batch if isinstance(self.model, nn.Module) else like(batch, self._caller)
        logits = scores_of(run(self.model, given), len(batch)).detach()
        self.passes += len(batch)
        if logits.shape[1] < 2:
            raise ValueError(
                f"model must return logits ({len(batch)}, classes) of two or more classes, got "
                f"{tuple(logits.shape)}"
            )
        return logits

    def _remember(self, keys: list[bytes], logits: Tensor) -> None:
        if self.target >= logits.shape[1]:
            raise ValueError(f"target must be below the model's {logits.shape[1]} classes, got {self.target}")
        shares = find_link("probability")(logits)
        columns = (logits[:, self.target], shares[:, self.target], shares.argmax(1) == self.target)
        self._known.update(zip(keys, zip(*(c.tolist() for c in columns), strict=True), strict=True))

    def _fill(self, fill: str | float) -> Tensor:
        if not isinstance(fill, str):
            return self.inputs.new_tensor(fill)
        if fill == "black":
            return self.inputs.amin()
        return self.kept(f"fill {fill}", lambda: make_fill(self.inputs[None], fill)[0])


def nan_where_flat(maps: Floats, scores: Sequence[float]) -> Floats:
    """Return the scores, with NaN for constant maps, which do not order anything."""
    flat = maps.reshape(len(maps), -1)
    return np.where(flat.max(1) > flat.min(1), np.asarray(scores, dtype=np.float64), np.nan)


def _picture(image: Array | None, inputs: Tensor) -> Tensor:
    """Return the picture (3, H, W); without one, the inputs stretched to [0, 1]."""
    if image is None:
        picture = stretched(inputs, "inputs, taken as image,")
    else:
        picture = check_image(image, "image").detach()
    if picture.dim() != 3 or picture.shape[1:] != inputs.shape[1:]:
        raise ValueError(f"image must be {(3, *inputs.shape[1:])}, as the inputs, got {tuple(picture.shape)}")
    return picture.expand(3, -1, -1)
