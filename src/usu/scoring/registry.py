"""Segment scores by any scoring: how much the model's answer depends on each segment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any, Protocol, cast

from torch import Tensor
from typing_extensions import Unpack

from usu.arrays.checks import check_choice
from usu.arrays.convert import Array, as_labels, check_labels
from usu.models.alone import one_at_a_time
from usu.models.forward import ForwardFunc
from usu.models.targets import Targets
from usu.runtime.renames import renamed, tell
from usu.scoring.mask_order import MaskOrder
from usu.scoring.order import Order
from usu.scoring.owen import Owen
from usu.scoring.perturbation import Asking, Perturbation
from usu.scoring.refinement import Masking, Refinement, Rules
from usu.scoring.regression import Regression
from usu.segmentation.hierarchy import Hierarchy


class Scoring(Protocol):
    """A way to score segments: a frozen record of its own settings."""

    @property
    def name(self) -> str:
        """Its name in `SCORINGS`."""

    @property
    def segmentation(self) -> Mapping[str, tuple[int, ...]]:
        """The numbers of segments, by method of `usu.segment`, that suit it best."""

    def score(
        self, perturbed: Perturbation, tasks: Sequence[tuple[int, Hierarchy]], rules: Rules
    ) -> list[Refinement]:
        """Score the segments of hierarchies.

        Args:
            perturbed: the model and its inputs.
            tasks: image number and hierarchy; an image may have several.
            rules: of refinement, for scorings that refine.

        Returns:
            One `Refinement` per task, in order.

        Raises:
            ValueError: a hierarchy of another size than the inputs.
        """


_ALL: tuple[Scoring, ...] = (
    *map(Masking, ("mask", "keep", "both")),
    Owen(),
    Regression(),
    Order(),
    MaskOrder(),
)
SCORINGS: Mapping[str, Scoring] = MappingProxyType({one.name: one for one in _ALL})
_OLD = {"random": "regression"}


def find_scoring(scoring: str | Scoring, **options: Any) -> Scoring:
    """Return a scoring by its name, or one as it is, with some of its settings changed.

    Args:
        scoring: a name of `SCORINGS`, or a scoring such as `Owen(passes=300)`.
        **options: settings, such as passes=300.

    Raises:
        ValueError: an unknown name, a setting out of its range.
        TypeError: neither a name nor a scoring; a setting that it does not have.

    >>> find_scoring("owen", passes=300)
    Owen(passes=300)
    """
    if isinstance(scoring, str):
        if scoring in _OLD:
            tell(f"scoring={scoring!r}", f"scoring={_OLD[scoring]!r}")
        scoring = _OLD.get(scoring, scoring)
        check_choice(scoring, tuple(SCORINGS), "scoring")
        scoring = SCORINGS[scoring]
    elif isinstance(scoring, type) or not callable(getattr(scoring, "score", None)):
        raise TypeError(f"scoring must be a name of {tuple(SCORINGS)} or a scoring, got {scoring!r}")
    for option in options.keys() - options_of(scoring).keys():
        raise TypeError(f"{option} is not a setting of scoring={scoring.name!r}; try scoring='owen'")
    return cast(Scoring, replace(cast(Any, scoring), **options)) if options else scoring


def options_of(scoring: Scoring) -> dict[str, Any]:
    """Return the settings of a scoring by name, such as {"passes": 156}."""
    names = [item.name for item in fields(cast(Any, scoring)) if item.name != "name"]
    return {name: getattr(scoring, name) for name in names}


@dataclass(frozen=True, eq=False)
class SegmentScores:
    """How much an answer depends on each segment of one image.

    Attributes:
        raw_scores: (P,), in the unit of the output, signed.
        scores: (P,) in [0, 1]: raw scores clipped at 0 and divided by the largest; all 0 if none is positive.
            The values of "owen" and "regression" add up over segments: their scores are made of values per
            pixel. Those of "order" are places in an order, without a unit: see `usu.Order`.
        output: f_t(x), the output for the whole image.
        forward_passes: images that went through the model for this image.
    """

    raw_scores: Array
    scores: Array
    output: float
    forward_passes: int


@renamed(method="scoring")
@one_at_a_time("forward_func")
def score_segments(
    forward_func: ForwardFunc,
    inputs: Array,
    segments: Array | Sequence[Array],
    target: Targets,
    *,
    scoring: str | Scoring = "mask",
    passes: int | None = None,
    **asking: Unpack[Asking],
) -> Any:
    """Score each segment by how its removal changes the model's answer.

    Args:
        forward_func: any callable from a batch (B, C, H, W) of the caller's kind to (B, classes) outputs: a
            model in evaluation mode, an ONNX session, a remote model.
        inputs: (C, H, W), or a batch (B, C, H, W); what the network takes.
        segments: (H, W) integer labels 0..P-1 without gaps; for a batch (B, H, W), a list of label maps, or
            one map for all.
        target: class index, or one per image; or a callable from what `forward_func` returns, of any kind,
            to one score per image (B,).
        scoring: "mask": f_t(x) - f_t(x without the segment); "keep": f_t(the segment alone) - f_t(fill);
            "both": the mean of the two; "owen": Owen values, which sum to f_t(x) - f_t(fill);
            "regression": coefficients of a ridge regression on random coalitions; "order": by which order
            of the pixels deletion and insertion work best, for models with gradients; "mask+order": both
            together; or a scoring such as `usu.Owen(passes=300)`.
        passes: forward passes per image for "owen" and "regression", at least 2, and "order", at least 8, and
            "mask+order", 8 and the masks; 156 by default.
        **asking: `baselines`, what replaces masked pixels (see `usu.models.baselines.make_fill`), "blur" by
            default; `output`, what f_t is: the target's softmax "probability" (default), its "logit" (the
            output as it is), or its entry in the result of a callable on the (B, classes) outputs (ignored
            for a target that is a callable); `perturbations_per_eval`, masked images per call of
            `forward_func` (16), which bounds the memory, since batches are filled across images;
            `show_progress`, whether to show a bar on standard error; `class_names`, for targets by name;
            `ndim`, 1 for signals (C, L), 3 for volumes (C, D, H, W), with `segments` of their size.

    Returns:
        `SegmentScores`, or a list of them for a batch.

    Raises:
        ValueError: shapes that do not fit, labels with gaps, a target out of range, a model in training mode,
            outputs of the wrong shape or not finite.
        TypeError: an argument of the wrong kind.

    >>> import torch
    >>> def left_half(batch):  # class 0 counts the pixels of the left half, class 1 is always 0
    ...     return torch.stack([batch[:, 0, :, :2].sum((1, 2)), torch.zeros(len(batch))], dim=1)
    >>> rows = torch.tensor([[0, 0, 1, 1], [2, 2, 3, 3]])
    >>> result = score_segments(
    ...     left_half, torch.ones(1, 2, 4), rows, target=0, baselines="zeros", output="logit"
    ... )
    >>> result.raw_scores, result.forward_passes
    (tensor([2., 0., 2., 0.]), 5)
    """
    found_by = find_scoring(scoring, **({} if passes is None else {"passes": passes}))
    perturbed = Perturbation(forward_func, inputs, target, **asking)
    maps = _label_maps(segments, perturbed.inputs)
    tasks = [(image, Hierarchy((labels,))) for image, labels in enumerate(maps)]
    with perturbed:
        found = found_by.score(perturbed, tasks, Rules())
    results = [
        SegmentScores(
            raw_scores=refined.raw_scores[0],
            scores=refined.scores[0],
            output=float(perturbed.references[image]),
            forward_passes=refined.forward_passes,
        )
        for image, refined in enumerate(found)
    ]
    return results if perturbed.batched else results[0]


def _label_maps(segments: Array | Sequence[Array], inputs: Tensor) -> list[Tensor]:
    given = list(segments) if isinstance(segments, list | tuple) else as_labels(segments, "segments")
    if isinstance(given, Tensor):
        ndim = inputs.dim() - 2
        if given.dim() not in (ndim, ndim + 1):
            size = ("L", "H, W", "D, H, W")[ndim - 1]
            raise ValueError(f"segments must be ({size}) or (B, {size}), got {tuple(given.shape)}")
        given = [given] * len(inputs) if given.dim() == ndim else list(given)
    maps = [as_labels(labels, "segments").to(inputs.device) for labels in given]
    if len(maps) != len(inputs):
        raise ValueError(f"segments has {len(maps)} label maps for {len(inputs)} inputs")
    for labels in maps:
        if labels.shape != inputs.shape[2:]:
            raise ValueError(
                f"segments must be a label map of the inputs' size {tuple(inputs.shape[2:])}, got "
                f"{tuple(labels.shape)}"
            )
        check_labels(labels, "segments")
    return maps
