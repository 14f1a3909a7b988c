"""Scores by order: numbers of segments, fitted so that an order of the pixels deletes and inserts well.

Masking asks what one segment does to the whole image. Here a field over the pixels, the sum of one number per
segment of several partitions, is fitted to what curves of deletion and insertion ask: its highest share,
taken away, should lose the answer and, brought alone, keep it. A ridge holds it near the coarse map.
After I-GOS (Qi et al., 2020), iGOS++ (Khorram et al., 2021) and extremal perturbations (Fong et al., 2019),
which fit a free mask of pixels for one image; docs/scores-by-order.md says what was measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, islice
from typing import ClassVar

import torch
from torch import Tensor

from usu.arrays.checks import check_count, check_number
from usu.arrays.convert import as_labels
from usu.scoring.budget import Budgeted
from usu.scoring.perturbation import Perturbation
from usu.scoring.refinement import Refinement, Rules
from usu.segmentation.hierarchy import Hierarchy, check_fit

# Passes of one step: two masked copies, each with a gradient, which counts as two passes more.
STEP = 6
# Shares of the pixels that are taken away or brought: a low-discrepancy sequence within these bounds.
_FEWEST, _MOST = 0.1, 0.9
_GOLDEN = (math.sqrt(5) - 1) / 2
_SOFTNESS = 0.4  # of the mask's edge, in standard deviations of the coarse map
# Adam: its step, and how fast its two means forget.
_RATE, _MOMENTUM, _MEMORY = 0.3, 0.7, 0.95
_TINY = 1e-8
_SLOPE = 1.5  # of the scores at the mean, per standard deviation of the field


@dataclass(frozen=True)
class Order(Budgeted):
    """The order of pixels, by segments of several partitions, that deletes and inserts best.

    All levels of all hierarchies of an image are its partitions. Their numbers add up to a field, which
    starts at the bilinear coarse map (at 0 without one). It needs a model with gradients. On a network of
    many layers, other numbers of threads, batches and machines are like other seeds, unless model and inputs
    are in float64 (docs/robustness.md).

    Attributes:
        passes: at least 8; forward passes per image, including the image itself and its fill. A step costs 6,
            so that 156 are 25 steps.
        ridge: at least 0; weight of each partition's mean squared change from the start, added up, against
            the change of the answer relative to |f(x) - f(fill)|. At 0 the scores depend more on the seed.
        seed: at least 0; where the sequence of shares begins.

    Raises:
        TypeError: an attribute of the wrong kind.
        ValueError: an attribute out of its range.
    """

    ridge: float = 1.0
    seed: int = 0
    name: ClassVar[str] = "order"
    segmentation: ClassVar[Mapping[str, tuple[int, ...]]] = {"slic": (64, 256), "watershed": (64,)}

    def __post_init__(self) -> None:
        check_count(self.passes, "passes", 2 + STEP)
        check_count(self.seed, "seed", 0)
        if check_number(self.ridge, "ridge") < 0:
            raise ValueError(f"ridge must be at least 0, got {self.ridge!r}")

    def masked_passes(self, hierarchies: Sequence[Hierarchy]) -> int:
        """Return 0: a fit follows all rounding, so that of its fill, too, the network itself is asked."""
        return 0

    def score(
        self, perturbed: Perturbation, tasks: Sequence[tuple[int, Hierarchy]], rules: Rules
    ) -> list[Refinement]:
        """Return one `Refinement` per task; those of an image are fitted together and share the score map.

        A raw score is what a segment adds to the field, in standard deviations of the coarse map: of two
        pixels, the one with the higher sum comes first. The score map is a logistic function of the field,
        1/2 at its mean; the scores of a partition are those that it would give alone, so that the logit of
        the map is the mean of theirs. For the arguments see `usu.scoring.registry.Scoring`.

        Raises:
            ValueError: the model has no gradients.
        """
        images = sorted({image for image, _ in tasks})
        own = [[hierarchy for image, hierarchy in tasks if image == each] for each in images]
        fits = [_Fit.of(perturbed, *each) for each in zip(images, own, strict=True)]
        floors = perturbed.filled(images)
        ends = [
            float(perturbed.references[image] - floor) for image, floor in zip(images, floors, strict=True)
        ]
        steps = (self.passes - 2) // STEP
        with perturbed.differentiating():
            for step in range(steps):
                share = threshold(self.seed * steps + step)
                masks = torch.stack([fit.mask(share) for fit in fits])
                slopes = perturbed.slopes([*images, *images], torch.cat([masks, 1 - masks]))
                for fit, end, one, other in zip(fits, ends, *slopes.chunk(2), strict=True):
                    fit.advance(-(one + other) / (abs(end) or 1.0), self.ridge, kept=step >= steps // 3)
        by_image = {fit.image: iter(fit.results(perturbed)) for fit in fits}
        return [next(by_image[image]) for image, _ in tasks]


def threshold(number: int) -> float:
    """Return the share of the pixels of a step: a Weyl sequence, whose parts of any length are spread evenly.

    >>> [round(threshold(number), 3) for number in range(4)]
    [0.5, 0.194, 0.689, 0.383]
    """
    return _FEWEST + (_MOST - _FEWEST) * ((0.5 + number * _GOLDEN) % 1)


@dataclass(eq=False)
class _Fit:
    """The numbers of one image's segments while they are fitted.

    The field is even on the parts into which the borders of all partitions together cut the image. A step
    walks over all pixels twice, to spread the mask and to add up its slopes; all else is of the parts.

    Attributes:
        image: its number.
        hierarchies: number of partitions of each.
        partitions: label maps (H, W).
        pixels: the standardised coarse map (H, W), of which each partition takes an even part at the start.
        start: the numbers (P,) at the start, partition after partition.
        numbers: as they are.
        parts: (H·W,), the part that each pixel is in, 0..A-1.
        sizes: pixels of each part, (A,).
        owners: (K, A), for each partition the number in `numbers` of the segment that each part lies in.
    """

    image: int
    hierarchies: list[int]
    partitions: list[Tensor]
    pixels: Tensor
    start: Tensor = field(init=False)
    numbers: Tensor = field(init=False)

    def __post_init__(self) -> None:
        areas = [torch.bincount(labels.flatten()) for labels in self.partitions]
        self.counts = [len(each) for each in areas]
        of_each = zip(self.partitions, areas, strict=True)
        means = [_sums(self.pixels, labels, len(each)) / each for labels, each in of_each]
        self.start = torch.cat(means) / len(means)
        self.share = torch.cat([self.start.new_full((count,), 1 / count) for count in self.counts])
        finest = [last - 1 for last in accumulate(self.hierarchies)]  # the others have no further borders
        self.parts = self.partitions[finest[0]].flatten()
        for place in finest[1:]:
            joined = self.parts * self.counts[place] + self.partitions[place].flatten()
            self.parts = joined.unique(return_inverse=True)[1]
        self.sizes = torch.bincount(self.parts)
        firsts = accumulate(self.counts, initial=0)
        self.owners = torch.stack(
            [
                torch.empty_like(self.sizes).scatter_(0, self.parts, first + labels.flatten())
                for first, labels in zip(firsts, self.partitions, strict=False)
            ]
        )
        self.numbers = self.start.clone()
        self.momentum, self.memory, self.total = (torch.zeros_like(self.start) for _ in range(3))
        self.steps = self.kept = 0

    @classmethod
    def of(cls, perturbed: Perturbation, image: int, hierarchies: Sequence[Hierarchy]) -> _Fit:
        """Start at the image's coarse map."""
        device = perturbed.inputs.device
        fitting = [check_fit(hierarchy, perturbed.inputs).levels for hierarchy in hierarchies]
        partitions = [
            as_labels(labels, "hierarchy").to(device, torch.int64) for levels in fitting for labels in levels
        ]
        pixels = standardised(perturbed.start(image).to(perturbed.references))
        return cls(image, [len(levels) for levels in fitting], partitions, pixels)

    def field(self, numbers: Tensor) -> Tensor:
        """Return the field u of the parts (A,): each adds up the numbers (P,) of its segments."""
        return numbers[self.owners].sum(0)

    def spread(self, values: Tensor) -> Tensor:
        """Return values of the parts (A,) at their pixels (H, W)."""
        return values.index_select(0, self.parts).view(self.partitions[0].shape)

    def mask(self, share: float) -> Tensor:
        """Return the soft mask (H, W) of the highest share of the field's pixels, near 1 within it."""
        values, pixels = self.field(self.numbers), self.parts.numel()
        rank = min(max(round((1 - share) * pixels), 1), pixels)
        rising = values.argsort()
        least = values[rising[torch.searchsorted(self.sizes[rising].cumsum(0), rank)]]
        self.present = ((values - least) / _SOFTNESS).sigmoid()
        return self.spread(self.present)

    def advance(self, slope: Tensor, ridge: float, kept: bool) -> None:
        """Step by Adam down the slope (H, W) of the last mask, and the ridge's; `kept` counts in the mean."""
        by_mask = _sums(slope.to(self.present), self.parts, len(self.sizes))
        by_field = by_mask * self.present * (1 - self.present) / _SOFTNESS
        gradient = _sums(by_field.expand(self.owners.shape), self.owners, len(self.numbers))
        gradient += self.pull(ridge)
        self.steps += 1
        self.momentum.lerp_(gradient, 1 - _MOMENTUM)
        self.memory.lerp_(gradient.square(), 1 - _MEMORY)
        length = (self.memory / (1 - _MEMORY**self.steps)).sqrt() + _TINY
        self.numbers -= _RATE / (1 - _MOMENTUM**self.steps) * self.momentum / length
        if kept:
            self.total += self.numbers
            self.kept += 1

    def pull(self, ridge: float) -> Tensor:
        """Return the gradient (P,) of the ridge, which holds the numbers near their start."""
        return 2 * ridge * (self.numbers - self.start) * self.share

    def results(self, perturbed: Perturbation) -> list[Refinement]:
        """Return the records of the hierarchies, in the caller's kind."""
        mean = self.total / self.kept
        pixels = self.spread(self.field(mean))
        spread = float(pixels.std(correction=0)) or 1.0
        score_map = (_SLOPE * standardised(pixels)).sigmoid()
        raw, scores = [], []
        for values, labels in zip(mean.split(self.counts), self.partitions, strict=True):
            raw.append(values)
            centred = values - values[labels].mean()
            scores.append((_SLOPE * len(self.partitions) * centred / spread).sigmoid())
        levels = zip(self.partitions, raw, scores, strict=True)
        found = []
        for count in self.hierarchies:
            columns = zip(*islice(levels, count), strict=True)
            own = [tuple(perturbed.give(values) for values in column) for column in columns]
            found.append(
                Refinement(
                    partitions=own[0],
                    raw_scores=own[1],
                    scores=own[2],
                    score_map=perturbed.give(score_map),
                    forward_passes=perturbed.passes[self.image],
                )
            )
        return found


def standardised(pixels: Tensor) -> Tensor:
    """Return a map (H, W) less its mean, over its standard deviation; 0 where all pixels are equal."""
    centred = pixels - pixels.mean()
    spread = centred.square().mean().sqrt()
    even = bool(spread <= torch.finfo(pixels.dtype).eps * pixels.abs().max())
    return torch.zeros_like(pixels) if even else centred / spread


def _sums(values: Tensor, labels: Tensor, count: int) -> Tensor:
    """Return the sum of values over each of so many segments, (count,)."""
    return values.new_zeros(count).index_add_(0, labels.flatten(), values.flatten())
