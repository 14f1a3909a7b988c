"""Scores by regression: how the answer to random coalitions of segments depends on each segment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from usu.arrays.convert import as_labels
from usu.scoring.budget import Budgeted
from usu.scoring.masking import normalise
from usu.scoring.perturbation import Coalition, Perturbation
from usu.scoring.refinement import Refinement, Rules
from usu.segmentation.hierarchy import Hierarchy, check_fit

# The penalty, in units of one coalition: it pulls segments that rarely differed from all others towards 0.
_RIDGE = 1.0


@dataclass(frozen=True)
class Regression(Budgeted):
    """A linear fit to the answers of random coalitions.

    Coalitions are drawn from all levels of a hierarchy in turn (coarse ones show the effects of large parts),
    each with a number of present segments that is uniform between none and all, and each followed by its
    complement. A ridge regression gives the coefficients of the finest segments. The seed is 0.
    """

    name: ClassVar[str] = "regression"

    def score(
        self, perturbed: Perturbation, tasks: Sequence[tuple[int, Hierarchy]], rules: Rules
    ) -> list[Refinement]:
        """Return one `Refinement` per task; the tasks of an image share its passes evenly.

        Raw scores are coefficients, in the unit of the output; scores are raw scores per pixel, normalised.
        For the arguments see `usu.scoring.registry.Scoring`.
        """
        fills = perturbed.filled([image for image, _ in tasks])
        found = []
        for (image, hierarchy), fill, pairs in zip(tasks, fills, self.pairs(tasks), strict=True):
            device, own = perturbed.inputs.device, check_fit(hierarchy, perturbed.inputs).levels
            levels = [as_labels(level, "hierarchy").to(device, torch.int64) for level in own]
            draws = list(draw_coalitions(levels, pairs))
            answers = perturbed.evaluate((Coalition(image, kept[levels[-1]]) for kept in draws), len(draws))
            everyone = torch.ones(int(levels[-1].max()) + 1, dtype=torch.bool, device=levels[-1].device)
            design = torch.stack([~everyone, everyone, *draws]).double()
            ends = torch.stack([fill, perturbed.references[image]])
            found.append((image, levels[-1], ridge(design, torch.cat([ends, answers]).double())))
        return [_record(perturbed, *one) for one in found]


def _record(perturbed: Perturbation, image: int, labels: Tensor, raw: Tensor) -> Refinement:
    """Return the record of one task, once all tasks have had their passes, in the caller's kind."""
    scores = normalise(raw / torch.bincount(labels.flatten())).to(perturbed.references)
    return Refinement(
        partitions=(perturbed.give(labels),),
        raw_scores=(perturbed.give(raw),),
        scores=(perturbed.give(scores),),
        score_map=perturbed.give(scores[labels]),
        forward_passes=perturbed.passes[image],
    )


def draw_coalitions(levels: Sequence[Tensor], pairs: int) -> Iterator[Tensor]:
    """Yield which of the finest segments are present (P,): coalitions, each followed by its complement."""
    generator = torch.Generator().manual_seed(0)
    finest = levels[-1].flatten()
    for number in range(pairs):
        labels = levels[number % len(levels)].flatten()
        segments = int(labels.max()) + 1
        size = int(torch.randint(1, max(segments, 2), (1,), generator=generator, device="cpu"))
        present = torch.randperm(segments, generator=generator, device="cpu") < size
        kept = torch.empty(int(finest.max()) + 1, dtype=torch.bool, device=finest.device)
        kept[finest] = present.to(finest.device)[labels]
        yield kept
        yield ~kept


def ridge(design: Tensor, answers: Tensor) -> Tensor:
    """Return the coefficients (P,) of a ridge regression with an intercept that is not penalised."""
    centred = design - design.mean(0)
    gram = centred.T @ centred + _RIDGE * torch.eye(design.shape[1], dtype=design.dtype, device=design.device)
    coefficients: Tensor = torch.linalg.solve(gram, centred.T @ (answers - answers.mean()))
    return coefficients
