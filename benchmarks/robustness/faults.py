"""How runs are interrupted: by kills, full disks, folders that are read-only, second writers, and clocks.

A run is a child of this process by `fork`, so that PyTorch is imported once: a real process, which `kill -9`
ends in the middle of whatever it does.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.robustness.works import ENDS, WORKS, Found

PATIENCE = 300.0  # seconds before a run is taken to hang; a busy machine is slow
_DONE, _REFUSED, _FAILED = 0, 3, 4
_WRITING = ("os.rename", "os.remove", "os.mkdir", "os.truncate", "tempfile.mkstemp")


class LostError(Exception):
    """What a run left behind is not what was promised."""


@dataclass(frozen=True)
class Ground:
    """Where one kind of work is done.

    Attributes:
        work: its name.
        inputs: folder with what it reads.
        folder: that it writes to.
        log: file that takes what a child says.
    """

    work: str
    inputs: Path
    folder: Path
    log: Path

    def survey(self) -> dict[str, Any]:
        """Return what there is; raise `LostError` where something is not whole."""
        return self._read(WORKS[self.work].survey)

    def end(self) -> dict[str, Any]:
        """Return what there is after a whole run."""
        return self._read(ENDS[self.work])

    def _read(self, survey: Callable[[Path], Found]) -> dict[str, Any]:
        """Survey in a child: threads that reading starts must not be here as others are forked."""
        answer = self.log.with_suffix(".answer")
        child = self.start(lambda folder, inputs: answer.write_text(json.dumps(survey(folder))) and None)
        outcome = child.outcome()
        if outcome != "done":
            raise LostError(f"what there is cannot be read: {outcome}")
        return dict(json.loads(answer.read_text()))

    def begin(self) -> None:
        """Put there what an earlier run had left."""
        self.folder.mkdir(parents=True, exist_ok=True)
        finish(self.start(WORKS[self.work].before))

    def start(
        self,
        act: Callable[[Path, Path], None] | None = None,
        *,
        room: int | None = None,
        clock: float = 0.0,
    ) -> Child:
        """Start a run; `room` is the most bytes that one file may have, `clock` what is added to the time."""
        ear, mouth = os.pipe()
        sys.stdout.flush()
        pid = os.fork()
        if pid:
            os.close(mouth)
            return Child(pid, ear, self.log)
        os.close(ear)
        code = _FAILED
        try:
            _prepare(self.folder, self.log, mouth, room, clock)
            (act or WORKS[self.work].act)(self.folder, self.inputs)
            code = _DONE
        except (OSError, ValueError) as problem:
            print(f"refused: {type(problem).__name__}: {problem}", file=sys.stderr)
            code = _REFUSED
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)


def _prepare(folder: Path, log: Path, mouth: int, room: int | None, clock: float) -> None:
    """Make a forked process ready: where it speaks, what it may write; its parent hears of each write."""
    sys.stdout = sys.stderr = open(log, "w", buffering=1, encoding="utf-8")  # noqa: SIM115
    os.dup2(sys.stdout.fileno(), 1)
    os.dup2(sys.stdout.fileno(), 2)
    if room is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
    if clock:
        now, in_nanoseconds = time.time, time.time_ns
        time.time = lambda: now() + clock
        time.time_ns = lambda: in_nanoseconds() + int(clock * 1e9)
    start = os.fspath(folder)

    def tell(event: str, arguments: Any) -> None:
        writes = event in _WRITING or (event == "open" and _writes(arguments[2]))
        if writes and str(arguments[0]).startswith(start):
            os.write(mouth, b"w")

    sys.addaudithook(tell)


def _writes(flags: Any) -> bool:
    return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


@dataclass(frozen=True)
class Child:
    """A run in a process of its own."""

    pid: int
    ear: int
    log: Path

    def heard(self, until: float, events: int | None = None) -> int:
        """Wait for the time, for that many writes, or for the end; return how many writes there were."""
        count = 0
        while (left := until - time.monotonic()) > 0 and (events is None or count < events):
            if select.select([self.ear], [], [], left)[0]:
                found = os.read(self.ear, 1 if events is not None else 4096)
                if not found:
                    break
                count += len(found)
        return count

    def kill(self) -> bool:
        """End it at once; return whether it had not ended by itself."""
        os.kill(self.pid, signal.SIGKILL)
        return os.WIFSIGNALED(self._status())

    def outcome(self) -> str:
        """Wait for its end; return "done" or "refused: WHY"."""
        self.heard(time.monotonic() + PATIENCE)
        if not os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG):
            time.sleep(0.2)  # its pipe closes a moment before it ends
        if not os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG):
            self.kill()
            raise LostError(f"a run took more than {PATIENCE:g} s")
        code = os.waitstatus_to_exitcode(self._status())
        told = self.log.read_text(errors="replace").strip().splitlines() or [""]
        if code == _DONE:
            return "done"
        if code == _REFUSED:
            own = [line for line in told if line.startswith("usu: error: ")]
            return f"refused: {(own or told)[-1]}"
        raise LostError(f"a run ended with {code}: {' | '.join(told[-4:])}")

    def _status(self) -> int:
        status = os.waitpid(self.pid, 0)[1]
        os.close(self.ear)
        return status


def finish(child: Child) -> None:
    """Wait for a run that nothing interrupts."""
    outcome = child.outcome()
    if outcome != "done":
        raise LostError(f"a run that nothing interrupts was {outcome}")


@dataclass(frozen=True)
class Usual:
    """What a run that nothing interrupts takes: seconds, writes, bytes, and what there is at its end."""

    seconds: float
    writes: int
    size: int
    largest: int
    end: dict[str, Any]


def usual(ground: Ground) -> Usual:
    """Measure a run that nothing interrupts, twice; both must end alike."""
    found = []
    for _ in range(2):
        clear(ground.folder)
        ground.begin()
        start = time.monotonic()
        child = ground.start()
        writes = child.heard(start + PATIENCE)
        finish(child)
        seconds = time.monotonic() - start
        sizes = [path.stat().st_size for path in ground.folder.rglob("*") if path.is_file()]
        found.append(Usual(seconds, writes, sum(sizes), max(sizes), ground.end()))
    if found[0].end != found[1].end:
        raise LostError(f"two runs of {ground.work} end differently")
    return found[1]


def clear(folder: Path) -> None:
    """Delete all that a folder holds."""
    if folder.is_dir():
        subprocess.run(["rm", "-rf", folder], check=True)
    folder.mkdir(parents=True)


def killed(ground: Ground, usual: Usual, draw: Random, clock: float = 0.0) -> str | None:
    """Kill a run at a random time, or just after a random write; None if it had ended before."""
    child = ground.start(clock=clock)
    if draw.random() < 0.5:
        delay = draw.random() * usual.seconds
        child.heard(time.monotonic() + delay)
        moment = f"after {delay:.3f} s"
    else:
        count, delay = draw.randint(1, max(1, usual.writes)), draw.choice((0.0, 0.0, draw.random() * 3e-3))
        child.heard(time.monotonic() + PATIENCE, count)
        time.sleep(delay)
        moment = f"{1e3 * delay:.1f} ms after write {count}"
    return moment if child.kill() else None


def full(ground: Ground, usual: Usual, draw: Random) -> str:
    """Let a run find no room: on a file system of its own or, without leave to mount one, in its files."""
    share = draw.uniform(0.05, 0.9)
    if not _can_mount():
        outcome = ground.start(room=max(1, int(share * usual.largest))).outcome()
        return f"files of at most {share:.2f} of the largest, {outcome}"
    with mounted(ground.folder, max(16384, int(share * usual.size))):
        child = ground.start()
        outcome = child.outcome()
        left = ground.survey()
        subprocess.run(["mount", "-o", "remount,size=256m", ground.folder], check=True)
        kept = ground.survey()
        if left != kept:
            raise LostError("what is there changed as room was made")
        finish(ground.start())
        _check_end(ground, usual)
    return f"room for {share:.2f} of all, {outcome}"


def readonly(ground: Ground, usual: Usual, draw: Random) -> str:
    """Let a run find a folder that it cannot write to; half of them hold what a killed run left."""
    half = killed(ground, usual, draw) if draw.random() < 0.5 else None
    before = ground.survey()
    with _locked(ground.folder):
        outcome = ground.start().outcome()
    # The cache of weights is a convenience: without it a run warns and goes on.
    if outcome == "done" and ground.work != "cache" and before != usual.end and half is None:
        raise LostError("a run in a folder that cannot be written to says that it is done")
    if ground.survey() != before:
        raise LostError("a folder that cannot be written to was changed")
    return f"{'killed ' + half + ', ' if half else ''}then not to be written to, {outcome}"


def writers(ground: Ground, usual: Usual, draw: Random) -> str:
    """Start two runs in one folder; kill one of them in half of the cases."""
    first = ground.start()
    time.sleep(draw.random() * usual.seconds * 0.5)
    second = ground_again(ground).start()
    outcomes = []
    if draw.random() < 0.5:
        time.sleep(draw.random() * usual.seconds * 0.5)
        outcomes.append("killed" if first.kill() else "done")
    else:
        outcomes.append(first.outcome())
    outcomes.append(second.outcome())
    return f"two runs: {' and '.join(outcomes)}"


def ground_again(ground: Ground) -> Ground:
    """Return the same ground with a log of its own."""
    return Ground(ground.work, ground.inputs, ground.folder, ground.log.with_suffix(".second"))


def clock(ground: Ground, usual: Usual, draw: Random) -> str:
    """Kill a run, give its files times to come, and let the clock go back by up to ten years."""
    half = killed(ground, usual, draw)
    ahead = time.time() + draw.uniform(1, 1e8)
    for path in ground.folder.rglob("*"):
        os.utime(path, (ahead, ahead))
    back = draw.uniform(1, 3e8)
    again = killed(ground, usual, draw, clock=-back)
    outcome = ground.start(clock=-back).outcome()
    if outcome != "done":
        raise LostError(f"with a clock that went back, a run was {outcome}")
    return f"killed {half}, {again}, clock back by {back / 86400:.0f} days"


FAULTS: dict[str, Callable[[Ground, Usual, Random], str | None]] = {
    "kill": killed,
    "full": full,
    "readonly": readonly,
    "writers": writers,
    "clock": clock,
}


def check_kept(ground: Ground, before: dict[str, Any], usual: Usual) -> dict[str, Any]:
    """Return what is there, all of which must be whole, and all of which was there before."""
    now = ground.survey()
    moving = WORKS[ground.work].moving
    for name, value in before.items():
        if name not in now:
            raise LostError(f"{name} is gone")
        if not moving and now[name] != value:
            raise LostError(f"{name} was {value}, is {now[name]}")
    return now


def finished(ground: Ground, usual: Usual) -> int:
    """Finish the work; return how many parts of files are left behind."""
    finish(ground.start())
    return _check_end(ground, usual)


def _check_end(ground: Ground, usual: Usual) -> int:
    end = ground.end()
    if end != usual.end:
        differ = sorted(name for name in {*end, *usual.end} if end.get(name) != usual.end.get(name))
        first = differ[0]
        raise LostError(f"at the end {first} is {end.get(first)!r:.80}, not {usual.end.get(first)!r:.80}")
    parts = sum(1 for path in ground.folder.rglob(".*.partial"))
    if parts and WORKS[ground.work].tidy:
        raise LostError(f"{parts} parts of files are left behind")
    return parts


def _can_mount() -> bool:
    return sys.platform == "linux" and os.geteuid() == 0


@contextmanager
def mounted(folder: Path, size: int) -> Iterator[None]:
    """Put a file system in memory of that many bytes in place of a folder, with what it holds."""
    held = folder.with_name("held")
    clear(held)
    subprocess.run(["cp", "-a", f"{folder}/.", held], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256m", "tmpfs", folder], check=True)
    try:
        subprocess.run(["cp", "-a", f"{held}/.", folder], check=True)
        used = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        subprocess.run(["mount", "-o", f"remount,size={used + size}", folder], check=True)
        yield
        clear(held)
        subprocess.run(["cp", "-a", f"{folder}/.", held], check=True)
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
    subprocess.run(["cp", "-a", f"{held}/.", folder], check=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Take the leave to write in a folder from everybody: from root by mounting it again."""
    if _can_mount():
        subprocess.run(["mount", "--bind", folder, folder], check=True)
        try:
            subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
            yield
        finally:
            subprocess.run(["umount", "-l", folder], check=True)
        return
    places = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    for place in places:
        place.chmod(0o555)
    try:
        yield
    finally:
        for place in places:
            place.chmod(0o755)
