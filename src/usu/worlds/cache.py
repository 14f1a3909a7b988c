"""Trained weights in the user's cache folder, one file for each set of settings."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from usu.runtime.files import written_whole

Found = TypeVar("Found")

# Part of every key: raise it when the same settings come to mean other weights.
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
    """Return the file for these settings; sets that differ in any value have different files.

    Args:
        name: the beginning of the file's name.
        settings: values that JSON can hold.
        folder: where to keep it; `cache_folder()` if None.
    """
    text = json.dumps({"edition": EDITION, **settings}, sort_keys=True)
    key = hashlib.sha256(text.encode()).hexdigest()[:16]
    return (cache_folder() if folder is None else Path(folder)) / f"{name}-{key}.safetensors"


def keep(path: Path, state: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write weights and facts about them; a folder that cannot be written causes a warning only."""
    from safetensors.torch import save

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as file:
            file.write(save(dict(state), {"facts": json.dumps(dict(facts))}))
    except OSError as problem:
        warnings.warn(f"trained weights are not kept: {problem}", stacklevel=2)


def find(path: Path, restore: Callable[[dict[str, Tensor], dict[str, Any]], Found]) -> Found | None:
    """Return what `restore` makes of the kept weights and facts.

    Returns:
        None if there is no file or, with a warning, if it is damaged or does not fit.

    Raises:
        ImportError: safetensors is missing.
    """
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as missing:
        raise ImportError("trained weights need safetensors: pip install 'usu-xai[worlds]'") from missing

    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {})["facts"])
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return restore(state, facts)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError) as problem:
        warnings.warn(f"{path} is damaged and is made again: {problem}", stacklevel=2)
        return None
