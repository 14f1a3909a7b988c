"""Weights from a file, however a training script wrapped them; nothing in the file is executed."""

from __future__ import annotations

import argparse
import re
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from usu.runtime.lazy import needed

State: TypeAlias = "dict[str, Tensor]"

# What training scripts keep beside the weights, as `args`: it has no code of its own to run.
_HARMLESS = [argparse.Namespace]


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


def read_state(path: Path) -> State:
    """Read every named tensor of a checkpoint; `own_part` finds a network's own among them.

    Names of nested dictionaries are joined by dots, and what parallel training and `torch.compile` insert is
    left out: `{"net": {"module.fc.bias": tensor}}` gives "net.fc.bias".

    Raises:
        ValueError: a file that `torch.load` does not read without running code, or one without such tensors.
        OSError: the file cannot be opened.
    """
    allowed = getattr(torch.serialization, "safe_globals", None)  # PyTorch 2.5
    try:
        with nullcontext() if allowed is None else allowed(_HARMLESS):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as problem:
        refused = re.search(r"GLOBAL ([\w.]+)", str(problem))
        what = f" (this one needs {refused[1]})" if refused else ""
        raise ValueError(
            f"{path} is not a file of weights: a state dict is expected, as torch.save(model.state_dict(), "
            f"FILE) writes it; whole pickled models are not loaded, since they could run any code{what}"
        ) from problem
    state = {_current_key(name): tensor for name, tensor in _named(content) if name}
    # Of torch.optim.swa_utils.AveragedModel.
    state = {name: tensor for name, tensor in state.items() if not f".{name}".endswith(".n_averaged")}
    if not state:
        raise ValueError(f"{path} holds no state dict (names to tensors), only {_listed(content)}")
    return state


def _named(content: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors below text keys; an optimiser's are below numbers."""
    if isinstance(content, Tensor):
        yield name, content
    elif isinstance(content, Mapping):
        for key, value in content.items():
            if isinstance(key, str):
                yield from _named(value, f"{name}.{key}" if name else key)


def _current_key(key: str) -> str:
    """Return a key without what wrappers insert, in the current spelling of DenseNet's layers."""
    plain = re.sub(r"(?:(?<=\.)|^)(?:(?:module|_orig_mod)\.)+", "", key)
    return re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)", r"\1\2", plain)


def _listed(content: Any) -> str:
    if not isinstance(content, Mapping):
        return f"a {type(content).__name__}"
    items = [f"{key!r} ({type(value).__name__})" for key, value in list(content.items())[:6]]
    return ", ".join(items) or "an empty dictionary"


def own_part(state: State, model: nn.Module, path: Path) -> State:
    """Return the tensors that are a network's, by the prefix that most of its names have in the file.

    Raises:
        ValueError: several such parts, as of a network and its moving average.
    """
    own = list(model.state_dict())
    starts = {name.removesuffix(own[0]) for name in state if f".{name}".endswith(f".{own[0]}")} | {""}
    found = Counter({start: sum(f"{start}{name}" in state for name in own) for start in starts})
    most = max(found.values())
    best = sorted(start for start, count in found.items() if count == most)
    if "" in best or not most:
        return state
    if len(best) > 1:
        listed = " and ".join(repr(start.rstrip(".")) for start in best)
        raise ValueError(
            f"{path} holds this network more than once, as {listed}: save the one you mean by itself, such "
            f"as torch.save(torch.load(FILE)[{best[0].split('.')[0]!r}], NEW_FILE)"
        )
    return {name.removeprefix(best[0]): value for name, value in state.items() if name.startswith(best[0])}


def load_state(model: nn.Module, state: State, name: str, path: Path) -> None:
    """Load weights into a network that is to have exactly these.

    Raises:
        ValueError: they are another network's; the message says what the file lacks and what it has.
    """
    try:
        model.load_state_dict(state)
    except RuntimeError as problem:
        reason = textwrap.shorten(_differences(model.state_dict(), state) or str(problem), 300)
        raise ValueError(f"{path} does not hold the weights of {name}: {reason}") from problem


def _differences(own: Mapping[str, Tensor], state: State) -> str:
    missing = [name for name in own if name not in state]
    further = [name for name in state if name not in own]
    shapes = [
        f"{name} is {tuple(state[name].shape)}, not {tuple(own[name].shape)}"
        for name in own
        if name in state and own[name].shape != state[name].shape
    ]
    told = []
    for what, names in (("it lacks", missing), ("it has", further), ("of its shapes", shapes)):
        if names:
            told.append(f"{what} {', '.join(names[:2])}" + (f" and {len(names) - 2} more" * (len(names) > 2)))
    return "; ".join(told)
