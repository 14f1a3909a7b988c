"""The source that is taken where none is named."""

import numpy as np
import pytest
import torch
from torchvision.models.swin_transformer import SwinTransformer

import usu
from tests.helpers.networks import SmallViT, small_cnn

FEW = {"segmentation": {"quadtree": (16,)}}


def swin():
    torch.manual_seed(0)
    return SwinTransformer([4, 4], 16, [1, 1], [2, 2], [4, 4], num_classes=5).eval()


@pytest.mark.parametrize(
    ("network", "size", "options", "source"),
    [
        (lambda: SmallViT().eval(), 16, {}, "attention-relevance"),
        (lambda: SmallViT().eval(), 16, {"layer": "blocks.0"}, "gradcam"),
        (swin, 64, {}, "gradcam"),
        (small_cnn, 16, {}, "gradcam"),
    ],
)
def test_it_is_attention_relevance_where_all_tokens_attend(network, size, options, source):
    model, image = network(), torch.randn(3, size, size, generator=torch.Generator().manual_seed(1))
    found = usu.explain(model, image, 1, **options, **FEW)
    expected = usu.explain(model, image, 1, source=source, **options, **FEW)
    assert found.source == source
    np.testing.assert_array_equal(found.coarse, expected.coarse)


def test_a_pass_that_showed_no_use_of_attention_is_counted():
    image = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    costs = [
        [one.forward_passes for one in usu.explain(swin(), image, 1, source=source, **FEW)]
        for source in (None, "gradcam")
    ]
    assert costs[0] == [own + 1 for own in costs[1]]


def test_a_convolutional_network_costs_no_pass_more():
    image = torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(1))
    costs = [
        usu.explain(small_cnn(), image, 1, source=source, **FEW).forward_passes
        for source in (None, "gradcam")
    ]
    assert costs[0] == costs[1]
