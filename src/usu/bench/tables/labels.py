"""What tables call the metrics, contestants, data sets and networks of a results folder, and their order.

Nothing here needs a model, so that tables of saved results need none either.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, TypeAlias

from usu.bench.results.cell import NO_SOURCE
from usu.sources.registry import SOURCE_NAMES

if TYPE_CHECKING:
    from usu.bench.tables.sheet import Style

BlockName: TypeAlias = Literal["A", "B"]

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
        style: of its figures.
        log_ratio: whether two methods are compared by log(a / b) in place of a - b.
        scaling: of the map before the metric, for metrics that see its scale.
    """

    title: str
    block: BlockName
    higher_is_better: bool
    style: Style = "fixed"
    log_ratio: bool = False
    scaling: str = ""

    @property
    def heading(self) -> str:
        """Title and direction."""
        return f"{self.title} {'↑' if self.higher_is_better else '↓'}"


def _infidelity(manner: str, block: BlockName, scaling: str) -> MetricWords:
    return MetricWords(f"Infidelity ({manner})", block, False, "magnitude", log_ratio=True, scaling=scaling)


_BEST_SCALE = "each map times its own best scale β = E[s·Δ] / E[s²]"

METRIC_WORDS: Mapping[str, MetricWords] = MappingProxyType(
    {
        "infidelity": _infidelity("raw", "A", "each map as it is, signed and unscaled"),
        "infidelity-minmax": _infidelity("min-max", "A", "each map min-max to [0, 1]"),
        "pixel-flipping": MetricWords("PixelFlipping", "A", False),
        "road": MetricWords("ROAD", "A", False),
        "irof": MetricWords("IROF (area)", "A", True),
        "irof-per-segment": MetricWords("IROF (per segment)", "A", True),
        "monotonicity": MetricWords("Monotonicity", "A", True),
        "sparseness": MetricWords("Sparseness", "A", True),
        "infidelity-sum": _infidelity("sum 1", "B", "each map divided by its sum"),
        "infidelity-scaled": _infidelity("best scale β", "B", _BEST_SCALE),
        "infidelity-squares": _infidelity(
            "best scale β, random squares", "B", f"{_BEST_SCALE}; independent random squares"
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


@dataclass(frozen=True)
class ContestantWords:
    """How what makes a pixel map is shown: its title and the group it stands in."""

    title: str
    group: str


def _group(group: str, titles: Mapping[str, str]) -> dict[str, ContestantWords]:
    return {name: ContestantWords(title, group) for name, title in titles.items()}


CONTESTANT_WORDS: Mapping[str, ContestantWords] = MappingProxyType(
    _group(
        "Upsamplers",
        {
            "nearest": "Nearest",
            "bilinear": "Bilinear",
            "bicubic": "Bicubic",
            "lanczos": "Lanczos-3",
            "usu": "USU",
            "iwmr": "Soft IWMR",
            "hybrid": "USU-Hybrid",
            "complete": "USU-Complete",
        },
    )
    | _group(
        "Controls",
        {
            "zero": "Zero map",
            "constant": "Constant map",
            "scores": "Scores alone",
            "shuffled-scores": "USU, shuffled scores",
            "random-segments": "USU, random segments",
            "blurred-nearest": "Nearest, blurred",
        },
    )
    | _group(
        "Peers",
        {
            "guided": "Guided filter",
            "rise": "RISE",
            "rise-10x": "RISE, 10 × the passes",
            "occlusion": "Occlusion",
            "occlusion-10x": "Occlusion, 10 × the passes",
            "xrai": "XRAI",
            "refinecam": "RefineCAM",
            "shap-partition": "SHAP, partition",
        },
    )
)
OTHERS = "Others"

_DATASETS = {
    "imagenet": "ImageNet",
    "cifar10": "CIFAR-10",
    "cub200": "CUB-200",
    "folder": "A folder of photographs",
}
_MODELS = {
    "vgg16": "VGG16",
    "resnet50": "ResNet50",
    "vit_b_16": "ViT-B-16",
    "efficientnet-lite0": "EfficientNet-Lite0",
    "efficientnet-lite1": "EfficientNet-Lite1",
    "efficientnet-lite2": "EfficientNet-Lite2",
}


def contestant_words(name: str) -> ContestantWords:
    """Return the words of a contestant; one that tables do not know stands among the others by its name."""
    return CONTESTANT_WORDS.get(name, ContestantWords(name, OTHERS))


def dataset_title(name: str) -> str:
    """Return what tables call a data set."""
    return _DATASETS.get(name, name)


def model_title(name: str) -> str:
    """Return what tables call a network."""
    return _MODELS.get(name, name)


def source_title(name: str) -> str:
    """Return what tables call a source of coarse maps."""
    return "no coarse map" if name == NO_SOURCE else SOURCE_NAMES.get(name, name)


def place(dataset: str, model: str, source: str) -> tuple[tuple[int, str], ...]:
    """Return a key that sorts as the paper does, with what the paper lacks after it, by name."""
    ranks = ((dataset, _DATASETS), (model, _MODELS), (source, SOURCE_NAMES))
    return tuple((list(known).index(name) if name in known else len(known), name) for name, known in ranks)
