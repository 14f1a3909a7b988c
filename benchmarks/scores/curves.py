"""Deletion and insertion curves on whole pixels: how a map's order of pixels is judged."""

from __future__ import annotations

import numpy as np
import torch
from scipy.integrate import trapezoid
from torch import Tensor, nn

from usu.metrics.faithfulness.curves import rank_of

# Shares of the pixels replaced along a curve; the ends (none, all) are the same for every map.
STEPS = 10


def ranks(attribution: np.ndarray, seed: int = 0) -> Tensor:
    """Return each pixel's rank (H, W), 0 for the highest value, ties broken by a seeded shuffle."""
    return torch.from_numpy(rank_of(np.asarray(attribution, dtype=np.float64), seed))


class Curves:
    """Areas under the deletion and the insertion curve of one image, over the class's probability.

    Deleting the least relevant pixels first (LeRF) leaves the same images as inserting the most relevant
    ones, in the opposite order: it is the insertion curve read from its end, and their areas are the same.

    Args:
        model: a classifier in evaluation mode.
        inputs: (C, H, W).
        fill: (C, H, W), what deleted pixels become.
        target: class index.
        steps: a curve has steps + 1 points, at equal shares of the pixels.
    """

    def __init__(
        self, model: nn.Module, inputs: Tensor, fill: Tensor, target: int, steps: int = STEPS
    ) -> None:
        self._model, self._inputs, self._fill, self._target = model, inputs, fill, target
        self._steps = steps
        self._whole, self._empty = self._probabilities(torch.stack([inputs, fill])).tolist()

    def areas(self, rank: Tensor) -> tuple[float, float]:
        """Return (deletion, insertion): lower and higher are better; 1 means the probability of the image."""
        return tuple(float(trapezoid(curve) / self._steps) for curve in self.curves(rank))

    def curves(self, rank: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Return the deletion and the insertion curve (steps + 1,), over the probability of the image."""
        cuts = [rank.numel() * step // self._steps for step in range(1, self._steps)]
        gone = torch.stack([rank < cut for cut in cuts])[:, None]
        deleted = torch.where(gone, self._fill, self._inputs)
        inserted = torch.where(gone, self._inputs, self._fill)
        values = self._probabilities(torch.cat([deleted, inserted])).split(len(cuts))
        deletion = [self._whole, *values[0].tolist(), self._empty]
        insertion = [self._empty, *values[1].tolist(), self._whole]
        return np.array(deletion) / self._whole, np.array(insertion) / self._whole

    def _probabilities(self, batch: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.cat([self._model(part).softmax(1)[:, self._target] for part in batch.split(9)])
