"""One thread at a time works on a model: hooks and frozen parameters belong to it, not to a thread."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock, RLock
from typing import Any, TypeVar, cast

from torch import nn
from torch.utils.weak import WeakIdKeyDictionary

Function = TypeVar("Function", bound=Callable[..., Any])

_LOCKS: Any = WeakIdKeyDictionary()
_ASKING = Lock()


@contextmanager
def alone(model: Any) -> Iterator[None]:
    """Wait until no other thread is in such a block with this model, or with one around or inside it.

    Models that begin with the same parameter, as a wrapper and what it wraps, count as one. Callables that
    are no modules are not waited for.
    """
    if not isinstance(model, nn.Module):
        yield
        return
    with _ASKING:
        lock = _LOCKS.setdefault(next(model.parameters(), model), RLock())
    with lock:
        yield


def one_at_a_time(name: str) -> Callable[[Function], Function]:
    """Let only one thread at a time call a function with the same model, its argument `name`."""

    def decorate(function: Function) -> Function:
        place = list(inspect.signature(function).parameters).index(name)

        @functools.wraps(function)
        def wait(*args: Any, **options: Any) -> Any:
            with alone(args[place] if len(args) > place else options.get(name)):
                return function(*args, **options)

        return cast(Function, wait)

    return decorate
