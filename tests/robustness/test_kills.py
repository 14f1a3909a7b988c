"""A few kills of each kind of work, and the other faults: nothing lost, nothing doubled, no half file."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from benchmarks.robustness import faults, kills, works

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, kills and mounts")
QUICK = ("save", "parts")  # benchmarks and folders are killed in tests/bench and tests/test_dataset.py


def test_nothing_is_lost_by_kills_and_other_faults(tmp_path):
    out = tmp_path / "kills.jsonl"
    told = kills.run(4, 3, out, QUICK, ["kill"])
    told += kills.run(4, 3, tmp_path / "faults.jsonl", ("save",), [*faults.FAULTS][1:])
    assert [one for one in told if one["lost"]] == []
    assert len(told) == 8
    before = out.read_text()
    out.write_text(before + '{"round": 99, "wo')  # the end of the measuring process itself
    assert kills.run(4, 3, out, QUICK, ["kill"]) == [json.loads(line) for line in before.splitlines()]


@pytest.fixture
def ground(tmp_path):
    (tmp_path / "inputs").mkdir()
    (tmp_path / "folder").mkdir()
    return faults.Ground("save", tmp_path / "inputs", tmp_path / "folder", tmp_path / "log")


def test_a_careless_work_is_found_out(ground, monkeypatch):
    """The check itself is checked: on a file written in place, and on lines written twice."""

    def in_place(folder: Path, inputs: Path) -> None:
        for _ in range(3):
            with open(folder / "file", "w") as file:
                for _ in range(200):
                    file.write("x" * 100)
                    file.flush()

    def whole(folder: Path) -> dict[str, int]:
        path = folder / "file"
        size = path.stat().st_size if path.exists() else 20_000
        if size != 20_000:
            raise ValueError(f"half a file of {size}")
        return {"size": size}

    monkeypatch.setitem(works.WORKS, "save", works.Work(in_place, whole))
    monkeypatch.setitem(works.ENDS, "save", whole)
    usual = faults.usual(ground)
    draws = (kills.one_round(ground, usual, "kill", kills.Random(number)) for number in range(40))
    assert any("half a file" in (one["lost"] or "") for told in draws for one in told)

    def twice(folder: Path, inputs: Path) -> None:
        with open(folder / "file", "a") as file:
            file.write("row\n")

    def count(folder: Path) -> dict[str, int]:
        path = folder / "file"
        return {"rows": path.read_text().count("row")} if path.exists() else {}

    monkeypatch.setitem(works.WORKS, "save", works.Work(twice, count))
    monkeypatch.setitem(works.ENDS, "save", count)
    usual = faults.usual(ground)
    told = kills.one_round(ground, usual, "writers", kills.Random(0))
    assert "rows" in told[-1]["lost"]


def test_a_full_disk_is_told_by_the_name_of_the_file(ground):
    faults.finish(ground.start(lambda folder, inputs: works.make_inputs(inputs)))
    faults.finish(ground.start(works.WORKS["save"].before))
    before = ground.survey()
    outcome = ground.start(room=4096).outcome()
    assert outcome.startswith("refused: ")
    assert "map.npz" in outcome
    assert ground.survey() == before
    assert [path.name for path in ground.folder.iterdir()] == ["map.npz"]
