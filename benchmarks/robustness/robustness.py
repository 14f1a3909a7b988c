"""How far completeness (D1) holds.

    python -m benchmarks.robustness.robustness [--largest 8192]

Prints the tables of docs/robustness.md. Every residual is summed in float64 from what the operator returned:
the mean over cells of |Σ Ã - M_k|, relative to the mean |M_k|; "worst cell" is the largest
|Σ Ã - M_k| / |M_k| instead. Masses have both signs. The tolerance is the one that `usu.check_desiderata`
takes for the dtype, and a residual above it stands in bold.

One thread; the largest map takes 2 GB.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

import usu
from usu.desiderata.probe import TOLERANCES
from usu.operators.coarse import Coarse
from usu.operators.lattice import Mass

DTYPES = tuple(TOLERANCES)
TEMPERATURES = tuple(10.0**power for power in range(-6, 7))
SEGMENTS = 64


def generator(seed: int = 0) -> torch.Generator:
    """Return a source of random numbers that starts alike each time."""
    return torch.Generator().manual_seed(seed)


def name_of(dtype: torch.dtype) -> str:
    """Return "float32" and so on."""
    return str(dtype).removeprefix("torch.")


def residuals(
    coarse: Tensor, pixels: Tensor, neighbourhoods: Tensor | None = None, mass: Mass = "density"
) -> tuple[float, float]:
    """Return the D1 residual, relative to the mean |M_k|, and the worst cell's, relative to its own |M_k|."""
    given, size = Coarse(coarse, mass, neighbourhoods), tuple(pixels.shape)
    cells, masses = given.cells(size), given.masses(size)
    gaps = (cells.sum(pixels.to(torch.float64)) - masses).abs()
    return float(gaps.mean() / masses.abs().mean()), float((gaps / masses.abs()).max())


def blocks(size: int, count: int) -> Tensor:
    """Return `count` square segments over size² pixels, shifted off the borders of the cells."""
    side = math.isqrt(count)
    places = (torch.arange(size) + size // 20) % size * side // size
    return (places[:, None] * side + places).to(torch.int32)


def superpixels(size: int, count: int) -> Tensor:
    """Return `count` regions of random sizes: runs of pixels, row by row."""
    starts = torch.randperm(size * size - 1, generator=generator())[: count - 1] + 1
    labels = torch.zeros(size * size, dtype=torch.int32)
    labels[starts] = 1
    return labels.cumsum(0).to(torch.int32).view(size, size)


def row(*entries: Any) -> str:
    """Return a row of a Markdown table."""
    return f"| {' | '.join(map(str, entries))} |"


def table(columns: Sequence[str], rows: Iterable[str], align: str = "--:") -> None:
    """Print a Markdown table as its rows come; all columns but the first are aligned as numbers are."""
    print(row(*columns) + "\n|---|" + f"{align}|" * (len(columns) - 1))
    for line in rows:
        print(line, flush=True)
    print()


def marked(residual: float, dtype: torch.dtype) -> str:
    """Return a residual as text, bold if it is above the dtype's tolerance."""
    text = f"{residual:.1e}"
    return text if residual <= TOLERANCES[dtype] else f"**{text}**"


def by_temperature(size: int = 224, cells: int = 7) -> Iterator[str]:
    """Measure all temperatures and dtypes; the worse of segment scores and dense scores."""
    labels = blocks(size, SEGMENTS)
    for temperature in TEMPERATURES:
        found = []
        for dtype in DTYPES:
            coarse = torch.randn(cells, cells, generator=generator(), dtype=torch.float64).to(dtype)
            levels = torch.rand(SEGMENTS, generator=generator(1), dtype=torch.float64).to(dtype)
            dense = torch.rand(size, size, generator=generator(2), dtype=torch.float64).to(dtype)
            maps = (
                usu.redistribute(coarse, levels, labels, temperature=temperature),
                usu.redistribute(coarse, dense, temperature=temperature),
            )
            found.append(marked(max(residuals(coarse, pixels)[0] for pixels in maps), dtype))
        yield row(f"{temperature:g}", *found)


def by_size(largest: int) -> Iterator[str]:
    """Measure maps from 256² pixels up, in float32, with grids from one cell for all pixels to 32 × 32."""
    size = 256
    while size <= largest:
        found = []
        for cells in (1, 7, 32):
            coarse = torch.randn(cells, cells, generator=generator())
            levels = torch.rand(SEGMENTS, generator=generator(1))
            pixels = usu.redistribute(coarse, levels, blocks(size, SEGMENTS))
            found.append(marked(residuals(coarse, pixels)[0], torch.float32))
            del pixels
            pixels = usu.redistribute(coarse, torch.rand(size, size, generator=generator(2)))
            found.append(marked(residuals(coarse, pixels)[0], torch.float32))
            del pixels
        yield row(f"{size}²", *found)
        size *= 2


def by_count(size: int = 1024) -> Iterator[str]:
    """Measure superpixels as neighbourhoods, and as segments on a grid of 32 × 32 cells."""
    for count in (10, 100, 1_000, 10_000, 100_000):
        found = []
        labels = superpixels(size, count)
        for dtype in (torch.float32, torch.float64):
            coarse = torch.randn(count, generator=generator()).to(dtype)
            dense = torch.rand(size, size, generator=generator(2), dtype=dtype)
            pixels = usu.redistribute(coarse, dense, neighbourhoods=labels)
            worst = residuals(coarse, pixels, labels)
            grid = torch.randn(32, 32, generator=generator()).to(dtype)
            pixels = usu.redistribute(grid, torch.rand(count, generator=generator(1), dtype=dtype), labels)
            found += [*(marked(value, dtype) for value in (*worst, residuals(grid, pixels)[0]))]
        yield row(f"{count:,}", *found)


def by_magnitude(size: int = 224, cells: int = 14) -> Iterator[str]:
    """Measure masses of both signs and of magnitudes spread evenly between 1e-30 and 1e30."""
    powers = 60 * torch.rand(cells, cells, generator=generator(), dtype=torch.float64) - 30
    signs = torch.randn(cells, cells, generator=generator(1), dtype=torch.float64).sign()
    labels = blocks(size, SEGMENTS)
    for dtype in (torch.float32, torch.float64):
        coarse = (signs * 10**powers).to(dtype)
        levels = torch.rand(SEGMENTS, generator=generator(1), dtype=torch.float64).to(dtype)
        dense = torch.rand(size, size, generator=generator(2), dtype=torch.float64).to(dtype)
        for temperature in (1e-3, 0.032, 0.1, 10.0):
            maps = (
                usu.redistribute(coarse, levels, labels, temperature=temperature),
                usu.redistribute(coarse, dense, temperature=temperature),
            )
            found = [marked(value, dtype) for pixels in maps for value in residuals(coarse, pixels)]
            yield row(name_of(dtype), f"{temperature:g}", *found)


EXTREMES = {
    "float32, coarse 1e35 on 1024² pixels": (torch.float32, 1e35, 1024, "density"),
    "float32, coarse 3e38 as total": (torch.float32, 3e38, 224, "total"),
    "float32, coarse 1e-38 as total": (torch.float32, 1e-38, 224, "total"),
    "float16, coarse 60000": (torch.float16, 6e4, 224, "density"),
    "float16, coarse 1 as total on 224² pixels": (torch.float16, 1.0, 224, "total"),
    "float16, coarse 1 as total on 8192² pixels": (torch.float16, 1.0, 8192, "total"),
    "bfloat16, coarse 1 as total on 8192² pixels": (torch.bfloat16, 1.0, 8192, "total"),
    "bfloat16, coarse 3e38": (torch.bfloat16, 3e38, 224, "density"),
    "float64, coarse 1e308": (torch.float64, 1e308, 224, "density"),
}


def by_extreme(largest: int) -> Iterator[str]:
    """Try values at the ends of each dtype's range, for segments with scores from 0 to 1."""
    for name, (dtype, value, size, mass) in EXTREMES.items():
        coarse = torch.full((7, 7), value, dtype=torch.float64).to(dtype)
        size = min(size, largest)
        levels = torch.linspace(0, 1, SEGMENTS, dtype=dtype)
        try:
            pixels = usu.redistribute(coarse, levels, blocks(size, SEGMENTS), temperature=0.05, mass=mass)
        except ValueError as error:
            yield row(name, f"refused: {error}")
            continue
        broken = int((~pixels.isfinite()).sum())
        if broken:
            yield row(name, f"**{broken} values not finite**")
        else:
            yield row(name, marked(residuals(coarse, pixels, mass=mass)[0], dtype))


def main() -> None:
    """Print the tables as Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--largest", type=int, default=8192, metavar="PIXELS", help="side of the largest map")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    limits = [f"{name_of(dtype)} (≤ {TOLERANCES[dtype]:g})" for dtype in DTYPES]

    print(f"PyTorch {torch.__version__}.\n\n### Temperature and dtype\n")
    table(["ε", *limits], by_temperature())
    print("### Map size\n")
    grids = [f"{cells}×{cells} cells, {kind}" for cells in (1, 7, 32) for kind in ("segments", "dense")]
    table(["float32", *grids], by_size(arguments.largest))
    print("### Number of superpixels\n")
    kinds = ("as cells", "as cells, worst cell", "as segments")
    table(["count", *(f"{name}, {kind}" for name in ("float32", "float64") for kind in kinds)], by_count())
    print("### Masses from 1e-30 to 1e30\n")
    kinds = ("segments", "segments, worst cell", "dense", "dense, worst cell")
    table(["dtype", "ε", *kinds], by_magnitude())
    print("### Ends of the range\n")
    table(["coarse map", "D1 residual"], by_extreme(arguments.largest), align="---")


if __name__ == "__main__":
    main()
