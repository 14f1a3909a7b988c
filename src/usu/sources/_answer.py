"""The answer that sources which perturb inputs explain, image by image, with each forward pass counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from usu.arrays.checks import check_count
from usu.models.forward import check_evaluation_mode
from usu.models.targets import Target, answers, check_targets


@dataclass(eq=False)
class Answer:
    """The answer f_t to explain, as a function of a batch: the logit of a class, or a callable's score.

    Attributes:
        model: in evaluation mode.
        target: class index, or a callable on the model's output.
        passes: images that went through the model so far.
    """

    model: nn.Module
    target: Target
    passes: int = 0

    def __call__(self, batch: Tensor) -> Tensor:
        """Return f_t of each image, (n,) in float32 or wider, differentiable where the model is."""
        self.passes += len(batch)
        # A copy: what libraries pass may be the user's own image, and the model may work in place.
        return answers(self.model(batch.clone()), [self.target] * len(batch))


def check_counts(source: Any, **least: int) -> None:
    """Refuse a source of whose fields one is not an integer, or less than `least` says.

    Raises:
        TypeError: not an integer.
        ValueError: a smaller one.
    """
    for name, smallest in least.items():
        check_count(getattr(source, name), name, smallest)


def each_image(
    source: str,
    model: nn.Module,
    inputs: Tensor,
    targets: Sequence[Target],
    layer: str | nn.Module | None,
) -> list[tuple[Tensor, Answer]]:
    """Return each image, (1, C, H, W), with the answer to explain.

    Raises:
        ValueError: a layer, which these sources do not describe; a model in training mode; not as many
            targets as images.
    """
    if layer is not None:
        raise ValueError(
            f"source {source!r} perturbs inputs and describes no layer; leave out layer={layer!r}"
        )
    check_evaluation_mode(model, "model")
    checked = check_targets(targets, len(inputs), batched=True)
    images = inputs.detach().split(1)
    return [(image, Answer(model, target)) for image, target in zip(images, checked, strict=True)]
