"""Old spellings: still accepted, with a `DeprecationWarning` that names the new one."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, TypeVar, cast

Function = TypeVar("Function", bound=Callable[..., Any])
Kind = TypeVar("Kind")


def tell(old: str, new: str) -> None:
    """Warn that something has a new name, at the line that called the caller."""
    warnings.warn(f"{old} is now {new}", DeprecationWarning, stacklevel=3)


def renamed(**names: str) -> Callable[[Function], Function]:
    """Let a function accept keyword arguments by their old names.

    Args:
        **names: the new name of each old one.
    """

    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        def accept(*args: Any, **arguments: Any) -> Any:
            for old in arguments.keys() & names.keys():
                new = names[old]
                if new in arguments:
                    raise TypeError(f"{old} is the old name of {new}: give {new} alone")
                tell(old, new)
                arguments[new] = arguments.pop(old)
            return function(*args, **arguments)

        return cast(Function, accept)

    return decorate


def renamed_fields(**names: str) -> Callable[[type[Kind]], type[Kind]]:
    """Let a dataclass accept its fields by their old names, as `renamed` does for a function."""

    def decorate(kind: type[Kind]) -> type[Kind]:
        kind.__init__ = renamed(**names)(kind.__init__)  # type: ignore[method-assign]
        return kind

    return decorate
