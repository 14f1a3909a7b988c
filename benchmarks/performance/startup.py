"""Where `usu explain photo.jpg` spends its processor time, from the start of the process to its end.

    OMP_NUM_THREADS=1 python -m benchmarks.performance.startup PHOTOGRAPH [--repeat 3]

Each run is a process of its own, in which the functions named are timed; medians over runs. Imports are made
first, one after the other, so that what a library shares with an earlier one counts for that.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

_CALL = """
import importlib, json, os, sys, time
found = {"start of Python": time.process_time()}

def timed(name, call):
    def run(*given, **named):
        start = time.process_time()
        try:
            return call(*given, **named)
        finally:
            found[name] = found.get(name, 0.0) + time.process_time() - start
    return run

from usu.runtime.memory import keep_freed_memory
keep_freed_memory()
for name in ("torch", "higra", "skimage.segmentation", "usu.pipeline", "usu.plot", "usu.report"):
    timed(f"import of {name}", importlib.import_module)(name)
import usu.cli, usu.models.compiled, usu.models.loading, usu.pipeline, usu.plot, usu.report
for place, name, title in (
    (usu.models.loading, "load_classifier", "the network"),
    (usu.pipeline, "explain", "explanation"),
    (usu.pipeline, "views_of", "explanation: segments"),
    (usu.models.compiled, "_made", "explanation: compiled copy"),
    (usu.plot, "overlay_figure", "figures"),
    (usu.plot, "comparison", "figures"),
    (usu.plot, "save_figure", "figures"),
    (usu.report, "write", "report"),
):
    setattr(place, name, timed(title, getattr(place, name)))
usu.cli.main(sys.argv[1:])
found["until the end of the command"] = time.process_time()
print(json.dumps(found), file=sys.stderr, flush=True)
os._exit(0)
"""


def run(photograph: Path) -> dict[str, float]:
    """Return the processor seconds of each part of one process, and of the plain command."""
    with tempfile.TemporaryDirectory() as place:
        given = ["explain", str(photograph), "--out", place]
        one = subprocess.run(
            [sys.executable, "-c", _CALL, *given], check=True, capture_output=True, text=True, env=os.environ
        )
        found: dict[str, float] = json.loads(one.stderr.splitlines()[-1])
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "usu", *given], check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    found["the command itself"] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return found


def main() -> None:
    """Print the table."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("photograph", type=Path)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    runs = [run(options.photograph) for _ in range(options.repeat)]
    whole = statistics.median(one["until the end of the command"] for one in runs)
    print("| part | seconds | share |")
    print("|---|--:|--:|")
    for name in runs[0]:
        seconds = statistics.median(one[name] for one in runs)
        print(f"| {name} | {seconds:.2f} | {seconds / whole:.0%} |")
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    print(f"\nPeak memory {most:.2f} GB.")


if __name__ == "__main__":
    main()
