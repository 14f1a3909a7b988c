"""What makes pixel maps in a benchmark: upsamplers of a coarse map, controls, and other people's methods."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor

import usu
from usu.arrays.convert import is_finite
from usu.bench.methods import conserving, peers
from usu.bench.methods.image import Cost, Subject
from usu.explanation import Explanation
from usu.operators.coarse import Coarse
from usu.pipeline import settings_of, smoothed
from usu.scoring.controls import blurred, scattered_segments, shuffled
from usu.segmentation.hierarchy import Hierarchy
from usu.settings import Settings


@dataclass(frozen=True, eq=False)
class PixelMap:
    """A pixel map and its cost.

    Attributes:
        values: (H, W) float64, on the device of the inputs; not all finite if the method or source failed.
        cost: with the passes and seconds of the source and of the scores.
        d1_error: mean over cells of |Σ Ã - M_k|; NaN if there is not one coarse map to compare with.
        d1_relative: the same over the mean of |M_k|.
    """

    values: Tensor
    cost: Cost
    d1_error: float
    d1_relative: float

    @property
    def finite(self) -> bool:
        """Return whether every pixel has a finite value, so that the map can be judged."""
        return is_finite(self.values)


@dataclass(frozen=True)
class Contestant:
    """One way to make a pixel map.

    Attributes:
        make: from a subject and a source to (H, W), or to an `Explanation` with cells of its own.
        needs: what it shares with others: "coarse", "scoring" or both.
        settings: of its own, beside the run's.
        configured: whether it scores or redistributes by the run's settings.
    """

    make: Callable[[Subject, str], Any]
    needs: tuple[str, ...] = ("coarse",)
    settings: Mapping[str, Any] = field(default_factory=dict)
    configured: bool = False

    @property
    def sourced(self) -> bool:
        """Return whether the map depends on a coarse map."""
        return "coarse" in self.needs

    def draw(self, subject: Subject, source: str) -> PixelMap:
        """Make the map of one subject; all NaN if its coarse map is not finite.

        Raises:
            ValueError: what was made does not have one value per pixel.
        """
        coarse = subject.coarse(source) if self.sourced else None
        shared: list[Any] = [("coarse", source)] if self.sourced else []
        if coarse is not None and not _is_finite(coarse):  # operators would refuse it
            empty = subject.inputs.new_full(subject.size, math.nan, dtype=torch.float64)
            return PixelMap(empty, subject.cost_of(*shared), math.nan, math.nan)
        if "scoring" in self.needs:
            start = source if self.sourced else None
            subject.scoring(start)
            shared.append(subject.key_of_scores(start))
        found = subject.measured(lambda: self.make(subject, source))
        cost = found.cost + subject.cost_of(*shared)
        record = found.made
        pixels = record.attribution if isinstance(record, Explanation) else record
        values = torch.as_tensor(pixels).detach().to(subject.inputs.device, torch.float64)
        if tuple(values.shape) != subject.size:
            raise ValueError(f"the map has shape {tuple(values.shape)}, not {subject.size}")
        given = record.coarse_map if isinstance(record, Explanation) else coarse
        if given is None:
            return PixelMap(values, cost, math.nan, math.nan)
        error, scale = given.mass_error(values)
        return PixelMap(values, cost, error, error / scale if scale else math.nan)


def _is_finite(coarse: Coarse) -> bool:
    return all(is_finite(torch.as_tensor(cells)) for cells in (coarse.values, *coarse.further))


def _upsampled(subject: Subject, source: str, method: str, scores: str = "model") -> Any:
    setting = Settings.of(**subject.settings).redistribution
    return subject.coarse(source).upsample(method, _SCORES[scores](subject, source), **setting)


def _model_scores(subject: Subject, source: str | None) -> Tensor:
    return torch.as_tensor(subject.scoring(source).score_map)


def _shuffled_scores(subject: Subject, source: str) -> Tensor:
    return shuffled(subject.scoring(source), np.random.default_rng(subject.seed))


def _scores_of_random_segments(subject: Subject, source: str) -> Tensor:
    """Return the model's scores of segments that ignore the image, as many as the pipeline's."""
    record = subject.scoring(source)
    random = np.random.default_rng(subject.seed)
    hierarchies = [
        Hierarchy((scattered_segments(subject.size, int(torch.as_tensor(labels).max()) + 1, random),))
        for labels in record.partitions
    ]
    return torch.as_tensor(subject.scored(source, segmentation=hierarchies).score_map)


def _smoothed_scores(subject: Subject, source: str) -> Tensor:
    """Return the model's scores, smoothed along the picture's edges as by default in `usu.explain`."""
    part = settings_of("total-conserving", {}).score_smoothing
    return torch.as_tensor(smoothed(_model_scores(subject, source), subject.picture, part))


_SCORES: Mapping[str, Callable[[Subject, str], Tensor]] = {
    "model": _model_scores,
    "smoothed": _smoothed_scores,
    "shuffled": _shuffled_scores,
    "random segments": _scores_of_random_segments,
}


def _complete(subject: Subject, source: str) -> Explanation:
    found: Explanation = usu.explain(
        subject.model, subject.inputs, subject.target, mode="complete", images=subject.picture
    )
    return found


def _blurred(subject: Subject, source: str) -> Tensor:
    pixels = peers.interpolation(subject, source, "nearest")
    return blurred(pixels.double(), subject.coarse(source).values.shape)


def _at_our_price(times: int, make: Callable[[Subject, int], Tensor]) -> Callable[[Subject, str], Tensor]:
    """Return a method that spends a multiple of the passes of the pipeline's scores and one coarse map."""

    def draw(subject: Subject, source: str) -> Tensor:
        return make(subject, times * (subject.passes_of_scores() + 1))

    return draw


def _interpolated(mode: str) -> Contestant:
    return Contestant(partial(peers.interpolation, mode=mode))


def _ours(method: str, scores: str = "model") -> Contestant:
    return Contestant(
        partial(_upsampled, method=method, scores=scores), ("coarse", "scoring"), configured=True
    )


UPSAMPLERS: Mapping[str, Contestant] = MappingProxyType(
    {
        "nearest": _interpolated("nearest"),
        "bilinear": _interpolated("bilinear"),
        "bicubic": _interpolated("bicubic"),
        "lanczos": _interpolated("lanczos"),
        "conserving": _interpolated("conserving"),
        "usu": _ours("usu"),
        "usu-continuous": _ours("usu-continuous", "smoothed"),
        "iwmr": _ours("iwmr"),
        "hybrid": _ours("hybrid"),
        "total-conserving": _ours("total-conserving", "smoothed"),
        "complete": Contestant(_complete, (), settings_of("complete", {}).plain()),
    }
)

CONTROLS: Mapping[str, Contestant] = MappingProxyType(
    {
        "zero": Contestant(lambda subject, _: torch.zeros(subject.size), ()),
        "constant": Contestant(lambda subject, _: torch.ones(subject.size), ()),
        "scores": Contestant(lambda subject, _: _model_scores(subject, None), ("scoring",), configured=True),
        "shuffled-scores": _ours("usu", "shuffled"),
        "random-segments": Contestant(
            partial(_upsampled, method="usu", scores="random segments"), configured=True
        ),
        "blurred-nearest": Contestant(_blurred),
    }
)

PEERS: Mapping[str, Contestant] = MappingProxyType(
    {
        "guided": Contestant(
            peers.guided_filter,
            settings={"radius": peers.GUIDED_RADIUS, "eps": peers.GUIDED_EPS},
        ),
        "guided-conserving": Contestant(
            conserving.conserving_guided_filter,
            settings={"radius": peers.GUIDED_RADIUS, "eps": peers.GUIDED_EPS},
        ),
        "pycnophylactic": Contestant(
            conserving.pycnophylactic,
            settings={"kept": conserving.KEPT, "close": conserving.CLOSE},
        ),
        "rise": Contestant(_at_our_price(1, peers.rise), ()),
        "rise-10x": Contestant(_at_our_price(10, peers.rise), ()),
        "occlusion": Contestant(_at_our_price(1, peers.occlusion), ()),
        "occlusion-10x": Contestant(_at_our_price(10, peers.occlusion), ()),
        "shap-partition": Contestant(_at_our_price(1, peers.shap_partition), ()),
        "xrai": Contestant(lambda subject, _: peers.xrai(subject), ()),
        "refinecam": Contestant(lambda subject, _: peers.refinecam(subject), ()),
    }
)

CONTESTANTS: Mapping[str, Contestant] = MappingProxyType({**UPSAMPLERS, **CONTROLS, **PEERS})
