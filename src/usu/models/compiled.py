"""Copies of a network that answer faster where no gradients are wanted, and when making one pays."""

from __future__ import annotations

import sys
import time
import warnings
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from usu.runtime.lazy import needed
from usu.runtime.silence import kept_filters

_CLOSE = 1e-4  # of the largest output
# What OpenVINO's copy is assumed to cost: seconds, and as many passes of one image for the trace; and the
# share of a pass that it is assumed to save.
_SECONDS, _PASSES, _SAVED = 0.5, 8, 0.35


@cache
def _openvino() -> Any:
    # With this package OpenVINO would report each import and conversion to its makers, from extra processes.
    if "openvino" not in sys.modules:
        sys.modules["openvino_telemetry"] = cast(Any, None)
    with needed("backend 'openvino' needs openvino", "fast"):
        import openvino
    return openvino


class Compiled(nn.Module):
    """A copy of a model that OpenVINO compiled for this processor, in single precision.

    Its probabilities are the model's to about 1e-6; docs/performance.md says how much faster it is. The
    model, in evaluation mode, is left as it is; it is traced with an example (B, C, H, W) of any B.

    Raises:
        ImportError: openvino is missing.
    """

    backend = "openvino"

    def __init__(self, model: nn.Module, example: Tensor) -> None:
        super().__init__()
        openvino = _openvino()
        with kept_filters(), torch.no_grad():
            # OpenVINO's own tracing refuses transformers, whose graphs differ between calls.
            warnings.filterwarnings("ignore", "`torch.jit", FutureWarning)
            # `checked` compares the results.
            warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
            converted = openvino.convert_model(torch.jit.trace(model, example, check_trace=False))
        settings: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "ENABLE_CPU_PINNING": False,  # the workers of a run would all be pinned to the same core
        }
        self.versions = {"openvino": version("openvino")}  # of the software that runs it
        self.compiled = openvino.Core().compile_model(converted, "CPU", settings)
        self.eval()

    def forward(self, batch: Tensor) -> Tensor:
        """Return the outputs (B, classes)."""
        return torch.from_numpy(self.compiled(batch.contiguous().numpy())[0])


class Fused(nn.Module):
    """A model through `torch.compile`, with the weights of the original; the first batches are slow."""

    backend = "compile"

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.versions: dict[str, str] = {}
        self._call = torch.compile(model, dynamic=True)
        self.eval()

    def forward(self, batch: Tensor) -> Tensor:
        """Return the outputs (B, classes)."""
        outputs: Tensor = self._call(batch)
        return outputs


# Each model's copy by OpenVINO, with the state of the weights that it is a copy of.
_kept: WeakKeyDictionary[nn.Module, tuple[Any, nn.Module]] = WeakKeyDictionary()


def faster(model: Any, backend: str, examples: Tensor, passes: int, seconds: float) -> nn.Module | None:
    """Return a copy of a model that answers as it does, without gradients; None where the model is to do it.

    OpenVINO's is kept as long as the model, and made again where weights have changed.

    Args:
        model: what is asked; only modules have copies.
        backend: "eager" for none; "openvino", or "compile" by PyTorch, of which one is made whatever it
            costs; "auto" for OpenVINO's, where it is installed and takes less time than it saves.
        examples: (n, C, H, W), on which the answers are compared.
        passes: images that will go through the model.
        seconds: that one took, perhaps the first of this process.

    Raises:
        ImportError: a backend that is named is not installed.
        ValueError: a backend that is named does not take the model, or its answers differ.
    """
    if backend == "eager":
        return None
    if backend != "auto":
        return _named(model, backend, examples)
    if not _can_be_copied(model, examples) or not passes:
        return None
    with torch.no_grad():
        made = model in _kept and _kept[model][0] == _state(model)
        if not (made or pays(seconds, passes)):
            return None
        timed = [_timed(model, one) for one in examples.split(1)]
        if not (made or pays(min(each for each, _ in timed), passes)):  # a process's first pass is slow
            return None
        try:
            copy = _made(model, examples)
            same = _agree(copy, examples, [outputs for _, outputs in timed])
        except Exception:  # converters raise anything, even classes of their own
            return None
    return copy if same else None


def pays(seconds: float, passes: int) -> bool:
    """Return whether OpenVINO's copy takes less time than it saves, for passes of so many seconds each."""
    return _SAVED * passes * seconds > _SECONDS + _PASSES * seconds


def _named(model: Any, backend: str, examples: Tensor) -> nn.Module:
    if backend == "openvino":
        _openvino()
        if examples.dtype == torch.float64:
            raise ValueError(
                "backend 'openvino' computes in single precision, and inputs are float64; use backend='eager'"
            )
    if not isinstance(model, nn.Module):
        raise ValueError(f"backend must be 'eager' for what is no torch.nn.Module, got {backend!r}")
    try:
        with torch.no_grad():
            expected = [model(one) for one in examples.clone().split(1)]
            copy = _made(model, examples) if backend == "openvino" else Fused(model)
            same = _agree(copy, examples, expected)
    except Exception as problem:
        reason = " ".join(str(problem).split())[:120] or type(problem).__name__
        raise ValueError(
            f"backend {backend!r} does not take this model; use backend='eager' ({reason})"
        ) from problem
    if not same:
        raise ValueError(f"backend {backend!r} answers differently from this model; use backend='eager'")
    return copy


def _can_be_copied(model: Any, examples: Tensor) -> bool:
    """Return whether "auto" may try: on a processor, in float32, and nobody watches the model's passes."""
    if not isinstance(model, nn.Module) or examples.is_cuda or examples.dtype != torch.float32:
        return False
    hooks = (part._forward_hooks or part._forward_pre_hooks for part in model.modules())
    return find_spec("openvino") is not None and not any(hooks)


def _made(model: nn.Module, examples: Tensor) -> nn.Module:
    """Return OpenVINO's copy: the one that is kept, or a new one."""
    state = _state(model)
    if model not in _kept or _kept[model][0] != state:
        _kept[model] = state, Compiled(model, examples[:2])
    return _kept[model][1]


def _state(model: nn.Module) -> Any:
    """Return what changes with the weights, which are not read for it, and with the number of threads."""
    weights = (*model.parameters(), *model.buffers())
    return torch.get_num_threads(), [(one.data_ptr(), one._version, one.shape) for one in weights]


def _timed(model: nn.Module, batch: Tensor) -> tuple[float, Any]:
    start = time.thread_time()  # other programs do not count
    outputs = model(batch.clone())
    return time.thread_time() - start, outputs


def quickened(model: nn.Module, inputs: Tensor) -> nn.Module:
    """Return OpenVINO's copy, or the model itself where there is none or it differs on inputs (C, H, W).

    Raises:
        ImportError: openvino is missing.
    """
    _openvino()
    if inputs.is_cuda:
        return model
    both = torch.stack([inputs, inputs.flip(-1)])
    try:
        with torch.no_grad():
            compiled = Compiled(model, both)
            same = _agree(compiled, both, [model(one) for one in both.split(1)])
    except Exception:  # converters raise anything, even classes of their own
        return model
    return compiled if same else model


def _agree(copy: nn.Module, examples: Tensor, expected: list[Tensor]) -> bool:
    """Return whether a copy gives each example's answer (1, classes), alone and with the others."""
    scale = max(float(one.abs().max()) for one in expected)
    alone = torch.cat([copy(one) for one in examples.split(1)])
    return all(
        torch.allclose(found, torch.cat(expected), rtol=0, atol=_CLOSE * scale)
        for found in (alone, copy(examples))
    )


def masked_examples(inputs: Tensor, fills: Tensor) -> Tensor:
    """Return what copies are compared on: an image (1, C, H, W), its left half in its fill, and the fill."""
    half = fills.clone()
    half[..., : inputs.shape[-1] // 2] = inputs[..., : inputs.shape[-1] // 2]
    return torch.cat([inputs, half, fills])
