"""The paper's figures of tables 1 and 5, in `controlled_experiments.csv`, and its captions."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

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


def published(table: str) -> pd.DataFrame:
    """Return the paper's "table1" (section 4.1) or "table5" (supplement E), as printed.

    The paper gives neither grid nor interval nor number of images, nor the threshold of its IoU, which the
    caption of table 5 calls "best IoU".

    Returns:
        `iou`, `concentration` (the share of mass inside the truth, as far as the paper says) and `pointing`,
        by `model`, as the paper names it, and `method`, by our name.
    """
    import pandas as pd

    with (files("usu.reproduce") / "controlled_experiments.csv").open(encoding="utf-8") as file:
        rows = pd.read_csv(file, index_col=["table", "model", "method"])
    return rows.loc[table]
