"""Names that are known at once, and whose modules are imported when they are first used."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any, TypeVar

Value = TypeVar("Value")


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


def lazy_names(
    package: str, homes: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return `__getattr__` and `__dir__` of a package whose names are imported when first used (PEP 562).

    Args:
        package: its `__name__`.
        homes: names by the module below the package in which they stand; the module is a name, too.
    """
    home_of = {name: home for home, names in homes.items() for name in names}
    contents = vars(sys.modules[package])

    def get(name: str) -> Any:
        if name in homes:
            return import_module(f"{package}.{name}")
        if name not in home_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = contents[name] = getattr(import_module(f"{package}.{home_of[name]}"), name)
        return value

    return get, lambda: sorted({*contents, *home_of})
