"""Long runs of numbered calls in blocks: a block is one line of a file, once it is done.

Each call draws from a generator seeded by the run's seed and the call's number, so that it can be made again
alone. A run that ended early, even by `kill -9`, continues with the first block whose line is missing.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

BLOCK = 1000
Play = Callable[[int, int], dict[str, Any]]  # first call and number of calls of a block; to its row


def blocks(calls: int, seed: int, out: Path | None, play: Play) -> list[dict[str, Any]]:
    """Return the rows of all blocks of `calls`, those in `out` as they stand there.

    Args:
        calls: how many in all.
        seed: of the run.
        out: a file of JSON lines, begun or continued; None for none.
        play: makes the calls of one block.

    Raises:
        ValueError: `out` is of a run with another seed.
    """
    done = {} if out is None else {row["first"]: row for row in _rows(out)}
    for row in done.values():
        if row["seed"] != seed:
            raise ValueError(f"--out {out} is of a run with --seed {row['seed']}: name another file")
    found = []
    for first in range(0, calls, BLOCK):
        count = min(BLOCK, calls - first)
        row = done.get(first)
        if row is None or row["calls"] != count:
            start = time.perf_counter()
            row = {"seed": seed, "first": first, "calls": count, **play(first, count)}
            row["seconds"] = round(time.perf_counter() - start, 2)
            if out is not None:
                _append(out, row)
        found.append(row)
    return found


def options_of(about: str | None, calls: int) -> argparse.ArgumentParser:
    """Return a parser of what all such runs take."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=calls, metavar="N", help="how many in all")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of all of them")
    parser.add_argument("--out", type=Path, metavar="FILE", help="of JSON lines, begun or continued")
    parser.add_argument("--call", type=int, metavar="NUMBER", help="make this one alone, and show it")
    return parser


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a file, without a line that the end of a process cut off."""
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            yield json.loads(line)
        except ValueError:
            continue


def _append(path: Path, row: dict[str, Any]) -> None:
    """Add a line; one that was cut off before it ends first."""
    torn = path.is_file() and path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")
    with open(path, "a", encoding="utf-8") as file:
        file.write("\n" * torn + json.dumps(row) + "\n")
        file.flush()
        os.fsync(file.fileno())
