"""`usu explain FOLDER` on many photographs, killed again and again: one record each, peak memory, rate.

    python -m benchmarks.performance.folder PHOTOGRAPHS PLACE [--count 1000] [--kills 5] [--workers 1]

It repeats the photographs of a folder by links until there are `--count`, explains them to PLACE/maps, and
kills the command and its processes (SIGKILL) `--kills` times, each after a random part of what is left. The
last start runs to the end. It then checks that each photograph has one record that can be read, and one row.
What was measured is kept in PLACE/starts.jsonl: the same call continues a run that was itself interrupted.
Peak memory is the largest sum of the resident memory of all processes of the command, seen every half second.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import usu
from usu.runtime.files import LOCK

_KINDS = (".jpg", ".jpeg", ".png")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def linked(photographs: Path, folder: Path, count: int) -> list[str]:
    """Fill a folder with links to photographs, repeated; return the links' names."""
    originals = sorted(path for path in photographs.iterdir() if path.suffix.lower() in _KINDS)
    if not originals:
        raise ValueError(f"{photographs} holds no photograph")
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for number, path in enumerate(islice(cycle(originals), count)):
        names.append(f"{number:05d}-{path.name}")
        if not (folder / names[-1]).exists():
            (folder / names[-1]).symlink_to(path.resolve())
    return names


def rows_in(out: Path) -> int:
    """Return the number of rows that have been written."""
    rows = out / "rows.jsonl"
    return rows.read_text(encoding="utf-8").count('"image"') if rows.is_file() else 0


def resident(group: int) -> int:
    """Return the bytes of resident memory of all processes of a group; shared pages count in each."""
    total = 0
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and os.getpgid(int(entry.name)) == group:
                total += int((entry / "statm").read_text().split()[1]) * _PAGE
        except (OSError, ValueError):  # it has ended meanwhile
            continue
    return total


def started(call: Sequence[str], out: Path, kill_at: int | None) -> dict[str, Any]:
    """Run the command, killed once so many rows are there; return what was seen of it."""
    before, start, peak, killed = rows_in(out), time.monotonic(), 0, False
    process = subprocess.Popen(call, start_new_session=True, stdout=subprocess.DEVNULL)
    try:
        while process.poll() is None:
            peak = max(peak, resident(process.pid))
            if kill_at is not None and rows_in(out) >= kill_at:
                time.sleep(10 * random.random())  # anywhere in the work on a batch
                killed = process.poll() is None
                break
            time.sleep(0.5)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
    seconds, rows = round(time.monotonic() - start, 1), rows_in(out) - before
    return {"rows": rows, "seconds": seconds, "peak": peak, "killed": killed, "code": code}


def checked(names: Sequence[str], out: Path) -> None:
    """Raise ValueError unless each photograph has one readable record, and one row without an error."""
    with open(out / "explained.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if sorted(row["image"] for row in rows) != sorted(names):
        raise ValueError(f"explained.csv has {len(rows)} rows for {len(names)} photographs")
    if failed := [row["image"] for row in rows if row["error"]]:
        raise ValueError(f"{len(failed)} photographs failed, such as {failed[0]}")
    records = sorted(path.name.removesuffix(".npz") for path in out.glob("*.npz"))
    if records != sorted(names):
        raise ValueError(f"{len(records)} records for {len(names)} photographs")
    for name in names:
        usu.Explanation.load(out / f"{name}.npz")
    if strange := {path.name for path in out.iterdir()} - {f"{name}.npz" for name in names} - _FILES:
        raise ValueError(f"{out} has other files, such as {min(strange)}")


_FILES = {LOCK, "run.json", "rows.jsonl", "explained.csv", "report.html"}


def main() -> None:
    """Run, check, and print the table."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("place", type=Path)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    folder, out = options.place / "photographs", options.place / "maps"
    log = options.place / "starts.jsonl"
    names = linked(options.photographs, folder, options.count)
    call = [sys.executable, "-m", "usu", "explain", str(folder), "--out", str(out)]
    call += ["--workers", str(options.workers)]
    starts = [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []
    while not starts or starts[-1]["killed"]:
        left = options.kills - sum(one["killed"] for one in starts)
        done = rows_in(out)
        share = (options.count - done) // (left + 1)
        kill_at = done + random.randint(0, 2 * share - 1) if left > 0 and share > 0 else None
        starts.append(started(call, out, kill_at))
        with open(log, "a") as file:
            file.write(json.dumps(starts[-1]) + "\n")
        print(starts[-1], flush=True)
    if starts[-1]["code"]:
        raise SystemExit(f"the last start ended with code {starts[-1]['code']}")
    checked(names, out)
    _print(starts, options.count)


def _print(starts: Sequence[dict[str, Any]], count: int) -> None:
    seconds, kills = (sum(one[name] for one in starts) for name in ("seconds", "killed"))
    peak = max(one["peak"] for one in starts) / 1e9
    best = max(one["rows"] / one["seconds"] for one in starts)
    rates = f"{count / seconds:.2f} | {best:.2f}"
    print("| photographs | killed | records and rows | peak memory, GB | photographs a second | best start |")
    print("|--:|--:|--:|--:|--:|--:|")
    print(f"| {count} | {kills} | one each | {peak:.2f} | {rates} |")


if __name__ == "__main__":
    main()
