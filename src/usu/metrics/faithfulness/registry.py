"""Metrics of pixel maps by name: the label of each, its settings, and how it scores maps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, TypeAlias

import torch

from usu.arrays.checks import suggestion
from usu.arrays.convert import Array, as_tensor, like
from usu.metrics.faithfulness import curves, flipping, irof, road
from usu.metrics.faithfulness import infidelity as linear
from usu.metrics.faithfulness.examiner import Examiner, Floats
from usu.metrics.faithfulness.labels import LABELS, Label
from usu.metrics.faithfulness.sparseness import sparseness

Settings: TypeAlias = "Mapping[str, str | int | float | list[int]]"
Score: TypeAlias = Callable[[Examiner, Floats], Floats]


@dataclass(frozen=True)
class Metric(Label):
    """A way to score pixel maps, with the label that says how to read the scores.

    Attributes:
        settings: plain values, for the record.
        score: from maps (M, H, W) in NumPy to scores (M,).
    """

    settings: Settings
    score: Score

    def measure(self, judge: Examiner, maps: Array) -> Any:
        """Score all maps of the judge's image at once.

        Args:
            judge: of the image; answers that it has for other maps and metrics are used again.
            maps: (M, H, W), signed, NumPy or torch.

        Returns:
            (M,) float64 of the kind and on the device of the maps; NaN if the metric has no value.

        Raises:
            ValueError: maps of another size than the image, values that are not finite.
        """
        scores = torch.as_tensor(self.score(judge, judge.arrays(maps)), dtype=torch.float64)
        return like(scores.to(as_tensor(maps, "maps").device), maps)


_STEPS: Settings = {"steps_per_channel": flipping.STEPS_PER_CHANNEL, "output": "softmax", "ties": "numpy"}
_PLAIN_SQUARES: Settings = {
    "squares": linear.SQUARES,
    "side": f"1/{round(1 / linear.SQUARE_SHARE)}",
    "fill": "black",
    "output": "logit",
    "scale": "best factor",
}
_SEGMENTS: dict[str, str] = {
    "slic": "slic of scikit-image as it comes, on the inputs",
    "grid": f"cells of {irof.GRID} pixels",
    "felzenszwalb": f"felzenszwalb, scale {irof.FELZENSZWALB_SCALE:g}, sigma {irof.FELZENSZWALB_SIGMA}, "
    f"min_size 1/{round(1 / irof.FELZENSZWALB_LEAST)} of the pixels, on the picture",
}


def _on_raster(scale: str) -> Settings:
    return {
        "patches_per_side": linear.PATCHES,
        "order": "raster, patches stay",
        "fill": "black",
        "output": "logit",
        "scale": scale,
    }


def _by_removal(segments: str, ties: str) -> Settings:
    return {"segments": _SEGMENTS[segments], "fill": "running mean", "output": "softmax", "ties": ties}


def _by_curve(fill: str, insertion: bool, smooth: bool = False) -> tuple[Settings, Score]:
    settings: Settings = {
        "steps": curves.STEPS,
        "fill": fill,
        "output": "softmax, over that of the image",
        "tie_seeds": curves.TIE_SEEDS,
    }
    if smooth:
        settings = {**settings, "band": f"Gaussian of {curves.BAND_SHARE:.4f} of the longer side"}
    return settings, partial(curves.area, fill=fill, insertion=insertion, smooth=smooth)


_minmax = partial(linear.infidelity, scale=linear.minmax)
_unit_sum = partial(linear.infidelity, scale=linear.unit_sum)
_on_grid = partial(irof.irof, segmenter=irof.grid, order=irof.by_seed)
_on_regions = partial(irof.irof, segmenter=irof.felzenszwalb, order=irof.by_seed)

_WAYS: dict[str, tuple[Settings, Score]] = {
    "infidelity": (_on_raster("none"), linear.infidelity),
    "infidelity-minmax": (_on_raster("min-max"), _minmax),
    "infidelity-sum": (_on_raster("sum 1"), _unit_sum),
    "infidelity-scaled": (_on_raster("best factor"), linear.scaled_on_raster),
    "infidelity-squares": (_PLAIN_SQUARES, linear.scaled_on_squares),
    "irof": (_by_removal("slic", "numpy"), irof.irof),
    "irof-per-segment": (_by_removal("slic", "numpy"), partial(irof.irof, per_segment=True)),
    "irof-grid": (_by_removal("grid", "seeded"), _on_grid),
    "irof-felzenszwalb": (_by_removal("felzenszwalb", "seeded"), _on_regions),
    "monotonicity": ({**_STEPS, "fill": "uniform", "samples": flipping.SAMPLES}, flipping.monotonicity),
    "pixel-flipping": ({**_STEPS, "fill": "black"}, flipping.pixel_flipping),
    "road": ({"percentages": list(road.PERCENTAGES), "noise": road.NOISE, "ties": "numpy"}, road.road),
    "sparseness": ({"of": "absolute values"}, sparseness),
    "deletion-blur": _by_curve("blur", insertion=False),
    "deletion-mean": _by_curve("mean", insertion=False),
    "insertion-blur": _by_curve("blur", insertion=True),
    "insertion-mean": _by_curve("mean", insertion=True),
    "deletion-blur-smooth": _by_curve("blur", insertion=False, smooth=True),
    "deletion-mean-smooth": _by_curve("mean", insertion=False, smooth=True),
    "insertion-blur-smooth": _by_curve("blur", insertion=True, smooth=True),
    "insertion-mean-smooth": _by_curve("mean", insertion=True, smooth=True),
}


def _metric(name: str) -> Metric:
    settings, score = _WAYS[name]
    return Metric(**vars(LABELS[name]), settings=settings, score=score)


METRICS: Mapping[str, Metric] = MappingProxyType({name: _metric(name) for name in LABELS})


def find_metric(name: str) -> Metric:
    """Return a metric by its name.

    Raises:
        ValueError: there is none of this name; similar names are suggested.

    >>> find_metric("road").higher_is_better
    False
    """
    if not isinstance(name, str) or name not in METRICS:
        close = suggestion(name, METRICS) if isinstance(name, str) else ""
        raise ValueError(
            f"metrics has the unknown name {name!r}{close or '; known are ' + ', '.join(METRICS)}"
        )
    return METRICS[name]
