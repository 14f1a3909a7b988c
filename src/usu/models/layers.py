"""Finding the layer whose activations a coarse map describes, and where the cells lie in its output."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from usu.models.contexts import differentiable
from usu.models.diagnosis import why_no_gradient
from usu.models.grids import layouts
from usu.models.passes import Pass, watched
from usu.models.probe import Tap, outputs_of, probed
from usu.models.spatial import Output as Output
from usu.models.spatial import SpatialLayer as SpatialLayer
from usu.models.spatial import noted_outputs as noted_outputs
from usu.models.tokens import Tokens

_POOLING = tuple(
    getattr(nn, f"{kind}{ndim}d")
    for kind in ("AdaptiveAvgPool", "AdaptiveMaxPool", "AvgPool", "LPPool", "FractionalMaxPool")
    for ndim in (1, 2, 3)
    if hasattr(nn, f"{kind}{ndim}d")
)
# Networks known to keep their patches row by row, and how many tokens may come first.
_ROW_BY_ROW: dict[str, Callable[[Any], tuple[int, ...]]] = {
    "torchvision.models.vision_transformer.VisionTransformer": lambda model: (1,),
    "timm.models.vision_transformer.VisionTransformer": lambda model: (model.num_prefix_tokens,),
    "timm.models.deit.VisionTransformerDistilled": lambda model: (model.num_prefix_tokens,),
    "timm.models.xcit.Xcit": lambda model: (0, 1),  # the class token comes for the last blocks
}
# How many layouts are tried by changing the image before usu asks for help.
_TRIALS = 4


@dataclass(frozen=True, eq=False)
class _Candidate:
    """One run of a module whose output may hold cells; `early` if no more than a patch embedding ran."""

    layer: SpatialLayer
    run: int
    output: Tensor
    early: bool
    likely: Tokens | None = None


def find_layer(
    model: nn.Module,
    inputs: Tensor,
    layer: str | nn.Module | None,
    score: Callable[[Any], Tensor] | None = None,
) -> tuple[SpatialLayer, int]:
    """Find a layer by name, by identity, or as the last one that still has cells.

    That is the last module before pooling with a spatial or token output whose cells all affect the answer;
    in a vision transformer, the patch tokens after the last attention do not. Nothing inside attention is
    taken. Where the cells lie is only presumed here: see `find_cells`.

    Args:
        model: in evaluation mode.
        inputs: (1, C, H, W), one image to try the model on when `layer` is None.
        layer: a dotted name, a module of the model, or None.
        score: the answer, from the model's output of any kind to one score per image (1,); by default the
            largest of its outputs, which must then be a tensor.

    Returns:
        The layer, and the number of forward passes spent on finding it.

    Raises:
        ValueError: no such layer, or none with cells.
        TypeError: neither a name nor a module; without `score`, an output that is not a tensor.
    """
    modules = dict(model.named_modules())
    if isinstance(layer, str):
        if layer not in modules:
            raise ValueError(f"layer {layer!r} is not in the model; its modules are {_some(modules)}")
        return SpatialLayer(layer, modules[layer]), 0
    if isinstance(layer, nn.Module):
        name = next((name for name, module in modules.items() if module is layer), None)
        if name is None:
            raise ValueError(f"layer {type(layer).__name__} is not a module of the model")
        return SpatialLayer(name, layer), 0
    if layer is not None:
        raise TypeError(f"layer must be a module's name, a module or None, got {type(layer).__name__}")
    found, _ = _candidates(model, inputs, score or _largest)
    for one in found:
        return replace(one.layer, tokens=one.likely), 1
    raise _no_layer(model)


def find_cells(
    model: nn.Module, image: Tensor, score: Callable[[Any], Tensor], tokens: Tokens | None = None
) -> tuple[SpatialLayer, int]:
    """Find the last layer with cells, as `find_layer` does, and make sure where its cells lie.

    Warns if that is no more than the patch embedding of a transformer. With `tokens`, it is the last layer
    whose output they fit.

    Returns:
        The layer, with its `tokens` unless it runs several times, and the number of forward passes.

    Raises:
        ValueError: no such layer.
    """
    candidates, seen = _candidates(model, image, score, tokens)
    passes, refused = 1, set[tuple[int, ...]]()
    for found in candidates:
        if found.run > 0 and tokens is None:  # which run counts is seen as it runs on all images
            return found.layer, passes
        shape = tuple(found.output.shape)
        if shape in refused or len(refused) == _TRIALS:
            continue
        place, spent = (tokens, 0) if tokens else placed(model, image, found.layer, found.run, shape, seen)
        passes += spent
        if place is None:
            refused.add(shape)
            continue
        if found.early and seen.attends:
            warnings.warn(
                f"layer=None found cells in the patch embedding {found.layer.name!r} alone, where no token "
                "has seen another yet: name a later layer, with tokens=usu.Tokens(...) if it needs them",
                stacklevel=2,
            )
        return replace(found.layer, tokens=place), passes
    if refused:
        raise ValueError(
            "layer=None found no layer that follows the image cell by cell among outputs of "
            f"{sorted(refused)}; name a layer, and say where its cells are by tokens=usu.Tokens(...)"
        )
    raise _no_layer(model)


def placed(
    model: nn.Module,
    image: Tensor,
    layer: SpatialLayer,
    run: int,
    shape: Sequence[int],
    seen: Pass,
    several: bool = False,
) -> tuple[Tokens | None, int]:
    """Return where the cells lie in a layer's output, and the forward passes spent to make sure of it.

    In a convolutional network that looks at the image as it lies, the shape says it. Elsewhere the image is
    changed strip by strip to see which cell moves, unless the network is one of those that are known.

    Args:
        model: in evaluation mode.
        image: (1, C, H, W).
        layer: the layer.
        run: which of its runs in a forward pass.
        shape: of its output.
        seen: the forward pass that gave it.
        several: whether it runs on several images or crops.

    Returns:
        None in place of the layout if there is none that the layer's output bears out.
    """
    passes = 0
    for trial, likely in enumerate(layouts(shape, seen, layer.module)):
        if seen.in_place and not several and _is_map(layer, likely, shape, seen):
            return likely, passes
        if trial == _TRIALS:
            break
        if not several and _is_known(model, layer.name, likely, shape, seen):
            return likely, passes
        found, spent = probed(model, image, outputs_of(layer.module), run, likely, seen)
        passes += spent
        if found is not None:
            return found, passes
    return None, passes


def place_of_tokens(
    model: nn.Module,
    image: Tensor,
    count: int,
    seen: Pass,
    outputs: Sequence[Output],
    tap: Tap,
    several: bool,
) -> tuple[Tokens | None, int]:
    """Return where the cells lie among `count` tokens of attention, and the forward passes spent.

    Args:
        model: in evaluation mode.
        image: (1, C, H, W).
        count: of tokens.
        seen: the forward pass.
        outputs: of its modules; the last ones with as many tokens, outside of attention, are tried.
        tap: of the attention itself, for a model without such modules.
        several: whether the model attends to several images or crops.
    """
    passes = 0
    trials = 0
    for layer, run, shape in reversed(outputs):
        fitting = (one for one in layouts(shape, seen, layer.module) if len(one) == count)
        if len(shape) != 3 or next(fitting, None) is None or _is_within(layer.name, seen.attending):
            continue
        found, spent = placed(model, image, layer, run, shape, seen, several)
        passes, trials = passes + spent, trials + 1
        if found is not None and len(found) == count:
            return found, passes
        if trials == 2:
            return None, passes
    for likely in () if several else layouts((seen.count, count, 2), seen):
        found, spent = probed(model, image, tap, 0, likely, seen)
        passes += spent
        if found is not None:
            return found, passes
    return None, passes


def _is_known(model: nn.Module, name: str, likely: Tokens, shape: Sequence[int], seen: Pass) -> bool:
    """Return whether a layout is that of a network whose tokens lie row by row after its prefix."""
    if len(shape) != 3 or likely.axis != 1 or likely.grid != next(iter(seen.grids()), None):
        return False
    if _is_within(name, seen.attending) or not seen.in_place:
        return False
    for path, module in model.named_modules():
        prefix = _ROW_BY_ROW.get(f"{type(module).__module__}.{type(module).__qualname__}")
        if prefix is not None and (not path or name.startswith(f"{path}.")):
            return likely.prefix in prefix(module)
    return False


def _is_map(layer: SpatialLayer, likely: Tokens, shape: Sequence[int], seen: Pass) -> bool:
    """Return whether an output has an axis for each of the image's for certain, not heads or weights.

    A signal's (B, C, cells) could also be (B, cells, C): it is certain where only one of them fits.
    """
    if len(shape) != len(seen.size) + 2:
        return False
    if len(seen.size) == 1 and len(list(layouts(shape, seen, layer.module))) > 1:
        return False
    outside = likely.axis == 2 and likely.grid in seen.strides and not _is_within(layer.name, seen.attending)
    return not seen.attends or outside


def _is_within(name: str, modules: set[str]) -> bool:
    """Return whether a module lies inside one of `modules`, the model itself not counted."""
    return any(outer and name.startswith(f"{outer}.") for outer in modules)


def _no_layer(model: nn.Module) -> ValueError:
    return ValueError(
        "layer=None found no layer with a spatial or token output that the answer depends on; name one of "
        f"the model's modules: {_some(dict(model.named_modules()))}"
    )


def _largest(outputs: Any) -> Tensor:
    if not isinstance(outputs, Tensor):
        raise TypeError(
            f"the model must return a tensor of outputs, got {type(outputs).__name__}; for others, explain a "
            "target that is a callable on the output"
        )
    return outputs.max()


def _candidates(
    model: nn.Module, inputs: Tensor, score: Callable[[Any], Tensor], tokens: Tokens | None = None
) -> tuple[Iterator[_Candidate], Pass]:
    """Return the layers whose output may hold cells that all bear on the answer, the last to run first."""
    found: list[_Candidate] = []
    runs: dict[str, int] = {}

    def remember(name: str) -> Any:
        def hook(module: nn.Module, _: Any, output: Any) -> None:
            runs[name] = runs.get(name, -1) + 1
            if isinstance(output, Tensor) and output.requires_grad and not isinstance(module, _POOLING):
                early = output.dim() == inputs.dim() and not seen.attends and len(seen.strides) < 2
                found.append(_Candidate(SpatialLayer(name, module), runs[name], output, early))

        return hook

    with ExitStack() as hooks, differentiable(model):
        seen = hooks.enter_context(watched(model, inputs))
        for name, module in model.named_modules():
            if not isinstance(module, torch.jit.ScriptModule):  # takes no hooks
                hooks.enter_context(module.register_forward_hook(remember(name)))
        answer = score(model(inputs.detach().requires_grad_().clone())).sum()
    if not answer.requires_grad:
        raise ValueError(
            f"layer=None found no layer: the answer has no gradient by the inputs; {why_no_gradient(model)}"
        )
    likely = (replace(one, likely=_likely(one, seen, tokens)) for one in found)
    spatial = [one for one in likely if one.likely]
    return (one for one in reversed(_on_the_stream(spatial, seen)) if _bears(one, answer)), seen


def _likely(one: _Candidate, seen: Pass, tokens: Tokens | None) -> Tokens | None:
    """Return where the cells lie presumably: where the caller says, if that fits, or else by the shape."""
    shape = tuple(one.output.shape)
    if tokens is None:
        return next(layouts(shape, seen, one.layer.module), None)
    return tokens if tokens.fits(shape, seen.count) else None


def _bears(one: _Candidate, answer: Tensor) -> bool:
    """Return whether the answer depends on several cells of an output, whichever tokens they are."""
    (gradient,) = torch.autograd.grad(answer, one.output, retain_graph=True, allow_unused=True)
    if gradient is None or one.likely is None:
        return False
    read = one.likely.in_rows(gradient).abs().sum((0, 2)).count_nonzero()
    return bool(read > one.likely.prefix + one.likely.suffix + 1)


def _on_the_stream(found: list[_Candidate], seen: Pass) -> list[_Candidate]:
    """Drop intermediate results of attention, which do not describe the image's cells.

    These are the outputs of modules within the one that attends, and what has an axis of heads, (1, heads, N,
    ...): queries, keys, values or weights.
    """
    outside = [one for one in found if not _is_within(one.layer.name, seen.attending)]
    if "" in seen.attending:  # the model attends in its own forward: its linear layers may be queries
        outside = [one for one in outside if not isinstance(one.layer.module, nn.Linear)]
    counts = {one.output.shape[1] for one in outside if one.output.dim() == 3}
    return [one for one in outside if one.output.dim() == 3 or one.output.shape[2] not in counts]


def _some(modules: dict[str, nn.Module], most: int = 12) -> str:
    names = [name for name in modules if name]
    return ", ".join(names[-most:]) + (f" and {len(names) - most} before them" if len(names) > most else "")
