"""What sources share: their checks, and one image at a time with each forward pass counted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from usu.arrays.checks import check_count
from usu.models.baselines import Baselines, make_fill
from usu.models.forward import check_evaluation_mode, check_planar
from usu.models.targets import Link, Output, Target, answers, check_targets, find_link
from usu.sources.coarse_map import CoarseMap

# Images per forward call, as in `usu.explain`: bounds the memory, whatever the number of steps or samples.
BATCH = 16


@dataclass(eq=False)
class Answer:
    """The answer f_t to explain, as a function of a batch.

    Attributes:
        model: in evaluation mode.
        target: class index, or a callable on the model's output.
        link: from the model's outputs to those whose entry is f_t; see `usu.models.targets.find_link`.
        picture: (3, H, W) or (1, H, W) in [0, 1], of the image to explain, if one is known.
        passes: images that went through the model so far.
    """

    model: nn.Module
    target: Target
    link: Link
    picture: Tensor | None = None
    passes: int = 0

    def __call__(self, batch: Tensor) -> Tensor:
        """Return f_t of each image, (n,) in float32 or wider, differentiable if the model is."""
        self.passes += len(batch)
        # A copy: libraries may pass the user's own image, and the model may work in place.
        return answers(self.model(batch.clone()), [self.target] * len(batch), self.link)


class ImageSource(ABC):
    """A source that explains each image by the answers to changed copies of it, and describes no layer.

    A field that is out of range raises ValueError, a count that is not an integer TypeError.

    Attributes:
        name: of the source.
        planar: whether it is for pictures only, not for signals and volumes.
        baselines: what replaces the image's own pixels; see `usu.models.baselines.make_fill`.
        output: what the answer is, see `usu.models.targets.find_link`.
    """

    name: ClassVar[str]
    planar: ClassVar[bool] = True
    baselines: Baselines
    output: Output = "logit"

    @abstractmethod
    def explain(self, image: Tensor, fill: Tensor, answer: Answer) -> tuple[Tensor, Tensor | None]:
        """Return the coarse map of one image: values, and labels (H, W) if the cells are not a grid.

        Args:
            image: (1, C, H, W).
            fill: of the same shape, made of `baselines`.
            answer: the answer to explain.
        """

    def __call__(
        self,
        model: nn.Module,
        inputs: Tensor,
        targets: Sequence[Target],
        layer: str | nn.Module | None,
        *,
        images: Sequence[Tensor] | None = None,
    ) -> CoarseMap:
        """Return the coarse maps of `inputs` (B, C, *size): a grid each, or values (K,) and labels (*size).

        For the arguments see `usu.sources.find_source`.

        Raises:
            ValueError: as `checked_targets`; images or a model that the source cannot explain.
            ImportError: a library that the source needs is missing.
        """
        chosen = checked_targets(self.name, model, inputs, targets, layer, self.planar)
        given, fills = inputs.detach(), make_fill(inputs.detach(), self.baselines)
        pictures = [None] * len(chosen) if images is None else images
        jobs = [
            Answer(model, target, find_link(self.output), picture)
            for target, picture in zip(chosen, pictures, strict=True)
        ]
        found = [self.explain(*job) for job in zip(given.split(1), fills.split(1), jobs, strict=True)]
        values = [own.to(inputs) for own, _ in found]
        labels = [cells for _, cells in found if cells is not None]
        return CoarseMap(
            values if labels else torch.stack(values),
            mass="total",
            source=self.name,
            neighbourhoods=labels or None,
            forward_passes=tuple(job.passes for job in jobs),
            output=self.output,
        )


def checked_targets(
    source: str,
    model: nn.Module,
    inputs: Tensor,
    targets: Sequence[Target],
    layer: str | nn.Module | None,
    planar: bool = True,
) -> list[Target]:
    """Return one target per image for a source that describes no single layer.

    Raises ValueError for a layer, a model in training mode, not as many targets as images or, where the
    source is for pictures only (`planar`), signals and volumes.
    """
    check_evaluation_mode(model, "model")
    if planar:
        check_planar(inputs, f"source {source!r}")
    if layer is not None:
        raise ValueError(
            f"layer must be None for source {source!r}, which describes no single layer, got {layer!r}"
        )
    return check_targets(list(targets), len(inputs), batched=True)


def check_counts(source: Any, **least: int) -> None:
    """Raise as `check_count` unless the named fields of a source are integers of at least these values."""
    for name, smallest in least.items():
        check_count(getattr(source, name), name, smallest)
