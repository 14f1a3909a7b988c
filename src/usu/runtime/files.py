"""Files written whole or not at all."""

from __future__ import annotations

import json
import math
import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from filelock import BaseFileLock, FileLock, Timeout

LOCK = ".lock"


def lock_of(folder: Path) -> BaseFileLock:
    """Keep other runs from writing to a folder, until the lock is released or this process ends.

    What a killed run left of files that it was writing is deleted.

    Raises:
        BlockingIOError: another run is writing to it.
        OSError: it cannot be written to, or its file system has no locks.
    """
    lock = FileLock(folder / LOCK, timeout=0)
    try:  # the system releases this lock when its process ends, however it ends
        lock.acquire()
    except Timeout:
        raise BlockingIOError(
            f"another run is writing to {folder}: wait until it ends, or give this one another folder"
        ) from None
    except NotImplementedError as problem:
        raise OSError(f"{folder} is on a file system without locks: name a folder elsewhere") from problem
    for left in folder.rglob(".*.partial"):
        left.unlink(missing_ok=True)
    return lock


@contextmanager
def written_whole(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a file to write to, which appears at `path` only when all of it is on the disk.

    After an exception an existing file is unchanged and nothing else is left behind. A link stays a link, and
    a file keeps its mode. A pipe or a device cannot be replaced: the data are written to it directly.

    Raises:
        OSError: the folder does not exist or cannot be written.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        with open(path, "wb") as file:
            yield file
        return
    target = Path(os.path.realpath(path))
    partial = target.with_name(f".{target.stem}.{secrets.token_hex(8)}.partial")
    try:
        # With the mode of a new file, without asking for the umask, which is changed for all threads by that.
        handle = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    except OSError as problem:
        raise OSError(problem.errno, problem.strerror, os.fspath(path)) from None
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            os.chmod(partial, stat.S_IMODE(target.stat().st_mode))
        os.replace(partial, target)
    except BaseException as problem:
        if isinstance(problem, OSError) and problem.errno is not None and problem.filename is None:
            problem.filename = os.fspath(path)  # a full disk names no file
        os.unlink(partial)
        raise


def read_json(path: Path) -> Any:
    """Return what a JSON file holds.

    Raises:
        ValueError: it is not JSON, is nested too deeply, or has a name twice in one object.
        OSError: it cannot be read.
    """
    try:
        return json.loads(path.read_bytes(), object_pairs_hook=_once)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"it has {name!r:.60} twice")
        found[name] = value
    return found


def finite(value: Any) -> Any:
    """Return nested values with NaN and infinities, which JSON lacks, as text."""
    if isinstance(value, Mapping):
        return {str(name): finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [finite(part) for part in value]
    return repr(value) if isinstance(value, float) and not math.isfinite(value) else value
