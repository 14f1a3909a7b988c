"""The small networks that are trained on shapes (paper, supplement E), and a vision transformer."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from itertools import chain, pairwise
from typing import Any

import torch
from torch import Tensor, nn

# Between the grey levels of backgrounds and figures, see `usu.worlds.drawings`.
_MID_GREY = 0.45


def cnn(classes: int = 3) -> nn.Module:
    """Three blocks of a 5 × 5 convolution, ReLU and 2 × 2 max-pooling; average pooling to 4 × 4; two layers.

    Takes (B, 1, H, W), returns logits (B, classes). The last layer with cells is the third convolution's.

    The first convolution starts as a threshold at mid-grey on each pixel, with a tenth of the usual noise
    around it. From the usual start it learns edges, which depend as much on the background as on the figure,
    and no penalty on gradients leads away from them: the best share inside was 0.53.
    """
    blocks: list[Any] = []
    for before, after in ((1, 16), (16, 32), (32, 64)):
        blocks += [nn.Conv2d(before, after, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)]
    head = nn.Sequential(nn.Flatten(), nn.Linear(64 * 4 * 4, 128), nn.ReLU(), nn.Linear(128, classes))
    first = blocks[0]
    with torch.no_grad():
        heights = torch.empty(len(first.weight)).uniform_(0.3, 1.0)
        first.weight.mul_(0.1)[:, 0, 2, 2] += heights
        first.bias.copy_(-_MID_GREY * heights)
    parts = {"features": nn.Sequential(*blocks), "pool": nn.AdaptiveAvgPool2d(4), "head": head}
    return nn.Sequential(OrderedDict(parts))


def mlp(classes: int = 3, size: int = 224) -> nn.Module:
    """Two hidden layers of 256 and 64 units: takes (B, 1, size, size), returns logits (B, classes)."""
    widths = (size * size, 256, 64)
    layers = [[nn.Linear(before, after), nn.ReLU()] for before, after in pairwise(widths)]
    return nn.Sequential(nn.Flatten(), *chain(*layers), nn.Linear(widths[-1], classes))


class _Block(nn.Module):
    """Self-attention and a two-layer network, each after a norm and with a skip connection."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.projections = nn.Linear(width, 3 * width)
        self.joined = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        batch, count, width = tokens.shape
        parts = self.projections(self.attention_norm(tokens))
        queries, keys, values = parts.view(batch, count, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        # Written out: fused attention cannot be differentiated twice, as a penalty on gradients asks.
        weights = (queries @ keys.transpose(-2, -1) * queries.shape[-1] ** -0.5).softmax(-1)
        mixed = (weights @ values).transpose(1, 2).reshape(batch, count, width)
        tokens = tokens + self.joined(mixed)
        refined: Tensor = tokens + self.mlp(tokens)
        return refined


class ViT(nn.Module):
    """A small vision transformer: 16 × 16 patches, three blocks of width 64, the mean of all tokens.

    Takes (B, 1, size, size), returns logits (B, classes).
    """

    def __init__(self, classes: int = 3, size: int = 224, width: int = 64) -> None:
        super().__init__()
        side = size // 16
        self.patches = nn.Conv2d(1, width, 16, stride=16)
        self.positions = nn.Parameter(0.02 * torch.randn(1, side * side, width))
        self.blocks = nn.Sequential(*(_Block(width, heads=4) for _ in range(3)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, batch: Tensor) -> Tensor:
        """Return the logits of a batch."""
        tokens = self.patches(batch).flatten(2).transpose(1, 2) + self.positions
        logits: Tensor = self.head(self.norm(self.blocks(tokens)).mean(1))
        return logits


# By name, from the number of classes and the pixels of a side.
NETWORKS: dict[str, Callable[[int, int], nn.Module]] = {
    "cnn": lambda classes, size: cnn(classes),
    "mlp": mlp,
    "vit": ViT,
}
