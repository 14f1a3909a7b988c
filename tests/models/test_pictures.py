"""Resizing, cropping, normalising and blurring: bit for bit what torchvision gives, which is not imported."""

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as reference
from PIL import Image
from torchvision.models import ResNet18_Weights
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

from tests.test_imports import loaded_after
from usu.models import pictures
from usu.models.classifier import Preparation
from usu.models.placement import Placement

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def noise(height, width):
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("size", [(39, 60), (60, 39), (40, 40), (31, 37)])
@pytest.mark.parametrize(("shorter", "crop"), [(32, (24, 28)), (20, (33, 28)), (40, (40, 41))])
@pytest.mark.parametrize("way", [InterpolationMode.BICUBIC, InterpolationMode.NEAREST_EXACT])
def test_a_photograph_is_prepared_as_by_torchvision(size, shorter, crop, way):
    image = noise(*size)
    geometry = Compose([Resize(shorter, way, antialias=True), CenterCrop(crop)])
    picture = reference.to_tensor(geometry(image))
    prepare = Preparation(shorter, crop, MEAN, STD, way)
    for found in (prepare(image), Preparation(shorter, crop, MEAN, STD, way.value)(image)):
        torch.testing.assert_close(found[0], reference.normalize(picture, MEAN, STD), rtol=0, atol=0)
        torch.testing.assert_close(found[1], picture, rtol=0, atol=0)
    assert prepare.placement(image) == Placement.of(geometry, image)


@pytest.mark.parametrize("kernel", [[1, 21], [13, 1], [5, 7]])
def test_blur_is_torchvisions(kernel):
    batch = torch.randn(2, 3, 40, 30, generator=torch.Generator().manual_seed(0))
    expected = reference.gaussian_blur(batch, kernel, [2.5, 3.1])
    torch.testing.assert_close(pictures.gaussian_blur(batch, kernel, [2.5, 3.1]), expected, rtol=0, atol=0)


def test_class_names_are_torchvisions():
    assert pictures.imagenet_class_names() == tuple(ResNet18_Weights.DEFAULT.meta["categories"])


def test_an_explanation_loads_neither_torchvision_nor_a_compiler_nor_pytorch_grad_cam():
    program = """
import torch, usu
from torch import nn
from usu.models import load_classifier
assert load_classifier("efficientnet-lite0").class_names[281] == "tabby"
torch.manual_seed(0)
model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
usu.explain(model.eval(), torch.rand(3, 16, 16), segmentation={"slic": (2, 4)})
print(*(name.replace("._dynamo", "-compiler") for name in sys.modules if name == "torch._dynamo"))
"""
    loaded = loaded_after("import sys\n" + program)
    assert "torch" in loaded
    assert loaded.isdisjoint({"torch-compiler", "torchvision", "pytorch_grad_cam", "pandas", "sklearn"})
