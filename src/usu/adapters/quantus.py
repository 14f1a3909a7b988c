"""Quantus 0.6's own metrics, one map of one image at a time, with workarounds for its bugs.

The reference for `usu.metrics.faithfulness`, which computes block A much faster; nothing else needs it.
What prevents Quantus 0.6.0 from scoring one map of an RGB image:

* The areas call `np.trapz`, which NumPy 2.4 no longer has (IROF, PixelFlipping).
* IROF compares a mask without channels with the image's shape, and ROAD takes indices of features for
  indices of pixels; both fail on an RGB image.
* IROF fills with the mean of the whole batch, `normalise=True` divides by the maximum of the whole batch,
  ROAD returns the first batch alone, and MonotonicityCorrelation fails if some but not all images of a
  batch have a probability under 1e-5: a batch has one image here.
* Maps that are constant, zero or negative throughout are rejected, even by metrics that are defined for them.
* The caches of Quantus's wrapper keep a model for ever.

Infidelity needs patches that divide the image: its sides must be multiples of 14 here.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from scipy.integrate import trapezoid
from torch import Tensor, nn

from usu.arrays.checks import check_choice
from usu.models.forward import check_evaluation_mode
from usu.runtime.lazy import needed
from usu.runtime.random import numpy_seeded
from usu.runtime.silence import kept_filters

with needed("Quantus's metrics need quantus", "bench"), warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import quantus
    from quantus.functions.perturb_func import baseline_replacement_by_mask
    from quantus.helpers import asserts, utils
    from quantus.helpers.model.pytorch_model import PyTorchModel

library: Any = quantus

Values: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"

_PATCHES = 14
_STEPS = 8
_SAMPLES = 5
_PERCENTAGES = [10, 20, 30, 40, 50, 60, 70, 80, 90]
_QUIET = {"disable_warnings": True}
_BY_ORDER = ("irof", "irof-per-segment", "monotonicity", "pixel-flipping", "road")


def quantus_score(
    name: str, model: nn.Module, inputs: Tensor, target: int, attribution: Tensor, *, seed: int = 0
) -> float:
    """Score one map with Quantus.

    Args:
        name: of `QUANTUS_SCORES`, the same as in `usu.metrics.faithfulness.METRICS`.
        model: in evaluation mode.
        inputs: (C, H, W), on the model's device.
        target: index of the explained class.
        attribution: (H, W), signed.
        seed: of Quantus's random numbers; NumPy's global state is restored afterwards.

    Returns:
        The score; NaN for a constant map, which orders nothing, if the metric needs an order.

    Raises:
        ValueError: an unknown name, a model in training mode, an attribution of another size; sides or a
            number of pixels that Quantus cannot cut into equal parts.
    """
    check_choice(name, tuple(QUANTUS_SCORES), "name")
    check_evaluation_mode(model, "model")
    if attribution.shape != inputs.shape[1:]:
        raise ValueError(f"attribution must be {tuple(inputs.shape[1:])}, got {tuple(attribution.shape)}")
    values = attribution.detach().double().cpu().numpy()[None, None]
    ranked = np.abs(values) if name == "monotonicity" else values
    if name in _BY_ORDER and ranked.min() == ranked.max():
        return math.nan
    call = {
        "model": model,
        "x_batch": inputs.detach().cpu().numpy()[None],
        "y_batch": np.array([target]),
        "channel_first": True,
        "device": str(inputs.device),
        "batch_size": 1,
    }
    with numpy_seeded(seed), _mended(), kept_filters():
        warnings.simplefilter("ignore")  # of steps without effect and constant curves: the score shows them
        return float(QUANTUS_SCORES[name](values, call))


def _infidelity(values: Values, call: dict[str, Any]) -> float:
    height, width = call["x_batch"].shape[2:]
    if height != width or height % _PATCHES:
        raise ValueError(f"Quantus needs {_PATCHES} × {_PATCHES} squares, got {height} × {width} pixels")
    metric = library.Infidelity(
        perturb_patch_sizes=[height // _PATCHES], n_perturb_samples=1, perturb_baseline="black", **_QUIET
    )
    return float(metric(a_batch=values, softmax=False, **call)[0])


def _infidelity_minmax(values: Values, call: dict[str, Any]) -> float:
    low, high = values.min(), values.max()
    return _infidelity((values - low) / (high - low if high > low else 1), call)


def _irof(values: Values, call: dict[str, Any]) -> float:
    metric = library.IROF(
        segmentation_method="slic",
        perturb_func=_with_channels,
        perturb_baseline="mean",
        normalise=False,
        return_aggregate=False,
        **_QUIET,
    )
    return float(metric(a_batch=values, softmax=True, **call)[0])


def _with_channels(arr: Values, mask: Values, **options: Any) -> Values:
    replaced: Values = baseline_replacement_by_mask(arr, np.broadcast_to(mask, arr.shape), **options)
    return replaced


def _irof_per_segment(values: Values, call: dict[str, Any]) -> float:
    pixels = np.moveaxis(call["x_batch"][0], 0, -1).astype("double")
    segments = len(np.unique(utils.get_superpixel_segments(pixels, "slic")))
    return _irof(values, call) / segments


def _monotonicity(values: Values, call: dict[str, Any]) -> float:
    metric = library.MonotonicityCorrelation(
        nr_samples=_SAMPLES, features_in_step=_features(values), normalise=False, abs=True, **_QUIET
    )
    return float(metric(a_batch=values, softmax=True, **call)[0])


def _pixel_flipping(values: Values, call: dict[str, Any]) -> float:
    step = _features(values)
    metric = library.PixelFlipping(
        features_in_step=step, perturb_baseline="black", normalise=False, return_auc_per_sample=True, **_QUIET
    )
    steps: int = -(-call["x_batch"].size // step)
    return float(metric(a_batch=values, softmax=True, **call)[0]) / (steps - 1)


def _road(values: Values, call: dict[str, Any]) -> float:
    metric = library.ROAD(percentages=_PERCENTAGES, noise=0.01, normalise=False, **_QUIET)
    metric.a_size = values.size
    # Indices of the first channel are those of pixels; the other channels are ranked below all of them.
    others = np.broadcast_to(2 * values.min() - values.max(), values.shape)
    stacked = np.concatenate([values, *[others] * (call["x_batch"].shape[1] - 1)], axis=1)
    return float(np.mean(list(metric(a_batch=stacked, softmax=True, **call).values())))


def _sparseness(values: Values, call: dict[str, Any]) -> float:
    metric = library.Sparseness(abs=True, normalise=True, **_QUIET)
    return float(metric(a_batch=values, **call)[0])


def _features(values: Values) -> int:
    if values.size % _STEPS:
        raise ValueError(f"Quantus needs a number of pixels that {_STEPS} divides, got {values.size}")
    return int(values.size // _STEPS)


QUANTUS_SCORES: Mapping[str, Callable[[Values, dict[str, Any]], float]] = MappingProxyType(
    {
        "infidelity": _infidelity,
        "infidelity-minmax": _infidelity_minmax,
        "irof": _irof,
        "irof-per-segment": _irof_per_segment,
        "monotonicity": _monotonicity,
        "pixel-flipping": _pixel_flipping,
        "road": _road,
        "sparseness": _sparseness,
    }
)


@contextmanager
def _mended() -> Iterator[None]:
    """Replace what fails in Quantus, and restore it."""
    area, check = utils.calculate_auc, asserts.assert_attributions
    utils.calculate_auc = lambda values, dx=1, batched=False: trapezoid(values, dx=dx)
    asserts.assert_attributions = lambda **_: None
    try:
        yield
    finally:
        utils.calculate_auc, asserts.assert_attributions = area, check
        PyTorchModel._get_last_softmax_layer_index.cache_clear()
        PyTorchModel._get_model_with_linear_top.cache_clear()
