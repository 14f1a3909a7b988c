"""Attention rollout, against a slow product of weights that are computed by hand."""

import copy
import gc
import weakref

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models import VisionTransformer
from torchvision.models.swin_transformer import SwinTransformer

import usu
from tests.helpers.networks import SmallViT, fingerprint, small_cnn
from usu.sources.rollout import attention_relevance, rollout


def images(count=2, size=(32, 32), seed=1):
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(seed))


def vit(**options):
    torch.manual_seed(0)
    shape = {
        "image_size": 32,
        "patch_size": 8,
        "num_layers": 3,
        "num_heads": 4,
        "hidden_dim": 32,
        "mlp_dim": 64,
    }
    model = VisionTransformer(**{**shape, "num_classes": 5, **options}).eval()
    nn.init.normal_(model.heads.head.weight)
    nn.init.normal_(model.encoder.pos_embedding)
    return model


def timm_vit(fused=True, **options):
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    shape = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 3, "num_heads": 4, "num_classes": 5}
    model = timm.models.VisionTransformer(**{**shape, **options}).eval()
    for block in model.blocks:
        block.attn.fused_attn = fused
    return model


def inputs_of(modules, model, batch):
    """Return what each of the modules is called with, in float64."""
    seen = []
    handles = [
        module.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0].double()))
        for module in modules
    ]
    with torch.no_grad():
        model(batch)
    for handle in handles:
        handle.remove()
    return seen


def slow_weights(tokens, weight, bias, heads):
    """Return softmax(q kᵀ / √d) averaged over heads, (B, N, N), with loops over images and heads."""
    weight, bias = weight.detach().double().numpy(), bias.detach().double().numpy()
    means = []
    for image in tokens.numpy():
        queries, keys, _ = np.split(image @ weight.T + bias, 3, axis=1)
        width = queries.shape[1] // heads
        total = 0
        for head in range(heads):
            own = slice(head * width, (head + 1) * width)
            logits = np.exp(queries[:, own] @ keys[:, own].T / np.sqrt(width))
            total = total + logits / logits.sum(1, keepdims=True)
        means.append(total / heads)
    return np.stack(means)


def slow_rollout(weights):
    """Return the product of (W + I) / 2 over the layers, first layer rightmost."""
    rows = np.eye(weights[0].shape[-1])[None]
    for layer in weights:
        mixed = 0.5 * layer + 0.5 * np.eye(layer.shape[-1])
        rows = mixed / mixed.sum(-1, keepdims=True) @ rows
    return rows


def of_multihead(model, batch):
    layers = [module for module in model.modules() if isinstance(module, nn.MultiheadAttention)]
    tokens = inputs_of(layers, model, batch)
    return slow_rollout(
        [
            slow_weights(
                own if layer.batch_first else own.transpose(0, 1),
                layer.in_proj_weight,
                layer.in_proj_bias,
                layer.num_heads,
            )
            for own, layer in zip(tokens, layers, strict=True)
        ]
    )


def of_timm(model, batch):
    layers = [block.attn for block in model.blocks]
    tokens = inputs_of(layers, model, batch)
    return slow_rollout(
        [
            slow_weights(own, layer.qkv.weight, layer.qkv.bias, layer.num_heads)
            for own, layer in zip(tokens, layers, strict=True)
        ]
    )


def test_torchvision(device):
    model, batch = vit().double(), images().double()
    expected = of_multihead(model, batch)
    found = rollout(model.to(device), batch.to(device), [1, 4], None)
    np.testing.assert_allclose(found.values.cpu(), expected[:, 0, 1:].reshape(2, 4, 4), rtol=1e-9)
    assert (found.mass, found.source, found.layer, found.forward_passes) == ("total", "rollout", None, (1, 1))


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("size", [(32, 32), (32, 16)])
def test_timm(fused, size):
    model, batch = timm_vit(fused, img_size=size), images(size=size)
    expected = of_timm(model, batch)[:, 0, 1:].reshape(2, size[0] // 8, size[1] // 8)
    np.testing.assert_allclose(rollout(model, batch, [1, 4], None).values, expected, rtol=1e-5)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(
    ("options", "prefix", "read"),
    [
        ({"class_token": False, "global_pool": "avg"}, 0, slice(0, None)),
        ({"class_token": False, "global_pool": "avg", "reg_tokens": 4}, 4, slice(4, None)),
        ({"class_token": True, "global_pool": "avg"}, 1, slice(1, None)),
        ({"class_token": True, "reg_tokens": 4}, 5, slice(0, 1)),
        ({"class_token": True, "reg_tokens": 2}, 3, slice(0, 1)),
    ],
)
def test_the_rows_are_those_that_the_answer_reads(fused, options, prefix, read):
    model, batch = timm_vit(fused, **options), images()
    expected = of_timm(model, batch)[:, read, prefix:].mean(1).reshape(2, 4, 4)
    np.testing.assert_allclose(rollout(model, batch, [1, 4], None).values, expected, rtol=1e-5)


def test_distillation_token():
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    model = timm.create_model(
        "deit_tiny_distilled_patch16_224", img_size=64, embed_dim=48, depth=2, num_classes=5
    ).eval()
    nn.init.normal_(model.head.weight)
    nn.init.normal_(model.head_dist.weight)
    batch = images(size=(64, 64))
    expected = of_timm(model, batch)[:, :2, 2:].mean(1).reshape(2, 4, 4)
    np.testing.assert_allclose(rollout(model, batch, [1, 4], None).values, expected, rtol=1e-5)


class SequenceFirst(SmallViT):
    """Tokens as (N, B, C), which is how PyTorch's encoder layers take them by default."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(16, 2, 32), 2, enable_nested_tensor=False
        )

    def forward(self, batch):
        tokens = self.patches(batch).flatten(2).permute(2, 0, 1)
        tokens = self.blocks(torch.cat([self.token.expand(1, len(batch), -1), tokens]))
        return self.head(self.norm(tokens)[0])


@pytest.mark.parametrize("kind", [SmallViT, SequenceFirst])
def test_encoder_layers_whose_fast_path_shows_no_attention(kind):
    model, batch = kind().eval(), images(size=(16, 24))
    expected = of_multihead(model, batch)[:, 0, 1:].reshape(2, 4, 6)
    with torch.no_grad():  # where the fast path would be taken
        found = rollout(model, batch, [1, 4], None)
    np.testing.assert_allclose(found.values, expected, rtol=1e-5)


class AsksForWeights(nn.Module):
    """One layer of attention whose weights are part of the answer, averaged over heads or not."""

    def __init__(self, average):
        super().__init__()
        torch.manual_seed(0)
        self.patches, self.average, self.shapes = nn.Conv2d(3, 16, 4, stride=4), average, []
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)

    def forward(self, batch):
        tokens = self.patches(batch).flatten(2).transpose(1, 2)
        tokens, weights = self.attention(tokens, tokens, tokens, average_attn_weights=self.average)
        self.shapes.append(weights.shape)
        return tokens.mean(1)


@pytest.mark.parametrize(("average", "shape"), [(True, (2, 16, 16)), (False, (2, 2, 16, 16))])
def test_the_model_gets_the_weights_that_it_asked_for(average, shape):
    model, batch = AsksForWeights(average).eval(), images(size=(16, 16))
    expected = of_multihead(model, batch).mean(1).reshape(2, 4, 4)
    np.testing.assert_allclose(rollout(model, batch, [0, 1], None).values, expected, rtol=1e-5)
    assert model.shapes[0] == shape
    assert {one[1:] for one in model.shapes} == {shape[1:]}  # and as its cells are sought


class Fused(nn.Module):
    """Patches that attend by PyTorch's fused attention, called with whatever options."""

    def __init__(self, heads=2, key_heads=2, **options):
        super().__init__()
        torch.manual_seed(0)
        self.heads, self.key_heads, self.options = heads, key_heads, options
        self.patches = nn.Conv2d(3, 16, 4, stride=4)

    def split(self, batch):
        tokens = self.patches(batch).flatten(2).transpose(1, 2)
        queries = tokens.unflatten(2, (self.heads, -1)).transpose(1, 2)
        return queries, queries[:, : self.key_heads] + 1

    def forward(self, batch):
        queries, keys = self.split(batch)
        mixed = nn.functional.scaled_dot_product_attention(queries, keys, keys, **self.options)
        return mixed.mean(2).flatten(1)


def allowed(count=16):
    return torch.rand(count, count, generator=torch.Generator().manual_seed(0)) > 0.3


@pytest.mark.parametrize(
    ("options", "mask", "scale"),
    [
        ({}, torch.ones(16, 16).bool(), 8**-0.5),
        ({"scale": 2.0}, torch.ones(16, 16).bool(), 2.0),
        ({"is_causal": True}, torch.ones(16, 16).bool().tril(), 8**-0.5),
        ({"attn_mask": allowed()}, allowed(), 8**-0.5),
        ({"key_heads": 1, "enable_gqa": True}, torch.ones(16, 16).bool(), 8**-0.5),
    ],
)
def test_fused_attention_with_masks_scales_and_shared_keys(options, mask, scale):
    if "enable_gqa" in options and torch.__version__ < "2.5":
        pytest.skip("PyTorch shares keys from 2.5 on")
    model, batch = Fused(**options).eval(), images(size=(16, 16))
    queries, keys = (part.detach().double() for part in model.split(batch))
    logits = (scale * queries @ keys.transpose(-2, -1)).masked_fill(~mask, -torch.inf)
    expected = slow_rollout([logits.softmax(-1).mean(1).numpy()]).mean(1).reshape(2, 4, 4)
    np.testing.assert_allclose(rollout(model, batch, [0, 1], None).values, expected, rtol=1e-5)


def test_the_map_sums_to_one_less_the_share_of_the_prefix():
    model, batch = vit(), images()
    expected = 1 - of_multihead(model, batch)[:, 0, 0]
    np.testing.assert_allclose(rollout(model, batch, [1, 4], None).values.sum((1, 2)), expected, rtol=1e-5)
    pooled = timm_vit(class_token=False, global_pool="avg")
    totals = rollout(pooled, batch, [1, 4], None).values.sum((1, 2))
    np.testing.assert_allclose(totals, 1, rtol=1e-5)


def test_uniform_attention_by_hand():
    # Queries of 0 give weights 1/N, so A = (J/N + I)/2; of three, 1/8 stays and 7/8 spreads over N tokens.
    model = vit()
    for block in model.encoder.layers:
        nn.init.zeros_(block.self_attention.in_proj_weight)
    values = rollout(model, images(), [0, 0], None).values
    np.testing.assert_allclose(values, np.full((2, 4, 4), 7 / 8 / 17), rtol=1e-5)


def test_a_batch_is_as_its_images_and_the_target_does_not_matter():
    model, batch = vit(), images(3)
    together = rollout(model, batch, [0, 1, 2], None).values
    single = [rollout(model, batch[image : image + 1], [4], None).values for image in range(3)]
    torch.testing.assert_close(together, torch.cat(single), rtol=1e-5, atol=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_floats(dtype):
    model, batch = vit(), images()
    expected = rollout(model, batch, [1, 4], None).values
    found = rollout(model.to(dtype), batch.to(dtype), [1, 4], None).values
    assert found.dtype == dtype
    np.testing.assert_allclose(found.double(), expected, rtol=0.05)


def test_the_model_runs_once_an_image_and_is_left_as_it_was():
    model = vit(image_size=224, patch_size=16)
    passes = []
    handle = model.register_forward_pre_hook(lambda _, arguments: passes.append(len(arguments[0])))
    before = fingerprint(model)
    found = rollout(model, images(1, (224, 224)), [1], None)
    assert found.values.shape == (1, 14, 14)
    assert passes == [1]
    assert fingerprint(model) == before
    handle.remove()


def test_the_pipeline_keeps_its_mass():
    explanation = usu.explain(vit(), images()[0], 1, source=rollout, segmentation={"quadtree": (4, 16)})
    assert explanation.source == "rollout"
    np.testing.assert_allclose(explanation.attribution.sum(), explanation.coarse.sum(), rtol=1e-5)


class Pyramid(SmallViT):
    """Half of the tokens go after each block."""

    def __init__(self):
        super().__init__()
        for block in self.blocks:
            block.register_forward_hook(lambda _, __, output: output[:, ::2])


class Shuffling(SmallViT):
    """Its patches are mixed with each other before it attends, so that no token has a place."""

    def forward(self, batch):
        spread = self.patches(batch).flatten(2).transpose(1, 2)
        mixed = torch.randn(16, 16, generator=torch.Generator().manual_seed(3)) @ spread
        tokens = torch.cat([self.token.expand(len(batch), -1, -1), mixed], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        return self.head(self.norm(tokens)[:, 0])


@pytest.mark.parametrize(
    ("model", "size", "message"),
    [
        (small_cnn, (16, 16), "runs no attention; use a CAM source"),
        (
            lambda: SwinTransformer([4, 4], 16, [1, 1], [2, 2], [4, 4], num_classes=5).eval(),
            (64, 64),
            "attends within windows",
        ),
        (lambda: Pyramid().eval(), (16, 16), "goes from 17 tokens to 9"),
        (lambda: Shuffling().eval(), (16, 16), "its 17 tokens do not follow the image of 16 × 16 pixels"),
    ],
)
def test_models_without_a_rollout(model, size, message):
    network = model()
    before = fingerprint(network)
    with pytest.raises(ValueError, match=message):
        rollout(network, images(size=size), [1, 4], None)
    assert fingerprint(network) == before


def test_timm_swin_has_no_rollout():
    timm = pytest.importorskip("timm")
    model = timm.models.SwinTransformer(
        img_size=64, window_size=4, embed_dim=16, depths=(1, 1), num_heads=(2, 2), num_classes=5
    ).eval()
    with pytest.raises(ValueError, match="attends within windows"):
        rollout(model, images(size=(64, 64)), [1, 4], None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"targets": [1, 5]}, "target must be below the model's 5 classes, got 5"),
        ({"targets": [1, -1]}, "target must be a class index from 0 up"),
        ({"targets": [1, 2, 3]}, "target must be one index or 2, one per image"),
        ({"layer": "encoder"}, "layer must be None for source 'rollout'"),
    ],
)
def test_bad_values(change, message):
    model = vit()
    before = fingerprint(model)
    arguments = {"model": model, "inputs": images(), "targets": [1, 4], "layer": None, **change}
    with pytest.raises(ValueError, match=message):
        rollout(**arguments)
    assert fingerprint(model) == before


def test_training_mode_and_a_head_of_zeros_are_refused():
    model = vit()
    with pytest.raises(ValueError, match="training mode"):
        rollout(copy.deepcopy(model).train(), images(), [1, 4], None)
    nn.init.zeros_(model.heads.head.weight)
    with pytest.raises(ValueError, match="depends on no token after the last attention"):
        rollout(model, images(), [1, 4], None)


def test_outputs_die_without_the_garbage_collector():
    model, seen = vit(), []
    handle = model.encoder.ln.register_forward_hook(lambda _, __, output: seen.append(weakref.ref(output)))
    gc.collect()
    gc.disable()
    try:
        rollout(model, images(), [1, 4], None)
        assert [output() for output in seen] == [None]
    finally:
        gc.enable()
        handle.remove()


def slow_relevance(model, batch, targets):
    """Return R of attention weighted with its gradient, by hooks on what timm multiplies the values by."""
    kept = []
    hooks = [
        block.attn.attn_drop.register_forward_hook(lambda *call: kept.append(call[2]))
        for block in model.blocks
    ]
    outputs = model(batch)
    for hook in hooks:
        hook.remove()
    gradients = torch.autograd.grad(outputs[range(len(batch)), targets].sum(), kept)
    count = kept[0].shape[-1]
    found = []
    for image in range(len(batch)):
        rows = np.eye(count)
        for weights, gradient in zip(kept, gradients, strict=True):
            product = (weights * gradient)[image].detach().double().numpy()
            rows = rows + np.maximum(product, 0).mean(0) @ rows
        found.append(rows)
    return np.stack(found)


@pytest.mark.parametrize("fused", [True, False])
def test_relevance(fused):
    batch, targets = images(), [1, 4]
    expected = slow_relevance(timm_vit(fused=False), batch, targets)[:, 0, 1:].reshape(2, 4, 4)
    found = attention_relevance(timm_vit(fused=fused), batch, targets, None)
    np.testing.assert_allclose(found.values, expected, rtol=1e-4, atol=1e-9)
    assert found.source == "attention-relevance"
    assert found.forward_passes == (1, 1)


def test_relevance_of_pooled_tokens_is_their_mean():
    options = {"class_token": False, "global_pool": "avg"}
    expected = slow_relevance(timm_vit(fused=False, **options), images(), [1, 4]).mean(1).reshape(2, 4, 4)
    found = attention_relevance(timm_vit(**options), images(), [1, 4], None)
    np.testing.assert_allclose(found.values, expected, rtol=1e-4, atol=1e-9)


def test_relevance_of_multihead_attention():
    """Torchvision's network is run again by hand, with the softmax in the open."""
    model, batch, targets = vit().double(), images().double(), [1, 4]
    tokens = torch.cat([model.class_token.expand(2, -1, -1), model._process_input(batch)], 1)
    tokens, kept = tokens + model.encoder.pos_embedding, []
    for block in model.encoder.layers:
        own = block.ln_1(tokens)
        attention = block.self_attention
        parts = (own @ attention.in_proj_weight.T + attention.in_proj_bias).unflatten(2, (3, 4, 8)).unbind(2)
        queries, keys, values = (part.transpose(1, 2) for part in parts)
        kept.append((queries @ keys.transpose(2, 3) / 8**0.5).softmax(3))
        tokens = tokens + attention.out_proj((kept[-1] @ values).transpose(1, 2).flatten(2))
        tokens = tokens + block.mlp(block.ln_2(tokens))
    outputs = model.heads(model.encoder.ln(tokens)[:, 0])
    slopes = torch.autograd.grad(outputs[[0, 1], targets].sum(), kept)
    rows = torch.eye(17, dtype=torch.float64)
    for weights, slope in zip(kept, slopes, strict=True):
        rows = rows + (weights * slope).clamp(min=0).mean(1) @ rows
    found = attention_relevance(model, batch, targets, None)
    np.testing.assert_allclose(found.values, rows[:, 0, 1:].reshape(2, 4, 4).detach(), rtol=1e-9)


def test_relevance_depends_on_the_target_and_leaves_the_model():
    model = vit()
    before = fingerprint(model)
    one, other = (attention_relevance(model, images(), [target] * 2, None).values for target in (1, 4))
    assert fingerprint(model) == before
    assert not np.allclose(one, other, rtol=0.1)
    assert (one >= 0).all()


def test_relevance_says_its_own_name():
    with pytest.raises(ValueError, match="attention-relevance is not defined for this model: it runs no"):
        attention_relevance(small_cnn(), images(size=(16, 16)), [1, 4], None)
