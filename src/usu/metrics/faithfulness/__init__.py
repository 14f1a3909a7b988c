"""How faithful pixel maps are to a model, by metrics with names that share forward passes.

Names are imported when they are first used (PEP 562), so that the labels alone load no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from usu.metrics.faithfulness.judge import Judge
    from usu.metrics.faithfulness.labels import LABELS, Label
    from usu.metrics.faithfulness.registry import METRICS, Metric, find_metric

_HOMES = {
    "LABELS": "labels",
    "METRICS": "registry",
    "Judge": "judge",
    "Label": "labels",
    "Metric": "registry",
    "find_metric": "registry",
}

__all__ = ["LABELS", "METRICS", "Judge", "Label", "Metric", "find_metric"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value
