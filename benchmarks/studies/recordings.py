"""Signals and volumes with known truth: how much of a map lies on it, and how change points are best found.

    python -m benchmarks.studies.recordings [--recordings 12] [--networks 2] [--out FILE.csv]
    python -m benchmarks.studies.recordings --pictures docs/images
    python -m benchmarks.studies.recordings --changepoints   # needs `pip install ruptures`

Networks of `usu.worlds.recordings` are trained on 160 heartbeats or 80 scans. Recordings of another seed,
with a truth, are explained by the raw Grad-CAM of the class; all maps share it and its scores. A map's
measures are the share of its positive mass on the truth (relevance mass accuracy) and the IoU of as many of
its highest samples as the truth has. Interpolation is linear, in one dimension or three; differences from it
are paired.

`--pictures` draws those of the how-to pages, with the pages' own networks and recordings. `--changepoints`
compares ways to cut made-up steps with noise into 32 runs: the squared error that is left,
and the time, with those of the package ruptures.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import usu
from usu.metrics.localisation import iou_area, relevance_mass_accuracy
from usu.segmentation.guided import smoothed
from usu.settings import settings_of
from usu.worlds.recordings import Recordings, heartbeats, scans, trained

WORLDS = {"heartbeats": (heartbeats, 160), "scans": (scans, 80)}
DEFAULT = settings_of("total-conserving", {})
PLAIN = "bilinear"


def maps_of(explanation: usu.Explanation) -> dict[str, torch.Tensor]:
    """Return maps of an explanation whose scores were not smoothed, by their names."""
    coarse, rough = explanation.coarse_map, explanation.score_map
    filtered = smoothed(rough, explanation.image, DEFAULT.score_smoothing)
    setting = DEFAULT.redistribution
    return {
        PLAIN: coarse.upsample(PLAIN, rough),
        "nearest": coarse.upsample("nearest", rough),
        "total-conserving (default)": coarse.upsample("total-conserving", filtered, **setting),
        "total-conserving, scores not smoothed": coarse.upsample("total-conserving", rough, **setting),
        "usu": coarse.upsample("usu", rough, **setting),
        "usu-continuous, scores smoothed": coarse.upsample("usu-continuous", filtered, **setting),
    }


def rows(world: str, recordings: int, networks: int) -> Iterator[dict[str, object]]:
    """Yield one row per network, recording and map."""
    draw, count = WORLDS[world]
    train, test = draw(count), draw(2 * recordings, seed=1)
    for seed in range(networks):
        model = trained(train, seed=seed)
        right = accuracy(model, test)
        for number in range(1, 2 * recordings, 2):
            signal, truth = test.inputs[number], test.truth[number].reshape(1, -1)
            found = usu.explain(model, signal, 1, ndim=signal.dim() - 1, score_smoothing=None, scoring="mask")
            for name, values in maps_of(found).items():
                flat = values.reshape(1, -1)
                yield {
                    "world": world,
                    "network": seed,
                    "accuracy": right,
                    "recording": number,
                    "map": name,
                    "on the truth": relevance_mass_accuracy(flat, truth),
                    "IoU": iou_area(flat, truth),
                }


@torch.no_grad()
def accuracy(model: torch.nn.Module, test: Recordings) -> float:
    """Return the share of recordings that a network classifies correctly."""
    return float((model(test.inputs).argmax(1) == test.classes).double().mean())


def table(found: pd.DataFrame) -> pd.DataFrame:
    """Return the means of each map, and its paired differences from interpolation ± standard errors."""
    lines = []
    for (world, name), own in found.groupby(["world", "map"], sort=False):
        plain = found[(found["world"] == world) & (found["map"] == PLAIN)]
        line: dict[str, object] = {"world": world, "map": name}
        for measure in ("on the truth", "IoU"):
            change = own[measure].to_numpy() - plain[measure].to_numpy()
            line[measure] = f"{own[measure].mean():.3f}"
            error = change.std(ddof=1) / len(change) ** 0.5
            line[f"{measure}, less linear"] = f"{change.mean():+.3f} ± {error:.3f}"
        lines.append(line)
    return pd.DataFrame(lines)


def pictures(folder: Path) -> None:
    """Draw the pictures of the how-to pages."""
    names = {"heartbeats": ("signal", ["normal", "broad beat"]), "scans": ("volume", ["healthy", "lesion"])}
    for world, (name, classes) in names.items():
        draw, count = WORLDS[world]
        signal = draw(6, seed=1).inputs[3]
        model = trained(draw(count))
        found = usu.explain(model, signal, 1, ndim=signal.dim() - 1, class_names=classes, scoring="mask")
        found.save_image(folder / f"{name}.png", dpi=110)


def changepoints(signals: int = 5, length: int = 2000, runs: int = 32) -> pd.DataFrame:
    """Return the squared error and the seconds of each way to cut made-up steps into runs."""
    import ruptures

    def by_usu(signal: np.ndarray) -> list[int]:
        labels = usu.segment(signal[None], (runs,), "changepoints", ndim=1).levels[0]
        return [*(np.flatnonzero(np.diff(labels)) + 1).tolist(), len(signal)]

    options = {"jump": 1, "min_size": 1}
    ways = {
        "usu.segment, Ward's criterion by higra": by_usu,
        "ruptures.BottomUp": lambda one: ruptures.BottomUp("l2", **options).fit(one).predict(n_bkps=runs - 1),
        "ruptures.Binseg": lambda one: ruptures.Binseg("l2", **options).fit(one).predict(n_bkps=runs - 1),
        "ruptures.KernelCPD, the optimum": lambda one: (
            ruptures.KernelCPD("linear", min_size=1).fit(one[:, None]).predict(n_bkps=runs - 1)
        ),
    }
    random, drawn = np.random.default_rng(0), []
    for _ in range(signals):
        steps = np.sort(random.choice(np.arange(5, length - 5), runs - 1, replace=False))
        levels = random.normal(size=runs)[np.searchsorted(steps, np.arange(length), side="right")]
        drawn.append(levels + 0.3 * random.normal(size=length))
    lines = []
    for name, way in ways.items():
        way(drawn[0])  # imports
        start = time.perf_counter()
        cuts = [[0, *way(one)] for one in drawn]
        seconds = (time.perf_counter() - start) / signals
        errors = [
            sum(float(part.var()) * len(part) for part in np.split(one, cut[1:-1]))
            for one, cut in zip(drawn, cuts, strict=True)
        ]
        lines.append({"way": name, "squared error": f"{np.mean(errors):.2f}", "seconds": f"{seconds:.4f}"})
    return pd.DataFrame(lines)


def main() -> None:
    """Measure, print the tables, and write the rows if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recordings", type=int, default=12, help="explained per world and network")
    parser.add_argument("--networks", type=int, default=2, help="trained per world")
    parser.add_argument("--out", help="CSV file of the rows")
    parser.add_argument("--changepoints", action="store_true", help="compare ways to cut signals instead")
    parser.add_argument("--pictures", type=Path, help="folder: draw the pictures of the how-to pages instead")
    told = parser.parse_args()
    if told.pictures:
        pictures(told.pictures)
        return
    if told.changepoints:
        print(changepoints().to_markdown(index=False, disable_numparse=True))
        return
    found = pd.DataFrame([row for world in WORLDS for row in rows(world, told.recordings, told.networks)])
    if told.out:
        found.to_csv(told.out, index=False, float_format="%.6g")
    print(found.groupby(["world", "network"])["accuracy"].first().to_markdown())
    print(table(found).to_markdown(index=False, disable_numparse=True))


if __name__ == "__main__":
    main()
