"""How much cheaper a forward pass of masked copies gets, and what that does to the answer.

    OMP_NUM_THREADS=1 python -m benchmarks.performance.passes [--models NAME...] [--rounds 5]

Masked copies of scikit-image's cat go through EfficientNet-Lite0 with its trained weights and through
torchvision's ResNet50 with seeded random ones. Every round runs all variants, each on a copy of the model;
ratios are to the plain float32 model at batch 16 in the same round, so that the machine's drift cancels.
Seconds are the process's CPU time, which other work on the machine changes less than wall time, beside it. A
difference is the largest one, over the copies, of the class's probability from the plain model's.

Each model runs twice, as it is and with glibc told to keep freed memory (`ALLOCATOR`), which must be set
before a process starts. `torch.compile` is tried in a process of its own, which fills its cache on disk, and
left out where that takes longer than `--compile-seconds`; 0 leaves it out at once.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
import skimage.data
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn

from usu.models.baselines import make_fill
from usu.models.classifier import Preparation
from usu.models.compiled import Compiled
from usu.models.loading import load_classifier

ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
    "MALLOC_TOP_PAD_": str(2**28),
}
ENVIRONMENTS: dict[str, Mapping[str, str]] = {"as it is": {}, "freed memory kept": ALLOCATOR}
IMAGENET = Preparation(256, (224, 224), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
PLAIN = "float32, batch 16"
COMPILED = "torch.compile, batch 16"


def efficientnet_lite0() -> tuple[nn.Module, Preparation]:
    """Return the trained network of the demo."""
    found = load_classifier("efficientnet-lite0")
    return found.model, found.prepare


def resnet50() -> tuple[nn.Module, Preparation]:
    """Return ResNet50 with random weights, which cost what trained ones do."""
    torch.manual_seed(0)
    return torchvision.models.resnet50(weights=None).eval(), IMAGENET


MODELS: dict[str, Callable[[], tuple[nn.Module, Preparation]]] = {
    "efficientnet-lite0": efficientnet_lite0,
    "resnet50": resnet50,
}


class ChannelsLast(nn.Module):
    """A copy of a model whose weights and inputs have their channels last in memory."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).to(memory_format=torch.channels_last)

    def forward(self, batch: Tensor) -> Tensor:
        """Return the outputs (B, classes)."""
        outputs: Tensor = self.model(batch.contiguous(memory_format=torch.channels_last))
        return outputs


def traced(model: nn.Module, batch: Tensor, memory_format: torch.memory_format) -> nn.Module:
    """Return a frozen trace, with batch norm folded into the convolutions."""
    copied = copy.deepcopy(model).to(memory_format=memory_format)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit", FutureWarning)
        return torch.jit.freeze(torch.jit.trace(copied, batch[:2]))


@dataclass(frozen=True)
class Variant:
    """One way to run the copies: how the model is made, and how many go through it at once."""

    make: Callable[[nn.Module, Tensor], nn.Module]
    batch: int = 16
    context: Callable[[], AbstractContextManager[object]] = nullcontext


@dataclass(frozen=True)
class Timed:
    """One variant in one round."""

    variant: str
    cpu: float
    wall: float
    difference: float


def _copied(model: nn.Module, batch: Tensor) -> nn.Module:
    return copy.deepcopy(model)


VARIANTS: dict[str, Variant] = {
    PLAIN: Variant(_copied),
    **{f"float32, batch {size}": Variant(_copied, size) for size in (4, 8, 32, 64)},
    "channels last, batch 16": Variant(lambda model, batch: ChannelsLast(model)),
    "frozen trace, batch 16": Variant(partial(traced, memory_format=torch.contiguous_format)),
    "frozen trace, channels last, batch 16": Variant(
        lambda model, batch: ChannelsLast(traced(model, batch, torch.channels_last))
    ),
    "OpenVINO, batch 16": Variant(lambda model, batch: Compiled(model, batch[:2])),
    "bfloat16 autocast, batch 16": Variant(_copied, 16, partial(torch.autocast, "cpu", torch.bfloat16)),
    COMPILED: Variant(lambda model, batch: torch.compile(copy.deepcopy(model))),
}


def masked_copies(prepare: Preparation, copies: int) -> Tensor:
    """Return the cat (copies, 3, H, W) with a random half of its 28-pixel squares blurred in each copy."""
    inputs = prepare(Image.fromarray(skimage.data.chelsea()))[0]
    generator = torch.Generator().manual_seed(0)
    squares = torch.rand(copies, 1, 8, 8, generator=generator) < 0.5
    masks = nn.functional.interpolate(squares.float(), inputs.shape[-2:], mode="nearest")
    return torch.lerp(make_fill(inputs[None], "blur"), inputs[None], masks)


def answers(model: nn.Module, batch: Tensor, variant: Variant) -> Tensor:
    """Return the class probabilities (B, classes)."""
    with torch.no_grad(), variant.context():
        return torch.cat([model(part).float().softmax(1) for part in batch.split(variant.batch)])


def measure(name: str, copies: int, rounds: int, compiled: bool) -> list[list[Timed]]:
    """Return each round's timings of every variant."""
    model, prepare = MODELS[name]()
    batch = masked_copies(prepare, copies)
    chosen = {key: each for key, each in VARIANTS.items() if compiled or key != COMPILED}
    models = {key: each.make(model, batch).eval() for key, each in chosen.items()}
    for key, each in chosen.items():  # a trace optimises itself in its first two calls
        for _ in range(2):
            answers(models[key], batch[: min(each.batch, 16)], each)
    target = int(answers(model, batch, VARIANTS[PLAIN]).mean(0).argmax())
    return [_round(models, chosen, batch, target) for _ in range(rounds)]


def _round(
    models: dict[str, nn.Module], chosen: dict[str, Variant], batch: Tensor, target: int
) -> list[Timed]:
    found, plain = [], None
    for key, each in chosen.items():
        cpu, wall = time.process_time(), time.perf_counter()
        got = answers(models[key], batch, each)[:, target]
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        plain = got if plain is None else plain  # the first variant
        found.append(Timed(key, cpu, wall, float((got - plain).abs().max())))
    return found


def compiles(name: str, seconds: float) -> bool:
    """Say whether `torch.compile` is through with a model in time; its results stay in its cache on disk."""
    if seconds <= 0:
        return False
    arguments = [sys.executable, "-m", __spec__.name, "--child", name, "--only-compile"]
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        return process.wait(seconds) == 0
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # with the compilers that it started
        process.wait()
        return False


def only_compile(name: str) -> None:
    """Compile a model and run it once."""
    model, prepare = MODELS[name]()
    batch = masked_copies(prepare, 16)
    answers(VARIANTS[COMPILED].make(model, batch), batch, VARIANTS[COMPILED])


def in_environment(
    variables: Mapping[str, str], name: str, options: argparse.Namespace, compiled: bool
) -> list[list[Timed]]:
    """Measure in a process that starts with these variables."""
    kept = {key: value for key, value in os.environ.items() if key not in ALLOCATOR}
    arguments = [sys.executable, "-m", __spec__.name, "--child", name]
    arguments += ["--copies", str(options.copies), "--rounds", str(options.rounds)]
    arguments += ["--compile-seconds", str(int(compiled))]
    process = subprocess.run(arguments, stdout=subprocess.PIPE, check=True, env={**kept, **variables})
    return [[Timed(**each) for each in one] for one in json.loads(process.stdout)]


def table(rounds: list[list[Timed]], copies: int) -> list[str]:
    """Return the rows: medians over the rounds."""
    seconds = np.array([[(each.cpu, each.wall) for each in one] for one in rounds])
    milliseconds = np.median(seconds, 0) * 1000 / copies
    ratios = seconds / seconds[:, :1]
    columns = ("variant", "CPU ms a pass", "wall ms a pass", "CPU ratio (range)", "wall ratio", "difference")
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for number, first in enumerate(rounds[0]):
        cpu, wall = milliseconds[number]
        ratio, wall_ratio = ratios[:, number].T
        difference = max(one[number].difference for one in rounds)
        cells = (
            first.variant,
            f"{cpu:.1f}",
            f"{wall:.1f}",
            f"{np.median(ratio):.2f} ({ratio.min():.2f} to {ratio.max():.2f})",
            f"{np.median(wall_ratio):.2f}",
            f"{difference:.1e}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def main() -> None:
    """Print the tables, or in a process of their own measure one model."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--copies", type=int, default=64, help="masked copies a round (default: 64)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compile-seconds", type=float, default=90, help="for torch.compile (default: 90)")
    parser.add_argument("--child", choices=MODELS, help=argparse.SUPPRESS)
    parser.add_argument("--only-compile", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only_compile:
        only_compile(options.child)
    elif options.child:
        found = measure(options.child, options.copies, options.rounds, options.compile_seconds > 0)
        print(json.dumps([[asdict(each) for each in one] for one in found]))
    else:
        report(options)


def report(options: argparse.Namespace) -> None:
    """Measure each model in each environment and print the tables."""
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, load {os.getloadavg()[0]:.0f} "
        f"on {os.cpu_count()} cores, {options.rounds} rounds of {options.copies} copies"
    )
    for name in options.models:
        compiled = compiles(name, options.compile_seconds)
        if not compiled:
            print(f"\n{name}: torch.compile left out, not through in {options.compile_seconds:.0f} s")
        for title, variables in ENVIRONMENTS.items():
            rounds = in_environment(variables, name, options, compiled)
            print(f"\n### {name}, allocator {title}\n", *table(rounds, options.copies), sep="\n", flush=True)


if __name__ == "__main__":
    main()
