"""A malformed call: a function, arguments that work, how to spoil each, and what became of it."""

from __future__ import annotations

import inspect
import linecache
import re
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from random import Random
from typing import Any

import torch

import usu
from benchmarks.robustness.wrong_values import Bad

PACKAGE = Path(usu.__file__).parent
SETTINGS = {item.name for kind in (usu.Settings, usu.Rules) for item in fields(kind)}
PATIENCE = 10.0  # seconds, after which a call hangs


@dataclass(frozen=True)
class Subject:
    """A function, arguments that work, and how to spoil each.

    Attributes:
        function: called by keyword.
        good: arguments that work.
        bad: makers of arguments that do not, by name.
        also: other names by which a message may call what is wrong.
    """

    function: Callable[..., Any]
    good: dict[str, Any]
    bad: dict[str, Bad]
    also: tuple[str, ...] = ()

    @property
    def names(self) -> set[str]:
        """Names that a message may name: of parameters, and of settings."""
        record = {"coarse", "neighbourhoods"} if "source" in self.bad else set()  # of a source's result
        parameters = {*inspect.signature(self.function).parameters} - {"options", "settings", "given"}
        return {*parameters, *self.bad, *SETTINGS, *record, *self.also}


@dataclass(frozen=True)
class Outcome:
    """What became of one call; `fault` is None for an error of usu's own that names an argument."""

    function: str
    spoiled: tuple[str, ...]
    values: tuple[str, ...]
    fault: str | None
    message: str

    @property
    def exact(self) -> bool:
        """Whether the message names a spoiled argument, and not only one that it no longer fits."""
        return any(re.search(rf"\b{re.escape(name)}\b", self.message) for name in self.spoiled)


class Hang(BaseException):
    """A call that takes longer than `PATIENCE`."""


@contextmanager
def alarm() -> Iterator[None]:
    """Raise `Hang` in a block that takes too long."""

    def end(*_: Any) -> None:
        raise Hang(f"longer than {PATIENCE:g} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        # An alarm that rings late must not end the process.
        signal.signal(signal.SIGALRM, signal.SIG_IGN if before is signal.SIG_DFL else before)


def attempt(name: str, subject: Subject, random: Random) -> Outcome:
    """Make one malformed call of a subject."""
    number = min(len(subject.bad), 2 if random.random() < 0.2 else 1)
    spoiled = tuple(random.sample(sorted(subject.bad), number))
    broken = {argument: subject.bad[argument](random, subject.good.get(argument)) for argument in spoiled}
    values = tuple(" ".join(repr(value).split())[:60] for value in broken.values())
    before = state_of(subject)
    fault: str | None
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            with alarm():
                result = subject.function(**{**subject.good, **broken})
            fault, message = "accepted", " ".join(repr(result).split())[:80]
        except (Exception, Hang) as error:
            fault, message = fault_of(error, subject.names), f"{type(error).__name__}: {error}"
    if fault is None and told:
        fault, message = f"warns of a {told[0].category.__name__}", f"{told[0].message} ({message})"
    if fault is None and state_of(subject) != before:
        fault = "left something changed"
    return Outcome(name, spoiled, values, fault, message)


def state_of(subject: Subject) -> list[Any]:
    """Return what a call must leave as it was: its model, and the state of torch."""
    models = [value for value in subject.good.values() if isinstance(value, torch.nn.Module)]
    return [
        torch.is_grad_enabled(),
        torch.get_default_dtype(),
        *(
            (part.training, len(part._forward_hooks), len(part._forward_pre_hooks))
            for model in models
            for part in model.modules()
        ),
        *((each.requires_grad, each.grad is None) for model in models for each in model.parameters()),
    ]


def fault_of(error: BaseException, names: set[str]) -> str | None:
    """Return what is wrong with an error; None for one of usu's own that names an argument."""
    if not isinstance(error, ValueError | TypeError):
        return f"a {type(error).__name__}"
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    path = frame.tb_frame.f_code.co_filename if frame else ""
    if frame is None or PACKAGE not in Path(path).parents or not _raises(path, frame.tb_lineno):
        return f"raised in {Path(path).name}, not by usu"
    if not any(re.search(rf"\b{re.escape(name)}\b", str(error)) for name in names):
        return "names no argument"
    return None


def _raises(path: str, line: int) -> bool:
    return "raise" in linecache.getline(path, line)
