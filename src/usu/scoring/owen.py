"""Owen values of segments: Shapley values along a tree, the most important players divided first.

A player is a node of the tree. Its value is what it adds to the answer, averaged over two contexts: the
players outside its parent as they were, with and without its sibling. Values therefore add up to
f(x) - f(fill) wherever the division stops. A player that the budget did not reach shares its value among its
segments by area.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from usu.arrays.convert import as_labels, as_tensor
from usu.scoring.budget import Budgeted
from usu.scoring.masking import normalise
from usu.scoring.perturbation import Coalition, Perturbation
from usu.scoring.refinement import Refinement, Rules
from usu.segmentation.hierarchy import Hierarchy, check_fit
from usu.segmentation.tree import Tree

# Players divided at a time: few, so that each choice knows the values so far; many, so that batches are full.
_AT_ONCE = 4

# Players are divided in the order of |value| · area^this: of equal values, the one on more pixels is coarser.
_AREA_POWER = 0.5


@dataclass(frozen=True)
class Owen(Budgeted):
    """Owen values of the finest segments of each hierarchy."""

    name: ClassVar[str] = "owen"

    def score(
        self, perturbed: Perturbation, tasks: Sequence[tuple[int, Hierarchy]], rules: Rules
    ) -> list[Refinement]:
        """Return one `Refinement` per task, with `players`; the tasks of an image share its passes evenly.

        Raw scores sum to f(x) - f(fill); scores are raw scores per pixel, normalised. For the arguments see
        `usu.scoring.registry.Scoring`.
        """
        fills = perturbed.filled([image for image, _ in tasks])
        divisions = [
            Division(image, hierarchy, perturbed, float(fill), splits)
            for (image, hierarchy), fill, splits in zip(tasks, fills, self.pairs(tasks), strict=True)
        ]
        while any(chosen := [division.choose() for division in divisions]):
            pairs = zip(divisions, chosen, strict=True)
            coalitions = (one for division, players in pairs for one in division.coalitions(players))
            answers = perturbed.evaluate(coalitions, 2 * sum(map(len, chosen)))
            parts = answers.double().reshape(-1, 2).split([len(players) for players in chosen])
            for division, players, part in zip(divisions, chosen, parts, strict=True):
                division.divide(players, part)
        return [division.result(perturbed) for division in divisions]


class Player(NamedTuple):
    """A node in one context: `others` (P,) are present besides it.

    The answer is `without` it and `together` with it; `weight` is this context's share of its value.
    """

    node: int
    others: Tensor
    without: float
    together: float
    weight: float

    @property
    def value(self) -> float:
        """What the node adds to the answer in this context, times the context's weight."""
        return self.weight * (self.together - self.without)


@dataclass(eq=False)
class Division:
    """The state of one tree: players in the order in which they will be divided."""

    image: int
    hierarchy: Hierarchy
    perturbed: Perturbation
    fill: float
    splits: int
    queue: list[tuple[float, int, Player]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tree = Tree(check_fit(self.hierarchy, self.perturbed.inputs))
        self.places = self.tree.places.to(self.perturbed.inputs.device)
        # Players are few and handled one by one: on the CPU, like the tree.
        self.values = torch.zeros(len(self.tree.order), dtype=torch.float64, device="cpu")
        self.divided: set[int] = set()
        self.added = 0
        nobody = torch.zeros(len(self.tree.order), dtype=torch.bool, device="cpu")
        self._add(Player(0, nobody, self.fill, float(self.perturbed.references[self.image]), 1.0))

    def _add(self, player: Player) -> None:
        if self.tree.children[player.node] is None:
            self.values[self.tree.ranges[player.node][0]] += player.value
        else:
            first, last = self.tree.ranges[player.node]
            area = float(self.tree.areas[first:last].sum())
            heapq.heappush(self.queue, (-abs(player.value) * area**_AREA_POWER, self.added, player))
            self.added += 1

    def choose(self) -> list[Player]:
        """Take the next players off the queue, as many as the budget allows."""
        count = min(_AT_ONCE, self.splits, len(self.queue))
        self.splits -= count
        return [heapq.heappop(self.queue)[2] for _ in range(count)]

    def coalitions(self, players: Sequence[Player]) -> Iterator[Coalition]:
        """Yield each player's two halves, each alone with the others of its context."""
        for player in players:
            for half in self._halves(player):
                present = self._with(player.others, half).to(self.places.device)
                yield Coalition(self.image, present[self.places])

    def divide(self, players: Sequence[Player], answers: Tensor) -> None:
        """Replace players by their halves; `answers` (n, 2) are those to their `coalitions`."""
        for player, both in zip(players, answers.tolist(), strict=True):
            self.divided.add(player.node)
            halves = self._halves(player)
            for half, sibling, own, other in zip(halves, halves[::-1], both, both[::-1], strict=True):
                beside = self._with(player.others, sibling)
                self._add(Player(half, player.others, player.without, own, player.weight / 2))
                self._add(Player(half, beside, other, player.together, player.weight / 2))

    def _halves(self, player: Player) -> tuple[int, int]:
        halves = self.tree.children[player.node]
        assert halves is not None, "single segments are never queued"
        return halves

    def _with(self, others: Tensor, node: int) -> Tensor:
        joined = others.clone()
        joined[slice(*self.tree.ranges[node])] = True
        return joined

    def result(self, perturbed: Perturbation) -> Refinement:
        """Return the finished record, in the caller's kind."""
        values, areas = self.values.clone(), self.tree.areas
        for _, _, player in self.queue:
            inside = slice(*self.tree.ranges[player.node])
            values[inside] += player.value * areas[inside] / areas[inside].sum()
        labels = torch.tensor(self.tree.order, device="cpu")
        raw, density = torch.empty_like(values), torch.empty_like(values)
        raw[labels], density[labels] = values, values / areas
        scores = normalise(density).to(perturbed.references)
        finest = labels.to(self.places.device)[self.places]
        return Refinement(
            partitions=(perturbed.give(finest),),
            raw_scores=(perturbed.give(raw),),
            scores=(perturbed.give(scores),),
            score_map=perturbed.give(scores[finest]),
            forward_passes=perturbed.passes[self.image],
            players=perturbed.give(self._players()[self.places]),
        )

    def _players(self) -> Tensor:
        """Return, for each place (P,), the number of the player that contains it at the end."""
        numbers = torch.empty(len(self.tree.order), dtype=torch.int64, device="cpu")
        waiting, count = [0], 0
        while waiting:
            node = waiting.pop()
            if node in self.divided:
                waiting += self.tree.children[node] or ()
            else:
                numbers[slice(*self.tree.ranges[node])] = count
                count += 1
        return numbers.to(self.places.device)


def owen_map(refinements: Sequence[Refinement]) -> tuple[Tensor, Tensor]:
    """Return Owen values as a coarse map with its own cells.

    Several trees are averaged: a cell lies in one player of each, and its mass is the mean of its shares in
    them by area, so that the masses still sum to f(x) - f(fill).

    Args:
        refinements: of one image, with `players`.

    Returns:
        Masses (K,) in float64, and the cells' label map (H, W), 0..K-1.
    """
    players = [as_labels(refined.players, "players") for refined in refinements]
    together = torch.stack([labels.flatten() for labels in players])
    _, cells = together.unique(dim=1, return_inverse=True)
    mean_density = torch.stack([density_of(refined) for refined in refinements]).mean(0)
    masses = torch.zeros(int(cells.max()) + 1, dtype=torch.float64, device=cells.device)
    return masses.scatter_add_(0, cells, mean_density.flatten()), cells.reshape(players[0].shape)


def pixel_scores(attribution: Tensor) -> Tensor:
    """Return a map's values at single pixels as scores in [0, 1]: tanh(p / 2σ), σ² the mean of p².

    Here p is the positive part. A pixel that does not support the answer scores 0, and no single pixel sets
    the scale, as it would if values were divided by the largest.

    Args:
        attribution: (H, W), signed, of any scale.

    >>> pixel_scores(torch.tensor([[-3.0, 0.0, 2.0, 4.0]]))
    tensor([[0.0000, 0.0000, 0.4196, 0.7136]])
    """
    tiny = torch.finfo(attribution.dtype).tiny
    positive = attribution.clamp(min=0)
    scaled = positive / positive.max().clamp(min=tiny)
    return (scaled / scaled.square().mean().sqrt().clamp(min=tiny) / 2).tanh()


def density_of(refined: Refinement) -> Tensor:
    """Return each pixel's even share of its segment's value, (H, W) in float64."""
    labels = as_labels(refined.partitions[-1], "partitions").to(torch.int64)
    values = as_tensor(refined.raw_scores[-1], "raw_scores").to(torch.float64)
    return (values / torch.bincount(labels.flatten()))[labels]
