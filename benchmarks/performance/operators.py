"""Time and memory of the operators beside bilinear and bicubic interpolation.

    python -m benchmarks.performance.operators [--repeat 100] [--calls 100] [--temperature 0.1]

One thread, float32, 64 segments with int64 labels; in a batch every image has segments and scores of its own.
Each round runs every method in turn, so that a drift of the machine meets all alike; a method that takes
microseconds runs `--calls` times in its turn, since a single call measures the caches that the others left.
Python's garbage collector rests meanwhile, as it does under timeit.

* µs: the median time of one call over the rounds, from arrays in memory to the pixel map.
* / copy, / bilinear, / bicubic: the median over the rounds of the ratio within a round. "copy" clones the
  output array: the floor for anything that writes one. Bilinear and bicubic are PyTorch's own.
* target: segments at most as slow as bilinear and 0.3 times bicubic, dense scores 1.5 times bilinear.
* peak memory: the most that PyTorch's CPU allocator held during a call beyond the arguments, as a multiple of
  the output's bytes, the output included. Read from the profiler, which sees every allocation.
* counting: what torch.bincount alone takes to count |N_k ∩ S_p|, with the pairs already joined to one label.
  It is why the totals of the cells are summed by blocks, which vectorises, and not counted.
"""

import argparse
import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

import usu

SEGMENTS = 64
SMALL = 2**17  # pixels, up to which a method runs several times in its turn
CASES = [(1, 7, 224), (1, 14, 224), (1, 32, 1024), (32, 7, 224)]
TARGETS = {
    "usu, segments": {"bilinear": 1.0, "bicubic": 0.3},
    "usu, dense scores": {"bilinear": 1.5},
}
MOST_MEMORY = 3.0

Method = Callable[[], Tensor]


@dataclass(frozen=True)
class Case:
    """A batch of coarse maps, and the scores and segments that go with them."""

    coarse: Tensor
    scores: Tensor
    segments: Tensor

    @classmethod
    def draw(cls, batch: int, cells: int, pixels: int) -> "Case":
        """Draw square maps; the segments are blocks that do not line up with the cells."""
        generator = torch.Generator().manual_seed(0)
        lead = (batch,) if batch > 1 else ()
        blocks = torch.stack([torch.randperm(SEGMENTS, generator=generator) for _ in range(batch)])
        shift = pixels // 20
        segments = usu.interpolate(blocks.view(*lead, 8, 8).double(), (pixels, pixels), "nearest").long()
        return cls(
            torch.randn(*lead, cells, cells, generator=generator),
            torch.rand(*lead, SEGMENTS, generator=generator),
            segments.roll((shift, shift), (-2, -1)).contiguous(),
        )

    @property
    def name(self) -> str:
        """What is computed, in words."""
        *batch, cells = self.coarse.shape[:-1]
        pixels = self.segments.shape[-1]
        return f"{cells}×{cells} → {pixels}²" + (f", batch of {batch[0]}" if batch else "")

    def methods(self, temperature: float) -> dict[str, Method]:
        """Return every method as a call without arguments; `copy` is the floor."""
        size = tuple(self.segments.shape[-2:])
        planes = self.coarse.reshape(-1, 1, *self.coarse.shape[-2:])
        labels = self.segments.flatten(-2)
        dense = self.scores.expand(*labels.shape[:-1], -1).gather(-1, labels).view(self.segments.shape)
        output = torch.empty_like(dense)
        return {
            "copy": output.clone,
            "bilinear": partial(F.interpolate, planes, size, mode="bilinear", align_corners=False),
            "bicubic": partial(F.interpolate, planes, size, mode="bicubic", align_corners=False),
            "usu, segments": partial(
                usu.redistribute, self.coarse, self.scores, self.segments, temperature=temperature
            ),
            "usu, dense scores": partial(usu.redistribute, self.coarse, dense, temperature=temperature),
            "iwmr, segments": partial(
                usu.iwmr, self.coarse, self.scores, self.segments, temperature=temperature
            ),
            "counting": partial(torch.bincount, *self.pairs()),
        }

    def pairs(self) -> tuple[Tensor, None, int]:
        """Return the arguments of torch.bincount that count |N_k ∩ S_p| for every image, cell and segment."""
        cells, size = self.coarse[..., 0, 0].numel() * self.coarse.shape[-1] ** 2, self.segments.shape
        numbers = torch.arange(cells, dtype=torch.float64).view(self.coarse.shape)
        owners = usu.interpolate(numbers, size[-2:], "nearest").long()
        return (owners * SEGMENTS + self.segments).flatten(), None, cells * SEGMENTS


def rounds(methods: dict[str, Method], repeat: int, calls: int) -> dict[str, list[float]]:
    """Time every method once per round, in microseconds."""
    times: dict[str, list[float]] = {name: [] for name in methods}
    gc.collect()
    gc.disable()
    calls = calls if methods["copy"]().numel() <= SMALL else 1
    for turn in range(repeat + 5):
        for name, method in methods.items():
            start = time.perf_counter()
            for _ in range(calls):
                method()
            elapsed = time.perf_counter() - start
            if turn >= 5:  # the first ones warm up
                times[name].append(elapsed / calls * 1e6)
    gc.enable()
    return times


def ratio(times: dict[str, list[float]], name: str, base: str) -> float:
    """Return the median of the per-round ratios of one method to another."""
    return statistics.median(a / b for a, b in zip(times[name], times[base], strict=True))


def verdict(times: dict[str, list[float]], name: str) -> str:
    """Say for each target of a method whether it is met."""
    return ", ".join(
        f"≤ {most} × {base}: {'met' if ratio(times, name, base) <= most else 'NOT MET'}"
        for base, most in TARGETS.get(name, {}).items()
    )


def peak_memory(method: Method) -> float:
    """Return the most bytes allocated at once during a call, as a multiple of the result's bytes."""
    method()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        result = method()
    allocated = highest = 0
    # Each event is one allocation, or one release with a negative count.
    events = [event for event in record.profiler.kineto_results.events() if event.name() == "[memory]"]
    for event in sorted(events, key=lambda event: event.start_ns()):
        allocated += event.nbytes()
        highest = max(highest, allocated)
    return highest / result.nbytes


def main() -> None:
    """Print the tables as Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeat", type=int, default=100, metavar="N", help="rounds per case (default 100)")
    parser.add_argument("--calls", type=int, default=100, help="per turn in the small cases (default 100)")
    parser.add_argument("--temperature", type=float, default=0.1, help="of both operators (default 0.1)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    capability = torch.backends.cpu.get_cpu_capability()
    print(f"PyTorch {torch.__version__}, {capability}, 1 thread, float32, {arguments.repeat} rounds.\n")
    print("| case | method | µs | / copy | / bilinear | / bicubic | target |\n|---|---|--:|--:|--:|--:|---|")
    memory = ["| case | method | peak memory / output | target |\n|---|---|--:|---|"]
    for case in (Case.draw(*sizes) for sizes in CASES):
        methods = case.methods(arguments.temperature)
        times = rounds(methods, arguments.repeat, arguments.calls)
        for name in methods:
            ratios = [f"{ratio(times, name, base):.2f}" for base in ("copy", "bilinear", "bicubic")]
            cells = [case.name, name, f"{statistics.median(times[name]):.0f}", *ratios, verdict(times, name)]
            print(f"| {' | '.join(cells)} |")
        for name in TARGETS:
            peak = peak_memory(methods[name])
            met = "met" if peak <= MOST_MEMORY else "NOT MET"
            memory.append(f"| {case.name} | {name} | {peak:.2f} | ≤ {MOST_MEMORY:g}: {met} |")
        memory.append(f"| {case.name} | bilinear | {peak_memory(methods['bilinear']):.2f} | |")
    print("\n" + "\n".join(memory))


if __name__ == "__main__":
    main()
