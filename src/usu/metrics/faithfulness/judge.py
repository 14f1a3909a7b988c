"""The public face of the metrics: a judge of one image and class scores pixel maps by names of metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, overload

import torch
from torch import Tensor

from usu.arrays.convert import Array, as_floats, check_finite
from usu.metrics.faithfulness.examiner import Examiner
from usu.metrics.faithfulness.registry import METRICS, find_metric
from usu.models.alone import alone
from usu.models.forward import check_evaluation_mode

Scores = dict[str, float]


class Judge(Examiner):
    """Judges pixel maps of one image and one class by how faithful they are to the model.

    The model is asked about perturbed copies of the image, without gradients and hooks, and left as it was.
    All answers are kept: maps and metrics that need the same one share it.

    Args:
        model: from (B, C, H, W) to logits (B, classes): a module in evaluation mode on the device of
            `inputs`, or any callable, which is given batches of the kind of `inputs`.
        inputs: (C, H, W), NumPy or torch; what the network takes.
        target: class index, or a name of `class_names`; the predicted class if None.
        image: (3, H, W), the same crop as RGB in [0, 1], for the segments of "irof-felzenszwalb"; by default
            the inputs, stretched to [0, 1].
        class_names: in the order of the outputs, for a target given by name.
        seed: of everything random: Quantus's uniform fills, ROAD's noise, squares, the order of ties.
        perturbations_per_eval: perturbed inputs in one forward call.

    Attributes:
        target: index of the class.
        passes: inputs that went through the model so far.

    Raises:
        TypeError: a model that cannot be called, an argument of the wrong kind.
        ValueError: a model in training mode, inputs or image of the wrong shape or range, an unknown class.

    >>> judge = Judge(lambda batch: batch.mean((2, 3)), torch.rand(3, 28, 28), target=1)
    >>> judge.score(torch.ones(28, 28), "sparseness")
    {'sparseness': 0.0}
    """

    @overload
    def score(
        self, maps: Mapping[str, Array], metrics: str | Sequence[str] | None = None
    ) -> dict[str, Scores]: ...

    @overload
    def score(self, maps: Array, metrics: str | Sequence[str] | None = None) -> Scores: ...

    def score(
        self, maps: Array | Mapping[str, Array], metrics: str | Sequence[str] | None = None
    ) -> Scores | dict[str, Scores]:
        """Score one map, or several at once.

        Maps are signed and taken as they are: what a metric does to their scale is part of its name.

        Args:
            maps: (H, W), NumPy or torch, on any device; or several of them by name.
            metrics: names of `METRICS`; all of them if None, which takes some 1,000 forward passes.

        Returns:
            Values by metric; for several maps, such a dictionary by the name of each. NaN if a metric has no
            value for a map, such as IROF for a constant one.

        Raises:
            ValueError: an unknown metric, a map of another size than the inputs, values that are not finite.
            TypeError: a map that is not an array of real numbers.
        """
        if not isinstance(maps, Mapping):
            return self._rows({"maps": maps}, metrics)[0]
        if not maps:
            raise ValueError("maps is empty: give one map, or several by name")
        rows = self._rows({f"maps[{name!r}]": values for name, values in maps.items()}, metrics)
        return dict(zip(maps, rows, strict=True))

    def _rows(self, maps: Mapping[str, Array], metrics: str | Sequence[str] | None) -> list[Scores]:
        check_evaluation_mode(self.model, "model")  # it may have been trained since
        names = _names(metrics)
        found = [find_metric(name) for name in names]
        stack = torch.stack([self._map(values, name) for name, values in maps.items()])
        with alone(self.model):
            columns = [metric.measure(self, stack).tolist() for metric in found]
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]

    def _map(self, values: Array, name: str) -> Tensor:
        found = check_finite(as_floats(values, name), name).detach()
        if tuple(found.shape) != self.size:
            hint = "; give several maps by name, as a dictionary" if found.dim() == 3 else ""
            wanted = f"{self.size}, the size of the inputs"
            raise ValueError(f"{name} must be {wanted}, got {tuple(found.shape)}{hint}")
        return found.to("cpu", torch.float64)


def _names(metrics: Any) -> list[str]:
    if metrics is None:
        return list(METRICS)
    if isinstance(metrics, str) or not isinstance(metrics, Iterable):
        return [metrics]
    names = list(dict.fromkeys(metrics))
    if not names:
        raise ValueError("metrics is empty: name at least one, or leave it out for all")
    return names
