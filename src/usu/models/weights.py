"""Weights from a file, torch's or safetensors; nothing in it is executed."""

from __future__ import annotations

from pathlib import Path

from usu.models.classifier import State, read_state
from usu.runtime.lazy import needed


def read_weights(path: Path) -> State:
    """Return the state dict of a file.

    Raises:
        ValueError: the file holds no state dict.
        OSError: it cannot be opened.
        ImportError: it ends in .safetensors, and this library is missing.
    """
    return _read_safetensors(path) if path.suffix == ".safetensors" else read_state(path)


def _read_safetensors(path: Path) -> State:
    with needed("files of safetensors need it", "bench"):
        from safetensors.torch import load_file
    try:
        return load_file(path)
    except OSError:
        raise
    except Exception as problem:  # the library's own error derives from Exception alone
        raise ValueError(f"{path} is not a file of safetensors: {problem}") from problem
