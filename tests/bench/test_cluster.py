"""The Ray engine on a cluster of this machine: the rows of the local engine, also when a node is killed."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

pytest.importorskip("pyarrow", reason="rows need pyarrow")
ray = pytest.importorskip("ray", reason="the Ray engine needs ray")

from ray.cluster_utils import Cluster  # noqa: E402

from tests.helpers import measuring  # noqa: E402
from tests.helpers.folders import explain, records, same, ten_pictures  # noqa: E402
from tests.helpers.measuring import Measurer, jobs, measure  # noqa: E402
from usu.bench.engines.cluster import RayEngine  # noqa: E402
from usu.bench.engines.local import LocalEngine  # noqa: E402
from usu.bench.engines.registry import find_engine  # noqa: E402
from usu.bench.results.folder import read_rows  # noqa: E402

pytestmark = [
    # Ray leaves sockets and logs of its processes to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

ILL = frozenset({"test/00002"})
KILLER = frozenset({"test/00001"})


@pytest.fixture(scope="module")
def cluster():
    """A head with no room for workers, so that each node with room can be killed, and one such node."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))  # nodes find the tests' worker there
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        # A node that was killed is missed soon.
        checks = {"health_check_period_ms": 500, "health_check_failure_threshold": 3}
        head = {"num_cpus": 0, "include_dashboard": False, "_system_config": checks}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        cluster.add_node(num_cpus=1)
        yield cluster
        cluster.shutdown()


def by_job(outcomes):
    outcomes = list(outcomes)
    found = {outcome.job: (repr(outcome.rows), outcome.problem) for outcome in outcomes}
    assert len(found) == len(outcomes), "two outcomes of one job"
    return found


def test_rows_and_problems_are_those_of_the_local_engine(cluster):
    asked = jobs(4)
    make_worker = partial(Measurer, fails_on=ILL)
    engine = find_engine("ray", address=cluster.address)
    assert by_job(engine.run(make_worker, asked)) == by_job(LocalEngine().run(make_worker, asked))
    assert not ray.is_initialized()  # what the engine connected to, it left
    assert list(engine.run(make_worker, [])) == []


def test_a_node_killed_in_the_middle_costs_no_row_and_doubles_none(cluster, tmp_path):
    asked = jobs(12)
    doomed = cluster.add_node(num_cpus=1)
    notes = tmp_path / "notes"
    notes.mkdir()
    engine = RayEngine(workers=2, address=cluster.address)
    make_worker = partial(Measurer, seconds=0.25, notes=str(notes))
    seen = []

    class Observed:
        """The engine, with a node that is killed once both of its actors are at work."""

        def run(self, make_worker, asked):
            killed = False
            for outcome in engine.run(make_worker, asked):
                seen.append(outcome.job)
                if not killed and len([*notes.iterdir()]) == 2:
                    cluster.remove_node(doomed, allow_graceful=False)
                    killed = True
                yield outcome
            assert killed, "the run ended before the node was killed"

    assert measure(tmp_path / "ray", Observed(), make_worker, asked) == {}
    assert sorted(map(repr, seen)) == sorted(map(repr, asked))
    measure(tmp_path / "local", LocalEngine(), Measurer, asked)
    assert repr(read_rows(tmp_path / "ray").to_pylist()) == repr(read_rows(tmp_path / "local").to_pylist())


def test_a_job_that_ends_its_actors_becomes_a_problem_and_the_others_continue(cluster):
    asked = jobs(3, ("resnet50",))
    engine = RayEngine(address=cluster.address)
    outcomes = by_job(engine.run(partial(Measurer, dies_on=KILLER), asked))
    expected = by_job(LocalEngine().run(Measurer, asked))
    assert outcomes.keys() == expected.keys()
    for job, (rows, problem) in outcomes.items():
        if job.image in KILLER:
            assert rows == "[]"
            assert problem.startswith("its worker was lost 3 times: ")
        else:
            assert (rows, problem) == expected[job]


def test_bad_workers_and_rows_that_cannot_be_sent(cluster):
    engine = RayEngine(address=cluster.address)
    with pytest.raises(FileNotFoundError, match="no weights here"):
        list(engine.run(measuring.no_weights, jobs(2)))
    outcomes = by_job(engine.run(measuring.Threads, ["threads", "unsendable"]))
    assert outcomes["threads"] == (repr([{"threads": 1, "OMP_NUM_THREADS": "1"}]), None)
    assert outcomes["unsendable"][0] == "[]"
    assert "pickle" in outcomes["unsendable"][1]


@pytest.mark.parametrize(("workers", "each"), [(None, 1), (3, 2)])
def test_each_actor_has_a_gpu_or_a_share_of_one(cluster, tmp_path, workers, each):
    # Ray counts what a node says that it has, and shows each actor the GPU it was given.
    node = cluster.add_node(num_cpus=4, num_gpus=2)
    try:
        engine = RayEngine(workers=workers, address=cluster.address)
        make_worker = partial(measuring.Gpus, str(tmp_path), workers or 2)
        outcomes = list(engine.run(make_worker, list(range(12))))
    finally:
        cluster.remove_node(node)
    given = {row["process"]: row["gpus"] for outcome in outcomes for row in outcome.rows}
    assert len(given) == (workers or 2)
    assert set(given.values()) == {"0", "1"}
    assert max(Counter(given.values()).values()) == each


def test_a_worker_that_dies_as_it_is_made_ends_the_run(cluster):
    with pytest.raises(ConnectionError, match="no worker can be made on the cluster"):
        list(RayEngine(workers=1, address=cluster.address).run(measuring.die_at_once, jobs(2)))


def test_a_cluster_without_room_is_given_up(cluster, monkeypatch):
    monkeypatch.setattr("usu.bench.engines.cluster.ROOM", 2.0)
    monkeypatch.setattr("usu.bench.engines.cluster.NEEDED", 64)
    with pytest.raises(ConnectionError, match="no room for a worker for 2 s"):
        list(RayEngine(workers=1, address=cluster.address).run(Measurer, jobs(2)))


def test_a_connection_of_the_caller_is_used_and_kept(cluster):
    ray.init(cluster.address, log_to_driver=False)
    try:
        assert len(by_job(RayEngine(workers=1).run(Measurer, jobs(1)))) == 2
        assert ray.is_initialized()
    finally:
        ray.shutdown()


def test_a_folder_of_photographs_is_explained(cluster, tmp_path, capsys):
    photographs = ten_pictures(tmp_path)
    places = {"ray": ("--engine", "ray", "--workers", "1", "--address", cluster.address), "here": ()}
    for name, options in places.items():
        assert explain(photographs, tmp_path / name, *options) == 2
        assert "10 photograph(s), 0 before, 1 failed" in capsys.readouterr().out
    same(*(records(tmp_path / name) for name in places))


def test_an_engine_checks_its_workers():
    with pytest.raises(ValueError, match="workers must be at least 1, got 0"):
        find_engine("ray", workers=0)


def test_a_missing_ray_names_the_extra():
    program = (
        "import sys; sys.modules['ray'] = None\n"
        "from usu.bench.engines.registry import find_engine\n"
        "try: find_engine('ray')\n"
        "except ImportError as missing: assert \"'usu-xai[cluster]'\" in str(missing)\n"
        "else: raise AssertionError('no ImportError')"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
