"""How much faster the metrics of block A are than Quantus called map by map, and whether they agree.

    OMP_NUM_THREADS=1 python -m benchmarks.performance.metrics [DATA] [--images 1] [--maps 12] [--size 224]

EfficientNet-Lite0 judges maps of its own class on photographs: scikit-image's own three, or those of the
folder DATA. Half of the maps are smooth (random 7 × 7 cells, bilinear), half are constant on the cells. Both
sides have the same settings, weights, maps and process, one after the other per image and metric. Ours is
what a benchmark's worker does: one `Judge` per image, so that a metric profits from the passes of those
before it, and the compiled copy of the model, the making of which counts. Quantus has the model as it is.
IROF per segment, which both sides get from IROF by a division, is left out. Seconds are the process's CPU
time; freed memory is kept, for both. `--size` changes the side of the photographs, a multiple of 28.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import skimage.data
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import interpolate

from usu.adapters.quantus import QUANTUS_SCORES, quantus_score
from usu.bench.datasets.files import image_names
from usu.metrics import METRICS, Judge
from usu.models.compiled import quickened
from usu.models.images import read_image
from usu.models.loading import load_classifier
from usu.runtime.memory import keep_freed_memory

NAMES = tuple(name for name in QUANTUS_SCORES if name != "irof-per-segment")
BUILT_IN = ("chelsea", "coffee", "astronaut")
BATCH = 16


@dataclass(frozen=True)
class Timing:
    """Seconds and passes of one metric on both sides, and how far their scores are apart."""

    fast: float = 0.0
    slow: float = 0.0
    passes: int = 0
    quantus_passes: int = 0
    difference: float = 0.0

    def __add__(self, other: Timing) -> Timing:
        return Timing(
            self.fast + other.fast,
            self.slow + other.slow,
            self.passes + other.passes,
            self.quantus_passes + other.quantus_passes,
            max(self.difference, other.difference),
        )


class Counting(nn.Module):
    """A model that counts the images that go through it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.passes = model, 0

    def forward(self, batch: Tensor) -> Tensor:
        """Return the outputs (B, classes)."""
        self.passes += len(batch)
        outputs: Tensor = self.model(batch)
        return outputs


def images(folder: Path | None) -> Iterator[Image.Image]:
    """Yield the photographs of a folder by name, or scikit-image's."""
    if folder is None:
        yield from (Image.fromarray(getattr(skimage.data, name)()) for name in BUILT_IN)
    else:
        yield from (read_image(folder / name) for name in image_names(folder))


def maps_of(count: int, side: int, seed: int) -> Tensor:
    """Return half smooth, half cell-constant maps (M, H, W)."""
    coarse = torch.randn(count, 1, 7, 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    smooth = (
        interpolate(coarse[: count // 2], size=(side, side), mode="bilinear") if count > 1 else coarse[:0]
    )
    cells = interpolate(coarse[count // 2 :], size=(side, side), mode="nearest")
    return torch.cat([each[:, 0] for each in (smooth, cells) if len(each)])


def compare(model: nn.Module, inputs: Tensor, picture: Tensor, maps: Tensor) -> Iterator[tuple[str, Timing]]:
    """Time every metric on all maps of an image, here and in Quantus."""
    with torch.no_grad():
        target = int(model(inputs[None]).argmax())
    start = time.process_time()
    judge = Judge(quickened(model, inputs), inputs, target, image=picture, perturbations_per_eval=BATCH)
    yield "compiled copy", Timing(fast=time.process_time() - start)
    for name in NAMES:
        before, start = judge.passes, time.process_time()
        ours = METRICS[name].measure(judge, maps).numpy()
        middle = time.process_time()
        counting = Counting(model).eval()
        theirs = np.array([quantus_score(name, counting, inputs, target, values) for values in maps])
        end = time.process_time()
        apart = np.abs(ours - theirs) / np.maximum(np.abs(theirs), 1)
        passes = judge.passes - before
        yield name, Timing(middle - start, end - middle, passes, counting.passes, float(apart.max()))


def table(timings: dict[str, Timing], maps: int, count: int) -> str:
    """Return one line per metric and one for all."""
    total = sum(timings.values(), Timing())
    lines = [
        f"{count} images, {maps} maps each, in all\n",
        "| metric | passes | passes, Quantus | seconds | seconds, Quantus | ratio | largest difference |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, one in [*timings.items(), ("all", total)]:
        lines.append(
            f"| {name} | {one.passes} | {one.quantus_passes} | {one.fast:.2f} | {one.slow:.2f} "
            f"| {one.slow / one.fast:.1f} | {one.difference:.1e} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Compare on each photograph and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, nargs="?", help="folder of photographs (default: scikit-image's)")
    parser.add_argument("--images", type=int, default=1, help="number of photographs (default: 1)")
    parser.add_argument("--maps", type=int, default=12, help="maps of each photograph (default: 12)")
    parser.add_argument("--size", type=int, default=224, help="side of the photographs (default: 224)")
    arguments = parser.parse_args()
    keep_freed_memory()
    classifier = load_classifier("efficientnet-lite0")
    side = arguments.size
    prepare = replace(classifier.prepare, resize=round(side * 256 / 224), crop=(side, side))
    timings: dict[str, Timing] = {}
    chosen = list(itertools.islice(images(arguments.data), arguments.images))
    for number, image in enumerate(chosen):
        inputs, picture = prepare(image)
        maps = maps_of(arguments.maps, side, number)
        for name, timing in compare(classifier.model, inputs, picture, maps):
            timings[name] = timings.get(name, Timing()) + timing
    print(table(timings, arguments.maps, len(chosen)))


if __name__ == "__main__":
    main()
