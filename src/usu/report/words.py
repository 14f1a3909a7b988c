"""What the page says of a record: names, units, and the call that makes it again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from usu.explanation import Explanation
from usu.settings import Settings
from usu.sources import SOURCES as BY_NAME

SOURCES = {
    "given": "a given map",
    "owen": "Owen values",
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
_LOGITS = ("gradcam", "hirescam", "xgradcam", "fullgrad", "occlusion", "shap", "lime", "integrated-gradients")
_UNITS = dict.fromkeys(_LOGITS, "logits") | {"rise": "probability"}


def unit_of(explanation: Explanation) -> str:
    """Return the unit of a coarse map's mass."""
    return _UNITS.get(explanation.source, "units of the coarse map")


def cells_of(explanation: Explanation) -> str:
    """Return what the coarse map is made of, such as "7 × 7 cells" or "64 superpixels"."""
    kind = "cells" if explanation.neighbourhoods is None else "superpixels"
    grids = f" and {len(explanation.further)} further grids" if explanation.further else ""
    return f"{' × '.join(map(str, explanation.coarse.shape))} {kind}{grids}"


def call_of(explanation: Explanation) -> dict[str, Any]:
    """Return the call that makes the map again: its head, and settings that are no defaults, as Python.

    The page puts the mode and the temperatures that it shows into it.
    """
    given = explanation.source not in BY_NAME and explanation.mode != "complete"
    head = "usu.upsample(coarse, inputs, forward_func" if given else "usu.explain(model, inputs"
    target = explanation.target if isinstance(explanation.target, str) else repr(explanation.target)
    arguments = {"target": target}
    if given:
        arguments["mass"] = repr(explanation.mass)
        if explanation.neighbourhoods is not None:
            arguments["neighbourhoods"] = "neighbourhoods"
    elif explanation.mode != "complete":
        arguments["source"] = repr(explanation.source)
        if explanation.layer:
            arguments["layer"] = repr(explanation.layer)
    defaults = Settings().plain()
    shown = ("temperature", "importance_temperature")
    kept = ("negative",) if explanation.mode == "complete" else ()  # which the mode itself sets
    arguments |= {
        name: repr(value)
        for name, value in explanation.settings.items()
        if name in defaults and name not in (*shown, *kept) and value != defaults[name]
    }
    return {"head": head, "arguments": arguments}


def finite(value: Any) -> Any:
    """Return nested values with numbers that JSON does not know as text."""
    if isinstance(value, Mapping):
        return {str(name): finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [finite(part) for part in value]
    return repr(value) if isinstance(value, float) and not math.isfinite(value) else value
