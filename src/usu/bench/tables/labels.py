"""What tables call the measures, contestants, data sets and networks of a results folder, and their order.

Nothing here needs a model, so that tables of saved results need none either.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, TypeAlias

from usu.bench.results.schema import NO_SOURCE
from usu.sources.registry import SOURCE_NAMES

BlockName: TypeAlias = Literal["A", "B"]
Style: TypeAlias = Literal["magnitude", "fixed", "signed", "p", "count", "percent", "text"]

BLOCKS: Mapping[BlockName, str] = MappingProxyType(
    {"A": "A: as the paper measures", "B": "B: scale-fair, other segmenters, whole pixels"}
)


@dataclass(frozen=True)
class MetricWords:
    """How a metric is shown.

    Attributes:
        title: in the head of a column; a scaling of the map is part of it.
        block: "A" for the paper's own, "B" for those that answer what the paper's cannot.
        higher_is_better: direction.
        scaling: of the map before the metric, for metrics that see its scale: the infidelities, whose
            figures span magnitudes, and of which two maps are compared by log(a / b) in place of a - b.
    """

    title: str
    block: BlockName
    higher_is_better: bool
    scaling: str = ""

    @property
    def heading(self) -> str:
        """Title and direction."""
        return f"{self.title} {'↑' if self.higher_is_better else '↓'}"

    @property
    def log_ratio(self) -> bool:
        """Whether two maps are compared by log(a / b)."""
        return bool(self.scaling)

    @property
    def style(self) -> Style:
        """How its figures are written."""
        return "magnitude" if self.scaling else "fixed"


_BEST_SCALE = "each map times its own best scale β = E[s·Δ] / E[s²]"

METRIC_WORDS: Mapping[str, MetricWords] = MappingProxyType(
    {
        "infidelity": MetricWords("Infidelity (raw)", "A", False, "each map as it is, signed and unscaled"),
        "infidelity-minmax": MetricWords("Infidelity (min-max)", "A", False, "each map min-max to [0, 1]"),
        "pixel-flipping": MetricWords("PixelFlipping", "A", False),
        "road": MetricWords("ROAD", "A", False),
        "irof": MetricWords("IROF (area)", "A", True),
        "irof-per-segment": MetricWords("IROF (per segment)", "A", True),
        "monotonicity": MetricWords("Monotonicity", "A", True),
        "sparseness": MetricWords("Sparseness", "A", True),
        "infidelity-sum": MetricWords("Infidelity (sum 1)", "B", False, "each map divided by its sum"),
        "infidelity-scaled": MetricWords("Infidelity (best scale β)", "B", False, _BEST_SCALE),
        "infidelity-squares": MetricWords(
            "Infidelity (best scale β, random squares)",
            "B",
            False,
            f"{_BEST_SCALE}; independent random squares",
        ),
        "deletion-blur": MetricWords("Deletion, blurred", "B", False),
        "deletion-mean": MetricWords("Deletion, mean colour", "B", False),
        "insertion-blur": MetricWords("Insertion, blurred", "B", True),
        "insertion-mean": MetricWords("Insertion, mean colour", "B", True),
        "irof-grid": MetricWords("IROF, grid of 28 px", "B", True),
        "irof-felzenszwalb": MetricWords("IROF, Felzenszwalb", "B", True),
    }
)
INFIDELITIES = tuple(name for name, words in METRIC_WORDS.items() if words.log_ratio)

# Of a map, whatever the metric: each of its rows repeats them. Title and style.
FACTS: Mapping[str, tuple[str, Style]] = MappingProxyType(
    {
        "forward_passes": ("Forward passes", "count"),
        "total_mass": ("Total mass", "magnitude"),
        "d1_error": ("D1 error", "magnitude"),
        "d1_relative": ("D1 error, relative", "magnitude"),
    }
)

_GROUPS: Mapping[str, Mapping[str, str]] = {
    "Upsamplers": {
        "nearest": "Nearest",
        "bilinear": "Bilinear",
        "bicubic": "Bicubic",
        "lanczos": "Lanczos-3",
        "usu": "USU",
        "iwmr": "Soft IWMR",
        "hybrid": "USU-Hybrid",
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
        "rise": "RISE",
        "rise-10x": "RISE, 10 × the passes",
        "occlusion": "Occlusion",
        "occlusion-10x": "Occlusion, 10 × the passes",
        "xrai": "XRAI",
        "refinecam": "RefineCAM",
        "shap-partition": "SHAP, partition",
    },
}
UPSAMPLERS = tuple(_GROUPS["Upsamplers"])

# What each kind of name is called, in the paper's order; what is not here follows by its own name.
TITLES: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "dataset": {
            "imagenet": "ImageNet",
            "cifar10": "CIFAR-10",
            "cub200": "CUB-200",
            "folder": "A folder of photographs",
        },
        "model": {
            "vgg16": "VGG16",
            "resnet50": "ResNet50",
            "vit_b_16": "ViT-B-16",
            "efficientnet-lite0": "EfficientNet-Lite0",
            "efficientnet-lite1": "EfficientNet-Lite1",
            "efficientnet-lite2": "EfficientNet-Lite2",
        },
        "source": {**SOURCE_NAMES, NO_SOURCE: "no coarse map"},
        "contestant": {name: title for titles in _GROUPS.values() for name, title in titles.items()},
        "measure": {
            **{name: title for name, (title, _) in FACTS.items()},
            **{name: words.heading for name, words in METRIC_WORDS.items()},
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
    return next((name for name, titles in _GROUPS.items() if contestant in titles), "Others")


def style(measure: str) -> Style:
    """Return how the figures of a measure are written."""
    return FACTS[measure][1] if measure in FACTS else METRIC_WORDS[measure].style
