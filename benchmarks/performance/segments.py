"""What segments cost by the size of the picture: processor time of `usu.segment`, with the default's counts.

    python -m benchmarks.performance.segments [--sides 224 512 1024 2048 4096] [--repeat 3]

Each figure is the least of `--repeat` calls on scikit-image's photograph of a cat, resized.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import skimage.data
import torch
from torch import Tensor, nn

import usu


def picture_of(side: int) -> Tensor:
    """Return the photograph (3, side, side)."""
    photograph: Callable[[], Any] = skimage.data.chelsea
    whole = torch.from_numpy(photograph()).permute(2, 0, 1)[None] / 255
    return nn.functional.interpolate(whole, (side, side), mode="bilinear", antialias=True)[0].clamp(0, 1)


def seconds(picture: Tensor, method: str, counts: tuple[int, ...], repeat: int) -> float:
    """Return the processor seconds of the quickest call."""
    found = []
    for _ in range(repeat):
        start = time.process_time()
        usu.segment(picture, counts, method)
        found.append(time.process_time() - start)
    return min(found)


def main() -> None:
    """Print the table."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--sides", nargs="+", type=int, default=[224, 512, 1024, 2048, 4096])
    parser.add_argument("--repeat", type=int, default=3, help="calls of each (default: 3)")
    options = parser.parse_args()
    wanted = usu.Settings().way.segmentation
    for method, counts in wanted.items():  # imports
        usu.segment(torch.rand(3, 16, 16), counts, method)
    print(f"| side, pixels | {', ms | '.join(wanted)}, ms | together, ms | microseconds per pixel |")
    print("|--:|" + "--:|" * (len(wanted) + 2))
    for side in options.sides:
        picture = picture_of(side)
        each = [seconds(picture, method, counts, options.repeat) for method, counts in wanted.items()]
        times = " | ".join(f"{1000 * one:.0f}" for one in (*each, sum(each)))
        print(f"| {side} | {times} | {1e6 * sum(each) / side**2:.2f} |", flush=True)


if __name__ == "__main__":
    main()
