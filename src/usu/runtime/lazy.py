"""Names whose modules are imported when they are first used, and what is said where a library is missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import TypeVar

Value = TypeVar("Value")


@contextmanager
def needed(what: str, extra: str) -> Iterator[None]:
    """Let imports that fail in this block say what needs them, and which of our extras they are in.

    >>> with needed("dreams need sheep", "night"):
    ...     import sheep
    Traceback (most recent call last):
    ImportError: dreams need sheep: pip install 'usu-xai[night]', or '.[night]' in a clone
    """
    try:
        yield
    except ImportError as missing:
        raise ImportError(f"{what}: {install(extra)}") from missing


def install(extra: str) -> str:
    """Say how to install an extra."""
    return f"pip install 'usu-xai[{extra}]', or '.[{extra}]' in a clone"


class Registry(Mapping[str, Value]):
    """A read-only mapping from names to what stands at "module:attribute".

    >>> roots = Registry({"square": "math:sqrt", "whole": "math:isqrt"})
    >>> list(roots), roots["whole"](17)
    (['square', 'whole'], 4)
    """

    def __init__(self, places: Mapping[str, str]) -> None:
        self._places = dict(places)

    def __getitem__(self, name: str) -> Value:
        module, attribute = self._places[name].split(":")
        found: Value = getattr(import_module(module), attribute)
        return found

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __repr__(self) -> str:
        return f"Registry({self._places})"
