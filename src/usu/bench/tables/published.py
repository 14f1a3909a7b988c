"""The paper's own figures of its benchmark, as it prints them: tables 2, 3, 7, 8, 9 and 10.

Contestants, sources and metrics go by our names. Which map the paper hands to a metric, raw or scaled, it
does not say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from types import MappingProxyType
from typing import TypeAlias

DATASETS = ("imagenet", "cifar10", "cub200")
MODELS = ("vgg16", "resnet50", "vit_b_16")
PAIRS = tuple(product(DATASETS, MODELS))
SOURCE = "gradcam"  # of all tables but table 8: "we report GradCAM as representative" (section 4.2)
SOURCES = ("gradcam", "hirescam", "gradcam++", "xgradcam", "fullgrad", "shapleycam", "finercam")

Place: TypeAlias = "tuple[str, str]"  # (data set, model)

# The same architectures elsewhere; the paper does not say whose weights it took.
_ALIASES = {"vit_base_patch16_224": "vit_b_16"}


def model_of(name: str) -> str:
    """Return by which name the paper's figures of a network are found; of others its own name.

    >>> model_of("timm:resnet50.a1_in1k"), model_of("efficientnet-lite0")
    ('resnet50', 'efficientnet-lite0')
    """
    bare = name.removeprefix("timm:").split(".")[0]
    known = _ALIASES.get(bare, bare)
    return known if known in MODELS else name


@dataclass(frozen=True)
class Desiderata:
    """A row of table 2: satisfied or not, and the mean absolute discrepancy of a neighbourhood's mass."""

    d1: bool
    d2: bool
    d3: bool
    d4: bool
    error: float


TABLE2_PLACE: Place = ("imagenet", "vgg16")
TABLE2: Mapping[str, Desiderata] = MappingProxyType(
    {
        "bilinear": Desiderata(False, False, False, False, 1.23e-1),
        "bicubic": Desiderata(False, False, False, False, 8.65e-1),
        "lanczos": Desiderata(False, False, False, False, 2.14e-2),
        "usu": Desiderata(True, True, True, True, 4.95e-7),  # printed as "USU-Fixed"
        "iwmr": Desiderata(False, True, True, True, 3.81e-4),
    }
)

# Infidelity.
TABLE3_METHODS = ("bilinear", "bicubic", "lanczos", "usu", "iwmr")
TABLE3: Mapping[Place, Mapping[str, float]] = MappingProxyType(
    {
        place: MappingProxyType(dict(zip(TABLE3_METHODS, figures, strict=True)))
        for place, figures in {
            ("imagenet", "vgg16"): (6.91e6, 7.82e6, 8.14e6, 1.14e5, 1.28e5),
            ("imagenet", "resnet50"): (4.87e7, 5.41e7, 5.63e7, 2.21e5, 2.45e5),
            ("imagenet", "vit_b_16"): (2.19e8, 2.48e8, 2.59e8, 7.02e5, 7.85e5),
            ("cifar10", "vgg16"): (3.12e7, 3.55e7, 3.71e7, 7.12e4, 6.47e4),
            ("cifar10", "resnet50"): (8.95e7, 9.87e7, 1.02e8, 2.21e5, 2.38e5),
            ("cifar10", "vit_b_16"): (2.57e8, 2.89e8, 3.01e8, 2.15e4, 1.99e4),
            ("cub200", "vgg16"): (5.44e6, 6.12e6, 6.38e6, 1.82e3, 1.70e3),
            ("cub200", "resnet50"): (8.46e7, 9.32e7, 9.68e7, 1.52e7, 1.41e7),
            ("cub200", "vit_b_16"): (1.83e8, 2.05e8, 2.14e8, 5.08e4, 5.61e4),
        }.items()
    }
)

# Cohen's d, USU vs. bilinear, on infidelity; positive where USU is better.
TABLE7: Mapping[Place, float] = MappingProxyType(
    {
        ("imagenet", "vgg16"): 1.59,
        ("imagenet", "resnet50"): 1.82,
        ("imagenet", "vit_b_16"): 1.71,
        ("cifar10", "vgg16"): 1.95,
        ("cifar10", "resnet50"): 1.82,
        ("cifar10", "vit_b_16"): 2.14,
        ("cub200", "vgg16"): 1.87,
        ("cub200", "resnet50"): 0.89,
        ("cub200", "vit_b_16"): 1.65,
    }
)


@dataclass(frozen=True)
class Spread:
    """The last rows of table 8: factors' mean and standard deviation over sources, and their ratio in %."""

    mean: float
    deviation: float
    variation: float


def _by_dataset(
    table: Mapping[str, tuple[tuple[float, float], ...]],
) -> Mapping[Place, tuple[float, float]]:
    return MappingProxyType(
        {
            (dataset, source): pair
            for source, pairs in table.items()
            for dataset, pair in zip(DATASETS, pairs, strict=True)
        }
    )


# "Raw infidelity", bilinear → variant, averaged over the three networks, by (data set, source).
TABLE8: Mapping[str, Mapping[tuple[str, str], tuple[float, float]]] = MappingProxyType(
    {
        "usu": _by_dataset(
            {
                "gradcam": ((1384, 3.15), (1349, 0.230), (879.9, 0.932)),
                "hirescam": ((337.4, 0.853), (265.4, 0.051), (176.2, 0.197)),
                "gradcam++": ((1041, 2.47), (1045, 0.187), (715.1, 0.773)),
                "xgradcam": ((1318, 2.83), (1637, 0.281), (711.7, 0.683)),
                "fullgrad": ((2295, 6.18), (1839, 0.379), (877.6, 1.05)),
                "shapleycam": ((1504, 3.71), (2631, 0.485), (800.2, 0.892)),
                "finercam": ((1411, 3.48), (1358, 0.283), (892.3, 0.954)),
            }
        ),
        "iwmr": _by_dataset(
            {
                "gradcam": ((1384, 2.22), (1349, 0.177), (879.9, 0.688)),
                "hirescam": ((337.4, 0.628), (265.4, 0.037), (176.2, 0.145)),
                "gradcam++": ((1041, 1.71), (1045, 0.127), (715.1, 0.526)),
                "xgradcam": ((1318, 2.07), (1637, 0.211), (711.7, 0.484)),
                "fullgrad": ((2295, 4.88), (1839, 0.292), (877.6, 0.744)),
                "shapleycam": ((1504, 2.67), (2631, 0.330), (800.2, 0.667)),
                "finercam": ((1411, 2.64), (1358, 0.218), (892.3, 0.691)),
            }
        ),
    }
)
TABLE8_SPREAD: Mapping[tuple[str, str], Spread] = MappingProxyType(
    {
        ("usu", "imagenet"): Spread(415, 29, 6.9),
        ("usu", "cifar10"): Spread(5363, 407, 7.6),
        ("usu", "cub200"): Spread(925, 58, 6.3),
        ("iwmr", "imagenet"): Spread(567, 55, 9.7),
        ("iwmr", "cifar10"): Spread(7329, 731, 10.0),
        ("iwmr", "cub200"): Spread(1284, 95, 7.4),
    }
)

# Tables 9 and 10. The paper names "USU-Hybrid" and never defines it.
FULL_METHODS = ("nearest", "bilinear", "bicubic", "lanczos", "usu", "hybrid")
FULL_METRICS = ("infidelity", "pixel-flipping", "road", "irof", "monotonicity", "sparseness")
_FULL: Mapping[Place, tuple[tuple[float, ...], ...]] = {
    ("imagenet", "vgg16"): (
        (7.15e6, 0.62, 0.58, 0.41, 0.18, 0.31),
        (6.91e6, 0.60, 0.56, 0.43, 0.19, 0.33),
        (7.82e6, 0.61, 0.57, 0.42, 0.18, 0.32),
        (8.14e6, 0.62, 0.58, 0.41, 0.18, 0.31),
        (1.27e5, 0.27, 0.23, 0.61, 0.34, 0.73),
        (1.13e5, 0.29, 0.26, 0.65, 0.30, 0.74),
    ),
    ("imagenet", "resnet50"): (
        (5.02e7, 0.65, 0.61, 0.38, 0.17, 0.29),
        (4.87e7, 0.63, 0.59, 0.40, 0.18, 0.31),
        (5.41e7, 0.64, 0.60, 0.39, 0.17, 0.30),
        (5.63e7, 0.65, 0.61, 0.38, 0.17, 0.29),
        (2.45e5, 0.31, 0.28, 0.59, 0.30, 0.70),
        (2.21e5, 0.32, 0.29, 0.61, 0.29, 0.72),
    ),
    ("imagenet", "vit_b_16"): (
        (2.31e8, 0.68, 0.64, 0.35, 0.20, 0.27),
        (2.19e8, 0.66, 0.62, 0.37, 0.20, 0.29),
        (2.48e8, 0.67, 0.63, 0.36, 0.20, 0.28),
        (2.59e8, 0.68, 0.64, 0.35, 0.20, 0.27),
        (7.85e5, 0.34, 0.31, 0.56, 0.30, 0.68),
        (7.02e5, 0.35, 0.32, 0.58, 0.30, 0.70),
    ),
    ("cifar10", "vgg16"): (
        (3.28e7, 0.64, 0.60, 0.39, 0.17, 0.30),
        (3.12e7, 0.62, 0.58, 0.41, 0.18, 0.32),
        (3.55e7, 0.63, 0.59, 0.40, 0.17, 0.31),
        (3.71e7, 0.64, 0.60, 0.39, 0.17, 0.30),
        (7.12e4, 0.30, 0.27, 0.60, 0.30, 0.72),
        (6.47e4, 0.31, 0.28, 0.62, 0.29, 0.74),
    ),
    ("cifar10", "resnet50"): (
        (9.18e7, 0.66, 0.62, 0.37, 0.16, 0.28),
        (8.95e7, 0.64, 0.60, 0.39, 0.17, 0.30),
        (9.87e7, 0.65, 0.61, 0.38, 0.16, 0.29),
        (1.02e8, 0.66, 0.62, 0.37, 0.16, 0.28),
        (2.38e5, 0.32, 0.29, 0.58, 0.29, 0.69),
        (2.21e5, 0.33, 0.30, 0.60, 0.28, 0.71),
    ),
    ("cifar10", "vit_b_16"): (
        (2.71e8, 0.69, 0.65, 0.34, 0.20, 0.26),
        (2.57e8, 0.67, 0.63, 0.36, 0.20, 0.28),
        (2.89e8, 0.68, 0.64, 0.35, 0.20, 0.27),
        (3.01e8, 0.69, 0.65, 0.34, 0.20, 0.26),
        (2.15e4, 0.34, 0.32, 0.55, 0.30, 0.67),
        (1.98e4, 0.36, 0.34, 0.58, 0.30, 0.70),
    ),
    ("cub200", "vgg16"): (
        (5.68e6, 0.63, 0.59, 0.40, 0.18, 0.30),
        (5.44e6, 0.61, 0.57, 0.42, 0.19, 0.32),
        (6.12e6, 0.62, 0.58, 0.41, 0.18, 0.31),
        (6.38e6, 0.63, 0.59, 0.40, 0.18, 0.30),
        (1.83e3, 0.27, 0.26, 0.59, 0.32, 0.71),
        (1.70e3, 0.30, 0.27, 0.62, 0.30, 0.74),
    ),
    ("cub200", "resnet50"): (
        (8.71e7, 0.67, 0.63, 0.36, 0.16, 0.27),
        (8.46e7, 0.65, 0.61, 0.38, 0.17, 0.29),
        (9.32e7, 0.66, 0.62, 0.37, 0.16, 0.28),
        (9.68e7, 0.67, 0.63, 0.36, 0.16, 0.27),
        (1.52e7, 0.43, 0.39, 0.50, 0.28, 0.55),
        (1.40e7, 0.46, 0.40, 0.51, 0.27, 0.59),
    ),
    ("cub200", "vit_b_16"): (
        (1.92e8, 0.69, 0.65, 0.34, 0.20, 0.26),
        (1.83e8, 0.67, 0.63, 0.36, 0.20, 0.28),
        (2.05e8, 0.68, 0.64, 0.35, 0.20, 0.27),
        (2.14e8, 0.69, 0.65, 0.34, 0.20, 0.26),
        (5.61e4, 0.35, 0.32, 0.55, 0.30, 0.67),
        (5.08e4, 0.36, 0.33, 0.57, 0.30, 0.69),
    ),
}
# By (data set, model), then by (method, metric); the first two data sets are table 9, the last is table 10.
FULL: Mapping[Place, Mapping[tuple[str, str], float]] = MappingProxyType(
    {
        place: MappingProxyType(
            {
                (method, metric): figure
                for method, figures in zip(FULL_METHODS, rows, strict=True)
                for metric, figure in zip(FULL_METRICS, figures, strict=True)
            }
        )
        for place, rows in _FULL.items()
    }
)
