"""Engines that run jobs by workers: in this process, in processes of this machine, or on a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from usu.arrays.checks import check_choice

if TYPE_CHECKING:
    from usu.bench.engines.base import Engine


def _local(workers: int | None, address: str | None) -> Engine:
    if address is not None:
        raise ValueError(f"address is for the engine 'ray', got {address!r} with the engine 'local'")
    from usu.bench.engines.local import LocalEngine

    return LocalEngine(1 if workers is None else workers)


def _ray(workers: int | None, address: str | None) -> Engine:
    from usu.bench.engines.cluster import RayEngine  # optional

    return RayEngine(workers, address)


ENGINES: Mapping[str, Callable[[int | None, str | None], Engine]] = MappingProxyType(
    {"local": _local, "ray": _ray}
)


def find_engine(name: str, workers: int | None = None, address: str | None = None) -> Engine:
    """Return the engine of this name.

    Args:
        name: "local" or "ray".
        workers: that run jobs at the same time; None for one here, or for as many as fit on a cluster.
        address: of a Ray cluster; None starts one on this machine.

    Raises:
        ValueError: no such engine, fewer than one worker, an address for "local".
        TypeError: a number of workers that is not an integer.
        ImportError: it needs a library that is not installed.
    """
    check_choice(name, tuple(ENGINES), "engine")
    return ENGINES[name](workers, address)
