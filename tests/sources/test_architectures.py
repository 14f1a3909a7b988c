"""Maps of many architectures, against Grad-CAM and rollout by hand."""

import random

import pytest
import torch
from benchmarks.robustness import architectures
from torch import nn

import usu
from tests.helpers.networks import fingerprint
from usu.sources.registry import find_source


def images(*size, count=1):
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("seed", range(16))
def test_random_networks_give_the_map_by_hand_or_say_what_to_pass(seed):
    case = architectures.drawn(random.Random(seed))
    before = fingerprint(case.model)
    verdict = architectures.outcome(case)
    assert verdict == "right" or (case.kind in ("crops", "pair") and verdict.startswith("refused"))
    assert fingerprint(case.model) == before


def test_the_comparison_can_fail():
    """A network whose cells are said to lie elsewhere is found wrong."""
    case = architectures.drawn(random.Random(2))
    assert architectures.outcome(case) == "right"
    moved = architectures.Case(
        case.kind, case.model, case.inputs, lambda *found: case.cells(*found).flip(-1), case.run
    )
    assert architectures.outcome(moved).startswith("WRONG: off by")


def by_hand(model, batch, layer, cells, target=2):
    """Return Grad-CAM of a layer by autograd alone."""
    outputs = []
    with model.get_submodule(layer).register_forward_hook(lambda _, __, output: outputs.append(output)):
        answer = model(batch.clone().requires_grad_())[:, target].sum()
    (slope,) = torch.autograd.grad(answer, outputs[0])
    activations, gradients = cells(outputs[0].detach()), cells(slope)
    return (gradients.mean((2, 3), keepdim=True) * activations).sum(1)


def patches(grid, prefix=0, suffix=0):
    return lambda tokens: tokens[:, prefix : tokens.shape[1] - suffix].transpose(1, 2).unflatten(2, grid)


class Logits(nn.Module):
    """A network of Hugging Face that answers with a tensor, from its first token."""

    def __init__(self, inner, **options):
        super().__init__()
        self.inner, self.options, self.head = inner, options, nn.Linear(16, 5)

    def forward(self, batch):
        return self.head(self.inner(pixel_values=batch, **self.options).last_hidden_state[:, 0])


TINY = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}


def hugging_face(kind, options, **fields):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**TINY, **fields)
    return Logits(getattr(transformers, f"{kind}Model")(config), **options).eval()


@pytest.mark.parametrize(
    ("kind", "options", "fields", "size", "grid", "prefix", "suffix"),
    [
        # 1 + 16 + 20 tokens, of which a square of 36 would take the detection tokens for patches
        (
            "Yolos",
            {},
            {"image_size": [32, 32], "patch_size": 8, "num_detection_tokens": 20},
            (32, 32),
            (4, 4),
            1,
            20,
        ),
        ("Dinov2", {}, {"image_size": 28, "patch_size": 14}, (60, 83), (4, 5), 1, 0),
        ("Dinov2WithRegisters", {}, {"image_size": 28, "patch_size": 14}, (60, 83), (4, 5), 5, 0),
        (
            "ViT",
            {"interpolate_pos_encoding": True},
            {"image_size": 32, "patch_size": 8},
            (60, 83),
            (7, 10),
            1,
            0,
        ),
    ],
)
def test_hugging_face(kind, options, fields, size, grid, prefix, suffix):
    model, batch = hugging_face(kind, options, **fields), images(*size, count=2)
    found = find_source("gradcam")(model, batch, [2, 2], None)
    assert "norm" in found.layer  # before the last attention, not a query, a key or the patch embedding
    expected = by_hand(model, batch, found.layer, patches(grid, prefix, suffix))
    torch.testing.assert_close(found.values, expected, rtol=1e-4, atol=1e-7)
    rolled = find_source("rollout")(model, batch, [2, 2], None).values
    assert rolled.shape == (2, *grid)
    assert float(rolled.sum(dim=(1, 2)).max()) < 1


def test_rollout_leaves_out_detection_tokens():
    transformers = pytest.importorskip("transformers")
    fields = {"image_size": [32, 32], "patch_size": 8, "num_detection_tokens": 20}
    model, batch = hugging_face("Yolos", {}, **fields), images(32, 32)
    model.inner.set_attn_implementation("eager")
    with torch.no_grad():
        weights = model.inner(pixel_values=batch, output_attentions=True).attentions
    rows = torch.eye(37)
    for one in weights:
        rows = (0.5 * one[0].mean(0) + 0.5 * torch.eye(37)) @ rows
    found = find_source("rollout")(model, batch, [2], None)
    torch.testing.assert_close(found.values[0], rows[0, 1:17].view(4, 4), rtol=1e-4, atol=1e-7)
    assert transformers is not None


@pytest.mark.parametrize(
    ("name", "size", "options", "grid", "prefix"),
    [
        ("vit_tiny_patch16_224", (60, 84), {"dynamic_img_size": True, "dynamic_img_pad": True}, (4, 6), 1),
        ("deit_tiny_distilled_patch16_224", (64, 96), {"img_size": (64, 96)}, (4, 6), 2),
        ("vit_relpos_small_patch16_224", (64, 96), {"img_size": (64, 96)}, (4, 6), 0),
    ],
)
def test_timm(name, size, options, grid, prefix):
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    shape = {"depth": 2, "embed_dim": 48, "num_heads": 3, "num_classes": 5}
    model = timm.create_model(name, **shape, **options).eval()
    batch = images(*size)
    found = find_source("gradcam")(model, batch, [2], None)
    expected = by_hand(model, batch, found.layer, patches(grid, prefix))
    torch.testing.assert_close(found.values, expected, rtol=1e-4, atol=1e-7)


def test_hieras_order_is_undone_as_it_does_it_itself():
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    model = timm.models.Hiera(
        img_size=(64, 96), embed_dim=16, num_heads=1, stages=(1, 1, 2), q_pool=1, num_classes=5,
        mask_unit_size=(4, 4), mask_unit_attn=(True, True, False),
    ).eval()  # fmt: skip
    nn.init.normal_(model.head.fc.weight)
    batch, kept = images(64, 96), []
    found = find_source("gradcam")(model, batch, [2], "blocks.0")
    with model.blocks[0].register_forward_hook(lambda _, __, output: kept.append(output)):
        answer = model(batch)[:, 2].sum()
    (slope,) = torch.autograd.grad(answer, kept[0])
    activations, gradients = (model.reroll(one, 0).permute(0, 3, 1, 2) for one in (kept[0].detach(), slope))
    expected = (gradients.mean((2, 3), keepdim=True) * activations).sum(1)
    torch.testing.assert_close(found.values, expected, rtol=1e-4, atol=1e-8)
    assert not torch.allclose(found.values, (slope.mean(1, keepdim=True) * kept[0]).sum(2).view(1, 16, 24))


def test_the_user_may_say_where_the_cells_are():
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    model = timm.models.VisionTransformer(
        img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=4
    ).eval()
    image, few = images(32, 32)[0], {"segmentation": {"quadtree": (4,)}}
    for source in ("gradcam", "rollout"):
        plain = usu.explain(model, image, 2, source=source, **few).coarse
        said = usu.explain(
            model, image, 2, source=source, tokens=usu.Tokens((4, 4), prefix=1, order="columns"), **few
        ).coarse
        torch.testing.assert_close(said, plain.T)
    with pytest.raises(TypeError, match="tokens= is for sources that describe a layer"):
        usu.explain(model, image, 2, source="occlusion", tokens=usu.Tokens((4, 4)))
    with pytest.raises(ValueError, match="tokens must add up to the layer's 17"):
        usu.explain(model, image, 2, layer="blocks.0", tokens=usu.Tokens((4, 4)))
