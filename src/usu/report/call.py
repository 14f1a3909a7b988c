"""The call that makes a record again."""

from __future__ import annotations

from typing import Any

from usu.record import Record
from usu.scoring.refinement import Masking
from usu.scoring.registry import SCORINGS, Scoring, options_of
from usu.settings import Settings
from usu.sources.registry import SOURCES


def call_of(explanation: Record) -> dict[str, Any]:
    """Return the call that makes the map again: its head, and settings other than the defaults, as Python.

    What a record does not hold, such as the inputs, arrays and callables, appears by the argument's own name.
    The page adds the mode, the temperatures and whether the map is continuous, as it shows it.
    """
    target = repr(explanation.target) if isinstance(explanation.target, int) else "target"
    head, origin = _origin(explanation)
    scoring = SCORINGS.get(explanation.settings.get("scoring", "mask"), Masking())
    defaults = {**Settings().plain(), **options_of(scoring)}
    shown = ("temperature", "importance_temperature", "continuous")
    kept = ("negative",) if explanation.mode == "complete" else ()  # the mode itself sets it
    settings = {
        name: _as_python(name, value, scoring)
        for name, value in explanation.settings.items()
        if name in defaults and name not in (*shown, *kept) and value != defaults[name]
    }
    return {
        "head": head,
        "arguments": {"target": target, **origin, "images": "images", **settings},
        "continuous": defaults["continuous"],
    }


def _origin(explanation: Record) -> tuple[str, dict[str, str]]:
    """Return the head of the call, and the arguments that say where the coarse map comes from."""
    complete, source = explanation.mode == "complete", explanation.source
    asked = explanation.settings.get("source", source)
    if complete and asked == "gradient":
        return "usu.explain(model, inputs", {}
    if asked == "given" or not (source in SOURCES or complete or explanation.further):
        # A complete record holds Owen values in place of the map that was given.
        found = {"mass": "mass" if complete else repr(explanation.mass)}
        if complete or explanation.neighbourhoods is not None:
            found["neighbourhoods"] = "neighbourhoods"
        return "usu.upsample(coarse, inputs, forward_func", found
    found = {"source": repr(asked) if asked in SOURCES else "source"}
    if explanation.layer:
        found["layer"] = repr(explanation.layer)
    return "usu.explain(model, inputs", found


def _as_python(name: str, value: Any, scoring: Scoring) -> str:
    """Return a recorded setting as Python; its own name if the record only holds what it was called."""
    try:
        Settings.of(**{"scoring": scoring, name: value})
    except (TypeError, ValueError):
        return name
    return name if isinstance(value, list) else repr(value)  # a list holds the names of hierarchies
