"""Engines that run jobs by workers: in this process, in processes of this machine, or on a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from usu.arrays.checks import check_choice
from usu.runtime.lazy import Registry

if TYPE_CHECKING:
    from usu.bench.engines.base import Engine


ENGINES: Mapping[str, Callable[..., Engine]] = Registry(
    {"local": "usu.bench.engines.local:LocalEngine", "ray": "usu.bench.engines.cluster:RayEngine"}
)


def find_engine(name: str, workers: int | None = None, address: str | None = None) -> Engine:
    """Return the engine "local" or "ray", with the arguments that `LocalEngine` or `RayEngine` has.

    Raises:
        ValueError: no such engine, fewer than one worker, an address for "local".
        TypeError: a number of workers that is not an integer.
        ImportError: it needs a library that is not installed.
    """
    check_choice(name, tuple(ENGINES), "engine")
    if address is not None and name != "ray":
        raise ValueError(f"address is for the engine 'ray', got {address!r} with the engine {name!r}")
    given = {"workers": workers, "address": address}
    return ENGINES[name](**{argument: value for argument, value in given.items() if value is not None})
