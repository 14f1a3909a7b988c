"""The call that makes a record again, and numbers as JSON can hold them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from usu.explanation import Explanation
from usu.settings import Settings
from usu.sources import SOURCES


def call_of(explanation: Explanation) -> dict[str, Any]:
    """Return the call that makes the map again: its head, and settings that are no defaults, as Python.

    The page puts the mode and the temperatures that it shows into it.
    """
    by_default = explanation.mode == "complete" and explanation.source == "gradient"
    given = explanation.source not in SOURCES and not by_default
    head = "usu.upsample(coarse, inputs, forward_func" if given else "usu.explain(model, inputs"
    target = explanation.target if isinstance(explanation.target, str) else repr(explanation.target)
    arguments = {"target": target}
    if given:
        arguments["mass"] = repr(explanation.mass)
        if explanation.neighbourhoods is not None:
            arguments["neighbourhoods"] = "neighbourhoods"
    elif not by_default:
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
