"""Random small architectures: usu's coarse map against Grad-CAM by hand, or an error that says what to pass.

    python -m benchmarks.robustness.architectures [--models 300] [--seed 0]

Each network knows itself which token is which cell, and works its Grad-CAM out of that with autograd alone.
What usu gives by default must be the same map for the layer that it names, in the image's order; otherwise it
must raise ValueError with what to do. The last line counts: "300 of 300: right or refused".
"""

from __future__ import annotations

import argparse
import random
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from usu.sources.registry import find_source

CLASSES = 4
TARGET = 2


@dataclass(frozen=True)
class Case:
    """A network, images, and how cells (B, C, gh, gw) are taken from what its layers give.

    Attributes:
        kind: of architecture.
        model: the network.
        inputs: (B, 3, H, W).
        cells: from a layer's name and its output.
        run: of the layers that counts; None if it must be asked for.
        words: what an error must name, if the network is to be refused.
    """

    kind: str
    model: nn.Module
    inputs: Tensor
    cells: Callable[[str, Tensor], Tensor]
    run: int | None = 0
    words: str = ""


class Convolutional(nn.Module):
    """Convolutions of random strides and kernels, pooling and a linear layer."""

    def __init__(self, draw: random.Random) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = 3
        for _ in range(draw.randint(2, 3)):
            wide, kernel = draw.choice((5, 8, 12)), draw.choice((1, 3, 5))
            layers.append(
                nn.Conv2d(width, wide, kernel, draw.choice((1, 2, 2)), draw.choice((0, kernel // 2)))
            )
            layers += [nn.BatchNorm2d(wide)] if draw.random() < 0.5 else []
            layers.append(draw.choice((nn.ReLU(), nn.GELU(), nn.ReLU(inplace=True))))
            width = wide
        layers += [nn.MaxPool2d(2)] if draw.random() < 0.3 else []
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, batch: Tensor) -> Tensor:
        """Return (B, classes)."""
        return self.head(self.features(batch).mean((2, 3)))


class Attending(nn.Module):
    """A transformer of random patches, with tokens before, after and among its patches, in random order."""

    def __init__(self, draw: random.Random, size: tuple[int, int]) -> None:
        super().__init__()
        width, self.patch = 16, draw.choice((4, 5, 8))
        self.sequence_first, self.pads = draw.random() < 0.4, draw.random() < 0.5
        self.prefix, self.suffix = draw.choice((0, 1, 1, 2, 5)), draw.choice((0, 0, 0, 3, 7))
        self.pooled = self.prefix == 0 or draw.random() < 0.4
        sides = [-(-side // self.patch) if self.pads else side // self.patch for side in size]
        self.grid = (sides[0], sides[1])
        cells = sides[0] * sides[1]
        self.order = list(range(cells))
        if draw.random() < 0.4:
            draw.shuffle(self.order)
        self.patches = nn.Conv2d(3, width, self.patch, self.patch)
        self.before = nn.Parameter(torch.randn(1, self.prefix, width))
        self.after = nn.Parameter(torch.randn(1, self.suffix, width))
        self.place = nn.Parameter(0.3 * torch.randn(1, cells, width))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, 2, 24, batch_first=not self.sequence_first, norm_first=draw.random() < 0.7
            )
            for _ in range(draw.randint(1, 3))
        )
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, CLASSES)

    def forward(self, batch: Tensor) -> Tensor:
        """Return (B, classes)."""
        if self.pads:
            height, width = (-side % self.patch for side in batch.shape[-2:])
            batch = nn.functional.pad(batch, (0, width, 0, height))
        tokens = (self.patches(batch).flatten(2).transpose(1, 2) + self.place)[:, self.order]
        count = len(batch)
        tokens = torch.cat([self.before.expand(count, -1, -1), tokens, self.after.expand(count, -1, -1)], 1)
        tokens = tokens.transpose(0, 1) if self.sequence_first else tokens
        for block in self.blocks:
            tokens = block(tokens)
        tokens = self.norm(tokens)
        tokens = tokens.transpose(0, 1) if self.sequence_first else tokens
        read = tokens.mean(1) if self.pooled else tokens[:, 0]
        return self.head(read)

    def cells(self, name: str, output: Tensor) -> Tensor:
        """Return the cells (B, C, gh, gw) of one of its layers."""
        if output.dim() == 4:
            return output
        rows = output.transpose(0, 1) if self.sequence_first else output
        inside = rows[:, self.prefix : rows.shape[1] - self.suffix]
        at = torch.empty(len(self.order), dtype=torch.long)
        at[torch.tensor(self.order)] = torch.arange(len(self.order))
        return inside[:, at].transpose(1, 2).unflatten(2, self.grid)


class Pair(nn.Module):
    """A backbone that also looks at a second image, which is fixed, before or after the first."""

    def __init__(self, backbone: nn.Module, second: Tensor, first: bool) -> None:
        super().__init__()
        self.backbone, self.first = backbone, first
        self.register_buffer("second", second)

    def forward(self, batch: Tensor) -> Tensor:
        """Return (B, classes): how alike the two are."""
        if self.first:
            other, own = self.backbone(self.second), self.backbone(batch)
        else:
            own, other = self.backbone(batch), self.backbone(self.second)
        return own * other + own


class Crops(nn.Module):
    """A backbone that looks at the image and at a part of it, or at its mirror image."""

    def __init__(self, backbone: nn.Module, mirrored: bool) -> None:
        super().__init__()
        self.backbone, self.mirrored = backbone, mirrored

    def forward(self, batch: Tensor) -> Tensor:
        """Return (B, classes)."""
        height, width = batch.shape[-2:]
        other = batch.flip(-1) if self.mirrored else batch[..., height // 4 :, width // 4 :]
        return self.backbone(batch) + self.backbone(other)


def drawn(draw: random.Random) -> Case:
    """Return a random network and images that it takes."""
    while True:
        case = _tried(draw)
        try:
            with torch.no_grad():
                case.model(case.inputs)
        except RuntimeError:  # nothing is left of such small images
            continue
        return case


def _tried(draw: random.Random) -> Case:
    torch.manual_seed(draw.randrange(2**31))
    size = (draw.randint(24, 56), draw.randint(24, 56))
    inputs = torch.randn(draw.choice((1, 2, 3)), 3, *size)
    kind = draw.choice(("convolutional", "attending", "attending", "pair", "crops"))
    if kind == "convolutional" or (kind != "attending" and draw.random() < 0.6):
        model: nn.Module = Convolutional(draw)
        cells: Callable[[str, Tensor], Tensor] = lambda name, output: output  # noqa: E731
    else:
        model = Attending(draw, size)
        cells = model.cells
    run: int | None = 0
    words = ""
    if kind == "pair":
        first = draw.random() < 0.5
        model, run = Pair(model, torch.randn(1, 3, *size), first), int(first)
    elif kind == "crops":
        model, run, words = Crops(model, draw.random() < 0.5), None, "run="
        if isinstance(model.backbone, Attending):
            model.mirrored = True  # its places are of one size
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.running_mean, std=0.2)
    return Case(kind, model.eval(), inputs, cells, run, words)


def by_hand(case: Case, layer: str, run: int) -> Tensor:
    """Return Grad-CAM (B, gh, gw) of a run of a layer: activations weighted by their cells' mean gradient."""
    outputs: list[Tensor] = []

    def keep(_: nn.Module, __: Any, output: Tensor) -> Tensor:
        outputs.append(output)
        return output.clone()

    with case.model.get_submodule(layer).register_forward_hook(keep):
        answer = case.model(case.inputs.clone().requires_grad_())[:, TARGET].sum()
    (slope,) = torch.autograd.grad(answer, outputs[run])
    activations, gradients = case.cells(layer, outputs[run].detach()), case.cells(layer, slope)
    return (gradients.mean((2, 3), keepdim=True) * activations).sum(1)


def outcome(case: Case) -> str:
    """Return "right", or "refused" or "WRONG" with the reason."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = find_source("gradcam")(case.model, case.inputs, [TARGET] * len(case.inputs), None)
        except ValueError as problem:
            text = str(problem)
            says = (
                case.words in text
                if case.words
                else any(word in text for word in ("tokens=", "run=", "name ", "layer"))
            )
            return f"refused: {text}" if says else f"WRONG: {text}"
    if case.run is None:
        return "WRONG: a run was taken without asking"
    expected = by_hand(case, str(found.layer), case.run)
    if expected.shape != found.values.shape:
        return f"WRONG: {tuple(found.values.shape)} for {tuple(expected.shape)}"
    gap = float((found.values - expected).abs().max())
    scale = float(expected.abs().max())
    return (
        "right"
        if gap <= 1e-4 * scale + 1e-9
        else f"WRONG: off by {gap / max(scale, 1e-30):.2g} of the largest"
    )


def main() -> None:
    """Draw networks, compare, and count."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=int, default=300, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="S")
    arguments = parser.parse_args()
    draw, counts = random.Random(arguments.seed), Counter[tuple[str, str]]()
    for number in range(arguments.models):
        case = drawn(draw)
        verdict = outcome(case)
        counts[case.kind, verdict.split(":")[0]] += 1
        if verdict != "right" and case.run is not None:
            print(f"{number} {case.kind}: {verdict}")
    for (kind, verdict), count in sorted(counts.items()):
        print(f"{kind}: {count} {verdict}")
    fine = sum(count for (_, verdict), count in counts.items() if verdict != "WRONG")
    print(f"{fine} of {arguments.models}: right or refused")


if __name__ == "__main__":
    main()
