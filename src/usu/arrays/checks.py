"""Checks of plain arguments (choices, counts, numbers) and suggestions for misspelt names."""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Iterable, Sequence
from numbers import Integral, Real
from typing import Any


def suggestion(text: str, names: Iterable[str]) -> str:
    """Return "; did you mean ...?" with the names closest to `text`, to end an error; "" if none is close."""
    by_lowered = {name.casefold(): name for name in names}
    close = difflib.get_close_matches(text.casefold(), by_lowered, n=4, cutoff=0.6)
    return f"; did you mean {' or '.join(repr(by_lowered[key]) for key in close)}?" if close else ""


def check_choice(value: Any, choices: Sequence[str], name: str) -> None:
    """Raise ValueError unless `value`, of whatever type, is one of `choices`."""
    if not isinstance(value, str) or value not in choices:
        near = suggestion(value, choices) if isinstance(value, str) else ""
        raise ValueError(f"{name} must be one of {tuple(choices)}, got {value!r}{near}")


def check_flag(value: Any, name: str) -> None:
    """Raise TypeError unless `value` is True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {value!r}")


def check_count(value: Any, name: str, least: int) -> None:
    """Raise TypeError unless `value` is an integer, and ValueError unless it is at least `least`."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")


def as_number(value: Any, name: str) -> float:
    """Return a real number as a float, infinite if it is too large for one; raise TypeError for others."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {type(value).__name__}")
    try:
        return float(value)
    except OverflowError:
        return math.inf


def check_path(value: Any, name: str) -> str:
    """Return a path as text; raise TypeError unless it is text or a path, such as pathlib's."""
    found = os.fspath(value) if isinstance(value, str | os.PathLike) else value
    if not isinstance(found, str):
        raise TypeError(f"{name} must be a path, as text or of pathlib, got {value!r}")
    return found


def check_text(value: Any, name: str) -> None:
    """Raise TypeError unless `value` is text, or None."""
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{name} must be text, got {value!r}")


def check_number(value: Any, name: str) -> float:
    """Return a real number as a float; raise TypeError if it is not one, ValueError if it is not finite."""
    number = as_number(value, name)
    if not math.isfinite(number):
        raise ValueError(f"{name} must be finite, got {value!r}")
    return number
