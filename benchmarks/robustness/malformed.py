"""Random malformed calls of usu's public functions, its adapters and its command line.

    python -m benchmarks.robustness.malformed --calls 1000000 --seed 0 --out malformed.jsonl

A call starts from arguments that work. One of them, in a fifth of the calls two, is replaced by a value that
the function cannot mean anything by. What must follow is a ValueError or TypeError that a `raise` in usu's
own files makes, and whose message has the name of an argument; of the command line, exit code 2 and one line.
No warning may leak, the model and torch must be as they were, and no call may take more than 10 s.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any

import torch

from benchmarks.robustness import (
    adapter_subjects,
    array_subjects,
    command_lines,
    model_subjects,
    record_subjects,
)
from benchmarks.robustness.blocks import blocks, options_of
from benchmarks.robustness.calls import Outcome, Subject
from benchmarks.robustness.calls import attempt as attempt_of

SUBJECTS: dict[str, Subject] = {
    **array_subjects.SUBJECTS,
    **model_subjects.SUBJECTS,
    **record_subjects.SUBJECTS,
    **adapter_subjects.SUBJECTS,
}


def attempt(name: str, random: Random) -> Outcome:
    """Make one malformed call of a subject, or of a command."""
    if name in command_lines.COMMANDS:
        return command_lines.attempt(name, random)
    return attempt_of(name, SUBJECTS[name], random)


def call(number: int, seed: int) -> Outcome:
    """Make one of the numbered calls; the functions and commands take turns."""
    names = (*SUBJECTS, *command_lines.COMMANDS)
    return attempt(names[number % len(names)], Random(f"{seed}/{number}"))


def malformed_calls(count: int, seed: int = 0) -> Iterator[Outcome]:
    """Make `count` calls."""
    return (call(number, seed) for number in range(count))


def play(first: int, calls: int, seed: int) -> dict[str, Any]:
    """Make the calls of one block; return how many of each function there were, and all that failed."""
    made, exact = Counter[str](), Counter[str]()
    failed: list[dict[str, Any]] = []
    for number in range(first, first + calls):
        outcome = call(number, seed)
        made[outcome.function] += 1
        exact[outcome.function] += outcome.fault is None and outcome.exact
        if outcome.fault is not None:
            failed.append({"call": number, **vars(outcome), "message": outcome.message[:200]})
    return {"made": made, "exact": exact, "failed": failed}


def summary(rows: list[dict[str, Any]]) -> list[str]:
    """Return the table by function, and how many calls were refused."""
    made, exact, failed = Counter[str](), Counter[str](), Counter[str]()
    for row in rows:
        made.update(row["made"])
        exact.update(row["exact"])
        failed.update(one["function"] for one in row["failed"])
    lines = [
        "| function | calls | refused by name | names the spoiled argument itself | anything else |",
        "|---|--:|--:|--:|--:|",
        *(
            f"| `{name}` | {made[name]} | {made[name] - failed[name]} | {exact[name]} | {failed[name]} |"
            for name in made
        ),
    ]
    calls, wrong = made.total(), failed.total()
    lines += ["", f"{calls} calls in {sum(row.get('seconds', 0.0) for row in rows):.0f} s."]
    return [*lines, f"{calls - wrong} of {calls} refused"]


def main() -> None:
    """Make the calls, and print the table; first what failed, at most three of a kind."""
    options = options_of(__doc__, 10_000).parse_args()
    torch.set_num_threads(1)
    if options.call is not None:
        print(call(options.call, options.seed))
        return
    rows = blocks(
        options.calls, options.seed, options.out, lambda first, count: play(first, count, options.seed)
    )
    shown = Counter[tuple[str, str]]()
    for one in (failure for row in rows for failure in row["failed"]):
        kind = one["function"], one["fault"]
        shown[kind] += 1
        if shown[kind] <= 3:
            print(one)
    print("\n".join(summary(rows)))


if __name__ == "__main__":
    main()
