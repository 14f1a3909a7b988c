"""Networks of the nine configurations that no zoo has, without weights: network cards name them."""

from __future__ import annotations

import torchvision
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn
from torch.nn.functional import pad, relu


class Pooled(nn.Module):
    """A trunk of convolutions, the mean of its last maps, and a linear layer: Grad-CAM's original case."""

    def __init__(self, features: nn.Module, width: int, classes: int) -> None:
        super().__init__()
        self.features, self.pool, self.head = features, nn.AdaptiveAvgPool2d(1), nn.Linear(width, classes)

    def forward(self, batch: Tensor) -> Tensor:
        """Return the outputs (B, classes) for (B, 3, H, W)."""
        outputs: Tensor = self.head(self.pool(self.features(batch)).flatten(1))
        return outputs


def vgg16(classes: int) -> Pooled:
    """Return VGG16's convolutions up to the last pooling, which is left out: cells of 16 pixels."""
    features = torchvision.models.vgg16(weights=None, init_weights=False).features
    return Pooled(features[:-1], 512, classes)


def efficientnet_lite0(classes: int) -> nn.Module:
    """Return EfficientNet-Lite0 with another number of classes."""
    network: nn.Module = EfficientNet.from_name("efficientnet-lite0", num_classes=classes)
    return network


class Residual(nn.Module):
    """Two 3 × 3 convolutions beside a shortcut without weights (He et al., 2016, option A)."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.stride, self.more = stride, (width - before) // 2

    def forward(self, maps: Tensor) -> Tensor:
        """Return the maps (B, width, h, w); the shortcut is subsampled and padded with maps of zeros."""
        found = self.bn2(self.conv2(relu(self.bn1(self.conv1(maps)))))
        shortcut = maps[..., :: self.stride, :: self.stride]
        return relu(found + pad(shortcut, (0, 0, 0, 0, self.more, self.more)))


class CifarResNet(nn.Module):
    """He et al.'s residual network for CIFAR-10: three stages of `blocks` blocks, 6 · blocks + 2 layers."""

    def __init__(self, blocks: int, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(16, 16, 1, blocks)
        self.layer2 = _stage(16, 32, 2, blocks)
        self.layer3 = _stage(32, 64, 2, blocks)
        self.linear = nn.Linear(64, classes)

    def forward(self, batch: Tensor) -> Tensor:
        """Return the outputs (B, classes) for (B, 3, H, W)."""
        maps = relu(self.bn1(self.conv1(batch)))
        maps = self.layer3(self.layer2(self.layer1(maps)))
        outputs: Tensor = self.linear(maps.mean((2, 3)))
        return outputs


def _stage(before: int, width: int, stride: int, blocks: int) -> nn.Sequential:
    first = Residual(before, width, stride)
    return nn.Sequential(first, *(Residual(width, width, 1) for _ in range(blocks - 1)))


def cifar_resnet(depth: int, classes: int = 10) -> CifarResNet:
    """Return the network of 20, 32, 44, 56 or 110 layers."""
    return CifarResNet((depth - 2) // 6, classes)
