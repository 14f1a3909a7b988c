"""Metrics of pixel maps by name, with every forward pass shared that maps and metrics have in common.

A `Judge` belongs to one image and class; `METRICS[name].measure(judge, maps)` scores all its maps at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType

from usu.metrics.faithfulness import curves, flipping, irof, road
from usu.metrics.faithfulness import infidelity as linear
from usu.metrics.faithfulness.judge import Answers, Case, Judge
from usu.metrics.faithfulness.metric import Metric, Score, Settings
from usu.metrics.faithfulness.sparseness import sparseness

__all__ = ["METRICS", "Answers", "Case", "Judge", "Metric"]

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


def _on_raster(scale: str, score: Score) -> Metric:
    settings: Settings = {
        "patches_per_side": linear.PATCHES,
        "order": "raster, patches stay",
        "fill": "black",
        "output": "logit",
        "scale": scale,
    }
    return Metric(settings, score)


def _by_removal(segments: str, ties: str, score: Score) -> Metric:
    settings = {"segments": _SEGMENTS[segments], "fill": "running mean", "output": "softmax", "ties": ties}
    return Metric(settings, score)


def _by_curve(fill: str, insertion: bool) -> Metric:
    settings: Settings = {
        "steps": curves.STEPS,
        "fill": fill,
        "output": "softmax, over that of the image",
        "tie_seeds": curves.TIE_SEEDS,
    }
    return Metric(settings, partial(curves.area, fill=fill, insertion=insertion))


_minmax = partial(linear.infidelity, scale=linear.minmax)
_unit_sum = partial(linear.infidelity, scale=linear.unit_sum)
_on_grid = partial(irof.irof, segmenter=irof.grid, order=irof.by_seed)
_on_regions = partial(irof.irof, segmenter=irof.felzenszwalb, order=irof.by_seed)

_METRICS: dict[str, Metric] = {
    "infidelity": _on_raster("none", linear.infidelity),
    "infidelity-minmax": _on_raster("min-max", _minmax),
    "infidelity-sum": _on_raster("sum 1", _unit_sum),
    "infidelity-scaled": _on_raster("best factor", linear.scaled_on_raster),
    "infidelity-squares": Metric(_PLAIN_SQUARES, linear.scaled_on_squares),
    "irof": _by_removal("slic", "numpy", irof.irof),
    "irof-per-segment": _by_removal("slic", "numpy", partial(irof.irof, per_segment=True)),
    "irof-grid": _by_removal("grid", "seeded", _on_grid),
    "irof-felzenszwalb": _by_removal("felzenszwalb", "seeded", _on_regions),
    "monotonicity": Metric({**_STEPS, "fill": "uniform", "samples": flipping.SAMPLES}, flipping.monotonicity),
    "pixel-flipping": Metric({**_STEPS, "fill": "black"}, flipping.pixel_flipping),
    "road": Metric({"percentages": list(road.PERCENTAGES), "noise": road.NOISE, "ties": "numpy"}, road.road),
    "sparseness": Metric({"of": "absolute values"}, sparseness),
    "deletion-blur": _by_curve("blur", insertion=False),
    "deletion-mean": _by_curve("mean", insertion=False),
    "insertion-blur": _by_curve("blur", insertion=True),
    "insertion-mean": _by_curve("mean", insertion=True),
}
METRICS: Mapping[str, Metric] = MappingProxyType(_METRICS)
