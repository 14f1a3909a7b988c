"""Jobs, workers and outcomes, and what an engine is."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from usu.runtime.memory import keep_freed_memory

Job = TypeVar("Job")
Given = TypeVar("Given", contravariant=True)

PATIENCE = 3  # deaths of processes before what seems to cause them is given up


class Worker(Protocol[Given]):
    """What does jobs of one kind."""

    def work(self, job: Given) -> list[dict[str, Any]]:
        """Return the rows that a job gives."""
        ...


MakeWorker: TypeAlias = Callable[[], Worker[Job]]


@dataclass(frozen=True)
class Outcome(Generic[Job]):
    """What came of a job."""

    job: Job  # as it was given
    rows: list[dict[str, Any]] = field(default_factory=list)  # its results; none if there was a problem
    problem: str | None = None  # why there are none; None if there are
    seconds: float = 0.0  # of wall-clock time that it took


# The caller must close them: an engine ends its processes when they are closed.
Outcomes: TypeAlias = Generator[Outcome[Job], None, None]


class Engine(Protocol):
    """A way to run many jobs."""

    def run(self, make_worker: MakeWorker[Job], jobs: Sequence[Job]) -> Outcomes[Job]:
        """Yield one outcome per job, in the order in which they end.

        An exception in a job is its problem alone; one in `make_worker` ends the run.

        Args:
            make_worker: called once in each process that works.
            jobs: with those that need the same preparation side by side.
        """
        ...


def attempt(worker: Worker[Job], job: Job) -> Outcome[Job]:
    """Do one job; an exception becomes the job's problem."""
    start = time.perf_counter()
    try:
        rows = worker.work(job)
    except Exception as error:
        return Outcome(job, problem=described(error), seconds=time.perf_counter() - start)
    return Outcome(job, rows, seconds=time.perf_counter() - start)


def described(error: BaseException) -> str:
    """Return an exception as one line: what it was and where it was raised."""
    what = " ".join("".join(traceback.format_exception_only(error)).split())
    frames = traceback.extract_tb(error.__traceback__)
    return f"{what} ({os.path.basename(frames[-1].filename)}:{frames[-1].lineno})" if frames else what


def ready(threads: int) -> None:
    """Let this process compute with that many threads, and keep the memory that it frees."""
    keep_freed_memory()
    os.environ["OMP_NUM_THREADS"] = str(threads)  # for libraries that are loaded later, PyTorch among them
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
