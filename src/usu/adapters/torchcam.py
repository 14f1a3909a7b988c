"""torch-cam's extractors as sources: the maps of a user's own extractor, before its ReLU and scaling."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from usu.arrays.convert import Array
from usu.models.alone import alone
from usu.models.contexts import counted, differentiable, kept_apart
from usu.models.layers import SpatialLayer, placed
from usu.models.passes import Pass, watched
from usu.models.runs import choose_run, recorded
from usu.models.targets import Target, Targets, answers
from usu.models.tokens import Tokens
from usu.pipeline import explain
from usu.runtime.lazy import needed
from usu.sources.coarse_map import CoarseMap

with needed("torch-cam's extractors need torchcam", "torchcam"):
    from torchcam.methods import LeGrad, RefineCAM, SmoothGradCAMpp
    from torchcam.methods.core import _CAM
    from torchcam.methods.gradient import _CAMWrapper


def upsample(
    extractor: Any,
    inputs: Array,
    class_idx: Targets | None = None,
    *,
    layer: str | None = None,
    tokens: Tokens | None = None,
    run: int | None = None,
    **settings: Any,
) -> Any:
    """Redistribute the map of a torch-cam extractor, over its own model and layer.

    The extractor runs the model once more itself; what it had recorded before stays in place.

    Args:
        extractor: with its hooks in place; left unchanged, as is its model.
        inputs: (C, H, W), or a batch (B, C, H, W); what the model takes.
        class_idx: class index, or one per image; the predicted class if None. For methods that accept any
            score, also a callable from the model's output to one score per image (B,).
        layer: one of its target layers; not needed if it has one map, as LeGrad has for all of them.
        tokens: where the cells lie in the outputs of its target layers, in place of a `reshape_transform`; if
            there is neither, they are found as in `usu.explain`.
        run: which run of a target layer is described, from 0, if the model runs it on several images.
        **settings: what `usu.explain` takes besides model, source and layer, such as mode="hybrid".

    Returns:
        An `Explanation`, or a list of them for a batch.

    Raises:
        ValueError: several target layers and no `layer`, RefineCAM, which has no map of a layer, a model in
            training mode, an extractor whose hooks were removed, an argument that does not fit.
        TypeError: not an extractor, an argument of the wrong kind.
    """
    base = extractor.base_cam if isinstance(extractor, _CAMWrapper) else extractor
    if not isinstance(base, _CAM):
        raise TypeError(
            f"extractor must be one of torch-cam's, such as GradCAM, got {type(extractor).__name__}"
        )
    if isinstance(extractor, RefineCAM):
        raise ValueError(
            "extractor must have a map per layer: RefineCAM multiplies maps that it scaled and interpolated; "
            "use its base method"
        )
    place = _place_of(base, layer)

    def source(
        model: nn.Module, batch: Tensor, targets: Sequence[Target], _: str | nn.Module | None
    ) -> CoarseMap:
        values, passes = _raw_maps(extractor, base, batch, targets, tokens, run)
        return CoarseMap(
            values=values[place].to(batch.dtype),
            mass="total",
            source=type(extractor).__name__,
            layer=", ".join(base.target_names) if isinstance(base, LeGrad) else base.target_names[place],
            forward_passes=passes,
        )

    with alone(base.model), _as_it_was(base):
        base.disable_hooks()  # only the source's own pass is to be recorded
        return explain(base.model, inputs, class_idx, source=source, **settings)


def _place_of(base: Any, layer: str | None) -> int:
    """Return the place, among the extractor's maps, of the one of `layer`."""
    names = base.target_names
    if not base.hook_handles:
        raise ValueError("extractor has no hooks left: call this inside its `with` block")
    if isinstance(base, LeGrad):  # one map, the mean over its layers
        if layer is not None:
            raise ValueError("layer must be None for LeGrad, which has one map for all its layers")
        return 0
    if layer is None and len(names) == 1:
        return 0
    if layer not in names:
        raise ValueError(f"layer must be one of the extractor's target layers {names}, got {layer!r}")
    return int(names.index(layer))


def _raw_maps(
    extractor: Any,
    base: Any,
    batch: Tensor,
    targets: Sequence[Target],
    tokens: Tokens | None,
    run: int | None,
) -> tuple[list[Tensor], tuple[int, ...]]:
    """Return the extractor's signed maps (B, gh, gw) of each layer, and the passes spent on each image."""
    base._relu = False
    base.enable_hooks()
    model, layers = base.model, [base.model.get_submodule(name) for name in base.target_names]
    with ExitStack() as undo:
        passes = undo.enter_context(counted(model, batch.dtype))
        undo.enter_context(kept_apart(layers))
        undo.enter_context(differentiable(model))
        with watched(model, batch) as seen, ExitStack() as hooks:
            ran = [hooks.enter_context(recorded(layer)) for layer in layers]
            outputs = model(batch.detach().requires_grad_().clone())
        base.disable_hooks()
        probes = 0
        if not isinstance(base, LeGrad):
            total = answers(outputs, targets).sum()
            for place, runs in enumerate(ran):
                probes += _paired(base, place, runs, total, batch, seen, tokens, run)
        ran.clear()
        base.enable_hooks()
        maps = extractor(scores=outputs, normalized=False, **_wanted(targets))
    base.disable_hooks()
    each = (sum(passes) - probes) // len(batch)
    return [one.detach() for one in maps], (each + probes, *[each] * (len(batch) - 1))


def _paired(
    base: Any,
    place: int,
    runs: Sequence[Any],
    total: Tensor,
    batch: Tensor,
    seen: Pass,
    tokens: Tokens | None,
    run: int | None,
) -> int:
    """Let an extractor hold what a layer gave in the run that counts, as cells; return the passes spent."""
    name = base.target_names[place]
    layer = SpatialLayer(name, base.model.get_submodule(name))
    bearing = _bearing(runs, total) if len(runs) > 1 or run is not None else range(len(runs))
    chosen = choose_run(runs, bearing, run, name)
    layer.check(runs[chosen])
    spent = 0
    if base._reshape_transform is None:
        shape, crops = tuple(runs[chosen].shape), len(runs) > 1 and (run is not None or len(bearing) == 1)
        if tokens is None:
            image = batch[:1].detach()
            tokens, spent = placed(base.model, image, layer, chosen, shape, seen, crops)
        if tokens is None:
            raise layer.without_cells(shape, seen)
        if not tokens.is_plain(shape):
            base._reshape_transform = tokens.cells
    if chosen < len(runs) - 1 and isinstance(base, SmoothGradCAMpp):
        raise ValueError(f"SmoothGradCAMpp describes the last run of layer {name!r} only, not run {chosen}")
    reshape = base._reshape_transform or (lambda output: output)
    base.hook_a[place] = reshape(runs[chosen]).detach()
    if hasattr(base, "_hook_outputs"):
        base._hook_outputs[place] = runs[chosen]
    return spent


def _bearing(runs: Sequence[Tensor], total: Tensor) -> list[int]:
    """Return the runs on which the answers depend."""
    able = [run for run, output in enumerate(runs) if output.requires_grad]
    if not able or not total.requires_grad:
        return []
    slopes = torch.autograd.grad(total, [runs[run] for run in able], retain_graph=True, allow_unused=True)
    return [run for run, slope in zip(able, slopes, strict=True) if slope is not None]


def _wanted(targets: Sequence[Target]) -> dict[str, Any]:
    """Return the targets as an extractor takes them: class indices, or callables on one image's output."""
    classes = [target for target in targets if isinstance(target, int)]
    if len(classes) == len(targets):
        return {"class_idx": classes}
    return {"targets": [_of_one_image(target) for target in targets]}


def _of_one_image(target: Target) -> Callable[[Any], Tensor]:
    return lambda output: answers(output[None] if isinstance(output, Tensor) else [output], [target])[0]


@contextmanager
def _as_it_was(base: Any) -> Iterator[None]:
    """Restore an extractor's settings and what its hooks had recorded."""
    kept = {name: list(part) if isinstance(part, list) else part for name, part in vars(base).items()}
    try:
        yield
    finally:
        vars(base).clear()
        vars(base).update(kept)
