"""`usu explain FOLDER`: one record each, whatever explains them."""

import pytest

import usu
from tests.helpers.folders import explain, records, same, ten_pictures
from usu.cli import folder, main


@pytest.fixture
def photographs(tmp_path):
    return ten_pictures(tmp_path)


def test_the_command_explains_a_folder_with_those_in_it(photographs, tmp_path, capsys):
    out = tmp_path / "maps"
    (photographs / "more").mkdir()
    (photographs / "9.png").rename(photographs / "more" / "9.png")
    assert explain(photographs, out) == 2
    told = capsys.readouterr()
    assert "bad.jpg" in told.err
    assert told.err.count("\n") == 1
    assert "10 photograph(s), 0 before, 1 failed" in told.out
    found = usu.Explanation.load(out / "more" / "9.png.npz")
    assert found.placement.photograph == (20, 24)
    assert found.model == "small"
    assert explain(photographs, out, "--mode", "iwmr") == 2
    assert "mode=" in capsys.readouterr().err


def test_a_folder_is_explained_by_itself(photographs, tmp_path, capsys):
    assert main(["explain", str(photographs), str(photographs), "--out", str(tmp_path / "out")]) == 2
    assert "is explained by itself, without further photographs" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert explain(tmp_path / "empty", tmp_path / "out") == 2
    assert "empty holds no image" in capsys.readouterr().err


@pytest.mark.parametrize(("precision", "dtype"), [((), "float32"), (("--double",), "float64")])
def test_processes_give_the_records_of_one(photographs, tmp_path, capsys, precision, dtype):
    for name, options in (("one", precision), ("two", (*precision, "--workers", "2"))):
        assert explain(photographs, tmp_path / name, *options) == 2
        told = capsys.readouterr()
        assert "10 photograph(s), 0 before, 1 failed" in told.out
        assert told.err.count("bad.jpg") == 1
    one, two = (records(tmp_path / name) for name in ("one", "two"))
    assert len(one) == 10
    same(one, two)
    assert {record.attribution.dtype.name for record in two.values()} == {dtype}
    assert explain(photographs, tmp_path / "two", *precision) == 2  # goes on with what others began
    assert "0 photograph(s), 10 before, 1 failed" in capsys.readouterr().out


def test_a_file_that_stays_bad_does_not_cost_its_batch_again(photographs, tmp_path, monkeypatch):
    asked = []

    def together(model, batch, missing, title, options):
        asked.append((len(batch), len(missing)))
        return original(model, batch, missing, title, options)

    original = usu.dataset.together
    monkeypatch.setattr(usu.dataset, "together", together)
    explained = []
    monkeypatch.setattr(usu.dataset, "explain", lambda *a, **b: explained.append(1) or usu.explain(*a, **b))
    for _ in range(2):
        assert explain(photographs, tmp_path / "out") == 2
    assert asked == [(8, 8), (3, 3), (3, 1)]
    assert len(explained) == 2


def test_what_ends_a_batch_is_told_of_each_of_its_photographs(photographs, tmp_path, monkeypatch, capsys):
    def work(self, batch):
        if "0.png" in batch.names:
            raise TypeError("no such network")
        return original(self, batch)

    original = folder.Explainer.work
    monkeypatch.setattr(folder.Explainer, "work", work)
    assert explain(photographs, tmp_path / "out") == 2
    told = capsys.readouterr()
    assert told.err.count("TypeError: no such network") == 8
    assert "2 photograph(s), 0 before, 9 failed" in told.out
    monkeypatch.undo()
    assert explain(photographs, tmp_path / "out") == 2
    assert "8 photograph(s), 2 before, 1 failed" in capsys.readouterr().out


def test_an_address_needs_a_cluster(photographs, tmp_path, capsys):
    assert explain(photographs, tmp_path / "out", "--address", "auto") == 2
    assert "address is for the engine 'ray', got 'auto' with the engine 'local'" in capsys.readouterr().err
    assert not (tmp_path / "out" / "run.json").exists()
