"""Calling a model, or any callable, on a batch, and the checks that this needs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from PIL import Image
from torch import Tensor, nn

from usu.arrays.checks import suggestion
from usu.arrays.convert import as_tensor, check_finite
from usu.models.diagnosis import is_exported
from usu.models.outputs import scores_of

ForwardFunc: TypeAlias = Callable[[Any], Any]


def run(forward_func: ForwardFunc, batch: Any) -> Any:
    """Call a model or any callable on a batch without gradients; a mismatch of dtypes raises TypeError.

    A model that fails, and whose first convolution has other dimensions, raises ValueError.
    """
    try:
        with torch.no_grad():
            return forward_func(batch)
    except (RuntimeError, ValueError) as problem:
        ndim = _dimensions(forward_func)
        if ndim and batch.ndim != ndim + 2:
            raise ValueError(
                f"the model convolves over {ndim} dimension{'s' * (ndim > 1)}, inputs {AXES[ndim]}, and gets "
                f"a batch {tuple(batch.shape)}: say ndim={ndim}"
            ) from problem
        first = next(forward_func.parameters(), None) if isinstance(forward_func, nn.Module) else None
        if isinstance(problem, ValueError) or first is None or first.dtype == batch.dtype:
            raise
        given, weights = (str(dtype).removeprefix("torch.") for dtype in (batch.dtype, first.dtype))
        raise TypeError(
            f"inputs are {given}, but the model's weights are {weights}: give inputs in {weights}"
        ) from problem


def _dimensions(forward_func: Any) -> int | None:
    """Return over how many dimensions a model's first convolution works; None if it has none."""
    kinds: dict[type[nn.Module], int] = {nn.Conv1d: 1, nn.Conv2d: 2, nn.Conv3d: 3}
    parts = forward_func.modules() if isinstance(forward_func, nn.Module) else ()
    return next((ndim for part in parts for kind, ndim in kinds.items() if isinstance(part, kind)), None)


def check_evaluation_mode(forward_func: Any, name: str = "forward_func") -> None:
    """Raise TypeError for what cannot be called, and ValueError for a model with a part in training mode.

    In training mode, dropout or batch statistics would make every score noise.
    """
    if not callable(forward_func):
        raise TypeError(f"{name} must be callable, got {type(forward_func).__name__}")
    if isinstance(forward_func, nn.Module):
        if is_exported(forward_func):  # its mode is that of the model that was exported
            return
        training = [
            path or "the model itself"
            for path, part in forward_func.named_modules()
            if getattr(part, "training", False)  # frozen TorchScript has none
        ]
        if training:
            raise ValueError(
                f"{name} is in training mode ({len(training)} modules, the first is {training[0]}); "
                "call model.eval() first"
            )


# The axes of one input by its number of dimensions: a signal's, a picture's, a volume's.
AXES = {1: "(C, L)", 2: "(C, H, W)", 3: "(C, D, H, W)"}


def check_inputs(inputs: Any, ndim: int = 2) -> tuple[Tensor, bool]:
    """Return inputs as (B, C, *size) and whether they came as a batch; raise ValueError if they do not fit.

    Integers come back as floats, which hold them exactly; `as_given` undoes it before the model is called.

    Args:
        inputs: (C, *size), or a batch of them.
        ndim: axes of `size`: 1 for signals, 2 for pictures, 3 for volumes.
    """
    if isinstance(inputs, list | tuple) and any(isinstance(one, Image.Image) for one in inputs):
        raise TypeError(
            "inputs must be what the model takes, a tensor (B, C, H, W), got a list of PIL images: apply the "
            "model's transform first, inputs = torch.stack([transform(image) for image in images])"
        )
    if isinstance(inputs, Image.Image):
        raise TypeError(
            "inputs must be what the model takes, a tensor (C, H, W), got a PIL image: apply the model's "
            "transform first, inputs = transform(image)"
        )
    tensor = as_tensor(inputs, "inputs").detach()
    if not tensor.is_floating_point():
        small = tensor.dtype in (torch.bool, torch.uint8, torch.int8, torch.int16, torch.uint16)
        tensor = tensor.to(torch.get_default_dtype() if small else torch.float64)
    tensor = check_finite(tensor, "inputs")
    shape = tuple(tensor.shape)
    one, several = AXES[ndim], AXES[ndim].replace("(C", "(B, C")
    if len(shape) not in (ndim + 1, ndim + 2):
        more = "; usu.explain and usu.upsample take signals with ndim=1, volumes with ndim=3"
        told = f", as ndim={ndim} says" if ndim != 2 else ""
        raise ValueError(
            f"inputs must be {one} or a batch {several}{told}, got {shape}{more if ndim == 2 else ''}"
        )
    if ndim == 2 and shape[-1] in (1, 3, 4) and min(shape[-3:-1]) > 4:
        turned = ".movedim(-1, -3)" if isinstance(inputs, Tensor) else "np.moveaxis(inputs, -1, -3)"
        raise ValueError(
            f"inputs must be (C, H, W) or a batch (B, C, H, W), got {shape}, whose channels come last: turn "
            f"them by {turned}, after the model's own preprocessing"
        )
    if tensor.is_inference():  # gradients cannot be taken with respect to it
        tensor = tensor.clone()
    return (tensor, True) if tensor.dim() == ndim + 2 else (tensor[None], False)


def check_planar(inputs: Tensor, what: str) -> None:
    """Raise ValueError, which names `what`, unless inputs (B, C, *size) are pictures."""
    if inputs.dim() != 4:
        raise ValueError(
            f"{what} is for 2-D pictures only, got inputs {tuple(inputs.shape)}; of sources, 'gradcam', "
            "'occlusion' and 'integrated-gradients' take signals and volumes, too"
        )


def integers_of(inputs: Any) -> torch.dtype | None:
    """Return the dtype of inputs that are integers (or booleans), which the model is called with."""
    dtype = as_tensor(inputs, "inputs").dtype
    return None if dtype.is_floating_point else dtype


def as_given(batch: Tensor, integers: torch.dtype | None) -> Tensor:
    """Return images rounded to the caller's integers, or as they are if these were floats."""
    if integers is None or not batch.is_floating_point():
        return batch
    if integers == torch.bool:
        return batch.round().bool()
    limits = torch.iinfo(integers)
    return batch.round().clamp(limits.min, limits.max).to(integers)


class Face(nn.Module):
    """A model as the pipeline calls it, with the same modules under the same names.

    Args:
        model: what is called.
        keyword: of the images, if they are not the first argument.
        others: further arguments by name, such as the texts of CLIP.
        integers: what the images are turned into, if the caller's are integers.
        read: whether an output that is no tensor is replaced by the scores in it.
    """

    def __init__(
        self,
        model: nn.Module,
        keyword: str | None = None,
        others: Mapping[str, Any] | None = None,
        integers: torch.dtype | None = None,
        read: bool = False,
    ) -> None:
        super().__init__()
        self.__dict__.update(_model=model, _modules=model._modules, _parameters=model._parameters)
        self.__dict__.update(_buffers=model._buffers, training=model.training)
        self.keyword, self.others, self.integers, self.read = keyword, dict(others or {}), integers, read

    def forward(self, batch: Tensor) -> Any:
        """Call the model."""
        given = as_given(batch, self.integers)
        model: nn.Module = self.__dict__["_model"]
        outputs = model(**{self.keyword: given}, **self.others) if self.keyword else model(given)
        return scores_of(outputs, len(batch)) if self.read and not isinstance(outputs, Tensor) else outputs


def check_layer_name(model: nn.Module, layer: Any) -> None:
    """Raise ValueError for the name of a layer that the model does not have, before anything is run."""
    names = [name for name, _ in model.named_modules() if name]
    if isinstance(layer, str) and layer and layer not in names:
        near = suggestion(layer, names) or f"; its last ones are {', '.join(map(repr, names[-4:]))}"
        raise ValueError(f"layer {layer!r} is not in the model{near}")


PIXELS = "pixel_values"  # the images, for the models of Hugging Face


def take_apart(model: nn.Module, inputs: Any) -> tuple[nn.Module, Any]:
    """Return a model that takes images alone, and the images, (C, H, W) if a mapping holds a single one.

    Args:
        model: as the user has it.
        inputs: images, or a mapping with `pixel_values`, as processors of Hugging Face make it; its other
            entries go to the model as they are.

    Raises:
        ValueError: a mapping without `pixel_values`, or with an entry for each of its pixels.
    """
    if not isinstance(inputs, Mapping):
        try:
            named = list(inspect.signature(model.forward).parameters)
        except (TypeError, ValueError):  # of modules that were compiled
            named = []
        return (Face(model, PIXELS) if PIXELS in named[1:] else model), inputs
    others = {name: value for name, value in inputs.items() if name != PIXELS}
    if PIXELS not in inputs:
        raise ValueError(f"inputs, a mapping, must hold {PIXELS!r}, got {', '.join(map(repr, inputs))}")
    masks = [name for name in others if name.startswith("pixel_")]
    if any(not bool(torch.as_tensor(others.pop(name)).all()) for name in masks):
        raise ValueError(f"inputs has {masks[0]!r} with padding, which differs between images: crop instead")
    pixels = inputs[PIXELS]
    if isinstance(pixels, list):  # of processors that were not told of tensors
        pixels = torch.stack([as_tensor(one, PIXELS) for one in pixels])
    if pixels.ndim not in (3, 4) or "spatial_shapes" in inputs:
        raise ValueError(
            f"inputs must hold images (B, C, H, W) as {PIXELS!r}, got {tuple(pixels.shape)}: patches that "
            "were cut out beforehand cannot be masked"
        )
    return Face(model, PIXELS, others), pixels[0] if len(pixels) == 1 and pixels.ndim == 4 else pixels
