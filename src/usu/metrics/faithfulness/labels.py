"""Title, direction and question of each metric, stated once; this needs neither a model nor torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal


@dataclass(frozen=True)
class Label:
    """How to read a metric.

    Attributes:
        title: the name in tables and on axes.
        higher_is_better: direction.
        block: "A" follows Quantus 0.6, as the paper's tables do; "B" shows what these cannot.
        range: interval of the values, and their unit if they have one.
        description: what it asks, in one line.
    """

    title: str
    higher_is_better: bool
    block: Literal["A", "B"]
    range: str
    description: str

    @property
    def heading(self) -> str:
        """Title and direction, for the head of a column."""
        return f"{self.title} {'↑' if self.higher_is_better else '↓'}"


_SQUARED = "[0, ∞), squared logits"
_SEGMENTS = "(-∞, n] for n segments"
_CURVE = "[0, ∞), 1 is the probability of the image"

# In the order of the columns of tables.
LABELS: Mapping[str, Label] = MappingProxyType(
    {
        "infidelity": Label(
            "Infidelity (raw)", False, "A", _SQUARED,
            "squared error of the map, Σ a·Δx, as a forecast of what the logit loses as patches turn black",
        ),
        "infidelity-minmax": Label(
            "Infidelity (min-max)", False, "A", _SQUARED, "infidelity of the map, first scaled to [0, 1]",
        ),
        "pixel-flipping": Label(
            "PixelFlipping", False, "A", "[0, 1], a probability",
            "mean probability of the class as the highest features turn black",
        ),
        "road": Label(
            "ROAD", False, "A", "[0, 1]",
            "how often the class is still the first as 10 to 90 % of the pixels, the highest, are imputed",
        ),
        "irof": Label(
            "IROF (area)", True, "A", _SEGMENTS,
            "area over the curve of the probability as SLIC's segments are removed, the highest mean first",
        ),
        "irof-per-segment": Label(
            "IROF (per segment)", True, "A", "(-∞, 1]", "IROF over the number of segments",
        ),
        "monotonicity": Label(
            "Monotonicity", True, "A", "[-1, 1]",
            "rank correlation of the absolute mass of features and of what replacing them does",
        ),
        "sparseness": Label("Sparseness", True, "A", "[0, 1)", "Gini index of the absolute values"),
        "infidelity-sum": Label(
            "Infidelity (sum 1)", False, "B", _SQUARED, "infidelity of the map over its sum",
        ),
        "infidelity-scaled": Label(
            "Infidelity (best scale β)", False, "B", _SQUARED, "infidelity of the map times its best factor",
        ),
        "infidelity-squares": Label(
            "Infidelity (best scale β, random squares)", False, "B", _SQUARED,
            "infidelity of the map times its best factor, as single squares at random places turn black",
        ),
        "deletion-blur": Label(
            "Deletion, blurred", False, "B", _CURVE,
            "area under the curve of the probability as the highest pixels are blurred",
        ),
        "deletion-mean": Label(
            "Deletion, mean colour", False, "B", _CURVE,
            "area under the curve of the probability as the highest pixels take the mean colour",
        ),
        "insertion-blur": Label(
            "Insertion, blurred", True, "B", _CURVE,
            "area under the curve of the probability as the highest pixels come back to the blurred image",
        ),
        "insertion-mean": Label(
            "Insertion, mean colour", True, "B", _CURVE,
            "area under the curve of the probability as the highest pixels come back to the mean colour",
        ),
        "deletion-blur-smooth": Label(
            "Deletion, blurred, band-limited", False, "B", _CURVE,
            "the same as deletion-blur, of the map after a Gaussian of 6 pixels at 224",
        ),
        "deletion-mean-smooth": Label(
            "Deletion, mean colour, band-limited", False, "B", _CURVE,
            "the same as deletion-mean, of the map after a Gaussian of 6 pixels at 224",
        ),
        "insertion-blur-smooth": Label(
            "Insertion, blurred, band-limited", True, "B", _CURVE,
            "the same as insertion-blur, of the map after a Gaussian of 6 pixels at 224",
        ),
        "insertion-mean-smooth": Label(
            "Insertion, mean colour, band-limited", True, "B", _CURVE,
            "the same as insertion-mean, of the map after a Gaussian of 6 pixels at 224",
        ),
        "irof-grid": Label(
            "IROF, grid of 28 px", True, "B", _SEGMENTS, "IROF on a fixed grid of cells of 28 pixels",
        ),
        "irof-felzenszwalb": Label(
            "IROF, Felzenszwalb", True, "B", _SEGMENTS,
            "IROF on segments by Felzenszwalb, which no upsampler here uses",
        ),
    }
)  # fmt: skip
