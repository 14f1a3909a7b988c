"""The engine that runs jobs on a Ray cluster, of one machine or many."""

from __future__ import annotations

import logging
import math
import os
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic

from usu.arrays.checks import check_count
from usu.bench.engines.base import PATIENCE, Job, MakeWorker, Outcome, Outcomes, attempt, described, ready
from usu.runtime.lazy import needed

with needed("the Ray engine needs ray", "cluster"):
    import ray
    from ray.exceptions import RayError, RayTaskError

ROOM = 300.0  # seconds that a cluster may be without a single worker: new nodes take a while to start
NEEDED = 1  # processors per worker, as Ray counts them
STORE = 2**28  # bytes of the object store on this machine; rows are small


@dataclass(frozen=True)
class RayEngine:
    """Runs jobs on a Ray cluster."""

    workers: int | None = None  # number of actors; None for one per GPU or, without GPUs, per processor
    # Of a running cluster, as `ray.init` takes it; None starts one here, for the run only.
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
        ready(threads)

    def prepare(self, make_worker: MakeWorker[Job]) -> None:
        self._worker = make_worker()

    def work(self, job: Job) -> Outcome[Job]:
        return attempt(self._worker, job)


class _Crew(Generic[Job]):
    """Actors and the jobs that they still have to do."""

    def __init__(self, make_worker: MakeWorker[Job], jobs: Sequence[Job], shares: _Shares) -> None:
        self._make_worker = ray.put(make_worker)
        self._shares = shares
        self._queue = deque(jobs)
        self._deaths: Counter[Job] = Counter()
        self._stillborn = 0  # actors in a row that were lost before they had a worker
        # By references that are ready when an actor has done its job, or has a worker where there is no job.
        self._busy: dict[Any, tuple[Any, Job | None]] = {}
        self._working = time.monotonic()  # when an actor last had a worker

    def outcomes(self) -> Iterator[Outcome[Job]]:
        """Yield the outcomes as they come."""
        for _ in range(min(self._shares.actors, len(self._queue))):
            self._hire()
        while self._busy:
            done, _ = ray.wait(list(self._busy), timeout=1)
            self._check_room()
            for reference in done:
                yield from self._receive(reference, *self._busy.pop(reference))

    def dismiss(self) -> None:
        """End the actors that are left, whatever they are doing."""
        for actor, _ in self._busy.values():
            ray.kill(actor)

    def _hire(self) -> None:
        placed: Any = ray.remote(num_cpus=NEEDED, num_gpus=self._shares.gpus, scheduling_strategy="SPREAD")
        actor = placed(_Actor).remote(self._shares.threads)
        self._busy[actor.prepare.remote(self._make_worker)] = actor, None

    def _check_room(self) -> None:
        if any(job is not None for _, job in self._busy.values()):
            self._working = time.monotonic()
        elif time.monotonic() - self._working > ROOM:
            raise ConnectionError(
                f"the cluster has had no room for a worker for {ROOM:.0f} s: each needs {NEEDED} CPU and "
                f"{self._shares.gpus:g} GPUs; look at `ray status`, and run again to continue"
            )

    def _receive(self, reference: Any, actor: Any, job: Job | None) -> Iterator[Outcome[Job]]:
        """Take what is ready, and give its actor, or another in place of a lost one, the next job."""
        try:
            result = ray.get(reference)
        except RayTaskError as error:
            if job is None:
                raise (error.cause or error) from None
            # The job's rows could not be sent.
            yield Outcome(job, problem=described(error.cause or error))
        except RayError as error:
            ray.kill(actor)
            yield from self._put_back(job, str(error).strip().splitlines()[0])
            if self._queue:
                self._hire()
            return
        else:
            if job is not None:
                yield result
        self._stillborn = 0
        if self._queue:
            job = self._queue.popleft()
            self._busy[actor.work.remote(job)] = actor, job

    def _put_back(self, job: Job | None, reason: str) -> Iterator[Outcome[Job]]:
        """Put the job of a lost actor back, or give it up."""
        if job is None:
            self._stillborn += 1
            if self._stillborn == PATIENCE * self._shares.actors:
                raise ConnectionError(f"no worker can be made on the cluster: {reason}")
            return
        self._deaths[job] += 1
        if self._deaths[job] == PATIENCE:
            yield Outcome(job, problem=f"its worker was lost {PATIENCE} times: {reason}")
        else:
            self._queue.appendleft(job)
