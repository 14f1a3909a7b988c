"""How much of `usu.upsample`'s time is spent outside the model's own passes, forwards and backwards.

    python -m benchmarks.performance.pipeline [--repeat 5] [--models efficientnet-lite0 resnet50]
        [--backend eager]
    python -m benchmarks.performance.pipeline --before SRC --photographs FOLDER [--repeat 3] [--several 32]

Random weights do: a pass costs the same. Each row is the median of `--repeat` calls at 224 × 224 with default
settings but for what it names; the share outside is of the same call, so that the machine's drift cancels.
With `--backend openvino` masked images go through the compiled copy, which a call before has made; its time
counts as the model's.

With `--before`, the folder `src` of an earlier version (as `git worktree add ../before COMMIT` makes one), it
compares the command line and `usu.explain` with that version's, and a complete map with shap's.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import skimage.data
import torch
import torchvision
from torch import Tensor, nn

import usu
from benchmarks.performance.versions import compare
from usu.models.compiled import Compiled

SIZE = 224
TARGETS = {"efficientnet-lite0": 0.10, "resnet50": 0.05}


def efficientnet_lite0() -> nn.Module:
    """Return the network of the demo, with random weights."""
    from efficientnet_lite_pytorch import EfficientNet

    return EfficientNet.from_name("efficientnet-lite0")


MODELS: dict[str, Callable[[], nn.Module]] = {
    "efficientnet-lite0": efficientnet_lite0,
    "resnet50": torchvision.models.resnet50,
}


class Stopwatch(nn.Module):
    """A model that adds up the seconds spent in it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.seconds = 0.0

    def forward(self, batch: Tensor) -> Any:
        """Return the outputs, taking the time."""
        return self.timed(self.model)(batch)

    def timed(self, plain: Callable[..., Any]) -> Callable[..., Any]:
        """Return the same function, whose time is added, too."""

        def call(*given: Any, **named: Any) -> Any:
            start = time.perf_counter()
            found = plain(*given, **named)
            self.seconds += time.perf_counter() - start
            return found

        return call


WAYS: dict[str, dict[str, Any]] = {
    "default": {},
    "scoring mask": {"scoring": "mask"},
    "mode complete": {"mode": "complete"},
}


@contextmanager
def others_timed(model: Stopwatch) -> Iterator[None]:
    """Let the time of compiled copies and of passes backwards count as the model's."""
    grad = patch.object(torch.autograd, "grad", model.timed(torch.autograd.grad))
    with patch.object(Compiled, "forward", model.timed(Compiled.forward)), grad:
        yield


def measure(name: str, way: str, backend: str, repeat: int) -> tuple[int, float, float]:
    """Return passes, seconds, and the share outside the model: medians over `repeat` calls."""
    photograph = torch.from_numpy(skimage.data.chelsea()).permute(2, 0, 1)[None] / 255
    picture = nn.functional.interpolate(photograph, (SIZE, SIZE), mode="area")[0]
    inputs, coarse = (picture - 0.5) / 0.5, torch.rand(7, 7)
    model = Stopwatch(MODELS[name]()).eval()
    totals, shares, passes = [], [], 0
    options = {"target": 0, "images": picture, "backend": backend, **WAYS[way]}
    for call in range(repeat + 1):
        model.seconds, start = 0.0, time.perf_counter()
        with others_timed(model):
            passes = usu.upsample(coarse, inputs, model, **options).forward_passes
        total = time.perf_counter() - start
        if call:  # the first call imports the segmenters and warms the caches
            totals.append(total)
            shares.append(1 - model.seconds / total)
    return passes, statistics.median(totals), statistics.median(shares)


def main() -> None:
    """Print the table."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--repeat", type=int, default=5, help="counted calls per model (default: 5)")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--backend", choices=("eager", "openvino"), default="eager")
    parser.add_argument("--before", type=Path, metavar="SRC", help="folder src of an earlier version")
    parser.add_argument("--photographs", type=Path, metavar="FOLDER", help="for --before")
    parser.add_argument("--several", type=int, default=32, help="photographs for --before (default: 32)")
    arguments = parser.parse_args()
    if arguments.before is not None:
        compare(arguments.before.resolve(), arguments.photographs, arguments.repeat, arguments.several)
        return
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {SIZE} × {SIZE}")
    print()
    print("| model | settings | passes | seconds | outside the model | target | met? |")
    print("|---|---|---|---|---|---|---|")
    for name, way in itertools.product(arguments.models, WAYS):
        passes, seconds, share = measure(name, way, arguments.backend, arguments.repeat)
        verdict = "yes" if share <= TARGETS[name] else "no"
        figures = f"{passes} | {seconds:.2f} | {share:.1%} | ≤ {TARGETS[name]:.0%}"
        print(f"| {name} | {way} | {figures} | {verdict} |")


if __name__ == "__main__":
    main()
