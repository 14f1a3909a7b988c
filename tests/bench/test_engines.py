"""Engines: one outcome per job, the same rows wherever they are measured; no job stops the others."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch

pytest.importorskip("pyarrow", reason="rows need pyarrow")

from tests.helpers import measuring
from tests.helpers.measuring import Measurer, jobs, measure
from usu.bench.engines.base import Outcome
from usu.bench.engines.local import LocalEngine
from usu.bench.engines.registry import ENGINES, find_engine
from usu.bench.results.folder import read_rows

ASKED = jobs(6)
ILL = frozenset({"test/00002"})
KILLER = frozenset({"test/00004"})


def by_job(outcomes):
    found = {}
    for outcome in outcomes:
        assert outcome.job not in found, "two outcomes of one job"
        found[outcome.job] = outcome
    return found


def values(outcomes):
    return {job: [repr(row) for row in outcome.rows] for job, outcome in by_job(outcomes).items()}


@pytest.fixture(scope="module")
def alone():
    """What one worker in this process gives for all jobs, one of which raises."""
    return list(LocalEngine().run(partial(Measurer, fails_on=ILL), ASKED))


@pytest.fixture(scope="module")
def together():
    """What two processes give for the same jobs, one of which ends its process besides."""
    return list(LocalEngine(2).run(partial(Measurer, fails_on=ILL, dies_on=KILLER), ASKED))


def test_one_worker_runs_in_order_and_a_job_that_raises_is_a_problem(alone):
    assert [outcome.job for outcome in alone] == ASKED
    for outcome in alone:
        if outcome.job.image in ILL:
            assert outcome.rows == []
            assert outcome.problem.startswith("OSError: test/00002 cannot be read (measuring.py:")
        else:
            assert outcome.problem is None
            assert [repr(row) for row in outcome.rows] == [repr(row) for row in Measurer().work(outcome.job)]
        assert outcome.seconds >= 0


def test_several_processes_give_the_same_rows_and_outlive_one_that_dies(alone, together):
    assert by_job(together).keys() == set(ASKED)
    expected = {job: [] if job.image in KILLER else rows for job, rows in values(alone).items()}
    assert values(together) == expected
    problems = {outcome.job.image: outcome.problem for outcome in together if outcome.problem}
    assert problems.keys() == ILL | KILLER
    assert problems["test/00002"].startswith("OSError: test/00002 cannot be read (measuring.py:")
    assert "died twice" in problems["test/00004"]


def test_a_worker_is_built_when_there_is_a_job_and_once():
    built = []

    def make_worker():
        built.append(Measurer())
        return built[-1]

    assert list(LocalEngine().run(make_worker, [])) == []
    assert built == []
    outcomes = LocalEngine().run(make_worker, ASKED)
    assert built == []
    list(outcomes)
    assert len(built) == 1


def test_seconds_are_those_of_the_job():
    (outcome,) = LocalEngine().run(partial(Measurer, seconds=0.05), ASKED[:1])
    assert 0.05 <= outcome.seconds < 5


def test_an_exception_says_where_it_was_raised_in_one_line():
    class Broken:
        def work(self, job):
            raise ValueError("first line\nsecond line")

    (outcome,) = LocalEngine().run(Broken, ASKED[:1])
    assert outcome == Outcome(ASKED[0], [], outcome.problem, outcome.seconds)
    assert outcome.problem.startswith("ValueError: first line second line (test_engines.py:")


def test_ctrl_c_is_no_problem_of_a_job():
    class Interrupted:
        def work(self, job):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(LocalEngine().run(Interrupted, ASKED))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_that_cannot_be_made_ends_the_run(workers):
    with pytest.raises(FileNotFoundError, match="no weights here"):
        list(LocalEngine(workers).run(measuring.no_weights, ASKED))


def test_processes_share_the_threads_and_what_cannot_be_sent_is_a_problem():
    outcomes = by_job(LocalEngine(2).run(measuring.Threads, ["threads", "unsendable", "threads again"]))
    share = max(1, os.cpu_count() // 2)
    for job in ("threads", "threads again"):
        assert outcomes[job].rows == [{"threads": share, "OMP_NUM_THREADS": str(share)}]
    assert outcomes["unsendable"].rows == []
    assert "pickle" in outcomes["unsendable"].problem
    assert len(outcomes) == 3


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="sets an option of glibc")
def test_processes_keep_freed_memory():
    outcomes = LocalEngine(2).run(measuring.Faults, ["one"])
    huge = 5 * 2**23 * 8 / 2**21  # pages of the largest kind that the blocks would take
    assert [outcome.rows[0]["faults"] < huge / 2 for outcome in outcomes] == [True]


def test_this_process_keeps_its_threads():
    before = torch.get_num_threads()
    (outcome,) = LocalEngine().run(measuring.Threads, ["threads"])
    assert outcome.rows[0]["threads"] == before == torch.get_num_threads()


def test_processes_that_die_at_once_end_the_run():
    with pytest.raises(ChildProcessError, match="died 3 times before any job was done"):
        list(LocalEngine(2).run(measuring.die_at_once, jobs(12)))


def test_a_process_that_dies_between_two_jobs_costs_none():
    outcomes = LocalEngine(2).run(measuring.DiesIdle, ASKED)
    first = next(outcomes)
    time.sleep(2)  # as one who writes rows: the four jobs at hand are done, and the others wait
    found = by_job([first, *outcomes])
    assert found.keys() == set(ASKED)
    assert {outcome.problem for outcome in found.values()} == {None}
    assert len({outcome.rows[0]["process"] for outcome in found.values()}) > 1


def test_a_run_that_is_left_early_ends_its_processes_at_once():
    outcomes = LocalEngine(2).run(partial(Measurer, seconds=0.0, hangs_on=KILLER), ASKED)
    assert next(outcomes).rows
    start = time.monotonic()
    outcomes.close()
    assert time.monotonic() - start < 20  # a job that hangs takes ten minutes
    assert multiprocessing.active_children() == []


def group_exists(number):
    try:
        os.killpg(number, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_ctrl_c_stops_a_run_of_processes_and_the_next_continues(tmp_path):
    folder, notes = tmp_path / "results", tmp_path / "notes"
    notes.mkdir()
    program = (
        # A shell lets what it starts in the background ignore SIGINT, these tests too.
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[2])!r}); from tests.helpers import measuring\n"
        f"if __name__ == '__main__': measuring.run_in_processes({str(folder)!r}, {str(notes)!r})\n"
    )
    script = tmp_path / "run.py"
    script.write_text(program)
    # A group of processes of its own, all of which get the signal, as from a terminal.
    process = subprocess.Popen(
        [sys.executable, str(script)], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    while len([*folder.glob("parts/*.parquet")]) < 2 or len([*notes.iterdir()]) < 2:
        assert process.poll() is None
        time.sleep(0.02)  # until both workers are at work
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGINT
    assert errors.count("Traceback") == errors.count("KeyboardInterrupt") == 1  # of the first process alone
    patience = time.monotonic() + 60
    while group_exists(process.pid):  # the last of it may be on its way out
        assert time.monotonic() < patience
        time.sleep(0.1)
    kept = len(read_rows(folder))
    assert 0 < kept < 20 * 2 * 4
    measure(folder, LocalEngine(), Measurer, jobs(20))
    assert len(read_rows(folder)) == 20 * 2 * 4


def test_engines_are_found_by_name():
    assert set(ENGINES) == {"local", "ray"}
    assert find_engine("local") == LocalEngine(1)
    assert find_engine("local", workers=3) == LocalEngine(3)
    with pytest.raises(ValueError, match="engine must be one of"):
        find_engine("slurm")
    with pytest.raises(ValueError, match=r"address is for the engine 'ray', got 'head:6379'"):
        find_engine("local", address="head:6379")
    for workers, error in ((0, ValueError), (-1, ValueError), (1.5, TypeError), (True, TypeError)):
        with pytest.raises(error, match=f"workers must be .*, got {workers}"):
            find_engine("local", workers=workers)


def test_engines_load_no_ray():
    program = (
        "import sys, usu.bench.engines.registry as e; e.find_engine('local'); assert 'ray' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
