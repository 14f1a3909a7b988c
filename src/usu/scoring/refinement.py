"""Refinement: split segments where scores change, and merge the scores of all depths (supplement C)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import torch
from torch import Tensor

from usu.arrays.checks import check_choice, check_number
from usu.arrays.convert import Array, as_labels
from usu.models.alone import one_at_a_time
from usu.models.forward import ForwardFunc
from usu.models.targets import Targets
from usu.runtime.renames import renamed
from usu.scoring.h_map import KERNELS, boundary_segments, h_map, strongest_in
from usu.scoring.masking import MASKINGS, normalise
from usu.scoring.perturbation import Asking, Perturbation, Request
from usu.segmentation.hierarchy import Hierarchy, check_fit


def changed(fine: Tensor, coarse: Tensor, tolerance: float) -> bool:
    """Return the global comparator C: whether two score matrices differ by more than L (Frobenius norm)."""
    return bool(torch.linalg.norm(fine - coarse) > tolerance)


def mixing_coefficient(h: Tensor, centre: float, sharpness: float) -> Tensor:
    """Return α = sigmoid(-(|H| - μ) / τ) (eq. 17): near 1 keeps the coarse score, near 0 takes the fine."""
    return torch.sigmoid((centre - h.abs()) / sharpness)


def merge(coarse: Tensor, fine: Tensor, alpha: Tensor | float) -> Tensor:
    """Return α·Φ_coarse + (1-α)·Φ_fine (eq. 18)."""
    return alpha * coarse + (1 - alpha) * fine


# α (H, W) by the H-map, the labels of the coarser partition (H, W), the depth and the rules.
MIXINGS: Mapping[str, Callable[[Tensor, Tensor, int, Rules], Tensor]] = {
    "pixel": lambda h, labels, depth, rules: mixing_coefficient(h, rules.centre, rules.sharpness),
    "segment": lambda h, labels, depth, rules: mixing_coefficient(
        strongest_in(h, labels), rules.centre, rules.sharpness
    )[labels],
    "mean": lambda h, labels, depth, rules: torch.full_like(h, depth / (depth + 1)),
}


def _positive(value: Any, name: str, allowed: str = "positive") -> float:
    number = check_number(value, name)
    if number <= 0:
        raise ValueError(f"{name} must be {allowed}, got {value!r}")
    return number


@dataclass(frozen=True)
class Rules:
    """When a segment is split, when to stop, and how depths are merged.

    Attributes:
        kernel: of the H-map.
        threshold: θ > 0; segments with max |H| above it are split (definition 5). None splits all.
        tolerance: L > 0 of the comparator; refinement ends when the score matrix changes by less.
        mixing: α from |H| at the "pixel" (eq. 17 as it stands), from max |H| over the pixel's "segment", or
            "mean": all depths have the same weight.
        centre: μ of eq. 17.
        sharpness: τ > 0 of eq. 17.

    Raises:
        ValueError: one of them is out of its range.
        TypeError: one of them is of the wrong kind.
    """

    kernel: str = "diagonal"
    threshold: float | None = None
    tolerance: float = 1e-6
    mixing: str = "mean"
    centre: float = 0.1
    sharpness: float = 0.02

    def __post_init__(self) -> None:
        check_choice(self.kernel, KERNELS, "kernel")
        check_choice(self.mixing, tuple(MIXINGS), "mixing")
        if self.threshold is not None:
            object.__setattr__(self, "threshold", _positive(self.threshold, "threshold", "positive or None"))
        object.__setattr__(self, "tolerance", _positive(self.tolerance, "tolerance"))
        object.__setattr__(self, "centre", check_number(self.centre, "centre"))
        object.__setattr__(self, "sharpness", _positive(self.sharpness, "sharpness"))


@dataclass(frozen=True, eq=False)
class Refinement:
    """The depths of one hierarchy over one image (definition 6), coarsest first.

    Attributes:
        partitions: label maps (H, W), as refined: segments that were not split stay whole.
        raw_scores: (P,) per partition, in the unit of the output.
        scores: (P,) per partition, in [0, 1].
        score_map: (H, W) in [0, 1], the merged score matrix.
        forward_passes: of this image, for all its hierarchies together.
        h_maps: (H, W) between depths: what decided which segments were split.
        mixings: α (H, W) between depths.
        players: (H, W), labels of the parts that Owen values were computed for; None for other scorings.
    """

    partitions: tuple[Array, ...]
    raw_scores: tuple[Array, ...]
    scores: tuple[Array, ...]
    score_map: Array
    forward_passes: int
    h_maps: tuple[Array, ...] = ()
    mixings: tuple[Array, ...] = ()
    players: Array | None = None


@renamed(method="scoring")
@one_at_a_time("forward_func")
def refine(
    forward_func: ForwardFunc,
    inputs: Array,
    hierarchy: Hierarchy | Sequence[Hierarchy],
    target: Targets,
    *,
    scoring: str = "mask",
    **options: Any,
) -> Any:
    """Score a hierarchy from its coarsest level down, splitting segments where scores change.

    Only segments that are new at a depth go through the model: the cost is P_0 plus the children of the
    segments that were split.

    Args:
        forward_func: as for `score_segments`.
        inputs: (C, H, W), or a batch (B, C, H, W).
        hierarchy: of one image, or one for each image of a batch.
        target: as for `score_segments`.
        scoring: "mask", "keep" or "both", as for `score_segments`.
        **options: the fields of `Rules` (kernel, threshold, tolerance, mixing, centre, sharpness), and as for
            `score_segments` baselines, output, perturbations_per_eval, show_progress, class_names and ndim.

    Returns:
        `Refinement`, or a list of them for a batch.

    Raises:
        ValueError: as `score_segments`; another scoring; a rule out of range; a hierarchy of another size.
        TypeError: an unknown option.
    """
    names = [item.name for item in fields(Rules)]
    unknown = sorted(options.keys() - names - Asking.__annotations__.keys())
    if unknown:
        raise TypeError(f"unknown rule {unknown[0]!r}; rules are {', '.join(names)}")
    if options.get("ndim", 2) != 2:
        options.setdefault("kernel", "gradient")
    rules = Rules(**{name: options.pop(name) for name in names if name in options})
    given = [hierarchy] if isinstance(hierarchy, Hierarchy) else hierarchy
    if not isinstance(given, Sequence) or not all(isinstance(one, Hierarchy) for one in given):
        raise TypeError("hierarchy must be a usu.Hierarchy, or a list of them for a batch")
    masking = Masking(scoring)
    perturbed = Perturbation(forward_func, inputs, target, **options)
    if len(given) != len(perturbed.inputs):
        raise ValueError(f"hierarchy must be one per input: {len(given)} for {len(perturbed.inputs)}")
    with perturbed:
        results = masking.score(perturbed, list(enumerate(given)), rules)
    return results if perturbed.batched else results[0]


@dataclass(eq=False)
class _Recursion:
    """The state of one hierarchy's refinement: the triple of definition 6, and its history."""

    image: int
    hierarchy: Hierarchy
    inputs: Tensor
    rules: Rules
    depth: int = 0
    partitions: list[Tensor] = field(default_factory=list)
    raw_scores: list[Tensor] = field(default_factory=list)
    matrices: list[Tensor] = field(default_factory=list)
    h_maps: list[Tensor] = field(default_factory=list)
    mixings: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        device, levels = self.inputs.device, check_fit(self.hierarchy, self.inputs).levels
        self.levels = [as_labels(level, "hierarchy").to(device, torch.int64) for level in levels]
        self.partitions.append(self.levels[0])
        self.raw_scores.append(torch.full((int(self.levels[0].max()) + 1,), torch.nan, device=device))

    def request(self) -> Request:
        """Return the segments that have no score yet."""
        return Request(self.image, self.partitions[-1], self.raw_scores[-1].isnan().nonzero().flatten())

    def absorb(self, values: Tensor) -> None:
        """Add the requested raw scores and merge the new score matrix with the previous one."""
        raw = self.raw_scores[-1].to(values)
        raw[raw.isnan()] = values
        self.raw_scores[-1] = raw
        matrix = normalise(raw)[self.partitions[-1]]
        if self.matrices:
            labels = self.partitions[-2]
            alpha = MIXINGS[self.rules.mixing](self.h_maps[-1], labels, len(self.matrices), self.rules)
            self.mixings.append(alpha)
            matrix = merge(self.matrices[-1], matrix, alpha)
        self.matrices.append(matrix)

    def descend(self) -> bool:
        """Split the boundary segments at the next depth that has new ones; return whether there is one."""
        if self.depth + 1 == len(self.levels) or self._converged():
            return False
        h = h_map(self.matrices[-1], self.rules.kernel, ndim=self.matrices[-1].dim())
        splits = boundary_segments(h, self.partitions[-1], self.rules.threshold)
        while self.depth + 1 < len(self.levels):
            self.depth += 1
            labels, raw = split(self.partitions[-1], self.raw_scores[-1], splits, self.levels[self.depth])
            if bool(raw.isnan().any()):
                self.partitions.append(labels)
                self.raw_scores.append(raw)
                self.h_maps.append(h)
                return True
        return False

    def _converged(self) -> bool:
        if len(self.matrices) == 1:
            return False
        return not changed(self.matrices[-1], self.matrices[-2], self.rules.tolerance)

    def result(self, perturbed: Perturbation) -> Refinement:
        """Return the finished record, in the caller's kind."""

        def give(tensors: Sequence[Tensor]) -> tuple[Any, ...]:
            return tuple(perturbed.give(tensor) for tensor in tensors)

        return Refinement(
            partitions=give(self.partitions),
            raw_scores=give(self.raw_scores),
            scores=give([normalise(raw) for raw in self.raw_scores]),
            h_maps=give(self.h_maps),
            mixings=give(self.mixings),
            score_map=perturbed.give(self.matrices[-1]),
            forward_passes=perturbed.passes[self.image],
        )


def split(labels: Tensor, raw_scores: Tensor, splits: Tensor, finer: Tensor) -> tuple[Tensor, Tensor]:
    """Replace some segments of a partition by their children at a finer level.

    Args:
        labels: (H, W), the partition.
        raw_scores: (P,) of its segments.
        splits: (P,), which segments are replaced.
        finer: (H, W), a label map nested in `labels`.

    Returns:
        The new label map, and its raw scores (NaN for new segments; an only child keeps its parent's score).
    """
    old, new = len(raw_scores), int(finer.max()) + 1
    combined = torch.where(splits[labels], finer + old, labels)
    areas = torch.bincount(combined.flatten(), minlength=old + new)
    present = areas > 0
    renumbered = (present.cumsum(0) - 1)[combined]
    parents = torch.arange(old + new, device=labels.device)
    parents.scatter_(0, combined.flatten(), labels.flatten())
    whole = areas == torch.bincount(labels.flatten(), minlength=old)[parents.clamp(max=old - 1)]
    inherited = torch.where(whole, raw_scores[parents.clamp(max=old - 1)], torch.nan)
    return renumbered, inherited[present]


@dataclass(frozen=True)
class Masking:
    """Scores by masked perturbation, one pass per segment, refined where they change.

    Attributes:
        name: "mask": f_t(x) - f_t(x without the segment); "keep": f_t(the segment alone) - f_t(fill); "both":
            the mean of the two.
    """

    name: str = "mask"
    segmentation: ClassVar[Mapping[str, tuple[int, ...]]] = {
        "watershed": (16, 32),
        "slic": (16, 32),
        "quadtree": (16, 32),
    }

    def __post_init__(self) -> None:
        check_choice(self.name, tuple(MASKINGS), "scoring")

    def score(
        self, perturbed: Perturbation, tasks: Sequence[tuple[int, Hierarchy]], rules: Rules
    ) -> list[Refinement]:
        """Return one `Refinement` per task; all are refined together, so that batches are full across images.

        For the arguments see `usu.scoring.registry.Scoring`.
        """
        recursions = [_Recursion(image, hierarchy, perturbed.inputs, rules) for image, hierarchy in tasks]
        active = recursions
        while active:
            raw = MASKINGS[self.name](perturbed, [recursion.request() for recursion in active])
            for recursion, values in zip(active, raw, strict=True):
                recursion.absorb(values)
            active = [recursion for recursion in active if recursion.descend()]
        return [recursion.result(perturbed) for recursion in recursions]
