"""Owen values with each player divided in one context: one pass in place of two, so that more are reached."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor

from benchmarks.scores.hierarchies import hierarchy
from benchmarks.scores.tasks import Pixels, Task
from usu.scoring.owen import Division, Player, density_of
from usu.scoring.perturbation import Coalition, Perturbation
from usu.settings import Settings


class _OneContext(Division):
    """A division in which one half comes alone and the other after it; `splits` counts passes."""

    def coalitions(self, players: Sequence[Player]) -> Iterator[Coalition]:
        """Yield each player's first half alone with the others of its context."""
        for player in players:
            yield Coalition(self.image, self._with(player.others, self._halves(player)[0])[self.places])

    def divide(self, players: Sequence[Player], answers: Tensor) -> None:
        """Put the halves in the players' places; `answers` (n,) are those of their `coalitions`."""
        for player, between in zip(players, answers.tolist(), strict=True):
            self.divided.add(player.node)
            half, sibling = self._halves(player)
            beside = self._with(player.others, half)
            self._add(Player(half, player.others, player.without, between, player.weight))
            self._add(Player(sibling, beside, between, player.together, player.weight))


def one_context(task: Task, tree: str, passes: int = 158) -> dict[str, Pixels]:
    """Return scores by values of one context, at as many passes as `candidates.valued`."""
    settings = Settings()
    task.coarse("gradcam")  # counts among the passes of the other scores, too
    perturbed = Perturbation(
        task.model,
        task.inputs,
        task.target,
        baselines=settings.baselines,
        output=settings.output,
        perturbations_per_eval=16,
        show_progress=False,
    )
    division = _OneContext(0, hierarchy(task, tree), perturbed, float(perturbed.filled([0])[0]), passes - 2)
    while players := division.choose():
        division.divide(players, perturbed.evaluate(division.coalitions(players), len(players)).double())
    found = division.result(perturbed)
    return {
        f"scores owen {tree}, one context": found.score_map,
        f"even, {tree}, one context": density_of(found).float(),
    }
