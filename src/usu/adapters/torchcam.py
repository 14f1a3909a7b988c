"""torch-cam's extractors as sources: the maps of a user's own extractor, before its ReLU and scaling."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from usu.arrays.convert import Array
from usu.models.contexts import counted, differentiable, kept_apart
from usu.models.targets import Target, Targets, answers
from usu.pipeline import explain
from usu.runtime.lazy import needed
from usu.sources.coarse_map import CoarseMap

with needed("torch-cam's extractors need torchcam", "torchcam"):
    from torchcam.methods import LeGrad, RefineCAM
    from torchcam.methods.core import _CAM
    from torchcam.methods.gradient import _CAMWrapper


def upsample(
    extractor: Any,
    inputs: Array,
    class_idx: Targets | None = None,
    *,
    layer: str | None = None,
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
        values, passes = _raw_maps(extractor, base, batch, targets)
        return CoarseMap(
            values=values[place].to(batch.dtype),
            mass="total",
            source=type(extractor).__name__,
            layer=", ".join(base.target_names) if isinstance(base, LeGrad) else base.target_names[place],
            forward_passes=passes,
        )

    with _as_it_was(base):
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
    extractor: Any, base: Any, batch: Tensor, targets: Sequence[Target]
) -> tuple[list[Tensor], tuple[int, ...]]:
    """Return the extractor's signed maps (B, gh, gw) of each layer, and the passes spent on each image."""
    base._relu = False
    base.enable_hooks()
    layers = kept_apart(map(base.model.get_submodule, base.target_names))
    with counted(base.model, batch.dtype) as seen, layers, differentiable(base.model):
        outputs = base.model(batch.detach().requires_grad_().clone())
        maps = extractor(scores=outputs, normalized=False, **_wanted(targets))
    base.disable_hooks()
    return [one.detach() for one in maps], (sum(seen) // len(batch),) * len(batch)


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
