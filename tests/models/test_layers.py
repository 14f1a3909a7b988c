"""Finding the layer, and reading cells off its output: channels first, channels last, or tokens."""

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn
from torchvision.models import VisionTransformer
from torchvision.models.convnext import CNBlock
from torchvision.models.swin_transformer import SwinTransformer, SwinTransformerBlock

from tests.helpers.networks import SmallViT, fingerprint, small_cnn
from usu.models.grids import token_grid
from usu.models.layers import SpatialLayer, find_layer
from usu.sources.registry import find_source

SQUARE = (224, 224)


def images(count=1, size=(64, 64)):
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(1))


def vit(**options):
    torch.manual_seed(0)
    shape = {
        "image_size": 64,
        "patch_size": 16,
        "num_layers": 2,
        "num_heads": 2,
        "hidden_dim": 32,
        "mlp_dim": 48,
    }
    model = VisionTransformer(**{**shape, "num_classes": 5, **options}).eval()
    nn.init.normal_(model.heads.head.weight)
    return model


def swin(block=SwinTransformerBlock):
    torch.manual_seed(0)
    return SwinTransformer([4, 4], 16, [1, 2], [2, 4], [4, 4], num_classes=5, block=block).eval()


def timm_model(name, **options):
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    return timm.create_model(name, num_classes=5, **options).eval()


def tiny_deit(**options):
    return timm_model("deit_tiny_patch16_224", **{"img_size": 64, "depth": 2, "embed_dim": 48, **options})


@settings(max_examples=50)
@given(
    rows=st.integers(2, 20),
    columns=st.integers(2, 20),
    prefix=st.sampled_from([0, 1, 2, 4, 5, 8, 9, 10]),
    patch=st.sampled_from([8, 14, 16]),
)
def test_tokens_find_their_grid(rows, columns, prefix, patch):
    found = token_grid(prefix + rows * columns, (rows * patch, columns * patch))
    if rows * columns > 100:  # then no other grid of the same proportions is within ten tokens
        assert found == (rows, columns)
    elif found is not None:
        assert found[0] * columns == found[1] * rows


@pytest.mark.parametrize(
    ("tokens", "size", "grid"),
    [
        (196, SQUARE, (14, 14)),
        (197, SQUARE, (14, 14)),
        (198, SQUARE, (14, 14)),
        (1 + 4 + 196, SQUARE, (14, 14)),
        (1 + 8 + 196, SQUARE, (14, 14)),
        (1 + 14 * 7, (224, 112), (14, 7)),
        (1 + 7 * 14, (112, 224), (7, 14)),
        (1 + 4 + 16 * 10, (256, 160), (16, 10)),
        (195, SQUARE, None),
        (1 + 14 * 7, SQUARE, None),
        (19, SQUARE, None),  # not ten tokens before nine patches
        (1, SQUARE, None),
    ],
)
def test_grids_of_tokens(tokens, size, grid):
    assert token_grid(tokens, size) == grid


def layer(module=None):
    return SpatialLayer("some", nn.Identity() if module is None else module)


@pytest.mark.parametrize(
    ("shape", "size", "last"),
    [
        ((512, 7, 7), SQUARE, False),
        ((7, 7, 768), SQUARE, True),
        ((14, 7, 768), (224, 112), True),
        ((768, 14, 7), (224, 112), False),
        ((7, 14, 7), (112, 224), True),  # seven channels
        ((7, 14, 7), (224, 112), False),
        ((8, 7, 256), (250, 200), True),  # 7.8 × 6.25, rounded up
        ((256, 8, 7), (250, 200), False),
        ((64, 112, 75), (224, 150), False),
        ((56, 38, 96), (224, 150), True),
    ],
)
def test_axes_of_cells_are_those_with_the_inputs_proportions(shape, size, last):
    output = torch.arange(2 * np.prod(shape)).reshape(2, *shape)
    expected = output.permute(0, 3, 1, 2) if last else output
    assert torch.equal(layer().grid_of(output, size), expected)


@pytest.mark.parametrize(
    ("module", "last"),
    [
        (nn.Linear(3, 8), True),
        (nn.LayerNorm(8), True),
        (nn.Sequential(nn.Conv2d(3, 8, 4), nn.LayerNorm(8)), True),
        (SwinTransformerBlock(8, 2, [4, 4], [0, 0]), True),
        (nn.Conv2d(3, 8, 3), False),
        (nn.BatchNorm2d(8), False),
        (nn.ReLU(), False),
        (nn.Linear(3, 16), False),
        (CNBlock(8, 1.0, 0.0), False),
        (torchvision.ops.Permute([0, 3, 1, 2]), False),
    ],
)
def test_where_all_three_axes_are_alike_the_module_decides(module, last):
    output = torch.arange(2 * 8**3).reshape(2, 8, 8, 8)
    expected = output.permute(0, 3, 1, 2) if last else output
    assert torch.equal(layer(module).grid_of(output, (32, 32)), expected)


def test_the_module_decides_as_its_output_does():
    for module in (SwinTransformerBlock(8, 2, [4, 4], [0, 0]), CNBlock(8, 1.0, 0.0)):
        assert module(torch.zeros(1, 8, 8, 8)).shape == (1, 8, 8, 8)


@pytest.mark.parametrize("shape", [(2, 195, 8), (2, 8), (2, 3, 4, 5, 6)])
def test_outputs_without_a_grid_say_so(shape):
    with pytest.raises(ValueError, match=r"layer 'some' gives an output of shape .* which is neither"):
        layer().grid_of(torch.zeros(shape), SQUARE)
    with pytest.raises(ValueError, match="layer 'some' gives a tuple"):
        layer().grid_of((torch.zeros(shape),), SQUARE)


@pytest.mark.parametrize(
    ("cells", "size"),
    [
        ((1, 7), (8, 200)),  # of stride 32
        ((1, 1), (224, 50)),
        ((6, 1), (224, 80)),  # AlexNet's: borders are lost
        ((8, 1), (299, 100)),  # Inception's
        ((28, 11), (572, 300)),  # a U-Net without padding
        ((1, 24), (32, 100)),  # strides of another length on each axis, as for text in a line
        ((16, 32), (64, 64)),
    ],
)
def test_honest_layers_of_stretched_images_are_cells(cells, size):
    output = torch.zeros(1, 256, *cells)
    assert layer(nn.ReLU()).grid_of(output, size) is output


@pytest.mark.parametrize(("shape", "side"), [((2, 4, 17, 8), 32), ((1, 12, 197, 64), 224)])
def test_heads_of_attention_are_no_cells(shape, side):
    with pytest.raises(ValueError, match=r"layer 'some' gives an output of shape .* which is neither"):
        layer().grid_of(torch.zeros(shape), (side, side))


def test_a_layer_within_attention_is_refused_by_name():
    model = timm_model("vit_tiny_patch16_224", img_size=64, depth=2, embed_dim=48, qk_norm=True)
    with pytest.raises(ValueError, match=r"layer 'blocks\.0\.attn\.q_norm' .* name another layer"):
        find_source("gradcam")(model, images(), [1], "blocks.0.attn.q_norm")
    assert find_layer(model, images(), None)[0].name == "blocks.1.norm1"


CASES = {
    "torchvision ViT": (vit, (64, 64), "encoder.layers.encoder_layer_1.ln_1"),
    "torchvision Swin": (swin, (64, 64), "permute"),
    "torchvision Swin, not square": (swin, (64, 32), "permute"),
    "timm DeiT": (tiny_deit, (64, 64), "blocks.1.norm1"),
    "timm DeiT, not square": (lambda: tiny_deit(img_size=(64, 32)), (64, 32), "blocks.1.norm1"),
    "timm ViT with registers": (
        lambda: timm_model("vit_medium_patch16_reg4_gap_256", img_size=64, depth=2, embed_dim=64),
        (64, 64),
        "norm",
    ),
    "timm Swin": (
        lambda: timm_model(
            "swin_tiny_patch4_window7_224",
            img_size=64,
            window_size=4,
            depths=(1, 1),
            embed_dim=16,
            num_heads=(2, 2),
        ),
        (64, 64),
        "norm",
    ),
    "encoder layers": (SmallViT, (16, 16), "blocks.1.norm1"),
    "CNN": (small_cnn, (16, 16), "4"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_last_layer_with_cells(case):
    make, size, name = CASES[case]
    model = make()
    before = fingerprint(model)
    found, passes = find_layer(model, images(size=size), None)
    assert (found.name, passes) == (name, 1)
    assert fingerprint(model) == before


@pytest.mark.parametrize("pooling", [nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(2)])
def test_pooling_that_leaves_cells_is_passed_over(pooling):
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 6, 3, 4, 1), nn.ReLU(), pooling, nn.Flatten(), nn.Linear(24, 5)]
    assert find_layer(nn.Sequential(*layers).eval(), images(size=(16, 16)), None)[0].name == "1"


@pytest.mark.parametrize("fused", [True, False])
def test_what_attention_makes_on_its_way_is_no_layer(fused):
    # Heads (1, 3, 17, 16) and weights (1, 3, 17, 17) are nearly square, as the image is.
    model = tiny_deit()
    for block in model.blocks:
        block.attn.fused_attn = fused
    assert find_layer(model, images(), None)[0].name == "blocks.1.norm1"


def by_hand(model, name, batch, targets, cells):
    """Return Grad-CAM's map by the library called directly, with the caller's own reshape."""
    with GradCAM(model, [model.get_submodule(name)], reshape_transform=cells) as cam:
        cam.compute_input_gradient = False
        wanted = [ClassifierOutputTarget(target) for target in targets]
        cam(batch, wanted)
        recorded = cam.activations_and_grads
        activations, gradients = (each[-1].numpy() for each in (recorded.activations, recorded.gradients))
        return cam.get_cam_image(batch, model, wanted, activations, gradients, False)


def last_patches(rows, columns):
    return lambda tokens: (
        tokens[:, -rows * columns :].reshape(len(tokens), rows, columns, -1).permute(0, 3, 1, 2)
    )


def channels_last(output):
    return output.permute(0, 3, 1, 2)


@pytest.mark.parametrize(
    ("make", "size", "name", "cells"),
    [
        (vit, (64, 64), "encoder.layers.encoder_layer_1.ln_1", last_patches(4, 4)),
        (vit, (64, 64), "encoder.layers.encoder_layer_0", last_patches(4, 4)),
        (swin, (64, 64), "norm", channels_last),
        (swin, (64, 64), "features.1.0", channels_last),
        (swin, (64, 32), "features.0", channels_last),
        (swin, (64, 64), "features.3.1.norm2", channels_last),
        (tiny_deit, (64, 64), "blocks.1.norm1", last_patches(4, 4)),
        (lambda: tiny_deit(img_size=(64, 32)), (64, 32), "blocks.0", last_patches(4, 2)),
        (CASES["timm ViT with registers"][0], (64, 64), "norm", last_patches(4, 4)),
        (CASES["timm Swin"][0], (64, 64), "layers.0", channels_last),
    ],
)
def test_patch_token_gradcam_is_the_librarys(make, size, name, cells):
    model, batch, targets = make(), images(2, size), [1, 4]
    expected = by_hand(model, name, batch, targets, cells)
    found = find_source("gradcam")(model, batch, targets, name)
    np.testing.assert_allclose(found.values, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    assert np.abs(expected).max() > 0


@pytest.mark.parametrize(
    ("make", "name", "cells", "grid"),
    [
        (torchvision.models.vit_b_16, "encoder.layers.encoder_layer_11.ln_1", last_patches(14, 14), (14, 14)),
        (torchvision.models.swin_t, "permute", None, (7, 7)),
    ],
)
def test_the_published_sizes(make, name, cells, grid):
    torch.manual_seed(0)
    model, batch = make(weights=None, num_classes=5).eval(), images(1, SQUARE)
    nn.init.normal_(model.heads.head.weight if hasattr(model, "heads") else model.head.weight)
    found = find_source("gradcam")(model, batch, [3], None)
    assert (found.layer, tuple(found.values.shape)) == (name, (1, *grid))
    expected = by_hand(model, name, batch, [3], cells)
    np.testing.assert_allclose(found.values, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_at_swins_last_layer_the_cells_sum_to_the_logit_less_its_bias():
    model, batch = swin(), images(2)
    found = find_source("gradcam")(model, batch, [1, 4], "norm")
    expected = (model(batch) - model.head.bias)[[0, 1], [1, 4]]
    torch.testing.assert_close(found.values.sum((1, 2)), expected.detach(), rtol=1e-4, atol=1e-5)
