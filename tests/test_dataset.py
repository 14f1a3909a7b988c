"""Many images: one record each, a table and a page, whatever interrupts the run."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

import usu
from tests.helpers.networks import small_cnn
from usu import dataset

SETTINGS = {"segmentation": {"slic": (2, 4)}, "backend": "eager"}


def batches(count=5, together=2):
    images = torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    return [(part, "labels") for part in images.split(together)]


def sizes_of_batches(monkeypatch):
    """Return a list that gets the number of images of each batch that is explained from now on."""
    asked = []

    def explain(model, inputs, **options):
        asked.append(len(inputs))
        return usu.explain(model, inputs, **options)

    monkeypatch.setattr(dataset, "explain", explain)
    return asked


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    """Find segments here: to start processes takes seconds."""

    class Now:
        def __init__(self, call, *given):
            self.result = lambda: call(*given)

    class Pool:
        def __init__(self, workers, begin):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def submit(self, call, *given):
            return Now(call, *given)

    monkeypatch.setattr(dataset, "processes", Pool)


def table(folder):
    with open(folder / "explained.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_records_are_those_of_one_image_at_a_time(tmp_path):
    model = small_cnn().eval()
    rows = usu.explain_dataset(model, batches(), out=tmp_path, **SETTINGS)
    images = torch.cat([batch for batch, _ in batches()])
    for number, image in enumerate(images):
        expected = usu.explain(model, image, **SETTINGS)
        found = usu.Explanation.load(tmp_path / f"{number:06d}.npz")
        np.testing.assert_allclose(found.attribution, expected.attribution, rtol=1e-4, atol=1e-7)
        assert found.settings == expected.settings
        assert (found.target, found.model) == (expected.target, expected.model)
        row = rows[number]
        assert (row["image"], row["target"]) == (f"{number:06d}", expected.target)
        assert row["mass"] == pytest.approx(float(expected.attribution.sum()), rel=1e-4)
        assert row["probability"] == pytest.approx(expected.probability, rel=1e-5)
        error, scale = expected.coarse_map.mass_error(expected.attribution)
        assert row["d1_relative"] == pytest.approx(float(error / scale), rel=1e-3)
    assert [row["image"] for row in table(tmp_path)] == [row["image"] for row in rows]
    assert "000004" in (tmp_path / "report.html").read_text()


def test_a_run_goes_on_where_it_stopped(tmp_path, monkeypatch):
    model = small_cnn().eval()

    def loader():
        yield from batches(together=1)[:4]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        usu.explain_dataset(model, loader(), out=tmp_path, **SETTINGS)
    done = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.npz")}
    with open(tmp_path / dataset.ROWS, "a") as file:
        file.write('{"image": "000004", "targ')  # the end of a process in the middle of a line
    asked = sizes_of_batches(monkeypatch)
    rows = usu.explain_dataset(model, batches(together=1), out=tmp_path, **SETTINGS)
    assert sum(asked) == 5 - len(done)
    assert len(done) > 0
    assert [row["image"] for row in rows] == [f"{number:06d}" for number in range(5)]
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in done} == done
    lines = [line for line in (tmp_path / dataset.ROWS).read_text().splitlines() if line.endswith("}")]
    assert sorted(json.loads(line)["image"] for line in lines) == [f"{number:06d}" for number in range(5)]


def test_a_batch_that_lacks_a_record_is_explained_whole_and_ends_with_the_same_bits(tmp_path, monkeypatch):
    model = small_cnn().eval()
    asked = sizes_of_batches(monkeypatch)
    usu.explain_dataset(model, batches(together=2), out=tmp_path, **SETTINGS)
    assert asked == [2, 2, 1]
    before = {
        path.name: (path.stat().st_mtime_ns, usu.Explanation.load(path)) for path in tmp_path.glob("*.npz")
    }
    (tmp_path / "000002.npz").unlink()
    rows = usu.explain_dataset(model, batches(together=2), out=tmp_path, **SETTINGS)
    assert asked == [2, 2, 1, 2]
    assert [row["image"] for row in rows] == [f"{number:06d}" for number in range(5)]
    for name, (written, kept) in before.items():
        found = usu.Explanation.load(tmp_path / name)
        assert ((tmp_path / name).stat().st_mtime_ns == written) == (name != "000002.npz")
        np.testing.assert_array_equal(found.attribution, kept.attribution)
        np.testing.assert_array_equal(found.score_map, kept.score_map)


def test_an_image_that_stays_bad_does_not_cost_its_batch_again(tmp_path, monkeypatch):
    asked = sizes_of_batches(monkeypatch)
    bad = [batch.clone() for batch, _ in batches(3, 3)]
    bad[0][2, 0, 0, 0] = float("nan")
    for _ in range(2):
        rows = usu.explain_dataset(small_cnn().eval(), bad, out=tmp_path, **SETTINGS)
        assert [bool(row.get("error")) for row in rows] == [False, False, True]
    assert asked == [2]


def test_a_bad_image_is_reported_and_the_rest_are_explained(tmp_path):
    bad = [(batch.clone(), label) for batch, label in batches()]
    bad[1][0][0, 0, 0, 0] = float("nan")
    rows = usu.explain_dataset(small_cnn().eval(), bad, out=tmp_path, **SETTINGS)
    assert [row["image"] for row in rows if row.get("error")] == ["000002"]
    assert "NaN" in rows[2]["error"] or "finite" in rows[2]["error"]
    assert len(list(tmp_path.glob("*.npz"))) == 4
    assert table(tmp_path)[2]["error"] == rows[2]["error"]


def test_the_folder_of_another_run_is_left_alone(tmp_path):
    model = small_cnn().eval()
    usu.explain_dataset(model, batches(1), out=tmp_path / "one", **SETTINGS)
    before = {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()}
    with pytest.raises(ValueError, match=r"one was made with target=None, not 1: name another folder"):
        usu.explain_dataset(model, batches(1), out=tmp_path / "one", target=1, **SETTINGS)
    with torch.no_grad():
        next(model.parameters()).mul_(2)
    with pytest.raises(ValueError, match="was made with weights="):
        usu.explain_dataset(model, batches(1), out=tmp_path / "one", **SETTINGS)
    assert {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()} == before
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="out must be empty or of an earlier run"):
        usu.explain_dataset(model, batches(1), out=tmp_path, **SETTINGS)
    with pytest.raises(ValueError, match="workers must be"):
        usu.explain_dataset(model, batches(1), out=tmp_path / "two", workers=0, **SETTINGS)


KILLED = """
import sys, torch, usu
from tests.helpers.networks import small_cnn
if __name__ == "__main__":
    images = torch.rand(40, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    model = small_cnn().eval()
    usu.explain_dataset(
        model, images.split(2), out=sys.argv[1], segmentation={"slic": (2, 4)}, backend="eager"
    )
"""


def test_a_killed_run_ends_with_one_record_each(tmp_path):
    program, out = tmp_path / "program.py", tmp_path / "out"
    program.write_text(KILLED)
    call = [sys.executable, str(program), str(out)]
    run = subprocess.Popen(call, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    deadline = time.monotonic() + 240
    while len(list(out.glob("*.npz"))) < 3 and run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert 3 <= len(list(out.glob("*.npz"))) < 40
    subprocess.run(call, check=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    names = [f"{number:06d}" for number in range(40)]
    assert sorted(path.stem for path in out.glob("*.npz")) == names
    assert [row["image"] for row in table(out)] == names
    for name in names:
        usu.Explanation.load(out / f"{name}.npz")


def test_what_a_killed_process_left_unfinished_is_cleared_away(tmp_path):
    """A process may end in the middle of its very first file, or of a record in a folder."""
    model, left = small_cnn().eval(), (".run.abc.partial", ".explained.abc.partial", "cats/.tom.abc.partial")
    (tmp_path / left[0]).write_text("{")
    usu.explain_dataset(model, batches(1), out=tmp_path, **SETTINGS)
    (tmp_path / "cats").mkdir()
    for name in left:
        (tmp_path / name).write_text("half")
    before = {path.name for path in tmp_path.glob("*.npz")}
    usu.explain_dataset(model, batches(1), out=tmp_path, **SETTINGS)
    assert not [*tmp_path.rglob("*.partial")]
    assert {path.name for path in tmp_path.glob("*.npz")} == before


def test_what_a_killed_run_left_of_files_is_deleted_and_no_obstacle(tmp_path):
    """A kill during the very first file leaves a part of it; one during a record, a part of that."""
    model, out = small_cnn().eval(), tmp_path / "out"
    out.mkdir()
    (out / ".run.a1b2c3d4.partial").write_bytes(b'{"mod')
    usu.explain_dataset(model, batches(1), out=out, **SETTINGS)
    (out / ".000000.a1b2c3d4.partial").write_bytes(b"PK")
    usu.explain_dataset(model, batches(1), out=out, **SETTINGS)
    assert list(out.rglob("*.partial")) == []
    (tmp_path / ".mine.partial").write_bytes(b"of another program")
    with pytest.raises(ValueError, match="out must be empty or of an earlier run"):
        usu.explain_dataset(model, batches(1), out=tmp_path, **SETTINGS)
    assert (tmp_path / ".mine.partial").exists()


def test_a_second_run_is_refused_until_the_first_ends(tmp_path):
    model = small_cnn().eval()
    seen = []

    def loader():
        with pytest.raises(BlockingIOError, match="another run is writing to"):
            usu.explain_dataset(model, batches(1), out=tmp_path, **SETTINGS)
        seen.append(True)
        yield from batches(1)

    usu.explain_dataset(model, loader(), out=tmp_path, **SETTINGS)
    assert seen == [True]
    assert len(usu.explain_dataset(model, batches(1), out=tmp_path, **SETTINGS)) == 1
    with pytest.raises(ValueError, match="workers must be"):
        usu.explain_dataset(model, batches(1), out=tmp_path, workers=0, **SETTINGS)
    usu.explain_dataset(model, batches(1), out=tmp_path, **SETTINGS)  # the failed call holds nothing
