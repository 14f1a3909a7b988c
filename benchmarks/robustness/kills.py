"""Kill runs of usu at random moments; read what is left, go on, and see that nothing is lost or doubled.

    python -m benchmarks.robustness.kills [--kills 1000] [--seed 0] [--faults kill] [--works ...] [--out FILE]

Benchmarks, folders of photographs, saved records, reports, trained weights and parts of results take turns.
A round ends with a run that nothing interrupts, after one to four interruptions; what is there then must be
what a single run leaves. FILE gets one line of JSON for each interruption, and the same command continues it.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.robustness.faults import (
    FAULTS,
    Ground,
    LostError,
    Usual,
    check_kept,
    clear,
    finish,
    finished,
    usual,
)
from benchmarks.robustness.works import WORKS, make_inputs

MOST = 4  # interruptions before the work is finished


def rounds(
    seed: int, works: Sequence[str], faults: Sequence[str], first: int, scratch: Path
) -> Iterator[list[dict[str, Any]]]:
    """Yield the interruptions of each round, from the round `first` on, without end."""
    ground = Ground("bench", scratch / "inputs", scratch / "folder", scratch / "log")
    ground.inputs.mkdir()
    ground.folder.mkdir()
    finish(ground.start(lambda folder, inputs: make_inputs(inputs)))
    known: dict[str, Usual] = {}
    number = first
    while True:
        draw = Random(f"{seed}/{number}")
        work, fault = works[number % len(works)], faults[number // len(works) % len(faults)]
        ground = replace(ground, work=work)
        if work not in known:
            known[work] = usual(ground)
        yield [{"round": number, **one} for one in one_round(ground, known[work], fault, draw)]
        number += 1


def one_round(ground: Ground, usual: Usual, fault: str, draw: Random) -> list[dict[str, Any]]:
    """Return the interruptions of one round; the last one says what was lost, if anything was."""
    told: list[dict[str, Any]] = []
    lost, left = None, 0
    begun = time.monotonic()
    try:
        clear(ground.folder)
        ground.begin()
        before = ground.survey()
        for _ in range(draw.randint(1, MOST) if fault == "kill" else 1):
            moment = FAULTS[fault](ground, usual, draw)
            if moment is None:
                break
            told.append({"work": ground.work, "fault": fault, "moment": moment})
            before = check_kept(ground, before, usual)
        left = finished(ground, usual)
    except LostError as problem:
        lost = str(problem)
        told = told or [{"work": ground.work, "fault": fault, "moment": "unknown"}]
    seconds = (time.monotonic() - begun) / max(1, len(told))
    told = [{**one, "seconds": round(seconds, 2), "lost": None} for one in told]
    if told:
        told[-1] |= {"lost": lost, "parts": left}
    return told


def kept(path: Path) -> list[dict[str, Any]]:
    """Return the interruptions that a file holds; a line that was cut off is dropped."""
    if not path.is_file():
        return []
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def run(
    kills: int, seed: int, out: Path, works: Sequence[str], faults: Sequence[str]
) -> list[dict[str, Any]]:
    """Interrupt until there are that many; return all of them."""
    told = kept(out)[:kills]
    first = max((one["round"] for one in told), default=-1) + 1
    with tempfile.TemporaryDirectory(prefix="kills-") as scratch, open(out, "a", encoding="utf-8") as file:
        if file.tell():
            file.write("\n")
        for more in rounds(seed, works, faults, first, Path(scratch)):
            if len(told) >= kills:
                break
            more = more[: kills - len(told)] if not more or more[-1]["lost"] is None else more
            file.write("".join(json.dumps(one) + "\n" for one in more))
            file.flush()
            told += more
    return told


def main() -> None:
    """Interrupt, and count."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--kills", type=int, default=1000, metavar="N", help="interruptions (default: %(default)s)")
    add("--seed", type=int, default=0, metavar="S")
    add("--works", nargs="+", choices=tuple(WORKS), default=tuple(WORKS), metavar="WORK")
    add("--faults", nargs="+", choices=tuple(FAULTS), default=("kill",), metavar="FAULT")
    add("--out", type=Path, default=Path("kills.jsonl"), metavar="FILE")
    options = parser.parse_args()
    told = run(options.kills, options.seed, options.out, options.works, options.faults)
    for work in WORKS:
        own = [one for one in told if one["work"] == work]
        if own:
            seconds = sum(one["seconds"] for one in own) / len(own)
            print(f"{work}: {len(own)}, {seconds:.2f} s each")
    bad = [one for one in told if one["lost"]]
    for one in bad:
        print(json.dumps(one))
    print(f"{len(told) - len(bad)} of {len(told)}: {'nothing lost' if not bad else 'LOST'}")


if __name__ == "__main__":
    main()
