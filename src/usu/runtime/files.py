"""Files written whole or not at all."""

from __future__ import annotations

import math
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


@contextmanager
def written_whole(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Give a file to write to, which takes its place at `path` only when all of it is on the disk.

    After an exception a file that was there is as it was, and nothing else is left behind. A link stays one,
    and a file keeps its mode. A pipe or a device cannot be replaced: it is written to as the data come.

    Raises:
        OSError: the folder does not exist or cannot be written.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        with open(path, "wb") as file:
            yield file
        return
    target = Path(os.path.realpath(path))
    try:
        handle, partial = tempfile.mkstemp(dir=target.parent, prefix=f".{target.stem}.", suffix=".partial")
    except OSError as problem:
        raise OSError(problem.errno, problem.strerror, os.fspath(path)) from None
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(partial, _mode(target))  # mkstemp's own is for its owner alone
        os.replace(partial, target)
    except BaseException:
        os.unlink(partial)
        raise


def _mode(target: Path) -> int:
    """Return the mode of a file, or what one has that is new."""
    if target.exists():
        return stat.S_IMODE(target.stat().st_mode)
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def finite(value: Any) -> Any:
    """Return nested values with numbers that JSON does not know as text."""
    if isinstance(value, Mapping):
        return {str(name): finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [finite(part) for part in value]
    return repr(value) if isinstance(value, float) and not math.isfinite(value) else value
