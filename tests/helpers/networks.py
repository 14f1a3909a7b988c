"""Networks small enough for tests, in evaluation mode and with seeded weights."""

import torch
from torch import nn


def small_cnn(classes: int = 5) -> nn.Sequential:
    """Two convolutions, global average pooling, one linear layer: 16 × 16 pixels to 4 × 4 cells."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 12, 3, stride=2, padding=1),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(12, classes),
    ).eval()


class SmallViT(nn.Module):
    """Patches of 4 × 4 pixels and a class token, two attention blocks, a head on the class token."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.patches = nn.Conv2d(3, 16, 4, stride=4)
        self.token = nn.Parameter(torch.randn(1, 1, 16))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, norm_first=True) for _ in range(2)
        )
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, classes)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        tokens = self.patches(batch).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(batch), -1, -1), tokens], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        return self.head(self.norm(tokens)[:, 0])


class Residual(nn.Module):
    """A block whose sum and ReLU overwrite what its batch norm gave, or else make new tensors."""

    def __init__(self, in_place: bool, classes: int = 5) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 12, 3, stride=4, padding=1)
        self.second = nn.Conv2d(12, 12, 3, padding=1)
        self.norm = nn.BatchNorm2d(12)
        nn.init.normal_(self.norm.bias)
        self.head = nn.Linear(12, classes)
        self.in_place = in_place

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        shortcut = self.first(batch)
        cells = self.norm(self.second(shortcut))
        if self.in_place:
            cells += shortcut
            cells.relu_()
        else:
            cells = (cells + shortcut).relu()
        return self.head(cells.mean((2, 3)))


class Normalising(nn.Module):
    """A network that normalises its inputs, in place or not, and hands them to another."""

    def __init__(self, inner: nn.Module, in_place: bool) -> None:
        super().__init__()
        self.inner, self.in_place = inner, in_place

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return self.inner(batch.sub_(0.5).div_(0.25) if self.in_place else (batch - 0.5) / 0.25)


def fingerprint(model: nn.Module) -> list[object]:
    """Return all that explaining must leave as it was: mode, hooks, gradients, weights, buffers."""
    modules = [
        (
            module.training,
            len(module._forward_hooks),
            len(module._forward_pre_hooks),
            len(module._backward_hooks),
        )
        for module in model.modules()
    ]
    parameters = [
        (p.requires_grad, None if p.grad is None else p.grad.clone().tolist(), p.detach().sum().item())
        for p in model.parameters()
    ]
    return [modules, parameters, [buffer.sum().item() for buffer in model.buffers()]]
