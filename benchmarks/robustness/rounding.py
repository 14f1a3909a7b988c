"""How far maps of a trained network differ where only rounding does: by threads, in a batch; and by seeds.

    python -m benchmarks.robustness.rounding [PHOTOGRAPHS] [--images 12]

EfficientNet-Lite0 explains scikit-image's own photographs, or the first of a folder, alone with one thread,
with two threads, by the instructions of older processors, in a batch with its mirror image, and by scores
with a seed also with another. What stands in the table, each as the mean over photographs and the worst of
them: the largest difference of two maps, relative to their largest value; the share of their mass that lies
elsewhere, half of Σ |one - other| relative to Σ |one|; and the rank correlation of their pixels.
"""

from __future__ import annotations

import argparse
import os
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor
from tqdm import tqdm

import usu
from benchmarks.performance.metrics import images
from benchmarks.scores.fits import fit
from usu.models.loading import Classifier, load_classifier
from usu.runtime.memory import keep_freed_memory


class Way(NamedTuple):
    """One way to explain.

    Attributes:
        scoring: a class where it has a seed; None for the complete map.
        variant: the name of a variant of the fit.
        dtype: of the network's weights and its inputs.
    """

    scoring: Any
    variant: str | None = None
    dtype: torch.dtype = torch.float32


WAYS = {
    "masking": Way("mask"),
    "order, the default": Way(usu.Order),
    "order, a third of its step": Way(usu.Order, "rate 0.1"),
    "mask+order": Way(usu.MaskOrder),
    "complete": Way(None),
    "order, the default, in double precision": Way(usu.Order, dtype=torch.float64),
    "complete, in double precision": Way(None, dtype=torch.float64),
}
# Of PyTorch itself, oneDNN and MKL.
OLDER = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_CBWR": "COMPATIBLE"}
_NETWORK = "efficientnet-lite0"


def maps(
    classifier: Classifier, inputs: Tensor, picture: Tensor, way: str, threads: int = 1, seed: int = 0
) -> dict[str, Tensor]:
    """Return a way's maps of the first of several inputs by name, among them what else its scores give."""
    scoring, variant, dtype = WAYS[way]
    scores = {"scoring": scoring(seed=seed) if callable(scoring) else scoring}
    chosen = scores if scoring else {"mode": "complete"}
    model, inputs = classifier.model.to(dtype), inputs.to(dtype)
    torch.set_num_threads(threads)
    with fit(variant):
        found, *_ = usu.explain(model, inputs, images=picture, backend="eager", **chosen)
    if not scoring:
        return {way: found.attribution}
    made = {way: found.attribution, f"{way}, continuous USU": found.upsampled_by("usu-continuous")}
    return made | ({"bilinear Grad-CAM": found.upsampled_by("bilinear")} if way == "masking" else {})


def elsewhere(inputs: Tensor, picture: Tensor, way: str) -> dict[str, Tensor]:
    """Return what `maps` returns, in a process that has no classifier yet."""
    return maps(load_classifier(_NETWORK), inputs, picture, way)


def differences(one: Tensor, other: Tensor) -> tuple[float, float, float]:
    """Return the largest difference, the share of the mass elsewhere, and the rank correlation."""
    change, size = (one - other).abs(), one.abs()
    correlation = spearmanr(one.flatten(), other.flatten()).statistic
    return float(change.max() / size.max()), float(change.sum() / size.sum() / 2), float(correlation)


def main() -> None:
    """Measure, and print the table."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("photographs", type=Path, nargs="?")
    parser.add_argument("--images", type=int, default=12)
    options = parser.parse_args()
    keep_freed_memory()
    classifier = load_classifier(_NETWORK)
    rows: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
    seconds = dict.fromkeys(WAYS, 0.0)
    os.environ.update(OLDER)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as older:
        older.submit(os.getpid).result()  # now it has begun, and this process has computed nothing yet
        for name in OLDER:
            del os.environ[name]
        for image, _ in zip(images(options.photographs), tqdm(range(options.images)), strict=False):
            alone = [one[None] for one in classifier.prepare(image)]
            both = [torch.cat([one, one.flip(-1)]) for one in alone]
            for way in WAYS:
                start = time.process_time()
                base = maps(classifier, *alone, way)
                seconds[way] += time.process_time() - start
                other = {"threads": maps(classifier, *alone, way, threads=2)}
                other["instructions"] = older.submit(elsewhere, *alone, way).result()
                other["in a batch"] = maps(classifier, *both, way)
                if callable(WAYS[way].scoring):
                    other["seed"] = maps(classifier, *alone, way, seed=1)
                for what, found in other.items():
                    for name, values in found.items():
                        rows.setdefault((name, what), []).append(differences(base[name], values))
    print("| map | changed | photographs | largest difference | mass elsewhere | rank correlation |")
    print("|---|---|--:|--:|--:|--:|")
    for (name, what), measured in rows.items():
        means, high, low = (f(measured, axis=0) for f in (np.mean, np.max, np.min))
        cells = [f"{means[0]:.2g} (worst {high[0]:.2g})", f"{means[1]:.2g} ({high[1]:.2g})"]
        print(f"| {name} | {what} | {len(measured)} | {' | '.join(cells)} | {means[2]:.4f} ({low[2]:.4f}) |")
    print("\nTime of one thread, relative to the default's:")
    for way, spent in seconds.items():
        print(f"{way}: {spent / seconds['order, the default']:.2f}")


if __name__ == "__main__":
    main()
