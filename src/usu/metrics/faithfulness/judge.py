"""What all metrics of one image share: the model's answers, fills, and whatever does not depend on a map."""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
import torch
from torch import Tensor

from usu.arrays.convert import as_floats, check_finite
from usu.models.baselines import make_fill
from usu.models.forward import check_evaluation_mode
from usu.models.targets import check_outputs
from usu.segmentation.methods import check_image

Floats: TypeAlias = "np.ndarray[Any, np.dtype[np.floating[Any]]]"
Integers: TypeAlias = "np.ndarray[Any, np.dtype[np.integer[Any]]]"
Mask: TypeAlias = "np.ndarray[Any, np.dtype[np.bool_]]"
T = TypeVar("T")


@dataclass(frozen=True)
class Case:
    """One perturbed input: a key that no other perturbed input of the image has, and how it is made."""

    key: bytes
    make: Callable[[], Tensor]


class Answers(NamedTuple):
    """What the model says of the target on some inputs, each (n,).

    Attributes:
        logits: of the target, float32.
        probabilities: softmax of the target, float32.
        hits: whether the target is the most probable class.
    """

    logits: Floats
    probabilities: Floats
    hits: Mask


class Judge:
    """One image under judgement; remembers the model's answers, which all maps and metrics share.

    Args:
        model: from (B, C, H, W) to logits (B, classes), in evaluation mode, on the device of `inputs`.
        inputs: (C, H, W), float32.
        target: index of the explained class.
        picture: (3, H, W), the same image as RGB in [0, 1], for the segmenter that works on colours.
        seed: of everything random: Quantus's uniform fills, ROAD's noise, squares, the order of ties.
        perturbations_per_eval: perturbed inputs in one forward pass.

    Attributes:
        passes: inputs that went through the model so far.

    Raises:
        TypeError: a model that cannot be called, a target or a count that is no integer.
        ValueError: a model in training mode, inputs or a picture of the wrong shape or range.
    """

    def __init__(
        self,
        model: Callable[[Tensor], Tensor],
        inputs: Tensor,
        target: int,
        *,
        picture: Tensor,
        seed: int = 0,
        perturbations_per_eval: int = 32,
    ) -> None:
        check_evaluation_mode(model, "model")
        if not isinstance(inputs, Tensor) or inputs.dim() != 3 or not inputs.is_floating_point():
            raise ValueError("inputs must be one image, a tensor (C, H, W) of floats")
        if tuple(picture.shape) != (3, *inputs.shape[1:]):
            raise ValueError(f"picture must be {(3, *inputs.shape[1:])}, got {tuple(picture.shape)}")
        if perturbations_per_eval < 1:
            raise ValueError(f"perturbations_per_eval must be positive, got {perturbations_per_eval!r}")
        self.inputs = check_finite(inputs.detach(), "inputs")
        self.picture = check_image(picture, "picture").detach()
        self.target, self.seed = operator.index(target), operator.index(seed)
        if self.target < 0:
            raise ValueError(f"target must be the index of a class, got {target}")
        self.array: Floats = np.ascontiguousarray(self.inputs.cpu().numpy())
        self.passes = 0
        self._model = model
        self._most = operator.index(perturbations_per_eval)
        self._whole = Case(b"whole", lambda: self.inputs)
        self._known: dict[bytes, tuple[float, float, bool]] = {}
        self._kept: dict[str, Any] = {}

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return int(self.inputs.shape[1]), int(self.inputs.shape[2])

    def kept(self, name: str, make: Callable[[], T]) -> T:
        """Return what `make` returned when `name` was first asked for."""
        if name not in self._kept:
            self._kept[name] = make()
        found: T = self._kept[name]
        return found

    def arrays(self, maps: Tensor) -> Floats:
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
            fill: "black" (the lowest value of the inputs, as Quantus has it), a name of
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
        """Return the model's answers in the order of the cases; known ones take no pass and are not made."""
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

    def _run(self, waiting: dict[bytes, Tensor]) -> None:
        if not waiting:
            return
        with torch.no_grad():
            batch = torch.stack(list(waiting.values()))
            logits = check_outputs(self._model(batch), len(batch), [self.target])
            shares = logits.softmax(1)
        columns = (logits[:, self.target], shares[:, self.target], shares.argmax(1) == self.target)
        self._known.update(zip(waiting, zip(*(c.tolist() for c in columns), strict=True), strict=True))
        self.passes += len(batch)
        waiting.clear()

    def _fill(self, fill: str | float) -> Tensor:
        if not isinstance(fill, str):
            return self.inputs.new_tensor(fill)
        if fill == "black":
            return self.inputs.amin()
        return self.kept(f"fill {fill}", lambda: make_fill(self.inputs[None], fill)[0])


def nan_where_flat(maps: Floats, scores: Sequence[float]) -> Floats:
    """Return the scores, NaN for constant maps, which put nothing in an order."""
    flat = maps.reshape(len(maps), -1)
    return np.where(flat.max(1) > flat.min(1), np.asarray(scores, dtype=np.float64), np.nan)
