"""Scores by order against masking, interpolation and SHAP, by curves, raw and band-limited, IROF and ROAD.

    python -m benchmarks.scores.order DATA [--half choosing] [--images 60] [--maps NAME...] [--model NAME]
        [--source NAME] --out ROWS [--table FILE]

The photographs and their halves are those of `python -m benchmarks.scores`. One line per photograph and map
is added to `--out` as it is measured, and metrics that are there already are not measured again;
`--images 0` only prints the tables. Scores by order fill with the blurred image: the mean colour, IROF and
ROAD were not fitted to. A gradient counts three passes. Maps whose names begin with "choice" are variants
among which was chosen: "six" are fits on six partitions, "one" on one, "48 masks and 108 passes" share 156
passes between masking and the fit, and the others are those of `benchmarks/scores/fits.py`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

import usu
from benchmarks.scores.fits import FITS, fit
from benchmarks.scores.order_tables import CURVES, METRICS, SURE, read, tables
from benchmarks.scores.photographs import Photograph, photographs
from benchmarks.scores.score_tables import HALVES
from usu.bench.methods import peers
from usu.bench.methods.image import Subject
from usu.bench.methods.registry import CONTESTANTS
from usu.metrics import Judge
from usu.metrics.faithfulness.curves import rank_of
from usu.models.compiled import quickened
from usu.models.loading import load_classifier
from usu.operators.continuous import continuous_total
from usu.segmentation.guided import smoothed

# Of the filter of scores by the picture: its radius as a part of the shorter side. The default is half.
FILTER = 1 / 28


class Asked(Subject):
    """One photograph; coarse map and scores are made once for all maps that use them.

    Args:
        photograph: with its target.
        model: in evaluation mode.
        quick: the same function, faster, without gradients.
        source: of the coarse map.
    """

    def __init__(
        self,
        photograph: Photograph,
        model: torch.nn.Module,
        quick: torch.nn.Module,
        source: str = "gradcam",
    ) -> None:
        super().__init__(model, photograph.inputs, photograph.picture, photograph.target, quick=quick)
        self.source = source

    def scores(
        self,
        scoring: Any,
        segmentation: Any = None,
        filtered: float | None = None,
        output: str = "probability",
        variant: str | None = None,
        start: Callable[[Asked], Tensor] | None = None,
    ) -> Tensor:
        """Return a score map (H, W), filtered by the picture in windows of a radius, if one is given.

        Scores by order may be fitted by a variant of `FITS`, or from the map that `start` makes.
        """
        key = ("scores", scoring, str(segmentation), output, variant, start)

        def made() -> Tensor:
            with fit(variant, start and partial(start, self)):
                return self._scores(scoring, segmentation, output)

        found: Tensor = self.share(key, made).made
        return torch.as_tensor(smoothed(found, self.picture, filtered))

    def _scores(self, scoring: Any, segmentation: Any, output: str) -> Tensor:
        coarse = self.coarse(self.source)
        log_odds = output == "log-odds"
        record = usu.upsample(
            coarse.values,
            self.inputs,
            self.model,
            partial(odds, self.target) if log_odds else self.target,
            mass=coarse.mass,
            images=self.picture,
            scoring=scoring,
            output="probability" if log_odds else output,  # a function's value is taken as it is
            segmentation=segmentation,
            mode="usu",
        )
        return torch.as_tensor(record.score_map)

    def usu(self, scores: Tensor, temperature: float, continuous: bool = False) -> Tensor:
        """Return the coarse map by strict or continuous redistribution, which conserve every cell."""
        setting = {"temperature": temperature, "continuous": continuous}
        shared: Tensor = self.coarse(self.source).upsample("usu", scores, **setting)
        return shared

    def total(self, scores: Tensor, temperature: float) -> Tensor:
        """Return the continuous map that conserves the total."""
        coarse = self.coarse(self.source)
        cells, wide = coarse.cells(self.size), scores.double()
        return continuous_total(wide, temperature, coarse.masses(self.size), cells)  # type: ignore[arg-type]


def odds(target: int, outputs: Tensor) -> Tensor:
    """Return the logarithm of p / (1 - p), of outputs (B, classes) or (classes,)."""
    others = torch.cat([outputs[..., :target], outputs[..., target + 1 :]], dim=-1)
    return outputs[..., target] - others.logsumexp(-1)


MASK = ("mask", None)
OUTPUTS = ("logit", "log-odds")
BOTH_TEMPERATURE = 0.12 / 0.7  # of (0.3 m + 0.4 o) / 0.7: the exponents of m at 0.4 and of o at 0.3 add up
SIX = {"slic": (64, 256), "watershed": (64, 256), "quadtree": (64, 256)}
# Partitions that are masked once each, beside a fit on the rest of the passes, by their number of segments.
MASKED = {
    144: None,
    96: {"watershed": (16, 32), "slic": (16, 32)},
    64: {"slic": (64,)},
    48: {"watershed": (16,), "slic": (32,)},
}
FREE = 56  # cells a side of the control whose numbers belong to no segments
# Of a transformer, by bilinear interpolation: signed, cut to 0, by gradients at each token, by attention.
SOURCES = ("gradcam", "hirescam", "layercam", "rollout", "attention-relevance")


def by_order(
    asked: Asked,
    way: str,
    filtered: float | None = None,
    segmentation: Any = None,
    variant: str | None = None,
    start: Callable[[Asked], Tensor] | None = None,
    temperature: float = 0.2,
    **own: Any,
) -> Tensor:
    """Return a map by scores by order alone."""
    scores = asked.scores(usu.Order(**own), segmentation, filtered, variant=variant, start=start)
    return redistributed(asked, way, scores, temperature)


def by_both(asked: Asked, way: str, segmentation: Any = None, **own: Any) -> Tensor:
    """Return a map by the library's masking and order together, filtered by the picture."""
    scores = asked.scores(usu.MaskOrder(**own), segmentation, filtered=FILTER)
    return redistributed(asked, way, scores, BOTH_TEMPERATURE)


def shared(asked: Asked, way: str, masks: int, passes: int, ridge: float) -> Tensor:
    """Return a map by masking of some partitions and by order on three, at a number of passes of the fit."""
    masked = asked.scores("mask", MASKED[masks], filtered=FILTER)
    order = asked.scores(usu.Order(passes=passes, ridge=ridge), filtered=FILTER)
    return redistributed(asked, way, (0.3 * masked + 0.4 * order) / 0.7, BOTH_TEMPERATURE)


def free(asked: Asked, way: str) -> Tensor:
    """Return a map by an order of the cells of a fine grid: what the fit does without segments and ridge."""
    rows, columns = (torch.arange(side) * FREE // side for side in asked.size)
    grid = usu.Hierarchy((rows[:, None] * FREE + columns,))
    return by_order(asked, way, segmentation=grid, ridge=0.0)


def complete(asked: Asked, owen: int = 82) -> Tensor:
    """Return Owen values of players, each shared among its pixels by an order that has the other passes."""
    scores = asked.scores(usu.Order(passes=158 - owen))
    coarse = players(asked, owen).coarse_map
    found: Tensor = coarse.upsample("usu", scores, temperature=0.2, negative="opposite")
    return found


def players(asked: Asked, passes: int) -> usu.Record:
    """Return the record of Owen values, whose pixels do not differ within a player."""
    return usu.upsample(
        torch.zeros(asked.size),
        asked.inputs,
        asked.model,
        asked.target,
        images=asked.picture,
        mode="complete",
        scoring=usu.Owen(passes=passes),
    )


def owen_pixels(asked: Asked) -> Tensor:
    """Return Owen values at 80 passes as a map (H, W), to begin a fit with."""
    return torch.as_tensor(players(asked, 80).attribution).double()


def even(asked: Asked) -> Tensor:
    """Return 0 at each pixel, to begin a fit with."""
    return torch.zeros(asked.size, dtype=torch.float64)


def redistributed(asked: Asked, way: str, scores: Tensor, temperature: float) -> Tensor:
    """Return the map that a way of redistribution makes of scores; "scores" returns these."""
    if way == "scores":
        return scores
    if way == "total":
        return asked.total(scores, temperature)
    if way == "hybrid":
        shared: Tensor = asked.coarse(asked.source).upsample("hybrid", scores, temperature=temperature)
        return shared
    return asked.usu(scores, temperature, continuous=way == "continuous")


def interpolated(asked: Asked, source: str | None = None) -> Any:
    """Return the bilinear map of a source, or of the one that is asked for."""
    return peers.interpolation(asked, source or asked.source, "bilinear")


WAYS = ("strict", "continuous", "total", "scores")
MAPS: dict[str, Callable[[Asked], Any]] = {
    "bilinear": interpolated,
    "guided filter": lambda asked: peers.guided_filter(asked, asked.source),
    "guided filter, conserving": lambda asked: (
        CONTESTANTS["guided-conserving"].draw(asked, asked.source).values
    ),
    "SHAP partition 160": partial(peers.shap_partition, passes=160),
    "SHAP partition 1000": partial(peers.shap_partition, passes=1000),
    "RISE 1600": partial(peers.rise, passes=1600),
    "XRAI": peers.xrai,
    "default": partial(by_order, way="total", filtered=FILTER / 2),
    "strict, mask": lambda asked: asked.usu(asked.scores(*MASK), 0.2),
    "total, mask filtered": lambda asked: asked.total(asked.scores(*MASK, filtered=FILTER), 0.2),
    "choice total, mask filtered by half": lambda asked: asked.total(
        asked.scores(*MASK, filtered=FILTER / 2), 0.2
    ),
    **{
        f"choice total, mask filtered, {output}": lambda asked, output=output: asked.total(
            asked.scores(*MASK, filtered=FILTER, output=output), 0.2
        )
        for output in OUTPUTS
    },
    **{f"{way}, order": partial(by_order, way=way) for way in WAYS},
    "total, order filtered": partial(by_order, way="total", filtered=FILTER),
    "total, mask+order": partial(by_both, way="total"),
    "continuous, mask+order": partial(by_both, way="continuous"),
    "choice complete, order": complete,
    "choice hybrid, order": partial(by_order, way="hybrid"),
    "control: total, free grid": partial(free, way="total"),
    **{f"source {name}": partial(interpolated, source=name) for name in SOURCES},
    "choice continuous, mask": lambda asked: asked.usu(asked.scores(*MASK), 0.2, continuous=True),
    "choice total, six with masks, ridge 0.3": partial(by_both, way="total", segmentation=SIX, ridge=0.3),
}
for _ridge in (0.3, 1.0):
    for _masks, _passes in ((48, 108), (64, 92), (96, 60), (144, 156)):
        for _way in ("continuous", "total"):
            MAPS[f"choice {_way}, {_masks} masks and {_passes} passes, ridge {_ridge:g}"] = partial(
                shared, way=_way, masks=_masks, passes=_passes, ridge=_ridge
            )
for _name, _own in {
    "three, ridge 0": {"ridge": 0.0},
    "three, ridge 0.1": {"ridge": 0.1},
    "three, ridge 0.3": {"ridge": 0.3},
    "three, ridge 0.3, 80 passes": {"ridge": 0.3, "passes": 80},
    "80 passes": {"passes": 80},
    "80 passes, filtered": {"passes": 80, "filtered": FILTER},
    "40 passes": {"passes": 40},
    "40 passes, filtered": {"passes": 40, "filtered": FILTER},
    "filtered by a quarter": {"filtered": FILTER / 4},
    "one, ridge 0.3": {"ridge": 0.3, "segmentation": {"slic": (256,)}},
    "six, ridge 0.3": {"ridge": 0.3, "segmentation": SIX},
    "six": {"segmentation": SIX},
    **{f"ε {temperature}": {"temperature": temperature} for temperature in (0.1, 0.3, 0.5)},
    **{name: {"variant": name} for name in FITS},
    "from 0": {"start": even},
    "from Owen values, 80 passes each": {"start": owen_pixels, "passes": 78},
}.items():
    for _way in ("strict", "continuous", "total"):
        MAPS[f"choice {_way}, {_name}"] = partial(by_order, way=_way, **_own)


def measure(
    photograph: Photograph, asked: Asked, judge: Judge, name: str, metrics: Sequence[str]
) -> dict[str, Any]:
    """Return the row of one map: its scores by the metrics; on raw curves, tied pixels in one order."""
    values = torch.as_tensor(MAPS[name](asked)).detach().double().numpy()
    raw = [metric for metric in metrics if metric in CURVES and not metric.endswith("smooth")]
    others = [metric for metric in metrics if metric not in raw]
    found = judge.score(-rank_of(values, 0).astype(np.float64), raw) if raw else {}
    found |= judge.score(values, others) if others else {}
    scores = {metric: None if np.isnan(value) else round(value, 6) for metric, value in found.items()}
    facts = {"photograph": photograph.name, "probability": round(photograph.probability, 5), "map": name}
    return {**facts, "scores": scores}


def main(given: Sequence[str] | None = None) -> None:
    """Measure what is missing, then print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder of photographs")
    parser.add_argument("--images", type=int, default=60, help="number of photographs, of both halves")
    parser.add_argument("--half", choices=HALVES, help="only this half of the photographs")
    dear = ("SHAP partition 1000", "RISE 1600", "XRAI")
    default = [name for name in MAPS if not name.startswith(("choice", "source")) and name not in dear]
    parser.add_argument("--maps", nargs="+", choices=(*MAPS, "all"), metavar="NAME", default=default)
    parser.add_argument("--metrics", nargs="+", choices=METRICS, metavar="NAME", default=METRICS)
    parser.add_argument("--model", default="efficientnet-lite0", help="name, or the file of a network card")
    parser.add_argument("--source", choices=SOURCES, default="gradcam", help="of the coarse map")
    parser.add_argument("--out", type=Path, required=True, help="file of rows")
    parser.add_argument("--by-probability", action="store_true", help="also by how sure the network is")
    parser.add_argument("--table", type=Path, help="write the tables to this file")
    arguments = parser.parse_args(given)
    if "all" in arguments.maps:
        arguments.maps = list(MAPS)
    classifier = load_classifier(arguments.model)
    known = read(arguments.out)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    quick = quickened(classifier.model, torch.rand(3, *classifier.prepare.crop))
    chosen = photographs(arguments.data, classifier, arguments.images)
    for position, photograph in enumerate(tqdm(chosen, total=arguments.images, desc="photographs")):
        missing = {
            name: [metric for metric in arguments.metrics if metric not in scores]
            for name in arguments.maps
            for scores in [known.get((photograph.name, name), {"scores": {}})["scores"]]
        }
        half = HALVES[position % 2]
        if not any(missing.values()) or arguments.half not in (None, half):
            continue
        asked = Asked(photograph, classifier.model, quick, arguments.source)
        judge = Judge(quick, photograph.inputs, photograph.target, image=photograph.picture)
        for name, metrics in missing.items():
            if not metrics:
                continue
            row = {"half": half, **measure(photograph, asked, judge, name, metrics)}
            with arguments.out.open("a") as file:
                file.write(json.dumps(row) + "\n")
    text = tables(arguments.out, arguments.maps)
    if arguments.by_probability:
        for title, sure in ((f"p at least {SURE}", True), (f"p below {SURE}", False)):
            text += f"\n\n# Photographs with {title}\n\n{tables(arguments.out, arguments.maps, sure)}"
    print(text)
    if arguments.table:
        arguments.table.write_text(f"# Measurements of scores by order\n\n{text}\n")


if __name__ == "__main__":
    main()
