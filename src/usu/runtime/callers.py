"""Whose line it was: a warning is of use at the line of the user's own that led to it."""

from __future__ import annotations

import sys
from pathlib import Path

_USU = str(Path(__file__).parents[1])


def level_outside(*libraries: str) -> int:
    """Return the `stacklevel` at which a warning of the caller points at the first line outside of usu.

    Args:
        *libraries: names of imported packages whose lines do not count, either: one that calls usu back.
    """
    folders = [_USU, *(str(Path(str(sys.modules[name].__file__)).parent) for name in libraries)]
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and any(
        Path(frame.f_code.co_filename).is_relative_to(one) for one in folders
    ):
        level, frame = level + 1, frame.f_back
    return level
