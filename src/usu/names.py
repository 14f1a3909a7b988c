"""What figures, pages and the command line call a source, its unit and its cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from usu.explanation import Explanation

SOURCE_NAMES = {
    "given": "a given map",
    "gradient": "gradients",
    "gradcam": "Grad-CAM",
    "gradcam++": "Grad-CAM++",
    "hirescam": "HiResCAM",
    "xgradcam": "XGrad-CAM",
    "layercam": "LayerCAM",
    "shapleycam": "ShapleyCAM",
    "finercam": "FinerCAM",
    "eigencam": "Eigen-CAM",
    "scorecam": "Score-CAM",
    "ablationcam": "Ablation-CAM",
    "fullgrad": "FullGrad",
    "rollout": "Attention rollout",
    "rise": "RISE",
    "occlusion": "Occlusion",
    "shap": "SHAP",
    "lime": "LIME",
    "integrated-gradients": "Integrated gradients",
}


def coarse_title(explanation: Explanation) -> str:
    """Return what the coarse map is, and where it was shared by another map, by which."""
    name = SOURCE_NAMES.get(explanation.source, explanation.source)
    return f"Owen values, shared by {name}" if explanation.mode == "complete" else name


def unit_of(explanation: Explanation) -> str:
    """Return the unit of a coarse map's mass."""
    return explanation.unit or "units of the coarse map"


def cells_of(explanation: Explanation) -> str:
    """Return what the coarse map is made of, such as "7 × 7 cells" or "64 superpixels"."""
    kind = "cells" if explanation.neighbourhoods is None else "superpixels"
    more = len(explanation.further)
    grids = f" and {more} further grid{'s' * (more > 1)}" if more else ""
    return f"{' × '.join(map(str, explanation.coarse.shape))} {kind}{grids}"
