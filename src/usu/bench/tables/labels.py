"""What tables call the measures, contestants, data sets and networks of a results folder, and their order.

Nothing here needs a model, so that tables of saved results need none either.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, TypeAlias

from usu.bench.results import NO_SOURCE
from usu.metrics.faithfulness.labels import LABELS
from usu.sources.registry import SOURCE_NAMES

BlockName: TypeAlias = Literal["A", "B"]
Style: TypeAlias = Literal["magnitude", "fixed", "signed", "p", "count", "percent", "text"]

BLOCKS: Mapping[BlockName, str] = MappingProxyType(
    {"A": "A: as the paper measures", "B": "B: scale-fair, other segmenters, whole pixels"}
)


_BEST_SCALE = "each map times its own best scale β = E[s·Δ] / E[s²]"

# Of a map before a metric that sees its scale: the infidelities, whose figures span magnitudes, so that two
# maps are compared by log(a / b) in place of a - b.
SCALINGS: Mapping[str, str] = MappingProxyType(
    {
        "infidelity": "each map as it is, signed and unscaled",
        "infidelity-minmax": "each map min-max to [0, 1]",
        "infidelity-sum": "each map divided by its sum",
        "infidelity-scaled": _BEST_SCALE,
        "infidelity-squares": f"{_BEST_SCALE}; independent random squares",
    }
)

# Of a map, whatever the metric: each of its rows repeats them. Title and style.
FACTS: Mapping[str, tuple[str, Style]] = MappingProxyType(
    {
        "forward_passes": ("Forward passes", "count"),
        "total_mass": ("Total mass", "magnitude"),
        "d1_error": ("D1 error", "magnitude"),
        "d1_relative": ("D1 error, relative", "magnitude"),
    }
)

GROUPS: Mapping[str, Mapping[str, str]] = {
    "Upsamplers": {
        "nearest": "Nearest",
        "bilinear": "Bilinear",
        "bicubic": "Bicubic",
        "lanczos": "Lanczos-3",
        "conserving": "Conserving, no scores",
        "usu": "USU",
        "usu-continuous": "USU, continuous",
        "iwmr": "Soft IWMR",
        "hybrid": "USU-Hybrid",
        "total-conserving": "USU-Total",
        "complete": "USU-Complete",
    },
    "Controls": {
        "zero": "Zero map",
        "constant": "Constant map",
        "scores": "Scores alone",
        "shuffled-scores": "USU, shuffled scores",
        "random-segments": "USU, random segments",
        "blurred-nearest": "Nearest, blurred",
    },
    "Peers": {
        "guided": "Guided filter",
        "guided-conserving": "Guided filter, cells scaled to their mass",
        "pycnophylactic": "Pycnophylactic interpolation",
        "rise": "RISE",
        "rise-10x": "RISE, 10 × the passes",
        "occlusion": "Occlusion",
        "occlusion-10x": "Occlusion, 10 × the passes",
        "xrai": "XRAI",
        "refinecam": "RefineCAM",
        "shap-partition": "SHAP, partition",
    },
}
UPSAMPLERS = tuple(GROUPS["Upsamplers"])

# What each kind of name is called, in the paper's order; what is not here follows by its own name.
TITLES: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "dataset": {
            "imagenet": "ImageNet",
            "cifar10": "CIFAR-10",
            "cub200": "CUB-200",
            "ecssd": "ECSSD",
            "folder": "A folder of photographs",
        },
        "model": {
            "vgg16": "VGG16",
            "resnet50": "ResNet50",
            "vit_b_16": "ViT-B-16",
            "efficientnet-lite0": "EfficientNet-Lite0",
            "efficientnet-lite1": "EfficientNet-Lite1",
            "efficientnet-lite2": "EfficientNet-Lite2",
            "resnet56": "ResNet56",
            "vit_tiny_patch16_224": "ViT-Tiny-16",
        },
        "source": {**SOURCE_NAMES, NO_SOURCE: "no coarse map"},
        "contestant": {name: title for titles in GROUPS.values() for name, title in titles.items()},
        "measure": {
            **{name: title for name, (title, _) in FACTS.items()},
            **{name: label.heading for name, label in LABELS.items()},
        },
    }
)


def title(kind: str, name: str) -> str:
    """Return what tables call a "dataset", "model", "source", "contestant" or "measure".

    >>> title("source", "gradcam"), title("measure", "road"), title("contestant", "mine")
    ('Grad-CAM', 'ROAD ↓', 'mine')
    """
    return TITLES[kind].get(name, name)


def group(contestant: str) -> str:
    """Return the group that a contestant stands in; one that tables do not know stands among the others."""
    return next((name for name, titles in GROUPS.items() if contestant in titles), "Others")


def style(measure: str) -> Style:
    """Return how the figures of a measure are written."""
    if measure in FACTS:
        return FACTS[measure][1]
    return "magnitude" if measure in SCALINGS else "fixed"
