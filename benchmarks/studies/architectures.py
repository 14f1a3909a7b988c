"""Which architectures give a coarse map of which layer, and whether its cells lie where the image has them.

    OMP_NUM_THREADS=1 python -m benchmarks.studies.architectures [--again] [--names vit_tiny_patch16_224]

Networks of timm and Hugging Face, with seeded random weights, on a square picture and on one that is not.
HiResCAM of the layer that usu takes by default is compared with the activations and gradients of that layer,
read by hand: each cell's value must be that of one position of the output, and no position may stand for two
cells. Then one cell of the picture at a time is changed, and the position of that cell must move most. Both
are done without what usu knows of the layout. Where random attention drowns everything else, the change is
followed once more with the modules that mix tokens giving 0. A network that is refused stands in the table
with usu's words.

A run measures what is missing in results/architectures.json, saves after each network, and draws the section
of docs/sources-table.md from all of the file.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from benchmarks.performance.sources import ARCHITECTURES, RESULTS, TABLE
from benchmarks.studies.networks import BUILDERS
from usu.models.contexts import differentiable
from usu.runtime.files import written_whole
from usu.sources.registry import find_source

FOUND = RESULTS.with_name("architectures.json")
KINDS = ("square", "not square")
TARGET = 1
CELLS = 12  # tested on each picture
DRAWS = 4  # of the change of a cell

Entry: TypeAlias = "dict[str, Any]"
# Of each cell the axis of channels in a layer's output, and the position among the others.
Places: TypeAlias = "list[tuple[int, int]]"


def measure(name: str, kind: str) -> Entry:
    """Return what usu gives for a network on a picture of a kind, and whether it is right."""
    torch.manual_seed(0)
    try:
        model, size = BUILDERS[name](kind)
    except Exception as problem:  # the table says what the network takes
        return {"size": None, "verdict": "takes none", "words": words(problem)}
    inputs = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(1)).double()
    model = model.double()  # so that no two positions have one value
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
    module = model.get_submodule(layer)
    with differentiable(model):
        outputs, answer = ran(model, inputs.clone().requires_grad_(), module)
        slopes = torch.autograd.grad(answer[0, TARGET], outputs, allow_unused=True)
    products = [
        (run, (output * slope).detach())
        for run, (output, slope) in enumerate(zip(outputs, slopes, strict=True))
        if slope is not None
    ]
    fitting = [(run, places) for run, product in products if (places := matched(product, values))]
    if not fitting:
        return {"verdict": "WRONG", "words": "the values are not those of the layer's positions"}
    run, places = fitting[-1]
    found = located(model, inputs, module, run, places, values.shape)
    if not found["right"]:
        with silenced(model):
            again = located(model, inputs, module, run, places, values.shape)
        found = {**again, "silenced": True} if again["right"] else found
    return {"verdict": "right" if found.pop("right") else "WRONG", **found}


def ran(model: nn.Module, batch: Tensor, module: nn.Module) -> tuple[list[Tensor], Tensor]:
    """Return what a layer gives in each of its runs, and the model's outputs."""
    outputs: list[Tensor] = []

    def keep(_: nn.Module, __: Any, output: Tensor) -> Tensor:
        outputs.append(output)
        return output.clone()  # what follows may work in place

    with module.register_forward_hook(keep):
        answer = model(batch.clone())
    return outputs, answer


@contextmanager
def silenced(model: nn.Module) -> Iterator[None]:
    """Let the modules that mix tokens, by their names, give 0: cells see by the residual paths alone."""

    def silence(_: nn.Module, __: Any, output: Any) -> Any:
        if isinstance(output, Tensor):
            return output * 0
        return (output[0] * 0, *output[1:])

    with ExitStack() as hooks:
        for name, module in model.named_modules():
            if re.fullmatch(r"attn\d*|attention|token_mixer|self_attn|mixer|attn_conv", name.split(".")[-1]):
                hooks.enter_context(module.register_forward_hook(silence))
        yield


def located(
    model: nn.Module, inputs: Tensor, module: nn.Module, run: int, places: Places, grid: torch.Size
) -> Entry:
    """Return whether the positions of cells move as those cells of the picture are changed."""
    cells = random.Random(0).sample(range(len(places)), min(CELLS, len(places)))
    sides = [
        [number * side // count for number in range(count + 1)]
        for count, side in zip(grid, inputs.shape[-2:], strict=True)
    ]
    axis, order = places[0][0], [place for _, place in places]
    shares: Any = 0
    for draw in range(DRAWS):
        batch = inputs.repeat(1 + len(cells), 1, 1, 1)
        noise = torch.randn(inputs.shape, generator=torch.Generator().manual_seed(2 + draw))[0].to(inputs)
        for own, cell in zip(batch[1:], cells, strict=True):
            row, column = divmod(cell, grid[1])
            box = (slice(None), slice(*sides[0][row : row + 2]), slice(*sides[1][column : column + 2]))
            own[box] += noise[box]
        with torch.no_grad():
            output = ran(model, batch, module)[0][run]
        at = output.movedim(axis, -1).flatten(1, -2)[:, order]
        moved = (at[1:] - at[:1]).square().sum(-1)
        shares = shares + moved / moved.sum(1, keepdim=True).clamp(min=1e-30)
    # What moves whatever is changed says nothing of a cell.
    excess = (shares / shares.mean(0).clamp(min=1e-30)).unflatten(1, tuple(grid))
    true = torch.tensor([divmod(cell, grid[1]) for cell in cells], dtype=torch.float32)
    found = [centre(one) for one in excess]
    largest = torch.tensor([place for place, _ in found], dtype=torch.float32)
    means = torch.tensor([mean for _, mean in found])
    exact = float(((largest - true).abs().amax(1) == 0).float().mean())
    along = [likeness(means[:, axis], true[:, axis]) for axis in (0, 1)]
    return {"right": exact >= 0.9 or min(along) >= 0.7, "own": round(exact, 2), "along": along}


def matched(products: Tensor, values: Tensor) -> Places | None:
    """Return for each cell the axis of channels and the position whose sum over channels it is."""
    for axis in range(1, products.dim()) if products.shape[0] == 1 else (2,):
        sums = products.detach().sum(axis).flatten()
        if sums.numel() < values.numel():
            continue
        gaps = (values.flatten()[:, None] - sums).abs()
        nearest = gaps.argmin(1)
        close = gaps.gather(1, nearest[:, None]).max() <= 1e-9 * values.abs().max()
        if close and nearest.unique().numel() == values.numel():
            return [(axis, place) for place in nearest.tolist()]
    return None


def centre(excess: Tensor) -> tuple[tuple[int, int], list[float]]:
    """Return the cell (row, column) of the largest value of (gh, gw), and the mean (row, column) of all."""
    weights = excess / excess.sum().clamp(min=1e-30)
    means = [float((weights.sum(1 - axis) * torch.arange(excess.shape[axis])).sum()) for axis in (0, 1)]
    return divmod(int(excess.argmax()), excess.shape[1]), means


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
            ARCHITECTURES,
            "",
            f"The layer that usu takes by default in {len(rows)} networks of timm and Hugging Face "
            "(`hf:`), on a square picture",
            "and on one that is not, and whether its cells are right: HiResCAM's values are those of the "
            "layer's own",
            "positions, read by hand, and as one cell of the picture is changed, its own position moves "
            "most. Weights are",
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
    page = TABLE.read_text().split(ARCHITECTURES)[0].rstrip()
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
