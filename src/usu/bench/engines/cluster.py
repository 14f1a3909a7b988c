"""The engine that runs jobs on a Ray cluster, of one machine or many."""

from __future__ import annotations

import logging
import math
import os
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic

from usu.arrays.checks import check_count
from usu.bench.engines.base import (
    IN_FLIGHT,
    PATIENCE,
    Job,
    MakeWorker,
    Outcome,
    Outcomes,
    attempt,
    described,
    use_threads,
)
from usu.runtime.memory import keep_freed_memory

try:
    import ray
    from ray.exceptions import GetTimeoutError, RayError, RayTaskError
except ImportError as missing:
    raise ImportError("the Ray engine needs ray: pip install 'usu-xai[cluster]'") from missing


ROOM = 300.0  # seconds that a cluster may be without a single worker: new nodes take a while to start
NEEDED = 1  # processors per worker, as Ray counts them
GRACE = 30.0  # seconds in which what a lost worker has sent may still arrive
STORE = 2**28  # bytes of the object store on this machine; rows are small


@dataclass(frozen=True)
class RayEngine:
    """Runs jobs on a Ray cluster.

    Attributes:
        workers: number of actors; None for one per GPU or, without GPUs, per processor.
        address: of a running cluster, as `ray.init` takes it; None starts one here, for the run only.
    """

    workers: int | None = None
    address: str | None = None

    def __post_init__(self) -> None:
        if self.workers is not None:
            check_count(self.workers, "workers", 1)

    def run(self, make_worker: MakeWorker[Job], jobs: Sequence[Job]) -> Outcomes[Job]:
        """Yield one outcome per job; see `Engine.run`.

        Jobs of an actor that is lost, for example with its node, are given to others, and another actor is
        made as soon as there is room. A job that was at work in three lost actors becomes a problem.

        Raises:
            ConnectionError: there is no cluster at `address`, or it had no room for a worker for minutes.
        """
        if not jobs:
            return
        with _connected(self.workers, self.address):
            crew = _Crew(make_worker, jobs, _shares(self.workers))
            try:
                yield from crew.outcomes()
            finally:
                crew.dismiss()


@dataclass(frozen=True)
class _Shares:
    """How many actors there are, and what each gets of the cluster."""

    actors: int
    gpus: float
    threads: int


def _shares(workers: int | None) -> _Shares:
    total = ray.cluster_resources()
    cpus, gpus = int(total.get("CPU", 1)), int(total.get("GPU", 0))
    actors = workers or gpus or cpus
    smallest = min(int(node["Resources"].get("CPU", 1)) for node in ray.nodes() if node["Alive"])
    # Actors that share a GPU get equal parts of it: two of 2/3 would leave no room for a third.
    return _Shares(
        actors,
        gpus=1 / max(1, math.ceil(actors / gpus)) if gpus else 0,
        threads=max(1, min(cpus // actors, smallest)),
    )


@contextmanager
def _connected(workers: int | None, address: str | None) -> Iterator[None]:
    """Connect to a cluster, or start one; an existing connection is used and left as it is."""
    if ray.is_initialized():
        yield
        return
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # or the new cluster would report to Ray's makers
    here: dict[str, Any] = {
        "num_cpus": max(workers or 1, os.cpu_count() or 1),
        "include_dashboard": False,
        "object_store_memory": STORE,
    }
    ray.init(
        address or "local", log_to_driver=False, logging_level=logging.ERROR, **({} if address else here)
    )
    try:
        yield
    finally:
        ray.shutdown()


class _Actor(Generic[Job]):
    """A worker somewhere on the cluster."""

    def __init__(self, threads: int) -> None:
        keep_freed_memory()
        use_threads(threads)

    def prepare(self, make_worker: MakeWorker[Job]) -> None:
        self._worker = make_worker()

    def work(self, job: Job) -> Outcome[Job]:
        return attempt(self._worker, job)


@dataclass(eq=False)
class _Seat(Generic[Job]):
    """An actor as this process sees it.

    Attributes:
        actor: its handle.
        preparing: a reference that is ready when the actor has a worker; None from then on.
        flying: its jobs, by references that are ready with the outcome; the first is at work.
    """

    actor: Any
    preparing: Any
    flying: dict[Any, Job] = field(default_factory=dict)


class _Crew(Generic[Job]):
    """Actors and the jobs that they still have to do."""

    def __init__(self, make_worker: MakeWorker[Job], jobs: Sequence[Job], shares: _Shares) -> None:
        self._make_worker = ray.put(make_worker)
        self._shares = shares
        self._queue = deque(jobs)
        self._deaths: Counter[Job] = Counter()
        self._stillborn = 0  # actors in a row that were lost before they had a worker
        self._seats = [self._hire() for _ in range(min(shares.actors, len(jobs)))]
        self._working = time.monotonic()  # when an actor last had a worker

    def outcomes(self) -> Iterator[Outcome[Job]]:
        """Yield the outcomes as they come."""
        while self._queue or any(seat.flying for seat in self._seats):
            self._hand_out()
            seats = {reference: seat for seat in self._seats for reference in _awaited(seat)}
            ready, _ = ray.wait(list(seats), timeout=1)
            self._check_room()
            for reference in ready:
                yield from self._receive(seats[reference], reference)

    def dismiss(self) -> None:
        """End all actors, whatever they are doing."""
        for seat in self._seats:
            ray.kill(seat.actor)

    def _hire(self) -> _Seat[Job]:
        remote: Any = ray.remote(num_cpus=NEEDED, num_gpus=self._shares.gpus, scheduling_strategy="SPREAD")(
            _Actor
        )
        actor = remote.remote(self._shares.threads)
        return _Seat(actor, actor.prepare.remote(self._make_worker))

    def _hand_out(self) -> None:
        able = [seat for seat in self._seats if seat.preparing is None]
        while self._queue and able:
            seat = min(able, key=lambda seat: len(seat.flying))
            if len(seat.flying) == IN_FLIGHT:
                break
            job = self._queue.popleft()
            seat.flying[seat.actor.work.remote(job)] = job

    def _check_room(self) -> None:
        if any(seat.preparing is None for seat in self._seats):
            self._working = time.monotonic()
        elif time.monotonic() - self._working > ROOM:
            raise ConnectionError(
                f"the cluster has had no room for a worker for {ROOM:.0f} s: each needs {NEEDED} CPU and "
                f"{self._shares.gpus:g} GPUs; look at `ray status`, and run again to continue"
            )

    def _receive(self, seat: _Seat[Job], reference: Any) -> Iterator[Outcome[Job]]:
        """Take what is ready."""
        try:
            result = ray.get(reference)
        except RayTaskError as error:
            if reference is seat.preparing:
                raise (error.cause or error) from None
            # The job's rows could not be sent.
            yield Outcome(seat.flying.pop(reference), problem=described(error.cause or error))
        except RayError as error:
            yield from self._replace(seat, error)
        else:
            if reference is seat.preparing:
                seat.preparing, self._stillborn = None, 0
            else:
                del seat.flying[reference]
                yield result

    def _replace(self, seat: _Seat[Job], error: RayError) -> Iterator[Outcome[Job]]:
        """Give up a lost actor, put its jobs back and make another."""
        if seat.preparing is not None:
            self._stillborn += 1
            if self._stillborn == PATIENCE * self._shares.actors:
                raise ConnectionError(
                    f"no worker can be made on the cluster: {_first_line(error)}"
                ) from error
        ray.kill(seat.actor)
        lost = []
        for reference, job in seat.flying.items():
            try:
                yield ray.get(reference, timeout=GRACE)
            except (RayError, GetTimeoutError):
                lost.append(job)
        seat.flying.clear()
        # An actor does its jobs in order: if one of them ended it, it was the first.
        self._deaths.update(lost[:1])
        for job in reversed(lost):
            if self._deaths[job] == PATIENCE:
                yield Outcome(job, problem=f"its worker was lost {PATIENCE} times: {_first_line(error)}")
            else:
                self._queue.appendleft(job)
        self._seats.remove(seat)
        if self._queue:
            self._seats.append(self._hire())


def _awaited(seat: _Seat[Any]) -> list[Any]:
    return [seat.preparing] if seat.preparing is not None else list(seat.flying)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
