"""Targets that are objects: an entry of a larger output, a target of pytorch-grad-cam, a similarity."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from usu.arrays.checks import check_number
from usu.arrays.convert import Array, as_floats, is_finite
from usu.models.outputs import find_entry

_EMBEDDINGS = ("image_embeds", "pooler_output")  # of the models of Hugging Face


@dataclass(frozen=True)
class Entry:
    """An entry of outputs of more than two axes, as Captum's tuples name it: outputs[:, *index].

    >>> Entry((1, 2))(torch.arange(12).view(1, 3, 4)).tolist()
    [6]
    """

    index: tuple[int, ...]

    def __call__(self, outputs: Any) -> Any:
        """Return the entry of each image, (B,).

        Raises:
            TypeError: outputs with several arrays of so many axes, or none.
            ValueError: outputs of another number of axes, or smaller ones.
        """
        found = find_entry(outputs, 1 + len(self.index))
        shape = tuple(getattr(found, "shape", ()))
        if len(shape) != 1 + len(self.index):
            raise ValueError(
                f"target {self.index} is of an output of {1 + len(self.index)} axes, got {shape}; for a "
                "batch, give a list with one target per image"
            )
        if any(at >= size for at, size in zip(self.index, shape[1:], strict=True)):
            raise ValueError(f"target {self.index} lies outside the model's output {shape[1:]} of each image")
        place = (slice(None), *self.index)
        return found[place]

    def __str__(self) -> str:
        """Return how it is called in a record."""
        return str(self.index)


@dataclass(frozen=True, eq=False)
class EachImage:
    """A target of the output of one image, as those of pytorch-grad-cam are, for any number of images."""

    target: Callable[[Any], Any]

    def __call__(self, outputs: Any) -> Tensor:
        """Return the target's score of each image, (B,).

        Raises:
            TypeError: outputs with several arrays, of which none is named as the scores.
            ValueError: several scores for an image.
        """
        scores = [torch.as_tensor(self.target(one)) for one in find_entry(outputs)]
        if any(score.numel() != 1 for score in scores):
            raise ValueError(
                f"target {self} must return one score for an image, got shape {tuple(scores[0].shape)}"
            )
        return torch.stack([score.reshape(()) for score in scores])

    def __str__(self) -> str:
        """Return how it is called in a record."""
        category = getattr(self.target, "category", None)
        name: str = getattr(self.target, "__qualname__", type(self.target).__name__)
        return name if category is None else f"{name}({category})"


def of_gradcam(target: Any) -> Any:
    """Return a target of pytorch-grad-cam as usu's, a class index where it names one; others as they are."""
    own = "pytorch_grad_cam.utils.model_targets"
    if all(kind.__module__ != own for kind in type(target).__mro__):
        return target
    return int(target.category) if type(target).__name__ == "ClassifierOutputTarget" else EachImage(target)


class Similarity:
    """The cosine of the angle between a model's embedding of an image and another embedding, as a target.

    Args:
        embedding: (D,), of a text or of another image, by the same model or its twin for texts.
        scale: what the cosine is multiplied by, such as CLIP's exp(logit_scale).

    Raises:
        ValueError: an embedding of another shape, not finite, or of length 0; a scale that is not finite.
        TypeError: no array of real numbers; a scale that is no number.

    >>> Similarity([3.0, 4.0])(torch.tensor([[1.0, 0.0], [6.0, 8.0]])).tolist()
    [0.6000000238418579, 1.0]
    """

    def __init__(self, embedding: Array | Sequence[float], scale: float = 1.0) -> None:
        given = as_floats(embedding, "embedding").detach()
        given = given[0] if given.dim() == 2 and len(given) == 1 else given
        if given.dim() != 1 or not is_finite(given) or not bool(given.any()):
            raise ValueError(f"embedding must be (D,), finite and not all 0, got shape {tuple(given.shape)}")
        self.embedding, self.scale = given, check_number(scale, "scale")

    def __call__(self, outputs: Any) -> Tensor:
        """Return the similarity of each image, (B,).

        Raises:
            TypeError: outputs with several arrays (B, D), or none.
            ValueError: embeddings of another length.
        """
        found = as_floats(find_entry(outputs, 2, names=_EMBEDDINGS), "the model's output")
        if found.dim() != 2 or found.shape[1] != len(self.embedding):
            raise ValueError(
                f"the model's output must be embeddings (B, {len(self.embedding)}), got {tuple(found.shape)}"
            )
        own = self.embedding.to(found)
        return self.scale * F.cosine_similarity(found, own[None].expand_as(found))
