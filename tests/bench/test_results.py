"""The results folder: what is in it after a kill at any moment, who may write to it, what reading gives."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pa = pytest.importorskip("pyarrow", reason="results need pyarrow")
pq = pytest.importorskip("pyarrow.parquet", reason="results need pyarrow")

from tests.helpers.measuring import (  # noqa: E402
    ASKED,
    PROTOCOL,
    Measurer,
    hold,
    jobs,
    measure,
    missing,
    run_and_count,
    run_and_die,
    run_in_processes,
    try_to_open,
    write_and_merge,
)
from usu.bench.engines.local import LocalEngine  # noqa: E402
from usu.bench.results import folder as module  # noqa: E402
from usu.bench.results.folder import Results, read_protocol, read_rows  # noqa: E402
from usu.bench.results.schema import SCHEMA, Cell, cell_of  # noqa: E402

# Forked off a process that has imported what is slow to import: each is a process of its own all the same.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["pytest", "pandas", "tests.helpers.measuring"])


def parts(folder):
    return sorted((Path(folder) / "parts").glob("*.parquet"))


def expected(asked):
    """Return the rows of jobs as `read_rows` should give them, by a way of its own."""
    rows = [row for job in asked for row in Measurer().work(job)]
    return as_texts(sorted(rows, key=lambda row: tuple(row[name] for name in Cell._fields)))


def as_texts(rows):
    """Return rows in a form in which NaN equals NaN."""
    return [json.dumps(row, sort_keys=True) for row in rows]


def texts(folder):
    return as_texts(read_rows(folder).to_pylist())


# --- Kill and go on ---------------------------------------------------------------------------------------


def in_process(function, *arguments):
    process = PROCESSES.Process(target=function, args=arguments)
    process.start()
    process.join(60)
    return process.exitcode


def test_a_run_killed_before_any_step_continues_to_the_rows_of_an_unbroken_one(tmp_path):
    count = PROCESSES.Value("i", 0)
    assert in_process(run_and_count, tmp_path / "unbroken", count) == 0
    unbroken = texts(tmp_path / "unbroken")
    assert unbroken == expected(ASKED)
    kept = [kept_after(tmp_path / str(moment), moment) for moment in range(1, count.value + 1)]
    # A new file and its renaming for the protocol; then work, a new file and its renaming for each job.
    rows = len(ASKED[0].cells)
    assert kept[:11] == [*(2 * [0]), *(3 * [0]), *(3 * [rows]), *(3 * [2 * rows])]
    # A new file and its renaming for the merged part, and a removal for each part in it.
    assert kept[11:] == (2 + len(ASKED)) * [3 * rows]
    for moment in range(1, count.value + 1):
        folder = tmp_path / str(moment)
        assert measure(folder, LocalEngine(), Measurer, ASKED) == {}
        assert texts(folder) == unbroken
        assert not [*folder.rglob("*.partial")]


def kept_after(folder, moment):
    """Kill a run at a moment; return how many rows are there, none twice and none to be measured again."""
    assert in_process(run_and_die, folder, moment) == -signal.SIGKILL
    kept = texts(folder) if (folder / "protocol.json").exists() else []
    assert len(kept) == len(set(kept))
    assert set(kept) <= set(expected(ASKED))
    with Results.open(folder, PROTOCOL) as results:
        left = {cell for job in missing(ASKED, results.done) for cell in job.cells}
        assert len(results.done) == len(kept)
        assert results.done | left == {cell for job in ASKED for cell in job.cells}
        assert results.done.isdisjoint(left)
    return len(kept)


def alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_run_of_several_processes_killed_from_outside_continues_and_leaves_no_process(tmp_path):
    folder, notes = tmp_path / "results", tmp_path / "notes"
    notes.mkdir()
    process = PROCESSES.Process(target=run_in_processes, args=(folder, str(notes)))
    process.start()
    until(lambda: len(parts(folder)) >= 3)
    process.kill()
    process.join()
    workers = [int(note.name) for note in notes.iterdir()]
    assert 1 <= len(workers) <= 2
    until(lambda: not any(alive(worker) for worker in workers))
    kept = texts(folder)
    assert 0 < len(kept) < len(expected(jobs(20)))
    assert measure(folder, LocalEngine(), Measurer, jobs(20)) == {}
    assert texts(folder) == expected(jobs(20))
    assert set(kept) <= set(texts(folder))


def until(condition, seconds=300):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


# --- Who may write and read -------------------------------------------------------------------------------


def test_a_second_run_is_refused_until_the_first_ends_even_by_a_kill(tmp_path):
    opened, close = PROCESSES.Event(), PROCESSES.Event()
    answer = PROCESSES.SimpleQueue()
    first = PROCESSES.Process(target=hold, args=(tmp_path, opened, close))
    first.start()
    assert opened.wait(60)
    start = time.monotonic()
    assert in_process(try_to_open, tmp_path, answer) == 0
    assert time.monotonic() - start < 10  # at once, not when the first ends
    refusal = answer.get()
    assert str(tmp_path) in refusal
    assert "wait until it ends" in refusal
    assert "another folder" in refusal
    with pytest.raises(BlockingIOError, match="another run is writing"), Results.open(tmp_path, PROTOCOL):
        pass
    first.kill()
    first.join()
    assert in_process(try_to_open, tmp_path, answer) == 0
    assert answer.get() == "opened"


def test_an_exception_in_a_run_frees_the_folder(tmp_path):
    with pytest.raises(KeyError), Results.open(tmp_path, PROTOCOL):
        raise KeyError
    with Results.open(tmp_path, PROTOCOL):
        pass


def test_reading_while_a_run_writes_and_merges_gives_only_whole_jobs(tmp_path):
    with Results.open(tmp_path, PROTOCOL):
        pass
    process = PROCESSES.Process(target=write_and_merge, args=(tmp_path,))
    process.start()
    before: set[str] = set()
    while process.is_alive():
        now = texts(tmp_path)
        assert len(now) == len(set(now))
        assert before <= set(now)  # nothing goes missing while parts are merged
        assert len(now) % len(ASKED[0].cells) == 0
        before = set(now)
    process.join()
    assert process.exitcode == 0
    assert texts(tmp_path) == expected(jobs(25))


def test_a_part_merged_away_after_the_listing_is_read_from_the_merged_one(tmp_path, monkeypatch):
    with Results.open(tmp_path, PROTOCOL) as results:
        for job in ASKED:
            results.add(Measurer().work(job))
        read_part = module.read_part
        reads: Counter[str] = Counter()

        def merged_meanwhile(part, columns):
            reads["all"] += 1
            if reads["all"] == 2:  # the first part is read; a run merges; the second is gone
                monkeypatch.setattr(module, "read_part", read_part)
                results.compact()
                monkeypatch.setattr(module, "read_part", merged_meanwhile)
            return read_part(part, columns)

        monkeypatch.setattr(module, "read_part", merged_meanwhile)
        assert texts(tmp_path) == expected(ASKED)
        assert reads["all"] == 3


# --- Order, duplicates and merging ------------------------------------------------------------------------

NAMES = st.sampled_from(["a", "b", "B", "é", "a/b", "test/00010", "test/00009", ""])
CELLS = st.lists(st.builds(Cell, NAMES, NAMES, NAMES, NAMES, NAMES), max_size=12)


def write_part(folder, rows, name):
    (folder / "parts").mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), folder / "parts" / name)


@settings(max_examples=40)
@given(st.lists(CELLS, max_size=4), st.randoms(use_true_random=False))
def test_reading_gives_each_cell_once_in_one_order_however_the_rows_lie_in_parts(groups, random):
    measurer = Measurer()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "protocol.json").write_text("{}")
        for number, cells in enumerate(groups):
            write_part(folder, [measurer.row(cell) for cell in cells], f"{random.random()}-{number}.parquet")
        distinct = sorted({cell for cells in groups for cell in cells}, key=lambda c: [x.encode() for x in c])
        table = read_rows(folder)
        assert table.schema.equals(SCHEMA)
        assert as_texts(table.to_pylist()) == as_texts([measurer.row(cell) for cell in distinct])
        with Results.open(folder, {}) as results:
            assert results.done == set(distinct)
            results.compact()
            assert results.done == set(distinct)
        assert texts(folder) == as_texts([measurer.row(cell) for cell in distinct])


def test_rows_of_one_cell_that_differ_are_chosen_by_what_they_hold_not_by_where_they_lie(tmp_path):
    row = Measurer().row(ASKED[0].cells[0])
    for folder, names in ((tmp_path / "one", "ab"), (tmp_path / "two", "ba")):
        folder.mkdir()
        (folder / "protocol.json").write_text("{}")
        for seconds, name in zip((2.0, 1.0), names, strict=True):
            write_part(folder, [{**row, "seconds": seconds}], f"{name}.parquet")
    assert read_rows(tmp_path / "one").to_pylist() == read_rows(tmp_path / "two").to_pylist()
    assert read_rows(tmp_path / "one")["seconds"].to_pylist() == [1.0]


def test_two_runs_in_another_order_give_the_same_table_to_the_byte(tmp_path):
    measure(tmp_path / "one", LocalEngine(), Measurer, jobs(5))
    measure(tmp_path / "two", LocalEngine(), Measurer, jobs(2)[::-1])
    measure(tmp_path / "two", LocalEngine(), Measurer, jobs(5)[::-1])
    files = []
    for name in ("one", "two"):
        pq.write_table(read_rows(tmp_path / name), tmp_path / f"{name}.parquet")
        files.append((tmp_path / f"{name}.parquet").read_bytes())
    assert files[0] == files[1]


def test_rows_are_added_once_and_merged_into_one_part(tmp_path):
    with Results.open(tmp_path, PROTOCOL) as results:
        rows = Measurer().work(ASKED[0])
        results.add(rows[:2])
        changed = [{**row, "value": -1.0} for row in rows]
        results.add([*changed, *changed])
        results.add(rows)
        results.add([])
        assert len(parts(tmp_path)) == 2
        assert results.done == set(ASKED[0].cells)
        results.compact()
        assert len(parts(tmp_path)) == 1
        results.compact()
        results.add(Measurer().work(ASKED[1]))
        assert len(parts(tmp_path)) == 2
    values = {cell_of(row): row["value"] for row in read_rows(tmp_path).to_pylist()}
    assert (
        values
        == {
            **{cell_of(row): row["value"] for row in rows[:2]},  # the first stays
            **{cell_of(row): -1.0 for row in rows[2:]},
            **{cell_of(row): row["value"] for row in Measurer().work(ASKED[1])},
        }
    )
    metadata = pq.ParquetFile(parts(tmp_path)[0]).metadata
    assert metadata.row_group(0).column(0).compression == "ZSTD"


def test_a_long_run_merges_its_parts_and_leaves_large_ones_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MANY", 4)
    asked = jobs(11, ("resnet50",))
    counts = []
    with Results.open(tmp_path, PROTOCOL) as results:
        for job in asked:
            results.add(Measurer().work(job))
            counts.append(len(parts(tmp_path)))
    assert counts == [1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2]
    assert texts(tmp_path) == expected(asked)
    large = max(parts(tmp_path), key=lambda part: part.stat().st_size)
    small = min(part.stat().st_size for part in parts(tmp_path))
    monkeypatch.setattr(module, "SMALL", small + 1)
    with Results.open(tmp_path, PROTOCOL) as results:
        results.add(Measurer().work(jobs(12, ("resnet50",))[-1]))
        monkeypatch.setattr(module, "SMALL", large.stat().st_size)
        results.compact()
    assert large in parts(tmp_path)
    assert len(parts(tmp_path)) == 2
    assert texts(tmp_path) == expected(jobs(12, ("resnet50",)))


# --- The protocol -----------------------------------------------------------------------------------------


def reopened(folder, protocol):
    with Results.open(folder, protocol):
        return read_protocol(folder)


def test_a_protocol_may_grow_by_entries_but_not_change(tmp_path):
    assert reopened(tmp_path, PROTOCOL) == PROTOCOL
    grown = {**PROTOCOL, "metrics": {"road": {"noise": 0.1}}}
    both = {**PROTOCOL["metrics"], **grown["metrics"]}
    assert reopened(tmp_path, grown) == {**PROTOCOL, "metrics": both}
    assert reopened(tmp_path, {**PROTOCOL, "metrics": {}}) == {**PROTOCOL, "metrics": both}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": 1}, "seed was 0, is 1"),
        ({"dataset": "cub200"}, 'dataset was "folder", is "cub200"'),
        ({"metrics": {"irof": {"segments": 50}}}, "metrics.irof.segments was 60, is 50"),
        ({"metrics": {"irof": {"segments": 60, "fill": [0, 0]}}}, "metrics.irof.fill was absent, is [0, 0]"),
        ({"metrics": {"irof": {}}}, "metrics.irof"),
        ({"metrics": None}, "metrics"),
        ({"extra": True}, "extra was absent, is true"),
    ],
)
def test_another_protocol_is_refused_and_what_differs_is_said(tmp_path, change, said):
    reopened(tmp_path, PROTOCOL)
    with pytest.raises(ValueError, match="begun with another protocol") as refusal:
        reopened(tmp_path, {**PROTOCOL, **change})
    assert said in str(refusal.value)
    assert str(tmp_path) in str(refusal.value)
    assert "begin a new folder" in str(refusal.value)
    assert read_protocol(tmp_path) == PROTOCOL


def test_a_protocol_that_lacks_a_name_is_refused(tmp_path):
    reopened(tmp_path, PROTOCOL)
    with pytest.raises(ValueError, match="edition was 1, is absent"):
        reopened(tmp_path, {name: value for name, value in PROTOCOL.items() if name != "edition"})


def test_a_protocol_is_compared_as_json(tmp_path):
    kept = reopened(tmp_path, {"sizes": (1, 2), "metrics": {3: "x"}})
    assert kept == {"sizes": [1, 2], "metrics": {"3": "x"}}
    assert reopened(tmp_path, {"metrics": {3: "x"}, "sizes": [1, 2]}) == kept
    for unfit in ({"device": object()}, {"value": float("nan")}):
        with pytest.raises(ValueError, match="protocol must hold plain values"):
            reopened(tmp_path, unfit)


# --- Bad folders, parts and rows --------------------------------------------------------------------------


def test_folders_without_results(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no results"):
        read_rows(tmp_path)
    reopened(tmp_path / "new", PROTOCOL)
    assert read_rows(tmp_path / "new").equals(SCHEMA.empty_table())
    with Results.open(tmp_path / "new", PROTOCOL) as results:
        assert results.done == set()


def flip_a_byte_of_a_page(data):
    return data[:60] + bytes([data[60] ^ 255]) + data[61:]


@pytest.mark.parametrize(
    "harm", [lambda data: b"", lambda data: data[:-100], lambda data: b"PAR1" * 9, flip_a_byte_of_a_page]
)
def test_a_damaged_part_is_named(tmp_path, harm):
    with Results.open(tmp_path, PROTOCOL) as results:
        results.add(Measurer().work(ASKED[0]))
    (part,) = parts(tmp_path)
    part.write_bytes(harm(part.read_bytes()))
    with pytest.raises(ValueError, match=r"is damaged .*: delete it and run again") as problem:
        read_rows(tmp_path)
    assert str(part) in str(problem.value)


def test_a_damaged_part_that_is_deleted_is_measured_again(tmp_path):
    with Results.open(tmp_path, PROTOCOL) as results:
        for job in ASKED:
            results.add(Measurer().work(job))
    part = parts(tmp_path)[1]
    part.write_bytes(b"")
    with pytest.raises(ValueError, match=part.name), Results.open(tmp_path, PROTOCOL):
        pass
    part.unlink()
    measure(tmp_path, LocalEngine(), Measurer, ASKED)
    assert texts(tmp_path) == expected(ASKED)


def test_a_part_of_other_columns_is_named(tmp_path):
    reopened(tmp_path, PROTOCOL)
    pq.write_table(pa.table({"image": ["a"]}), tmp_path / "parts" / "other.parquet")
    with pytest.raises(ValueError, match=r"other.parquet is damaged \(its columns"):
        read_rows(tmp_path)


def test_a_damaged_or_lost_protocol_is_named(tmp_path):
    with Results.open(tmp_path, PROTOCOL) as results:
        results.add(Measurer().work(ASKED[0]))
    for text in ("{", "[]", "\xff"):
        (tmp_path / "protocol.json").write_bytes(text.encode("latin-1"))
        with pytest.raises(ValueError, match=r"protocol.json is damaged"):
            read_rows(tmp_path)
    (tmp_path / "protocol.json").unlink()
    with pytest.raises(ValueError, match=r"has rows but no protocol.json"):
        reopened(tmp_path, PROTOCOL)


def test_rows_that_do_not_fit_are_refused_and_nothing_is_written(tmp_path):
    row = Measurer().row(ASKED[0].cells[0])
    short = {name: value for name, value in row.items() if name != "value"}
    with Results.open(tmp_path, PROTOCOL) as results:
        for unfit, said in [
            ({**row, "color": 1}, "color"),
            (short, "value"),
            ({**row, "target": None}, "target"),
        ]:
            with pytest.raises(ValueError, match=said):
                results.add([row, unfit])
        assert results.done == set()
        results.add([{**row, "label": None}])
    assert len(read_rows(tmp_path)) == 1


def test_reading_needs_no_torch_model_and_no_ray():
    program = (
        "import sys, usu.bench.results.folder; "
        "assert not {'ray', 'timm', 'captum', 'usu.bench.engines.cluster'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_measurer_gives_what_the_tests_need():
    rows = [row for job in jobs(5) for row in Measurer().work(job)]
    assert len({cell_of(row) for row in rows}) == len(rows) == 5 * 2 * 4
    assert any(row["value"] != row["value"] for row in rows)  # NaN
    assert any(row["label"] is None for row in rows)
    assert missing(jobs(2), {jobs(2)[0].cells[0]})[0].cells == jobs(2)[0].cells[1:]
