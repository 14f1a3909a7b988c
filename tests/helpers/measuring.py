"""Workers and jobs for tests of the benchmark: rows as it makes them, the same wherever they are made."""

import hashlib
import os
import signal
import sys
import threading
import time
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from usu.bench.engines.local import LocalEngine
from usu.bench.results.folder import Results
from usu.bench.results.schema import Cell

PROTOCOL = {"dataset": "folder", "seed": 0, "metrics": {"irof": {"segments": 60}}, "edition": 1}
UPSAMPLERS = ("bilinear", "usu")
METRICS = ("irof", "sparseness")


@dataclass(frozen=True)
class Job:
    """One image as one model sees it, and what is to be measured."""

    image: str
    model: str
    cells: tuple[Cell, ...]


def jobs(images, models=("resnet50", "vit_b_16")):
    """Return the jobs of images 0..images-1, those of one model together."""
    return [
        Job(name, model, tuple(Cell(name, model, "gradcam", u, m) for u in UPSAMPLERS for m in METRICS))
        for model in models
        for name in (f"test/{number:05d}" for number in range(images))
    ]


@dataclass
class Measurer:
    """Measures maps drawn from the names of a job.

    Attributes:
        seconds: that a job takes at least.
        fails_on: images that raise.
        dies_on: images that end the process.
        hangs_on: images that take ten minutes.
        notes: a folder that gets a file for each process at work.
    """

    seconds: float = 0.0
    fails_on: frozenset = frozenset()
    dies_on: frozenset = frozenset()
    hangs_on: frozenset = frozenset()
    notes: str = ""
    seen: list = field(default_factory=list)

    def __post_init__(self):
        if self.notes:
            open(os.path.join(self.notes, str(os.getpid())), "w").close()

    def work(self, job):
        sys.audit("measuring.work", job.image)
        time.sleep(600 if job.image in self.hangs_on else self.seconds)
        if job.image in self.dies_on:
            os._exit(9)
        if job.image in self.fails_on:
            raise OSError(f"{job.image} cannot be read")
        return [self.row(cell) for cell in job.cells]

    def row(self, cell):
        seed = int.from_bytes(hashlib.sha256("/".join(cell).encode()).digest()[:7], "big")
        attribution = np.random.default_rng(seed).random((14, 14))
        unmeasured = cell.image.endswith("3") and cell.metric == "irof"
        return {
            **cell._asdict(),
            "dataset": "folder",
            "image_hash": f"{seed:016x}",
            "label": None if cell.image.endswith("1") else 7,
            "target": seed % 1000,
            "probability": float(attribution[0, 0]),
            "weights_hash": cell.model[:4],
            "upsampler_settings": "{}",
            "metric_settings": '{"segments": 60}',
            "value": float("nan") if unmeasured else float(attribution.std()),
            "total_mass": float(attribution.sum()),
            "d1_error": 0.0,
            "d1_relative": 0.0,
            "forward_passes": 1,
            "seconds": 0.25,
            "seed": 0,
            "versions": "{}",
        }


def missing(asked, done):
    """Return the jobs for the cells that are not done."""
    left = [Job(job.image, job.model, tuple(c for c in job.cells if c not in done)) for job in asked]
    return [job for job in left if job.cells]


def measure(folder, engine, make_worker, asked):
    """Run what is missing in a results folder; return the problems by image."""
    problems = {}
    with Results.open(folder, PROTOCOL) as results:
        # Closed whatever happens: else Ctrl-C between two outcomes leaves processes that work on.
        with closing(engine.run(make_worker, missing(asked, results.done))) as outcomes:
            for outcome in outcomes:
                results.add(outcome.rows)
                if outcome.problem:
                    problems[outcome.job.image] = outcome.problem
        results.compact()
    return problems


class Threads:
    """Tells how many threads it may use."""

    def work(self, job):
        import torch  # not needed by other workers, whose processes start faster without it

        if job == "unsendable":
            return [{"threads": threading.Lock()}]
        return [{"threads": torch.get_num_threads(), "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS")}]


@dataclass
class Gpus:
    """Tells which GPUs this process was given, once all processes are at work.

    Attributes:
        notes: a folder that gets a file for each process at work.
        processes: how many there are to be.
    """

    notes: str
    processes: int

    def work(self, job):
        open(os.path.join(self.notes, str(os.getpid())), "w").close()
        until = time.monotonic() + 60
        while len(os.listdir(self.notes)) < self.processes and time.monotonic() < until:
            time.sleep(0.05)
        return [{"process": os.getpid(), "gpus": os.environ.get("CUDA_VISIBLE_DEVICES")}]


class Faults:
    """Counts the pages that are fetched anew for blocks that were freed."""

    def work(self, job):
        import resource  # which Windows has not

        np.ones(2**23)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(5):
            np.ones(2**23)
        return [{"faults": resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before}]


class DiesIdle:
    """Does its jobs, and ends its process half a second after the first."""

    def work(self, job):
        threading.Thread(target=end_soon, daemon=True).start()
        return [{"process": os.getpid()}]


def end_soon():
    time.sleep(0.5)
    os._exit(9)


def no_weights():
    raise FileNotFoundError("no weights here")


def die_at_once():
    os._exit(9)


# What processes of the tests do; not beside the tests, because a process that imports no test starts faster.

ASKED = jobs(3, ("resnet50",))
MOMENTS = ("measuring.work", "open", "os.rename", "os.remove")


def events_of(names, act):
    """Call `act` with the number of each event just before it happens."""
    seen = 0

    def hook(event, arguments):
        nonlocal seen
        if event in names and (event != "open" or str(arguments[0]).endswith(".partial")):
            seen += 1
            act(seen)

    sys.addaudithook(hook)


def run_and_count(folder, count):
    events_of(MOMENTS, lambda number: setattr(count, "value", number))
    measure(folder, LocalEngine(), Measurer, ASKED)


def run_and_die(folder, moment):
    def act(number):
        if number == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    events_of(MOMENTS, act)
    measure(folder, LocalEngine(), Measurer, ASKED)


def run_in_processes(folder, notes):
    """Run jobs that come to an end only by a signal: the last image hangs."""
    make_worker = partial(Measurer, seconds=0.1, hangs_on=frozenset({"test/00019"}), notes=notes)
    measure(folder, LocalEngine(2), make_worker, jobs(20))


def hold(folder, opened, close):
    with Results.open(folder, PROTOCOL):
        opened.set()
        close.wait(60)


def try_to_open(folder, answer):
    try:
        with Results.open(folder, PROTOCOL):
            answer.put("opened")
    except BlockingIOError as problem:
        answer.put(str(problem))


def write_and_merge(folder):
    with Results.open(folder, PROTOCOL) as results:
        for number, job in enumerate(jobs(25)):
            results.add(Measurer().work(job))
            if number % 3 == 2:
                results.compact()
