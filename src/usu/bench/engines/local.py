"""The engine of one machine: this process, or several."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

from usu.arrays.checks import check_count
from usu.bench.engines.base import PATIENCE, Job, MakeWorker, Outcome, Outcomes, attempt, described, ready
from usu.runtime.processes import processes

IN_FLIGHT = 2  # jobs per worker: one at work and the next one ready


@dataclass(frozen=True)
class LocalEngine:
    """Runs jobs on this machine."""

    workers: int = 1  # processes; 1 works in this one

    def __post_init__(self) -> None:
        check_count(self.workers, "workers", 1)

    def run(self, make_worker: MakeWorker[Job], jobs: Sequence[Job]) -> Outcomes[Job]:
        """Yield one outcome per job; see `Engine.run`. Several workers need picklable arguments.

        When a process dies, only the jobs in flight are lost; each is tried again, by itself.
        """
        if self.workers == 1:
            yield from _here(make_worker, jobs)
            return
        queue, lost, barren = deque(jobs), list[Job](), 0
        while queue:
            waiting = len(queue)
            died = yield from _until_one_dies(make_worker, queue, self.workers, IN_FLIGHT * self.workers)
            lost += died
            barren = barren + 1 if len(died) == waiting - len(queue) else 0
            if barren == PATIENCE:
                raise ChildProcessError(
                    f"processes died {PATIENCE} times before any job was done: is there memory for "
                    f"{self.workers} workers? Try fewer"
                )
        suspects = deque(lost)
        while suspects:
            for job in (yield from _until_one_dies(make_worker, suspects, 1, 1)):
                yield Outcome(job, problem="the process that ran it died twice, at last with no other job")


def _here(make_worker: MakeWorker[Job], jobs: Sequence[Job]) -> Iterator[Outcome[Job]]:
    worker = None
    for job in jobs:
        worker = make_worker() if worker is None else worker
        yield attempt(worker, job)


def _until_one_dies(
    make_worker: MakeWorker[Job], queue: deque[Job], workers: int, in_flight: int
) -> Generator[Outcome[Job], None, list[Job]]:
    """Run jobs from the queue until it is empty or a process dies; return those in flight at that moment.

    The first job of a call is always started, so that each call has an outcome or a job that is lost.
    """
    flying: dict[Future[Outcome[Job] | Exception], Job] = {}
    lost: list[Job] = []
    with processes(workers, _begin, make_worker, workers) as pool:
        while (queue and not lost) or flying:
            while queue and not lost and len(flying) < in_flight:
                try:
                    flying[pool.submit(_work, queue[0])] = queue[0]
                except BrokenProcessPool:
                    break  # a process has died; the jobs in flight will report it
                queue.popleft()
            if not flying:
                return lost  # the process died while it had no job
            for future in wait(flying, return_when=FIRST_COMPLETED).done:
                job, error = flying.pop(future), future.exception()
                if isinstance(error, BrokenProcessPool):
                    lost.append(job)
                else:
                    yield _outcome(job, future)
    return lost


def _outcome(job: Job, future: Future[Outcome[Job] | Exception]) -> Outcome[Job]:
    error = future.exception()
    if error is not None:  # what the job gave could not be sent from one process to the other
        return Outcome(job, problem=described(error))
    result = future.result()
    if isinstance(result, Exception):
        raise result
    return result


_mine: Any = None  # the worker of this process, or why there is none


def _begin(make_worker: MakeWorker[Any], workers: int) -> None:
    global _mine
    ready(max(1, (os.cpu_count() or 1) // workers))
    try:
        _mine = make_worker()
    except Exception as error:
        _mine = error


def _work(job: Job) -> Outcome[Job] | Exception:
    return _mine if isinstance(_mine, Exception) else attempt(_mine, job)
