"""SHAP's partition explainer as a source of coarse maps."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np
import torch
from torch import Tensor

from usu.models.baselines import Baselines
from usu.runtime.lazy import needed
from usu.runtime.random import numpy_seeded, python_kept
from usu.sources._answer import BATCH, Answer, ImageSource, check_counts

with needed("SHAP values need shap", "shap"), python_kept(), warnings.catch_warnings():
    warnings.simplefilter("ignore", PendingDeprecationWarning)  # of matplotlib, for shap's colour maps
    import shap as library

Floats: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"
Labels: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"


def leaves(values: Floats, credit: Floats, tree: Floats) -> tuple[Floats, Labels]:
    """Return the SHAP value of each rectangle that was split no further, (K,), and their labels (H, W).

    The explainer leaves credit on the nodes of its tree and passes it down in proportion to their size, so
    that values are constant below a node if none of its descendants has credit. Single pixels, whose channels
    are separate in the tree, are not split.

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
class ShapSource(ImageSource):
    """Partition SHAP (Owen values) over rectangles that halve the image where the answer changes most.

    The values sum to the answer for the image less the answer for its fill.

    Attributes:
        max_evals: forward passes for each image, at least 4; all are spent if the number is even.
        baselines: what replaces hidden pixels; see `usu.models.baselines.make_fill`.
        seed: of the order among rectangles of equal effect; the global generators are left unchanged.

    Raises:
        ValueError: a field out of its range.
        TypeError: a count that is not an integer.
    """

    name: ClassVar[str] = "shap"
    max_evals: int = 160
    baselines: Baselines = "blur"
    seed: int = 0

    def __post_init__(self) -> None:
        check_counts(self, max_evals=4, seed=0)

    def explain(self, image: Tensor, fill: Tensor, answer: Answer) -> tuple[Tensor, Tensor]:
        """Return the SHAP values (K,) and rectangles (H, W) of one image."""

        def forward_func(masked: Any) -> Any:
            batch = torch.from_numpy(masked).movedim(-1, 1).contiguous().to(image)
            return answer(batch).double().cpu().numpy()

        hidden = _channels_last(fill)[0]
        explainer = library.PartitionExplainer(
            forward_func, library.maskers.Image(hidden, shape=hidden.shape)
        )
        with numpy_seeded(self.seed), torch.no_grad():  # the seed breaks ties
            found = explainer(_channels_last(image), max_evals=self.max_evals, batch_size=BATCH, silent=True)
        values, labels = leaves(found.values[0], found.hierarchical_values[0], found.clustering[0])
        return torch.from_numpy(values), torch.from_numpy(labels).to(image.device)


def _channels_last(batch: Tensor) -> Any:
    """Return (n, C, H, W) as a NumPy array (n, H, W, C); 16-bit floats as float32."""
    floats = batch.to(torch.promote_types(batch.dtype, torch.float32))
    return floats.movedim(1, -1).contiguous().cpu().numpy()


shap = ShapSource()
