"""The networks of `benchmarks.studies.architectures`, of timm and Hugging Face, without weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import timm
import torch
import transformers
from torch import Tensor, nn

Size: TypeAlias = "tuple[int, int]"
Builder: TypeAlias = "Callable[[str], tuple[nn.Module, Size]]"

CLASSES = 5
# Of each kind the sizes that are tried; the first that a network takes.
SIZES: dict[str, tuple[Size, ...]] = {
    "square": ((128, 128), (224, 224), (256, 256), (384, 384)),
    "not square": ((96, 128), (128, 192), (224, 168), (256, 192), (224, 448), (256, 512), (384, 512)),
}
# Pixels of the shorter side from which not every cell sees the whole picture: below, none has a place.
SMALLEST = {"coat_tiny": 128, "mobilenetv4_conv_small_035": 256, "inception_v3": 256, "MobileViT": 384}
TIMM = (
    *("vit_tiny_patch16_224", "deit_tiny_patch16_224", "deit_tiny_distilled_patch16_224"),
    *("deit3_small_patch16_224", "vit_medium_patch16_reg4_gap_256", "vit_small_patch14_reg4_dinov2"),
    *("vit_relpos_small_patch16_224", "vit_tiny_r_s16_p8_224", "vit_base_mci_224", "beit_base_patch16_224"),
    *("beitv2_base_patch16_224", "eva02_tiny_patch14_224", "vit_small_patch16_dinov3", "cait_xxs24_224"),
    *("xcit_nano_12_p16_224", "convit_tiny", "crossvit_9_240", "coat_tiny", "coat_lite_tiny", "levit_128s"),
    *(
        "pit_ti_224",
        "tnt_s_patch16_224",
        "twins_pcpvt_small",
        "twins_svt_small",
        "pvt_v2_b0",
        "visformer_tiny",
    ),
    *("volo_d1_224", "mvitv2_tiny", "hiera_tiny_224", "nest_tiny", "swin_tiny_patch4_window7_224"),
    *("swinv2_cr_tiny_ns_224", "swinv2_tiny_window8_256", "maxvit_rmlp_nano_rw_256", "coatnet_nano_rw_224"),
    *("gcvit_xxtiny", "davit_tiny", "edgenext_xx_small", "efficientformer_l1", "efficientformerv2_s0"),
    *(
        "efficientvit_b0",
        "efficientvit_m0",
        "fastvit_t8",
        "mobilevit_xxs",
        "mobilevitv2_050",
        "tiny_vit_5m_224",
    ),
    *("repvit_m0_9", "swiftformer_xs", "shvit_s1", "nextvit_small", "poolformer_s12", "caformer_s18"),
    *("naflexvit_base_patch16_gap", "mixer_s32_224", "resmlp_12_224", "gmlp_s16_224", "sequencer2d_s"),
    *(
        "convmixer_768_32",
        "mambaout_femto",
        "vitamin_small_224",
        "samvit_base_patch16_224",
        "focalnet_tiny_srf",
    ),
    *(
        "botnet26t_256",
        "halonet26t",
        "lambda_resnet26t",
        "convnext_atto",
        "convnextv2_atto",
        "inception_next_atto",
    ),
    *("resnet18", "resnetv2_50", "resnest14d", "seresnext26d_32x4d", "regnety_002", "efficientnet_b0"),
    *("mobilenetv3_small_050", "mobilenetv4_conv_small_035", "densenet121", "vgg11_bn", "ghostnet_050"),
    *(
        "hrnet_w18_small",
        "dla46_c",
        "inception_v3",
        "res2net50_14w_8s",
        "tresnet_m",
        "nfnet_l0",
        "cspresnet50",
    ),
)


def with_a_head(model: nn.Module) -> nn.Module:
    """Return a network in evaluation mode, its last linear layer drawn again: some start at 0."""
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    for one in linear:
        if one.out_features == CLASSES:
            nn.init.normal_(one.weight)
    return model.eval()


def sizes(name: str, kind: str) -> list[Size]:
    """Return the sizes of a kind at which a network is tried."""
    return [size for size in SIZES[kind] if min(size) >= SMALLEST.get(name, 0)]


def of_timm(name: str, kind: str) -> tuple[nn.Module, Size]:
    """Return a network of timm and the first size of a kind that it takes; raise what the last one raised."""
    problem: Exception = ValueError("no size")
    for size in sizes(name, kind):
        for options in ({"img_size": size}, {}):
            try:
                model = timm.create_model(name, pretrained=False, num_classes=CLASSES, **options)
                with_a_head(model)(torch.zeros(1, 3, *size))
            except Exception as refusal:  # of that size; another may do
                problem = refusal
            else:
                return model, size
    raise problem


class Answering(nn.Module):
    """A network of Hugging Face whose output is a tensor: its logits, or a linear layer on what it pools."""

    def __init__(self, model: nn.Module, width: int = 0, **options: Any) -> None:
        super().__init__()
        self.model, self.options = model, options
        self.head = nn.Linear(width, CLASSES) if width else None

    def forward(self, batch: Tensor) -> Tensor:
        """Return (B, classes) outputs."""
        outputs = self.model(pixel_values=batch, **self.options)
        if self.head is None:
            return outputs.logits
        pooled = outputs.get("pooler_output")
        hidden = outputs.last_hidden_state
        return self.head(
            pooled
            if pooled is not None
            else hidden.flatten(2).mean(2)
            if hidden.dim() == 4
            else (hidden[:, 0])
        )


_TINY = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64}
_SQUARE = {"image_size": 64}
# Of each network the model's class, its configuration's fields, and what it is called with.
_HF: dict[str, tuple[str, str, dict[str, Any], dict[str, Any]]] = {
    "ViT": (
        "ViTForImageClassification",
        "ViTConfig",
        {**_TINY, **_SQUARE, "patch_size": 8},
        {"interpolate_pos_encoding": True},
    ),
    "DeiT": (
        "DeiTForImageClassification",
        "DeiTConfig",
        {**_TINY, **_SQUARE, "patch_size": 8},
        {"interpolate_pos_encoding": True},
    ),
    "BEiT": ("BeitForImageClassification", "BeitConfig", {**_TINY, **_SQUARE, "patch_size": 8}, {}),
    "ViT-MSN": (
        "ViTMSNForImageClassification",
        "ViTMSNConfig",
        {**_TINY, **_SQUARE, "patch_size": 8},
        {"interpolate_pos_encoding": True},
    ),
    "DINOv2": ("Dinov2ForImageClassification", "Dinov2Config", {**_TINY, **_SQUARE, "patch_size": 14}, {}),
    "DINOv2 with registers": (
        "Dinov2WithRegistersForImageClassification",
        "Dinov2WithRegistersConfig",
        {**_TINY, **_SQUARE, "patch_size": 14},
        {},
    ),
    "DINOv3": ("DINOv3ViTModel", "DINOv3ViTConfig", {**_TINY, **_SQUARE, "patch_size": 8}, {}),
    "I-JEPA": (
        "IJepaForImageClassification",
        "IJepaConfig",
        {**_TINY, **_SQUARE, "patch_size": 8},
        {"interpolate_pos_encoding": True},
    ),
    "CLIP": (
        "CLIPVisionModel",
        "CLIPVisionConfig",
        {**_TINY, **_SQUARE, "patch_size": 8},
        {"interpolate_pos_encoding": True},
    ),
    "SigLIP": (
        "SiglipVisionModel",
        "SiglipVisionConfig",
        {**_TINY, **_SQUARE, "patch_size": 8},
        {"interpolate_pos_encoding": True},
    ),
    "YOLOS": ("YolosModel", "YolosConfig", {**_TINY, "patch_size": 8, "num_detection_tokens": 20}, {}),
    "Swin": (
        "SwinForImageClassification",
        "SwinConfig",
        {**_SQUARE, "embed_dim": 16, "depths": [1, 2], "num_heads": [2, 2], "window_size": 4},
        {},
    ),
    "Swin v2": (
        "Swinv2ForImageClassification",
        "Swinv2Config",
        {**_SQUARE, "embed_dim": 16, "depths": [1, 2], "num_heads": [2, 2], "window_size": 4},
        {},
    ),
    "Hiera": (
        "HieraForImageClassification",
        "HieraConfig",
        {
            "embed_dim": 16,
            "image_size": [64, 64],
            "depths": [1, 1, 2],
            "num_heads": [1, 2, 2],
            "num_query_pool": 2,
            "masked_unit_size": [4, 4],
            "masked_unit_attention": [True, True, False],
        },
        {},
    ),
    "SegFormer": (
        "SegformerForImageClassification",
        "SegformerConfig",
        {"depths": [1, 1, 1, 1], "hidden_sizes": [16, 16, 32, 32], "decoder_hidden_size": 16},
        {},
    ),
    "PVT": (
        "PvtForImageClassification",
        "PvtConfig",
        {**_SQUARE, "depths": [1, 1, 1, 1], "hidden_sizes": [16, 16, 40, 64]},
        {},
    ),
    "PVT v2": (
        "PvtV2ForImageClassification",
        "PvtV2Config",
        {**_SQUARE, "depths": [1, 1, 1, 1], "hidden_sizes": [16, 16, 40, 64]},
        {},
    ),
    "CvT": (
        "CvtForImageClassification",
        "CvtConfig",
        {"embed_dim": [16, 16, 32], "num_heads": [1, 1, 2], "depth": [1, 1, 2]},
        {},
    ),
    "LeViT": ("LevitForImageClassification", "LevitConfig", {"image_size": 128}, {}),
    "MobileViT": (
        "MobileViTForImageClassification",
        "MobileViTConfig",
        {"hidden_sizes": [24, 24, 32], "neck_hidden_sizes": [16, 16, 24, 24, 24, 24, 32]},
        {},
    ),
    "FocalNet": (
        "FocalNetForImageClassification",
        "FocalNetConfig",
        {**_SQUARE, "embed_dim": 16, "depths": [1, 1, 1, 1]},
        {},
    ),
    "PoolFormer": (
        "PoolFormerForImageClassification",
        "PoolFormerConfig",
        {"depths": [1, 1, 1, 1], "hidden_sizes": [16, 16, 32, 32]},
        {},
    ),
    "ConvNeXt": (
        "ConvNextForImageClassification",
        "ConvNextConfig",
        {"depths": [1, 1, 1, 1], "hidden_sizes": [16, 16, 32, 32]},
        {},
    ),
    "ResNet": (
        "ResNetForImageClassification",
        "ResNetConfig",
        {"depths": [1, 1, 1, 1], "hidden_sizes": [16, 16, 32, 32], "embedding_size": 16},
        {},
    ),
}


def of_hugging_face(name: str, kind: str) -> tuple[nn.Module, Size]:
    """Return a network of Hugging Face and the first size of a kind that it takes."""
    problem: Exception = ValueError("no size")
    kind_of_model, kind_of_config, fields, options = _HF[name]
    for size in sizes(name, kind):
        for image_size in (None, size[0], list(size)):
            own = {**fields} if image_size is None else {**fields, "image_size": image_size}
            try:
                config = getattr(transformers, kind_of_config)(**own)
                config.num_labels = CLASSES
                width = 0 if kind_of_model.endswith("Classification") else config.hidden_size
                inner = getattr(transformers, kind_of_model)(config)
                model = with_a_head(Answering(inner, width, **options))
                model(torch.zeros(1, 3, *size))
            except Exception as refusal:  # of that size; another may do
                problem = refusal
            else:
                return model, size
    raise problem


BUILDERS: dict[str, Builder] = {
    **{name: partial(of_timm, name) for name in TIMM},
    **{f"hf:{name}": partial(of_hugging_face, name) for name in _HF},
}
