"""What the paper says: its own figures and captions, each with its place."""

from __future__ import annotations

from dataclasses import dataclass

TITLE = "Attribution Upsampling should Redistribute, Not Interpolate"


@dataclass(frozen=True)
class PaperRow:
    """One row of table 1 or 5; the paper gives neither grid nor interval nor number of images.

    Attributes:
        model: as the paper names it.
        method: by our name (see `usu.reproduce.methods`).
        iou: the paper does not say at which threshold; the caption of table 5 calls it "best IoU".
        concentration: share of mass inside the truth, as far as the paper says.
        pointing: pointing game.
    """

    model: str
    method: str
    iou: float
    concentration: float
    pointing: float


def _rows(model: str, figures: dict[str, tuple[float, float, float]]) -> tuple[PaperRow, ...]:
    return tuple(PaperRow(model, method, *values) for method, values in figures.items())


# Section 4.1, table 1, "Controlled validation: shape classification".
TABLE1 = _rows(
    "RRL-CNN",
    {
        "bilinear": (0.79, 0.54, 0.78),
        "bicubic": (0.82, 0.59, 0.79),
        "usu": (0.86, 0.76, 1.00),
        "oracle-usu": (0.96, 0.88, 1.00),
        "oracle-iwmr": (1.00, 0.85, 1.00),
    },
)

# Supplement E, table 5, "Full synthetic results: shape classification".
TABLE5 = _rows(
    "RRL-MLP",
    {
        "nearest": (0.77, 0.52, 0.76),
        "bilinear": (0.81, 0.56, 0.80),
        "bicubic": (0.84, 0.55, 0.79),
        "usu": (0.88, 0.79, 1.00),
        "iwmr": (0.91, 0.84, 1.00),
        "oracle-usu": (0.97, 0.90, 1.00),
        "oracle-iwmr": (1.00, 0.95, 1.00),
    },
) + _rows(
    "RRL-CNN",
    {
        "nearest": (0.75, 0.50, 0.74),
        "bilinear": (0.79, 0.54, 0.78),
        "bicubic": (0.82, 0.52, 0.76),
        "usu": (0.86, 0.76, 1.00),
        "iwmr": (0.89, 0.81, 1.00),
        "oracle-usu": (0.96, 0.88, 1.00),
        "oracle-iwmr": (1.00, 0.93, 1.00),
    },
)

# The words of the captions that say what is drawn.
CAPTIONS = {
    "figure2": "Upsampling corrupts saliency maps through reconstruction errors (RRL-constrained model on "
    "synthetic shapes).",
    "figure3": "Identical saliency for distinct inputs: each row shows the input, the raw heatmap, the "
    "upsampled saliency map, and the ground-truth attribution priors.",
    "figure4": "Qualitative comparison, top row: synthetic patterns with known ground-truth attribution "
    "priors; bilinear, bicubic, Lanczos and USU.",
    "figure7": "Compression error types: from top to bottom, ground-truth attribution, input image, "
    "upsampled saliency map, and raw low-resolution heatmap; left β-errors, right α-errors.",
    "figure8": "Extended qualitative comparison, top: synthetic patterns with known ground truth; "
    "interpolation baselines and USU-IWMR.",
    "figure9": "Interpolation artifacts vs. USU reconstruction: nine RRL-trained configurations (rows 1-2 "
    "and 8-9 shapes, rows 3-7 patterns); from left, ground-truth attribution, input, coarse 7 × 7 heatmap, "
    "bilinear, bicubic, Lanczos, USU.",
}
