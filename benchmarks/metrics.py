"""How much faster the metrics of block A are than Quantus called map by map, and whether they agree.

    OMP_NUM_THREADS=1 python benchmarks/metrics.py [DATA] [--images 1] [--maps 12] [--size 224] [--quick]

EfficientNet-Lite0 judges maps of its own class on photographs: scikit-image's own three, or those of the
folder DATA. Half of the maps are smooth (random 7 × 7 cells, bilinear), half are constant on the cells. Both
sides have the same settings, model, maps and process, one after the other per image and metric, and a fresh
start for each metric, so that no metric profits from the passes of another. Seconds are the process's CPU
time. `--size` changes the side of the photographs, a multiple of 28. `--quick` gives the fast side a traced
copy of the model, a third faster on CPU; Quantus keeps the model as it is. On Linux with glibc, passes
of either side run faster with MALLOC_MMAP_THRESHOLD_, MALLOC_TRIM_THRESHOLD_ and MALLOC_TOP_PAD_ set to a
gigabyte.
"""

from __future__ import annotations

import argparse
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
from usu.bench.metrics import METRICS, Judge
from usu.bench.quick import Traced
from usu.images import read_image
from usu.models import load_classifier

DERIVED = ("infidelity-minmax", "irof-per-segment")  # cost nothing beside the metric that they derive from
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
        suffixes = {".jpeg", ".jpg", ".png"}
        yield from map(read_image, sorted(p for p in folder.iterdir() if p.suffix.lower() in suffixes))


def maps_of(count: int, side: int, seed: int) -> Tensor:
    """Return half smooth, half cell-constant maps (M, H, W)."""
    coarse = torch.randn(count, 1, 7, 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    smooth = (
        interpolate(coarse[: count // 2], size=(side, side), mode="bilinear") if count > 1 else coarse[:0]
    )
    cells = interpolate(coarse[count // 2 :], size=(side, side), mode="nearest")
    return torch.cat([each[:, 0] for each in (smooth, cells) if len(each)])


def compare(
    name: str, model: nn.Module, quick: nn.Module, image: tuple[Tensor, Tensor], maps: Tensor
) -> Timing:
    """Time one metric on all maps of an image, here and in Quantus."""
    inputs, picture = image
    with torch.no_grad():
        target = int(model(inputs[None]).argmax())
    start = time.process_time()
    judge = Judge(quick, inputs, target, picture=picture, perturbations_per_eval=BATCH)
    ours = METRICS[name].measure(judge, maps).numpy()
    middle = time.process_time()
    counting = Counting(model).eval()
    theirs = np.array([quantus_score(name, counting, inputs, target, values) for values in maps])
    end = time.process_time()
    apart = np.abs(ours - theirs) / np.maximum(np.abs(theirs), 1)
    return Timing(middle - start, end - middle, judge.passes, counting.passes, float(apart.max()))


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
    parser.add_argument("--quick", action="store_true", help="traced copy of the model on the fast side")
    arguments = parser.parse_args()
    classifier = load_classifier("efficientnet-lite0")
    side = arguments.size
    prepare = replace(classifier.prepare, resize=round(side * 256 / 224), crop=(side, side))
    quick = (
        Traced(classifier.model, torch.zeros(2, 3, side, side)).eval()
        if arguments.quick
        else classifier.model
    )
    names = [name for name in QUANTUS_SCORES if name not in DERIVED]
    timings = dict.fromkeys(names, Timing())
    done = 0
    for number, (image, _) in enumerate(zip(images(arguments.data), range(arguments.images), strict=False)):
        maps, pair = maps_of(arguments.maps, side, number), prepare(image)
        for name in names:
            timings[name] += compare(name, classifier.model, quick, pair, maps)
        done += 1
    print(table(timings, arguments.maps, done))


if __name__ == "__main__":
    main()
