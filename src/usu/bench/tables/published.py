"""The paper's own figures of its benchmark, tables 2, 3, 7, 8, 9 and 10, as it prints them: `published.csv`.

Contestants, sources and measures go by our names. Which map the paper hands to a metric, raw or scaled, it
does not say. In table 8 a figure is an average over the paper's three networks, and has no model.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

FILE = Path(__file__).with_name("published.csv")


class Figure(NamedTuple):
    """What a figure is of; "" where the paper's figure is over all of a kind."""

    dataset: str
    model: str
    source: str
    contestant: str
    measure: str


def _read() -> dict[str, Mapping[Figure, float]]:
    with FILE.open(encoding="utf-8", newline="") as file:
        found: dict[str, dict[Figure, float]] = {}
        for table, *place, value in list(csv.reader(file))[1:]:
            found.setdefault(table, {})[Figure(*place)] = float(value)
    return {table: MappingProxyType(figures) for table, figures in found.items()}


FIGURES: Mapping[str, Mapping[Figure, float]] = MappingProxyType(_read())
SOURCES = tuple(dict.fromkeys(figure.source for figure in FIGURES["table8"] if figure.source))

_MODELS = {figure.model for figure in FIGURES["table3"]}
# The same architectures elsewhere; the paper does not say whose weights it took.
_ALIASES = {"vit_base_patch16_224": "vit_b_16"}

# Networks that the paper lacks, and the one of the same kind that it has: plain, residual, or of attention.
KIN = MappingProxyType(
    {"resnet56": "resnet50", "efficientnet-lite0": "resnet50", "vit_tiny_patch16_224": "vit_b_16"}
)


def model_of(name: str) -> str:
    """Return by which name the paper's figures of a network are found; of others its own name.

    >>> model_of("timm:resnet50.a1_in1k"), model_of("efficientnet-lite0")
    ('resnet50', 'efficientnet-lite0')
    """
    bare = name.removeprefix("timm:").split(".")[0]
    known = _ALIASES.get(bare, bare)
    return known if known in _MODELS else name


def desiderata() -> dict[str, tuple[tuple[str, ...], float]]:
    """Return table 2: by upsampler "yes" or "no" on D1 to D4, and the D1 error.

    >>> desiderata()["iwmr"]
    (('no', 'yes', 'yes', 'yes'), 0.000381)
    """
    rows: dict[str, dict[str, float]] = {}
    for figure, value in FIGURES["table2"].items():
        rows.setdefault(figure.contestant, {})[figure.measure] = value
    return {
        name: (tuple("yes" if row[key] else "no" for key in ("d1", "d2", "d3", "d4")), row["d1_error"])
        for name, row in rows.items()
    }
