"""What a metric is: a score for each map of an image. What tables call it stands in `table_words`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from usu.metrics.faithfulness.judge import Floats, Judge

Settings: TypeAlias = "Mapping[str, str | int | float | list[int]]"
Score: TypeAlias = Callable[[Judge, Floats], Floats]


@dataclass(frozen=True)
class Metric:
    """A way to score pixel maps.

    Attributes:
        settings: plain values, for the record.
        score: from maps (M, H, W) in NumPy to scores (M,).
    """

    settings: Settings
    score: Score

    def measure(self, judge: Judge, maps: Tensor) -> Tensor:
        """Score all maps of the judge's image at once.

        Args:
            judge: of the image; what it learnt for other maps and metrics is used again.
            maps: (M, H, W).

        Returns:
            (M,) float64 on the device of the maps; NaN where the metric has no value for a map.

        Raises:
            ValueError: maps of another size than the image, values that are not finite.
        """
        scores = self.score(judge, judge.arrays(maps))
        return torch.as_tensor(scores, dtype=torch.float64).to(maps.device)
