"""SHAP's partition explainer: the rectangles that it came to, brought to pixels, and as a source."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from usu import pipeline
from usu.adapters.answer import Answer, check_counts, each_image
from usu.arrays import Array
from usu.fill import Baselines, make_fill
from usu.perturbation import ForwardFunc, check_inputs
from usu.seeding import numpy_seeded
from usu.sources import CoarseMap
from usu.targets import Target, Targets

try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)  # of matplotlib, for shap's colour maps
        import shap as library
except ImportError as missing:
    raise ImportError("SHAP values need shap: pip install 'usu-xai[shap]'") from missing

Floats: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"
Labels: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"

# Images per forward call, as in `usu.explain`.
_BATCH = 16


def upsample(
    explanation: Any, inputs: Array, forward_func: ForwardFunc, target: Targets, **settings: Any
) -> Any:
    """Bring the SHAP values of images to pixels.

    The neighbourhoods are the rectangles at which the partition explainer stopped; within one, its values are
    constant. Channels are summed.

    Args:
        explanation: what `shap.PartitionExplainer` (or `shap.Explainer`) with a `shap.maskers.Image`
            returned, for one output: (B, H, W, C), or (H, W, C) for one image. Of several outputs take one:
            `explanation[..., 0]`.
        inputs: (B, C, H, W), or (C, H, W) for one image; what the network takes.
        forward_func: any callable from a batch to (B, classes) outputs.
        target: class index, or one per image: the class of that output.
        **settings: what `usu.upsample` takes, such as images, mode and temperature.

    Returns:
        An `Explanation`, or a list of them for a batch; their mass is "total".

    Raises:
        ValueError: an explanation of other images, of several outputs, or without a partition tree.
    """
    batch, batched = check_inputs(inputs)
    if explanation.hierarchical_values is None or explanation.clustering is None:
        raise ValueError("explanation has no partition tree: make it by shap.PartitionExplainer")
    parts = [np.asarray(explanation.values), explanation.hierarchical_values, explanation.clustering]
    single = parts[0].ndim == 3
    shapley, credit, trees = ([part] if single else part for part in parts)
    expected = tuple(batch[0].movedim(0, -1).shape)
    if len(shapley) != len(batch) or any(values.shape != expected for values in shapley):
        raise ValueError(
            f"explanation must have values {expected}, of one output, for each of {len(batch)} images, got "
            f"{parts[0].shape}; of several outputs take one, explanation[..., 0]"
        )
    pairs = [_leaves(*each) for each in zip(shapley, credit, trees, strict=True)]
    values, labels = zip(*pairs, strict=True) if batched else pairs[0]
    return pipeline.upsample(
        values, inputs, forward_func, target, neighbourhoods=labels, mass="total", **settings
    )


def _leaves(values: Floats, credit: Floats, tree: Floats) -> tuple[Floats, Labels]:
    """Return the SHAP value of each rectangle that was split no further, (K,), and their labels (H, W).

    The explainer leaves credit on the nodes of its tree and hands it down in proportion to their size. So
    values are constant below a node if none of its descendants has credit of its own. Single pixels, whose
    channels the tree tells apart, are not split.

    Args:
        values: (H, W, C).
        credit: (2M - 1,) of every node, M = H·W·C leaves first; `hierarchical_values` of the library.
        tree: (M - 1, 4), the children of each inner node and its size, as SciPy's linkage; children first.
    """
    count, channels = values.size, values.shape[-1]
    children = tree[:, :2].astype(np.int64).tolist()
    credited = (np.asarray(credit) != 0).tolist()
    below = [False] * len(credited)  # whether a descendant has credit
    for node, pair in enumerate(children, start=count):
        below[node] = any(credited[child] or below[child] for child in pair)
    whole = [not inner for inner in below]
    region = list(range(len(credited)))
    for node in range(len(credited) - 1, count - 1, -1):
        if whole[node] or tree[node - count, 3] <= channels or region[node] != node:
            for child in children[node - count]:
                region[child] = region[node]
    pixels = np.array(region[:count]).reshape(values.shape)[..., 0]
    labels = np.unique(pixels, return_inverse=True)[1].reshape(pixels.shape)
    masses = np.bincount(labels.ravel(), weights=values.sum(-1, dtype=np.float64).ravel())
    return masses.astype(np.float64), labels


@dataclass(frozen=True)
class ShapSource:
    """Partition SHAP (Owen values) over rectangles that halve the image where the answer changes most.

    The values sum to the answer for the image less the answer for its fill.

    Attributes:
        max_evals: forward passes for each image, at least 4; all are spent if the number is even.
        baselines: what replaces hidden pixels; see `usu.fill.make_fill`.
        seed: of the order among rectangles of equal effect; the global generators are left as they were.

    Raises:
        ValueError: a field out of its range.
        TypeError: a count that is no integer.
    """

    max_evals: int = 160
    baselines: Baselines = "blur"
    seed: int = 0

    def __post_init__(self) -> None:
        check_counts(self, max_evals=4, seed=0)

    def __call__(
        self, model: nn.Module, inputs: Tensor, targets: Sequence[Target], layer: str | nn.Module | None
    ) -> CoarseMap:
        """Return SHAP values (K,) and rectangles (H, W) of each image of `inputs` (B, C, H, W).

        Raises:
            ValueError: a layer, a model in training mode, targets that do not fit.
        """
        jobs = each_image("shap", model, inputs, targets, layer)
        values, labels = [], []
        for image, answer in jobs:
            fill = _channels_last(make_fill(image, self.baselines))
            explainer = library.PartitionExplainer(
                _on_arrays(answer, image), library.maskers.Image(fill[0], shape=fill[0].shape)
            )
            with numpy_seeded(self.seed), torch.no_grad():  # ties are broken by it
                found = explainer(
                    _channels_last(image), max_evals=self.max_evals, batch_size=_BATCH, silent=True
                )
            masses, rectangles = _leaves(found.values[0], found.hierarchical_values[0], found.clustering[0])
            values.append(torch.from_numpy(masses).to(inputs))
            labels.append(torch.from_numpy(rectangles).to(inputs.device))
        return CoarseMap(
            values,
            mass="total",
            source="shap",
            neighbourhoods=labels,
            forward_passes=tuple(answer.passes for _, answer in jobs),
            output="logit",
        )


def _channels_last(batch: Tensor) -> Any:
    """Return (n, C, H, W) as a NumPy array (n, H, W, C); 16-bit floats as float32."""
    floats = batch.to(torch.promote_types(batch.dtype, torch.float32))
    return floats.movedim(1, -1).contiguous().cpu().numpy()


def _on_arrays(answer: Answer, like_image: Tensor) -> Callable[[Any], Any]:
    def forward_func(masked: Any) -> Any:
        batch = torch.from_numpy(masked).movedim(-1, 1).contiguous().to(like_image)
        return answer(batch).double().cpu().numpy()

    return forward_func


shap = ShapSource()
