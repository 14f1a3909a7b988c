"""Which architectures give a coarse map of which layer, and whether its cells lie where the image has them.

    OMP_NUM_THREADS=1 python -m benchmarks.studies.architectures [--again] [--names vit_tiny_patch16_224]

Networks of timm and Hugging Face, with seeded random weights, on a square picture and on one that is not.
HiResCAM of the layer that usu takes by default is compared with the activations and gradients of that layer,
read by hand: each cell's value must be that of one position of the output, and no position may stand for two
cells. Then the gradient of that position by the image must be largest in the cell itself. Both are taken
without what usu knows of the layout. A network that is refused stands in the table with usu's words.

A run measures what is missing in results/architectures.json, saves after each network, and draws the section
of docs/sources-table.md from all of the file.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import warnings
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from benchmarks.performance.sources import RESULTS, TABLE
from benchmarks.studies.networks import BUILDERS
from usu.models.contexts import differentiable
from usu.runtime.files import written_whole
from usu.sources.registry import find_source

FOUND = RESULTS.with_name("architectures.json")
HEADING = "## Architectures"
KINDS = ("square", "not square")
TARGET = 1
CELLS = 12  # tested on each picture

Entry: TypeAlias = "dict[str, Any]"


def measure(name: str, kind: str) -> Entry:
    """Return what usu gives for a network on a picture of a kind, and whether it is right."""
    torch.manual_seed(0)
    try:
        model, size = BUILDERS[name](kind)
    except Exception as problem:  # the table says what the network takes
        return {"size": None, "verdict": "takes none", "words": words(problem)}
    inputs = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(1))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            found = find_source("hirescam")(model, inputs, [TARGET], None)
        except ValueError as problem:
            return {"size": size, "verdict": "refused", "words": words(problem)}
    entry = {
        "size": size,
        "layer": found.layer,
        "grid": tuple(found.values.shape[1:]),
        "passes": found.forward_passes[0],
        "warned": any("patch embedding" in str(one.message) for one in told),
    }
    return {**entry, **judged(model, inputs, found.layer, found.values[0])}


def words(problem: Exception) -> str:
    """Return an error's first line."""
    return f"{type(problem).__name__}: {' '.join(str(problem).split())}"[:220]


def judged(model: nn.Module, inputs: Tensor, layer: Any, values: Tensor) -> Entry:
    """Return the verdict on the cells of a layer's map (gh, gw), found by hand."""
    leaf = inputs.clone().requires_grad_()
    outputs: list[Tensor] = []
    module = model.get_submodule(layer)

    def keep(_: nn.Module, __: Any, output: Tensor) -> Tensor:
        outputs.append(output)
        return output.clone()  # what follows may work in place

    with module.register_forward_hook(keep), differentiable(model):
        answer = model(leaf.clone())[0, TARGET]
        output = outputs[-1]
        (gradient,) = torch.autograd.grad(answer, output, retain_graph=True)
        places = matched(output * gradient, values)
        if places is None:
            return {"verdict": "WRONG", "words": "the values are not those of the layer's positions"}
        cells = random.Random(0).sample(range(values.numel()), min(CELLS, values.numel()))
        found = torch.stack([centre(leaf, at(output, *places[cell]), values.shape) for cell in cells])
    true = torch.tensor([divmod(cell, values.shape[1]) for cell in cells], dtype=torch.float32)
    own = float(((found[:, :2] - true).abs().amax(1) == 0).float().mean())
    along = [likeness(found[:, 2 + axis], true[:, axis]) for axis in (0, 1)]
    right = own >= 0.9 or min(along) >= 0.7
    return {"verdict": "right" if right else "WRONG", "own": round(own, 2), "along": along}


def matched(products: Tensor, values: Tensor) -> list[tuple[int, int]] | None:
    """Return for each cell the axis of channels and the position whose sum over channels it is."""
    for axis in range(1, products.dim()) if products.shape[0] == 1 else (2,):
        sums = products.detach().sum(axis).flatten()
        if sums.numel() < values.numel():
            continue
        gaps = (values.flatten()[:, None] - sums).abs()
        nearest = gaps.argmin(1)
        close = gaps.gather(1, nearest[:, None]).max() <= 1e-4 * values.abs().max()
        if close and nearest.unique().numel() == values.numel():
            return [(axis, place) for place in nearest.tolist()]
    return None


def at(output: Tensor, axis: int, place: int) -> Tensor:
    """Return the channels at one position of an output."""
    return output.movedim(axis, -1).flatten(0, -2)[place]


def centre(leaf: Tensor, channels: Tensor, grid: torch.Size) -> Tensor:
    """Return the cell (row, column) on which channels depend most, and the mean (row, column) of all, (4,)."""
    generator = torch.Generator().manual_seed(0)
    energy = torch.zeros(leaf.shape[-2:])
    for _ in range(4):
        weights = torch.randn(channels.shape, generator=generator)
        (slope,) = torch.autograd.grad((channels * weights).sum(), leaf, retain_graph=True)
        energy += slope[0].square().sum(0)
    pooled = nn.functional.adaptive_avg_pool2d(energy[None, None], tuple(grid))[0, 0]
    shares = pooled / pooled.sum()
    row, column = divmod(int(pooled.argmax()), grid[1])
    means = [(shares.sum(1 - axis) * torch.arange(grid[axis])).sum() for axis in (0, 1)]
    return torch.tensor([row, column, *means])


def likeness(found: Tensor, true: Tensor) -> float:
    """Return the correlation of where channels depend on the image with where their cells are."""
    if float(true.std()) == 0:
        return 1.0
    return round(float(torch.corrcoef(torch.stack([found, true]))[0, 1]), 2)


def section(entries: dict[str, dict[str, Entry]]) -> str:
    """Return the section of the page: a row for each network, then the refusals in full."""
    counts = [one["verdict"] for entry in entries.values() for one in entry.values()]
    notes: list[str] = []
    rows = [
        f"| `{name}` | {' | '.join(described(entries[name].get(kind), notes) for kind in KINDS)} |"
        for name in BUILDERS
        if name in entries
    ]
    tally = ", ".join(f"{counts.count(verdict)} {verdict}" for verdict in dict.fromkeys(sorted(counts)))
    return "\n".join(
        [
            HEADING,
            "",
            f"The layer that usu takes by default in {len(rows)} networks of timm and Hugging Face (`hf:`), on a "
            "square picture",
            "and on one that is not, and whether its cells are right: HiResCAM's values are those of the layer's "
            "own",
            "positions, read by hand, and each position depends most on its own cell of the picture, by its "
            "gradient. Weights are",
            f"random, of seed 0. Of {len(counts)}: {tally}. Made by `OMP_NUM_THREADS=1 python -m "
            "benchmarks.studies.architectures`.",
            "",
            "| network | square | not square |",
            "| --- | --- | --- |",
            *rows,
            *(["", "In their words:", ""] if notes else []),
            *(f"{number}. {note}" for number, note in enumerate(notes, 1)),
            "",
        ]
    )


def described(entry: Entry | None, notes: list[str]) -> str:
    """Return a cell of the table; words go to the notes below it, once."""
    if entry is None:
        return "not measured"
    said = ""
    if entry.get("words"):
        if entry["words"] not in notes:
            notes.append(entry["words"])
        said = f" ({notes.index(entry['words']) + 1})"
    size = f"{entry['size'][0]} × {entry['size'][1]}: " if entry["size"] else ""
    if "grid" not in entry:
        return f"{size}{entry['verdict']}{said}"
    warned = ", with a warning" if entry["warned"] else ""
    grid = f"{entry['grid'][0]} × {entry['grid'][1]}"
    return f"{size}{grid}, `{entry['layer']}`, {entry['passes']} passes, {entry['verdict']}{said}{warned}"


def save(entries: dict[str, dict[str, Entry]]) -> None:
    """Write the results, and the section at the end of the page."""
    with written_whole(FOUND) as file:
        file.write((json.dumps(entries, indent=1) + "\n").encode())
    page = TABLE.read_text().split(HEADING)[0].rstrip()
    with written_whole(TABLE) as file:
        file.write(f"{page}\n\n{section(entries)}".encode())


def missing(entries: dict[str, dict[str, Entry]], names: list[str], again: bool) -> Iterator[tuple[str, str]]:
    """Yield what is still to be measured."""
    for name in names:
        for kind in KINDS:
            if again or kind not in entries.get(name, {}):
                yield name, kind


def main() -> None:
    """Measure what is missing, save after each, and count."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--names", nargs="+", choices=BUILDERS, default=list(BUILDERS), metavar="NAME")
    parser.add_argument("--again", action="store_true", help="measure what is there already, too")
    arguments = parser.parse_args()
    entries: dict[str, dict[str, Entry]] = json.loads(FOUND.read_text()) if FOUND.exists() else {}
    for name, kind in missing(entries, arguments.names, arguments.again):
        entries.setdefault(name, {})[kind] = measure(name, kind)
        print(name, kind, entries[name][kind], flush=True)
        save(entries)
    save(entries)


if __name__ == "__main__":
    main()
