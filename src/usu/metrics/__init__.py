"""Judges of pixel maps: faithfulness to a model, localisation and errors against a truth, statistics.

Names are imported when they are first used (PEP 562): `import usu.metrics` loads no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from usu.metrics.errors import ErrorMaps, MassErrors, error_maps, mass_errors
    from usu.metrics.faithfulness.judge import Judge
    from usu.metrics.faithfulness.labels import Label
    from usu.metrics.faithfulness.registry import METRICS, Metric
    from usu.metrics.localisation import (
        alpha_total,
        band_error,
        beta_total,
        iou_area,
        iou_best,
        iou_half,
        pointing_game,
        relevance_mass_accuracy,
    )
    from usu.metrics.statistics import (
        Correction,
        Interval,
        PairedTest,
        bootstrap_interval,
        bootstrap_intervals,
        correct,
        paired_test,
    )

_ROOMS = {
    "errors": ("ErrorMaps", "MassErrors", "error_maps", "mass_errors"),
    "faithfulness.judge": ("Judge",),
    "faithfulness.labels": ("Label",),
    "faithfulness.registry": ("METRICS", "Metric"),
    "localisation": (
        "alpha_total",
        "band_error",
        "beta_total",
        "iou_area",
        "iou_best",
        "iou_half",
        "pointing_game",
        "relevance_mass_accuracy",
    ),
    "statistics": (
        "Correction",
        "Interval",
        "PairedTest",
        "bootstrap_interval",
        "bootstrap_intervals",
        "correct",
        "paired_test",
    ),
}
_HOMES = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = [
    "METRICS",
    "Correction",
    "ErrorMaps",
    "Interval",
    "Judge",
    "Label",
    "MassErrors",
    "Metric",
    "PairedTest",
    "alpha_total",
    "band_error",
    "beta_total",
    "bootstrap_interval",
    "bootstrap_intervals",
    "correct",
    "error_maps",
    "iou_area",
    "iou_best",
    "iou_half",
    "mass_errors",
    "paired_test",
    "pointing_game",
    "relevance_mass_accuracy",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
