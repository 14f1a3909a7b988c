"""Checks of plain arguments (choices, counts, numbers) and suggestions for misspelt names."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any


def suggestion(text: str, names: Iterable[str]) -> str:
    """Return "; did you mean ...?" with the names closest to `text`, to end an error; "" if none is close."""
    by_lowered = {name.casefold(): name for name in names}
    close = difflib.get_close_matches(text.casefold(), by_lowered, n=4, cutoff=0.6)
    return f"; did you mean {' or '.join(repr(by_lowered[key]) for key in close)}?" if close else ""


def check_choice(value: Any, choices: Sequence[str], name: str) -> None:
    """Check that an option is one of `choices`.

    Raises:
        ValueError: it is not, whatever its type.
    """
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {tuple(choices)}, got {value!r}")


def check_count(value: Any, name: str, least: int) -> None:
    """Check that a value is an integer of at least `least`.

    Raises:
        TypeError: not an integer.
        ValueError: a smaller one.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")


def as_number(value: Any, name: str) -> float:
    """Return a real number as a float; one too large for a float becomes infinite.

    Raises:
        TypeError: not a real number.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {type(value).__name__}")
    try:
        return float(value)
    except OverflowError:
        return math.inf


def check_number(value: Any, name: str) -> float:
    """Return a finite real number as a float.

    Raises:
        TypeError: not a real number.
        ValueError: infinite or NaN.
    """
    number = as_number(value, name)
    if not math.isfinite(number):
        raise ValueError(f"{name} must be finite, got {value!r}")
    return number
