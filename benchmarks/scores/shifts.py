"""Finer coarse maps at the price of a few passes: Grad-CAM of shifted inputs, and of an earlier layer.

    python -m benchmarks.scores DATA --half choosing --images 24 \
        --methods bilinear owen "shifted 14" "shifted 28" "layer 14"
    python -m benchmarks.scores.shifts RESULTS [--maps NAME...] [--references NAME...] [--half choosing]

After Jitter-CAM and Augmented Grad-CAM: a cell of 32 pixels does not say where in it the evidence lies, but
the cells of inputs shifted by parts of a cell overlap it differently. The second command needs no model: from
the saved results it prints means, paired differences and the spread over tie seeds of the named maps.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import usu
from benchmarks.scores.score_tables import HALVES, means, paired, read_results, ties
from benchmarks.scores.tasks import Costed, Method, Pixels, Task
from usu.operators.lattice import Grid, Mass
from usu.operators.upsamplers import find_upsampler
from usu.sources.registry import find_source

# Shifted inputs of one backward pass: four keep the activations below 1 GB.
TOGETHER = 4
# The last layer of EfficientNet-Lite0 with cells of 16 pixels, where Grad-CAM's have 32.
EARLIER = "_blocks.10"


def shifted(task: Task, shifts: int) -> tuple[Tensor, Mass]:
    """Return Grad-CAM of `shifts`² shifted inputs, placed back and averaged, and its kind of mass.

    Its grid is `shifts` times finer. The shifts lie symmetrically around 0, 1 / `shifts` of a cell apart.
    What is shifted in is the input mirrored at its border, and what falls on a mirrored pixel goes back to
    the pixel that it was copied from: the mass of the map is the mean of the shifted maps' masses. A shift
    counts two passes, forward and backward.
    """
    coarse, inputs = task.coarse("gradcam"), task.photograph.inputs
    grid, size = tuple(coarse.values.shape[-2:]), tuple(inputs.shape[-2:])
    rows, columns = (_origins(*axis, shifts) for axis in zip(size, grid, strict=True))
    places = list(product(rows, columns))
    cells = Grid(grid, size)
    placed = torch.zeros(size, dtype=torch.float64)
    for first in range(0, len(places), TOGETHER):
        some = places[first : first + TOGETHER]
        batch = torch.stack([inputs[:, y[:, None], x] for y, x in some])
        found = find_source("gradcam")(task.model, batch, [task.photograph.target] * len(batch), coarse.layer)
        densities = cells.spread(found.values.double() / cells.areas(placed))
        for (y, x), density in zip(some, densities, strict=True):
            placed.index_put_((y[:, None], x), density, accumulate=True)
    task.model.passes += len(places)  # a backward pass each
    fine = Grid(tuple(cells * shifts for cells in grid), size)
    return fine.sum(placed / len(places)), coarse.mass


def _origins(pixels: int, cells: int, shifts: int) -> list[Tensor]:
    """Return, for each shift along one axis, which pixel each pixel of the shifted input copies."""
    cell = pixels // cells
    mirrored = torch.from_numpy(np.pad(np.arange(pixels), cell, mode="symmetric"))
    starts = [cell + round((2 * shift - shifts + 1) * cell / (2 * shifts)) for shift in range(shifts)]
    return [mirrored[start : start + pixels] for start in starts]


def earlier(task: Task) -> tuple[Tensor, Mass]:
    """Return Grad-CAM at the last layer of 14 × 14 cells, and its mass; one forward and one backward pass."""
    inputs, target = task.photograph.inputs[None], task.photograph.target
    found = find_source("gradcam")(task.model, inputs, [target], f"model.{EARLIER}")
    task.model.passes += 1
    return found.values[0], found.mass


COARSE: dict[str, Callable[[Task], tuple[Tensor, Mass]]] = {
    "shifted 14": partial(shifted, shifts=2),
    "shifted 28": partial(shifted, shifts=4),
    "layer 14": earlier,
}
INTERPOLATIONS = ("nearest", "bilinear")
SCORES = "scores owen 160"


def upsampled(task: Task, name: str) -> dict[str, Pixels]:
    """A finer coarse map brought to pixels, by interpolation and by redistribution with Owen values."""
    coarse, mass = COARSE[name](task)
    size = tuple(task.photograph.inputs.shape[-2:])
    # Interpolation needs no scores, so that its price is that of the coarse map.
    maps: dict[str, Pixels] = {
        f"{mode} {name}": Costed(usu.interpolate(coarse, size, mode), task.model.passes)
        for mode in INTERPOLATIONS
    }
    scores = torch.from_numpy(task.made_by("owen")[SCORES])
    upsampler = find_upsampler("usu", temperature=0.2, mass=mass)
    return {**maps, f"usu owen {name}": upsampler(coarse, scores)}


SHIFTED: dict[str, Method] = {name: partial(upsampled, name=name) for name in COARSE}

MAPS = tuple(f"{how} {name}" for name in COARSE for how in ("nearest", "bilinear", "usu owen"))
REFERENCES = ("bilinear", "usu owen 160")


def main() -> None:
    """Print the tables of the named maps."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("results", type=Path, help="folder that benchmarks/scores wrote")
    parser.add_argument("--maps", nargs="+", default=MAPS, metavar="NAME", help="maps to compare")
    parser.add_argument("--references", nargs="+", default=REFERENCES, metavar="NAME", help="with these")
    parser.add_argument("--half", choices=HALVES, default="choosing")
    arguments = parser.parse_args()
    found = read_results(arguments.results)
    wanted = {*arguments.maps, *arguments.references}
    if unknown := wanted - set(found):
        parser.error(f"{arguments.results} has no map {', '.join(sorted(unknown))}")
    # Only photographs that have every map, so that the means are of the same ones.
    shared = set.intersection(*(set(found[name]) for name in wanted))
    results = {name: {key: found[name][key] for key in sorted(shared)} for name in sorted(wanted)}
    parts = [means(results, arguments.half)]
    for reference in arguments.references:
        few = {name: results[name] for name in (*arguments.maps, reference)}
        parts.append(paired(few, reference, arguments.half))
    parts.append(ties(results))
    print("\n\n".join("\n".join(part) for part in parts))


if __name__ == "__main__":
    main()
