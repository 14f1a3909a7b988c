"""Run usu's commands and import all of its modules where no address of another machine may be asked for.

    python -m benchmarks.robustness.network

Each runs in a process whose Python, and that of every process which it starts, refuses and notes each
connection, datagram and look-up of a name beyond this machine. Where strace is installed, what libraries do
beneath Python is seen, too. The last line counts: "9 of 9 ask for nothing".
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.robustness.works import make_inputs

ROOT = Path(__file__).parents[2]

# Python runs a module of this name as it starts, in every process that inherits the path.
_GUARD = """
import os, sys

_HERE = ("127.", "::1", "localhost", "0.0.0.0")

def _hear(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        place = arguments[1]
        beyond = isinstance(place, tuple) and not str(place[0]).startswith(_HERE)
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        place = arguments[0]
        beyond = place is not None and not str(place).startswith(_HERE)
    else:
        return
    if beyond:
        with open(os.environ["USU_NOTES"], "a") as file:
            file.write(f"{event} {place!r}\\n")
        raise OSError(f"this process may not ask for {place!r}")

sys.addaudithook(_hear)
"""

EVERYTHING = """
import importlib, pkgutil, usu
for module in pkgutil.walk_packages(usu.__path__, "usu."):
    if not module.name.endswith("__main__"):
        try:
            importlib.import_module(module.name)
        except ImportError as problem:
            assert "pip install" in str(problem), problem
"""

# INPUTS is a folder of whole files, OUT an empty one.
COMMANDS: Mapping[str, Sequence[str]] = {
    "every module": ("-c", EVERYTHING),
    "usu explain": (
        "-m",
        "usu",
        "explain",
        "INPUTS/photographs/0.png",
        "--model",
        "INPUTS/small.json",
        "--out",
        "OUT",
    ),
    "usu explain FOLDER": (
        "-m",
        "usu",
        "explain",
        "INPUTS/photographs",
        "--model",
        "INPUTS/small.json",
        "--out",
        "OUT",
    ),
    "usu report": (
        "-m",
        "usu",
        "report",
        "INPUTS/one.npz",
        "INPUTS/two.npz",
        "-o",
        "OUT/report.html",
        "--quick",
    ),
    "usu bench run": (
        *("-m", "usu", "bench", "run", "--data", "INPUTS/photographs", "--model", "INPUTS/small.json"),
        *("--workers", "2", "--metric", "sparseness", "--out", "OUT/results"),
    ),
    "usu check": ("-m", "usu", "check"),
    "usu demo": ("-m", "usu", "demo", "--out", "OUT"),
    "usu bench run, Ray": (
        *("-m", "usu", "bench", "run", "--data", "INPUTS/photographs", "--model", "INPUTS/small.json"),
        *("--engine", "ray", "--workers", "1", "--metric", "sparseness", "--out", "OUT/results"),
    ),
    "usu reproduce": ("-m", "usu", "reproduce", "--help"),
}


def asked_for(words: Sequence[str], inputs: Path, out: Path, *, deep: bool = False) -> list[str]:
    """Run Python with these words; return what it asked for beyond this machine.

    Args:
        words: of the command; INPUTS and OUT stand for folders.
        inputs: the folder of whole files.
        out: a folder to make, for what is written.
        deep: have strace watch, too, which takes longer.

    Raises:
        RuntimeError: it failed otherwise.
    """
    guard, notes, trace = out / "guard", out / "notes", out / "trace"
    (out / "files").mkdir(parents=True)
    guard.mkdir()
    (guard / "sitecustomize.py").write_text(_GUARD)
    paths = os.pathsep.join([str(guard), str(ROOT / "src"), str(ROOT)])
    own = {"PYTHONPATH": paths, "USU_NOTES": str(notes), "XDG_CACHE_HOME": str(out / "cache")}
    places = {"INPUTS": inputs, "OUT": out / "files"}
    given = [re.sub("^(INPUTS|OUT)(?=/|$)", lambda found: str(places[found[1]]), word) for word in words]
    strace = shutil.which("strace") if deep else None
    before = [strace, "-f", "-qq", "-e", "trace=connect,sendto,sendmsg", "-o", str(trace)] if strace else []
    ended = subprocess.run(
        [*before, sys.executable, *given], env={**os.environ, **own}, capture_output=True, text=True, cwd=out
    )
    found = notes.read_text().splitlines() if notes.exists() else []
    found += beyond(trace.read_text(errors="replace")) if trace.exists() else []
    if ended.returncode and not found:
        raise RuntimeError(f"{' '.join(given[:5])} ended with {ended.returncode}: {ended.stderr[-800:]}")
    return found


def beyond(trace: str) -> list[str]:
    """Return the system calls of a trace that name an address of the internet other than this machine's."""
    named = re.findall(r'.*(?:inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)").*', trace)
    own = _own_addresses()
    return [
        found for pair in named if not (found := "".join(pair)).startswith(("127.", "::1", "0.0.0.0", *own))
    ]


def _own_addresses() -> list[str]:
    """Return this machine's addresses, by which the processes of a cluster reach each other."""
    told = (
        shutil.which("hostname") and subprocess.run(["hostname", "-I"], capture_output=True, text=True).stdout
    )
    return (told or "").split()


def main() -> None:
    """Run every command, and count."""
    quiet = 0
    with tempfile.TemporaryDirectory() as scratch:
        inputs = Path(scratch) / "inputs"
        inputs.mkdir()
        make_inputs(inputs)
        for number, (name, words) in enumerate(COMMANDS.items()):
            found = asked_for(words, inputs, Path(scratch) / str(number), deep=True)
            print(f"{name}: {'nothing' if not found else ', '.join(sorted(set(found)))}", flush=True)
            quiet += not found
    how = "Python and strace" if shutil.which("strace") else "Python alone"
    print(f"{quiet} of {len(COMMANDS)} ask for nothing, as {how} saw")


if __name__ == "__main__":
    main()
