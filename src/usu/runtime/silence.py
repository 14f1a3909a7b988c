"""Filters of warnings, which are those of the whole process, changed by one thread at a time."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

_ALONE = RLock()


@contextmanager
def kept_filters() -> Iterator[None]:
    """Restore the filters of warnings after a block; threads that both restored them would mix them up."""
    with _ALONE, warnings.catch_warnings():
        yield
