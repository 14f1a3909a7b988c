"""A copy of a network that answers faster on the processor, where no gradients are wanted."""

from __future__ import annotations

import sys
import warnings
from importlib.metadata import version
from typing import Any, cast

import torch
from torch import Tensor, nn

from usu.runtime.lazy import needed

# With this package OpenVINO would report each import and conversion to its makers, from extra processes.
if "openvino" not in sys.modules:
    sys.modules["openvino_telemetry"] = cast(Any, None)

with needed("benchmarks need openvino", "bench"):
    import openvino

_CLOSE = 1e-4  # of the largest output


class Compiled(nn.Module):
    """A copy of a model that OpenVINO compiled for this processor, in single precision.

    Its probabilities are the model's to about 1e-6; docs/performance.md says how much faster it is. The
    model, in evaluation mode, is left as it is; it is traced with an example (B, C, H, W) of any B.
    """

    def __init__(self, model: nn.Module, example: Tensor) -> None:
        super().__init__()
        with warnings.catch_warnings():
            # OpenVINO's own tracing refuses transformers, whose graphs differ between calls.
            warnings.filterwarnings("ignore", "`torch.jit", FutureWarning)
            # `quickened` compares the results.
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


def quickened(model: nn.Module, inputs: Tensor) -> nn.Module:
    """Return a compiled copy, or the model itself where there is none or it differs on inputs (C, H, W)."""
    if inputs.is_cuda:
        return model
    both = torch.stack([inputs, inputs.flip(-1)])
    try:
        with torch.no_grad():
            compiled = Compiled(model, both)
            same = all(_agree(model, compiled, both[:count]) for count in (1, 2))
    except Exception:  # converters raise anything, even classes of their own
        return model
    return compiled if same else model


def _agree(model: nn.Module, compiled: nn.Module, batch: Tensor) -> bool:
    expected = model(batch)
    scale = float(expected.abs().max())
    return torch.allclose(compiled(batch), expected, rtol=0, atol=_CLOSE * scale)
