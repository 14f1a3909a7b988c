"""Time, memory, search and reach of the continuous operators.

    python -m benchmarks.performance.continuous [speed] [searches] [reach] [--repeat 300] [--seeds 20]

All three parts by default, each a Markdown table; on one thread.

* speed: float32, 64 segments of scores as a dense map, beside PyTorch's bilinear interpolation; the masses
  are positive or of both signs. Single calls of all methods take turns, timed by the processor time of
  the thread, so that other programs do not count; the ratio is the median over the rounds of that in a round.
  Memory is the most that PyTorch's allocator and NumPy's held, added up, as a multiple of the output's bytes.
* searches: float64, 224² pixels, scores of 64 Voronoi cells, `--seeds` draws. How often the map was raised
  (2 to the power of all pixels' exponents) until the factor was found, median (most); how many were not.
* reach: 14×14 cells, 224² pixels, such scores and even masses. The mass of a cell is doubled, or its scores
  are drawn again: mean |change| of the pixels in the cells at each distance, relative to their mean. Last, of
  random pairs of pixels in a cell, the part in which the better score gets less (a violation of D2).
"""

import argparse
import statistics
import time
import tracemalloc
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from benchmarks.performance.operators import Case, peak_memory, ratio
from usu import redistribute
from usu.operators.continuous import continuous_shares, continuous_total
from usu.operators.lattice import grid

CASES = [(1, 7, 224), (1, 14, 224), (1, 32, 1024), (32, 7, 224)]
TARGETS = {224: 15, 1024: 12}
MOST_MEMORY = 4.0
TEMPERATURES = (1e4, 1.0, 0.3, 0.1, 0.05, 0.02, 0.01, 1e-3, 1e-4)
DISTANCES = 7

Method = Callable[[], Tensor]


def methods(case: Case, temperature: float, signed: bool) -> dict[str, Method]:
    """Return every method as a call without arguments."""
    coarse = case.coarse if signed else case.coarse.abs()
    size = tuple(case.segments.shape[-2:])
    cells = grid(tuple(coarse.shape[-2:]), size)
    labels = case.segments.flatten(-2)
    scores = case.scores.expand(*labels.shape[:-1], -1).gather(-1, labels).view(case.segments.shape)
    masses, level = coarse * cells.areas(coarse), torch.zeros(size)
    planes = coarse.reshape(-1, 1, *coarse.shape[-2:])
    return {
        "bilinear": partial(F.interpolate, planes, size, mode="bilinear", align_corners=False),
        "usu": partial(redistribute, coarse, scores, temperature=temperature),
        "continuous": partial(continuous_shares, scores, temperature, masses, cells),
        "without scores": partial(continuous_shares, level, 1.0, masses, cells),
        "total-conserving": partial(continuous_total, scores, temperature, masses, cells),
    }


def take_turns(calls: dict[str, Method], repeat: int) -> dict[str, list[float]]:
    """Time single calls of all methods in turn, in microseconds of processor time."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(repeat + 3):
        for name, call in calls.items():
            start = time.thread_time()
            call()
            if turn >= 3:  # the first ones warm up
                times[name].append((time.thread_time() - start) * 1e6)
    return times


def all_memory(call: Method) -> float:
    """Return the most bytes that PyTorch and NumPy held in a call, as a multiple of the result's bytes."""
    torch_only = peak_memory(call)
    tracemalloc.start()
    result = call()
    highest = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return torch_only + highest / result.nbytes


def speed(repeat: int) -> None:
    """Print time and memory."""
    print("| case | masses | ε | method | µs | / bilinear | memory / output | target |")
    print("|---|---|--:|---|--:|--:|--:|---|")
    for sizes in CASES:
        case, rounds = Case.draw(*sizes), repeat if sizes[0] * sizes[2] <= 224 else max(repeat // 10, 10)
        for masses in ("positive", "signed"):
            for temperature in (1.0, 0.3, 0.1):
                calls = methods(case, temperature, masses == "signed")
                times = take_turns(calls, rounds)
                for name, call in calls.items():
                    slower, memory = ratio(times, name, "bilinear"), all_memory(call)
                    most = TARGETS[sizes[2]]
                    met = slower <= most and memory <= MOST_MEMORY
                    target = f"≤ {most}, ≤ {MOST_MEMORY:g}: {'met' if met else 'NOT MET'}"
                    cells = [
                        case.name,
                        masses,
                        f"{temperature:g}",
                        name,
                        f"{statistics.median(times[name]):.0f}",
                    ]
                    cells += [f"{slower:.2f}", f"{memory:.2f}", target if name == "continuous" else ""]
                    print(f"| {' | '.join(cells)} |", flush=True)


def draw_scores(generator: np.random.Generator, size: int, segments: int = 64) -> Tensor:
    """Return the scores (size, size) of Voronoi cells, in float64."""
    y, x = np.mgrid[:size, :size] + 0.5
    rows, columns = generator.random((2, segments, 1, 1)) * size
    return torch.from_numpy(generator.random(segments)[((y - rows) ** 2 + (x - columns) ** 2).argmin(0)])


MASSES: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "even": lambda generator, cells: generator.random((cells, cells)),
    "over six decades": lambda generator, cells: 10 ** (-6 * generator.random((cells, cells))),
    "signed, half of them 0": lambda generator, cells: (
        generator.normal(size=(cells, cells)) * (generator.random((cells, cells)) < 0.5)
    ),
}


class Counter(TorchFunctionMode):
    """Count how often 2 is raised to the exponents of all pixels."""

    count = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Pass a call on."""
        self.count += func is Tensor.exp2_
        return func(*args, **(kwargs or {}))


def search(cells: int, masses: np.ndarray, scores: Tensor, temperature: float) -> tuple[int, bool]:
    """Return how often the map is raised, and whether no factor is found."""
    with warnings.catch_warnings(record=True) as caught, Counter() as counter:
        warnings.simplefilter("always")
        continuous_shares(
            scores, temperature, torch.from_numpy(masses), grid((cells, cells), tuple(scores.shape))
        )
    return counter.count, any("no continuous factor" in str(warning.message) for warning in caught)


def searches(seeds: int) -> None:
    """Print how long the searches are, and how many of them fail."""
    print(f"| grid | masses | {' | '.join(f'ε = {value:g}' for value in TEMPERATURES)} | not found |")
    print(f"|---|---|{'--:|' * len(TEMPERATURES)}--:|")
    for cells in (7, 14):
        for kind, draw in MASSES.items():
            columns, failed = [], 0
            for temperature in TEMPERATURES:
                counts = []
                for seed in range(seeds):
                    generator = np.random.default_rng(seed)
                    scores, masses = draw_scores(generator, 224), draw(generator, cells)
                    count, missed = search(cells, masses, scores, temperature)
                    counts.append(count)
                    failed += missed
                columns.append(f"{statistics.median(counts):g} ({max(counts)})")
            figures = f"{' | '.join(columns)} | {failed} of {len(TEMPERATURES) * seeds}"
            print(f"| {cells}×{cells} | {kind} | {figures} |", flush=True)


def out_of_order(generator: np.random.Generator, maps: Tensor, scores: Tensor) -> float:
    """Return the part of random pairs in a 16×16 cell of which the pixel with the better score gets less."""
    blocks = [part.unfold(0, 16, 16).unfold(1, 16, 16).reshape(-1, 256).numpy() for part in (maps, scores)]
    one, other = generator.integers(0, 256, (2, 2000))
    gains, steps = (block[:, one] - block[:, other] for block in blocks)
    return float((gains * steps < 0).sum() / (steps != 0).sum())


def reach(seeds: int) -> None:
    """Print how a change spreads, and how often D2 is violated."""
    print(f"| ε | change | {' | '.join(map(str, range(DISTANCES)))} | D2 out of order |")
    print(f"|--:|---|{'--:|' * DISTANCES}--:|")
    lattice = grid((14, 14), (224, 224))
    rows, columns = np.indices((14, 14))
    distances = lattice.spread(torch.from_numpy(np.maximum(abs(rows - 6), abs(columns - 6))).double())
    for temperature in (1e4, 1.0, 0.3, 0.1, 0.02):
        changes: dict[str, list[list[float]]] = {"mass doubled": [], "new scores": []}
        disorder = []
        for seed in range(seeds):
            generator = np.random.default_rng(seed)
            scores, masses = draw_scores(generator, 224), torch.from_numpy(generator.random((14, 14)))
            before = continuous_shares(scores, temperature, masses, lattice)
            disorder.append(out_of_order(generator, before, scores))
            heavier, other = masses.clone(), scores.clone()
            heavier[6, 6] *= 2
            other[96:112, 96:112] = draw_scores(generator, 16, 8)
            for name, arguments in zip(changes, ((scores, heavier), (other, masses)), strict=True):
                after = continuous_shares(arguments[0], temperature, arguments[1], lattice)
                rings = [distances == distance for distance in range(DISTANCES)]
                changes[name].append(
                    [float((after - before)[ring].abs().mean() / before[ring].mean()) for ring in rings]
                )
        for name, figures in changes.items():
            means = " | ".join(f"{value:.1e}" for value in np.mean(figures, axis=0))
            print(f"| {temperature:g} | {name} | {means} | {np.mean(disorder):.1%} |", flush=True)


def main() -> None:
    """Print the tables that are asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", help="speed, searches, reach (default: all)")
    parser.add_argument("--repeat", type=int, default=300, metavar="N", help="rounds of single calls at 224²")
    parser.add_argument("--seeds", type=int, default=20, metavar="N", help="draws in searches and reach")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    known = {"speed": partial(speed, arguments.repeat)}
    known |= {"searches": partial(searches, arguments.seeds), "reach": partial(reach, arguments.seeds)}
    unknown = set(arguments.parts) - set(known)
    if unknown:
        parser.error(f"unknown part {sorted(unknown)[0]!r}; the parts are {', '.join(known)}")
    capability = torch.backends.cpu.get_cpu_capability()
    print(f"PyTorch {torch.__version__}, {capability}, 1 thread.")
    for name in arguments.parts or known:
        print()
        known[name]()


if __name__ == "__main__":
    main()
