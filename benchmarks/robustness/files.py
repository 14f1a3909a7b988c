"""Spoil every kind of file that usu reads, and read it by the public functions.

    python -m benchmarks.robustness.files [--seconds 60] [--seed 0] [--kinds record ...] [--out FOLDER]

A finding is an error other than a ValueError, TypeError or OSError of usu's own, more than 10 s, more than
2 GB, the end of the process, or anything run or sent. Each is kept with its file in FOLDER. Where atheris is
installed, and not with --blind, it chooses what is spoiled further by the lines of usu that were reached.
Seconds are for each kind. The last line counts: "12345 files, 0 findings".
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib.util
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.robustness.spoiling import MOST, spoiled

ROOM = 2 * 2**30  # bytes that a file may cost
LONGEST = 10.0  # seconds
BEGINNING = 300.0  # seconds for imports and whole files, on a busy machine
# What Python tells of a file that runs something or sends something.
_ACTS = (
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "socket.connect",
    "ctypes.dlopen",
)
_CANARY = "canary"


class Acted(BaseException):
    """A file made usu run or send something."""


class Reader:
    """Reads spoiled files of one kind, and keeps what they bring about."""

    def __init__(self, kind: str, inputs: Path, out: Path) -> None:
        from benchmarks.robustness import hostile

        self.kind, self.inputs, self.out = kind, inputs, out
        self.of_kind, self.is_own = hostile.KINDS[kind], hostile.is_own
        self.count, self.found, self.watching = 0, dict[str, str](), False
        sys.addaudithook(self._hear)
        signal.signal(signal.SIGALRM, self._late)

    def _hear(self, event: str, arguments: Any) -> None:
        if self.watching and event in _ACTS:
            self.watching = False
            raise Acted(f"{event} {arguments!r:.200}")

    def _late(self, *_: Any) -> None:
        raise TimeoutError(f"more than {LONGEST:g} s")

    def read(self, content: bytes, suffix: str) -> None:
        """Read a file; keep it if that went wrong."""
        self.count += 1
        (self.out / "now").write_bytes(
            suffix.encode() + b"\n" + content
        )  # for the parent, if this process ends
        with tempfile.TemporaryDirectory(dir=self.inputs.parent) as folder, _quiet():
            path = Path(folder) / f"file{suffix}"
            path.write_bytes(content)
            signal.setitimer(signal.ITIMER_REAL, LONGEST)
            self.watching = True
            try:
                self.of_kind.read(path, self.inputs)
            except Exception as problem:
                if isinstance(problem, TimeoutError) or not self.is_own(problem):
                    self._keep(problem, content, suffix)
            except Acted as problem:
                self._keep(problem, content, suffix)
            finally:
                self.watching = False
                signal.setitimer(signal.ITIMER_REAL, 0)
        if (self.inputs / _CANARY).exists():
            (self.inputs / _CANARY).unlink()
            self._keep(Acted("the file's code was run"), content, suffix)

    def _keep(self, problem: BaseException, content: bytes, suffix: str) -> None:
        frames = traceback.extract_tb(problem.__traceback__)
        own = [one for one in frames if "/usu/" in one.filename] or frames[-1:]
        place = ", ".join(f"{Path(one.filename).name}:{one.lineno}" for one in own[-2:])
        told = f"{type(problem).__name__} at {place}"
        if told not in self.found:
            self.found[told] = f"{problem!s:.300}"
            keep(self.out, self.kind, told, self.found[told], content, suffix)


def keep(out: Path, kind: str, told: str, words: str, content: bytes, suffix: str) -> None:
    """Write a finding and its file."""
    name = f"{kind}-{hashlib.sha256(content).hexdigest()[:8]}{suffix}"
    (out / name).write_bytes(content)
    with open(out / "findings.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps({"kind": kind, "what": told, "words": words, "file": name}) + "\n")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings(), open(os.devnull, "w") as nothing:
        warnings.simplefilter("ignore")
        with contextlib.redirect_stdout(nothing):
            yield


def _limit() -> None:
    """Let this process have so much memory more than it has; a read beyond fails as MemoryError."""
    status = Path("/proc/self/status").read_text()
    data = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmData"))
    resource.setrlimit(resource.RLIMIT_DATA, (data + ROOM, data + ROOM))


def work(kind: str, seconds: float, seed: int, inputs: Path, out: Path, blind: bool) -> int:
    """Spoil and read for so long, in this process; return the number of files."""
    guided = not blind and importlib.util.find_spec("atheris") is not None
    if guided:
        import atheris
        import torch  # noqa: F401  (before the rest, so that it is not slowed down)

        with atheris.instrument_imports(include=["usu"], enable_loader_override=False):
            from benchmarks.robustness import hostile
    else:
        from benchmarks.robustness import hostile
    seeds = hostile.prepare(kind, inputs)
    reader = Reader(kind, inputs, out)
    suffixes = hostile.KINDS[kind].suffixes
    for content in seeds:
        for suffix in suffixes:
            reader.read(content, suffix)
    _limit()
    end = time.monotonic() + seconds
    if guided:
        _by_coverage(reader, seeds, seed, seconds, lambda: time.monotonic() > end)
        return reader.count
    draw = Random(f"{seed}/{kind}")
    while time.monotonic() < end:
        reader.read(spoiled(draw.choice(seeds), seeds, draw), draw.choice(suffixes))
        _note(reader)
    return reader.count


def _note(reader: Reader) -> None:
    if reader.count % 50 == 0:
        (reader.out / "count").write_text(str(reader.count))


def _by_coverage(
    reader: Reader, seeds: list[bytes], seed: int, seconds: float, over: Callable[[], bool]
) -> None:
    import atheris

    suffixes = reader.of_kind.suffixes
    corpus = reader.inputs.parent / "corpus"
    corpus.mkdir(exist_ok=True)
    for number, content in enumerate(seeds):
        (corpus / str(number)).write_bytes(bytes([number % len(suffixes)]) + content)

    def one(data: bytes) -> None:
        if data:
            reader.read(data[1:], suffixes[data[0] % len(suffixes)])
        _note(reader)
        if over():
            (reader.out / "count").write_text(str(reader.count))
            os._exit(0)  # libFuzzer ends no other way before its next round

    def mutate(data: bytes, most: int, number: int) -> bytes:
        draw = Random(number)
        whole = data[1:] if len(data) > 1 else draw.choice(seeds)
        return (bytes([draw.randrange(len(suffixes))]) + spoiled(whole, seeds, draw))[:most]

    options = [
        f"-seed={seed + 1}",
        "-rss_limit_mb=0",
        "-timeout=0",
        f"-max_len={MOST}",
        "-verbosity=0",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus)], one, custom_mutator=mutate)
    try:
        atheris.Fuzz()
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)  # atheris would wait for ever for Python, which has ended


def fuzz(kind: str, seconds: float, seed: int, out: Path, blind: bool) -> tuple[int, int]:
    """Spoil files of a kind in processes of their own; return how many files and findings there were."""
    total, again = 0, 0
    end = time.monotonic() + seconds
    notes = out / kind
    notes.mkdir(parents=True, exist_ok=True)
    while (left := end - time.monotonic()) > 1 and again < 20:
        (notes / "count").unlink(missing_ok=True)
        with tempfile.TemporaryDirectory(prefix="files-") as scratch:
            inputs = Path(scratch) / "inputs"
            inputs.mkdir()
            words = [sys.executable, "-m", __spec__.name, "--worker", str(inputs), "--seconds", str(left)]
            words += ["--kinds", kind, "--seed", str(seed + again), "--out", str(notes)]
            ended = subprocess.Popen([*words, *(["--blind"] if blind else [])], stderr=subprocess.PIPE)
            try:
                told = ended.communicate(timeout=left + BEGINNING)[1].decode(errors="replace")
            except subprocess.TimeoutExpired:
                ended.kill()
                told = ended.communicate()[1].decode(errors="replace")
        total += int((notes / "count").read_text()) if (notes / "count").is_file() else 0
        if ended.returncode and not (notes / "now").is_file():
            sys.exit(f"{kind}: ended with {ended.returncode} before it read a file: {told[-800:]}")
        if ended.returncode:
            suffix, _, content = (notes / "now").read_bytes().partition(b"\n")
            what = f"the process ended with {ended.returncode}"
            keep(notes, kind, what, told[-300:], content, suffix.decode())
        again += 1
    for name in ("now", "count"):
        (notes / name).unlink(missing_ok=True)
    lines = notes / "findings.jsonl"
    findings = lines.read_text(encoding="utf-8").splitlines() if lines.is_file() else []
    for line in findings:
        print(line)
    if not findings:
        shutil.rmtree(notes)
    return total, len(findings)


def main() -> None:
    """Spoil files of each kind in turn, and count."""
    from benchmarks.robustness.hostile import KINDS

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--seconds", type=float, default=60.0, help="for each kind (default: %(default)g)")
    add("--seed", type=int, default=0, metavar="S")
    add("--kinds", nargs="+", choices=tuple(KINDS), default=tuple(KINDS), metavar="KIND")
    add("--out", type=Path, default=Path("findings"), metavar="FOLDER")
    add("--blind", action="store_true", help="do without atheris")
    add("--worker", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker is not None:
        count = work(
            options.kinds[0], options.seconds, options.seed, options.worker, options.out, options.blind
        )
        (options.out / "count").write_text(str(count))
        return
    files = findings = 0
    for kind in options.kinds:
        count, found = fuzz(kind, options.seconds, options.seed, options.out.absolute(), options.blind)
        print(f"{kind}: {count} files, {found} findings", flush=True)
        files, findings = files + count, findings + found
    print(f"{files} files, {findings} findings")


if __name__ == "__main__":
    main()
