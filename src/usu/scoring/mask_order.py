"""Masking and order together: what each segment does to the image, and which order works best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from usu.scoring.order import STEP, Order
from usu.scoring.perturbation import Perturbation
from usu.scoring.refinement import Masking, Refinement, Rules
from usu.segmentation.hierarchy import Hierarchy, check_fit

# Masking's share of the scores. With weights exp(s / ε), scores (0.3 m + 0.4 o) / 0.7 at ε = 0.12 / 0.7 are
# exp(m / 0.4 + o / 0.3): exponents add up.
MASKING_SHARE = 0.3 / 0.7


@dataclass(frozen=True)
class MaskOrder(Order):
    """Scores by masking and by order, which share the passes.

    The coarsest level of an image's first hierarchy is masked segment by segment; the fit of `Order` has what
    is left. The score map is 3/7 of masking's and 4/7 of the order's. An order asks what is enough for the
    answer; masking also finds parts of a thing that the answer could do without.

    Raises:
        TypeError: as `Order`.
        ValueError: as `Order`.
    """

    name: ClassVar[str] = "mask+order"

    def masked_passes(self, hierarchies: Sequence[Hierarchy]) -> int:
        """Return how many masked copies of an image are asked for without gradients."""
        return 1 + hierarchies[0].counts[0]

    def score(
        self, perturbed: Perturbation, tasks: Sequence[tuple[int, Hierarchy]], rules: Rules
    ) -> list[Refinement]:
        """Return one `Refinement` per task; those of an image share the score map.

        The first of an image begins with the masked partition, with raw scores in the unit of the output. All
        other raw scores are those of `Order`. For the arguments see `usu.scoring.registry.Scoring`.

        Raises:
            ValueError: the model has no gradients; the masks leave no step of the fit.
        """
        coarsest: dict[int, Hierarchy] = {}
        for image, hierarchy in tasks:
            coarsest.setdefault(image, Hierarchy(check_fit(hierarchy, perturbed.inputs).levels[:1]))
        steps = {image: (self.passes - 2 - each.counts[0]) // STEP for image, each in coarsest.items()}
        if min(steps.values()) < 1:
            most = max(each.counts[0] for each in coarsest.values())
            raise ValueError(
                f"passes={self.passes} leave nothing for the fit after {most} masks: give at least "
                f"{most + 2 + STEP}, or fewer segments in the coarsest level of the first hierarchy"
            )
        masked = dict(
            zip(coarsest, Masking("mask").score(perturbed, list(coarsest.items()), rules), strict=True)
        )
        fitted: dict[int, Refinement] = {}
        for count in sorted(set(steps.values())):  # images of as many steps are fitted in one go
            chosen = [number for number, (image, _) in enumerate(tasks) if steps[image] == count]
            order = Order(passes=2 + STEP * count, ridge=self.ridge, seed=self.seed)
            found = order.score(perturbed, [tasks[number] for number in chosen], rules)
            fitted.update(zip(chosen, found, strict=True))
        results, begun = [], set[int]()
        for number, (image, _) in enumerate(tasks):
            results.append(_joined(masked[image], fitted[number], first=image not in begun))
            begun.add(image)
        return results


def _joined(masked: Refinement, fitted: Refinement, first: bool) -> Refinement:
    """Return the record of a fit, after that of masking if it is the image's first."""
    score_map = MASKING_SHARE * masked.score_map + (1 - MASKING_SHARE) * fitted.score_map
    found = replace(fitted, score_map=score_map)
    if not first:
        return found
    return replace(
        found,
        partitions=(*masked.partitions, *fitted.partitions),
        raw_scores=(*masked.raw_scores, *fitted.raw_scores),
        scores=(*masked.scores, *fitted.scores),
    )
