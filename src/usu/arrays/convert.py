"""NumPy and torch at the border: everything inside computes on torch tensors.

Public functions accept either kind and return the caller's kind, device and dtype.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor


def check_labels(labels: Tensor, name: str, count: int | None = None) -> Tensor:
    """Return `labels`; raise ValueError unless they are exactly 0..count-1, by default 0..highest label."""
    if labels.numel() == 0:
        raise ValueError(f"{name} is an empty label map of shape {tuple(labels.shape)}")
    lowest, highest = (int(bound) for bound in labels.aminmax())
    expected = highest + 1 if count is None else count
    if lowest < 0 or highest >= expected:
        wrong = lowest if lowest < 0 else highest
        raise ValueError(f"{name} has the label {wrong}; labels must be 0..{expected - 1}")
    # More labels than pixels always leave a gap; checked first, so that bincount makes no huge table.
    gaps = expected > labels.numel() or not bool(torch.bincount(labels.flatten(), minlength=expected).all())
    if gaps:
        present = labels.unique()
        unmatched = present != torch.arange(len(present), device=present.device)
        missing = int(unmatched.nonzero()[0]) if bool(unmatched.any()) else len(present)
        raise ValueError(
            f"{name} has no pixel for label {missing}: every label in 0..{expected - 1} needs one, "
            "or its mass or score would be lost; renumber the labels without gaps"
        )
    return labels


Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]] | Tensor"

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_WORK = {torch.float16: torch.float32, torch.bfloat16: torch.float32}


def as_tensor(value: Any, name: str) -> Tensor:
    """Return `value` as a tensor, sharing memory if possible.

    Raises:
        TypeError: `value` is neither an array, a dense tensor nor a nested sequence of real numbers.
        ValueError: a nested sequence whose rows differ in length.
    """
    if isinstance(value, Tensor):
        if value.is_complex():
            raise TypeError(f"{name} must be real, got dtype {value.dtype}")
        if value.layout != torch.strided:
            raise TypeError(f"{name} must be a dense tensor, got layout {value.layout}; try .to_dense()")
        if value.is_floating_point() and value.dtype not in _FLOATS:
            raise TypeError(f"{name} must be float16, bfloat16, float32 or float64, got {value.dtype}")
        return value
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name} does not form one regular array: {error}") from error
    if array.dtype.kind not in "fiub":
        given = f"dtype {array.dtype}" if isinstance(value, np.ndarray) else type(value).__name__
        raise TypeError(f"{name} must be an array or tensor of real numbers, got {given}")
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        raise TypeError(f"{name} must be float16, float32 or float64, got {array.dtype}")
    if not array.dtype.isnative or any(stride < 0 for stride in array.strides):
        array = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="), copy=False))
    if not array.flags.writeable:
        array = array.copy()
    return torch.from_numpy(array)


def as_floats(value: Any, name: str) -> Tensor:
    """Return `value` as a floating-point tensor; integers become the default float type."""
    tensor = as_tensor(value, name)
    return tensor if tensor.is_floating_point() else tensor.to(torch.get_default_dtype())


def as_labels(value: Any, name: str) -> Tensor:
    """Return a label map as an int32 or int64 tensor; raise TypeError if the labels are not integers."""
    tensor = as_tensor(value, name)
    if tensor.dtype in (torch.int64, torch.int32):
        return tensor
    if tensor.is_floating_point() or tensor.dtype == torch.bool:
        raise TypeError(f"{name} must be integer labels 0..n-1, got dtype {tensor.dtype}")
    return tensor.to(torch.int64)


def beside(tensor: Tensor, coarse: Tensor, given: Any, name: str) -> Tensor:
    """Return `tensor` on the device of `coarse`; raise ValueError if `given` is a tensor on another one."""
    if tensor.device == coarse.device:
        return tensor
    if isinstance(given, Tensor):
        raise ValueError(f"{name} is on {tensor.device}, but coarse is on {coarse.device}; move one of them")
    return tensor.to(coarse.device)


def working_dtype(*tensors: Tensor) -> torch.dtype:
    """Return the dtype to compute in: the widest given, with float32 for the 16-bit ones."""
    dtype = tensors[0].dtype
    for tensor in tensors[1:]:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return _WORK.get(dtype, dtype)


def like(result: Tensor, caller: Any, dtype: torch.dtype | None = None) -> Any:
    """Return `result` as the caller's kind (NumPy or torch), cast to `dtype` if given."""
    if dtype is not None and result.dtype != dtype:
        result = result.to(dtype)
    return result if isinstance(caller, Tensor) else result.detach().cpu().numpy()


def as_numpy(values: Array) -> np.ndarray[Any, Any]:
    """Return an array or a tensor of any device as NumPy; bfloat16, which NumPy lacks, becomes float32."""
    if not isinstance(values, Tensor):
        return np.asarray(values)
    dense = values.detach().cpu()
    return (dense.float() if dense.dtype == torch.bfloat16 else dense).numpy()


def is_finite(values: Tensor) -> bool:
    """Return whether no value is NaN or infinite."""
    # The sum is finite unless a value is not, or the sum overflows: a cheap check before the exact one.
    return math.isfinite(values.detach().sum()) or bool(values.isfinite().all())


def check_finite(values: Tensor, name: str) -> Tensor:
    """Return `values`; raise ValueError if there are none, or one is NaN or infinite."""
    if values.numel() == 0:
        raise ValueError(f"{name} is empty: shape {tuple(values.shape)}")
    if not is_finite(values):
        broken = int((~values.isfinite()).sum())
        raise ValueError(
            f"{name} must be finite, but {broken} of {values.numel()} values are NaN or infinite"
        )
    return values


def check_range(result: Tensor, name: str) -> Tensor:
    """Return `result`; raise ValueError, which calls the argument `name` too large, if it is not finite."""
    if not is_finite(result):
        dtype = str(result.dtype).removeprefix("torch.")
        raise ValueError(
            f"{name} has values too large for a result in {dtype}: rescale it, or widen its dtype"
        )
    return result
