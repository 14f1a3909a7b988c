"""Arrays that take long to make, such as trained weights: kept in one file for each set of settings."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from usu.runtime.files import written_whole

Found = TypeVar("Found")

# Part of every key: raise it when the same settings come to mean other values.
EDITION = 2


def cache_folder() -> Path:
    """Return the folder where trained weights are kept: `$XDG_CACHE_HOME/usu`, or the system's usual one.

    That is `~/.cache/usu` on Linux, `~/Library/Caches/usu` on macOS and `%LOCALAPPDATA%/usu` on Windows.
    """
    given = os.environ.get("XDG_CACHE_HOME")
    if given:
        return Path(given) / "usu"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "usu"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "usu"
    return Path.home() / ".cache" / "usu"


def cache_file(name: str, settings: Mapping[str, Any], folder: str | os.PathLike[str] | None) -> Path:
    """Return the file for these settings, by default in `cache_folder()`.

    Sets of settings, values that JSON can hold, that differ in any of them have different files.
    """
    text = json.dumps({"edition": EDITION, **settings}, sort_keys=True)
    key = hashlib.sha256(text.encode()).hexdigest()[:16]
    return (cache_folder() if folder is None else Path(folder)) / f"{name}-{key}.npz"


def keep(path: Path, arrays: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Write arrays and facts about them; a folder that cannot be written causes a warning only."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as file:
            np.savez(file, facts=np.array(json.dumps(dict(facts))), **arrays)
    except OSError as problem:
        warnings.warn(f"{path} is not kept: {problem}", stacklevel=2)


def find(path: Path, restore: Callable[[dict[str, Any], dict[str, Any]], Found]) -> Found | None:
    """Return what `restore` makes of the kept arrays and facts.

    None if there is no file or, with a warning, if it is damaged or does not fit.
    """
    if not path.exists():
        return None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            arrays = dict(kept)
        return restore(arrays, json.loads(str(arrays.pop("facts"))))
    except Exception as problem:  # NumPy fails on damage with anything from EOFError to TokenError
        warnings.warn(f"{path} is damaged and is made again: {problem!r}", stacklevel=2)
        return None
