"""The networks that are explained, and the scenes that they are judged on."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace

from usu.worlds.drawings import Drawings, split
from usu.worlds.penalties import PENALTIES
from usu.worlds.shapes import shapes
from usu.worlds.training import PAPER_PENALTY, RECIPES, Recipe, TrainedNetwork, trained

SEED = 0


@dataclass(frozen=True)
class Effort:
    """How much is spent."""

    scenes: int  # in all, of which 70 % are trained on and 15 % are tested on
    haste: int = 1  # by how much the number of training steps is divided

    def hurry(self, recipe: Recipe) -> Recipe:
        """Return a recipe with its numbers of steps divided by the haste."""
        plain, penalised = (
            tuple(replace(stage, steps=-(-stage.steps // self.haste)) for stage in stages)
            for stages in (recipe.plain, recipe.penalised)
        )
        return Recipe(plain, penalised)


FULL = Effort(2000)  # the paper's number
QUICK = Effort(200, haste=16)


@dataclass(frozen=True)
class Subject:
    """A network and how it was trained."""

    network: str  # "cnn", "mlp" or "vit"
    penalty: float  # λ
    paper: str | None = None  # its name in the paper's tables, if they have it

    @property
    def name(self) -> str:
        """Return the name in tables, which says how it was trained."""
        kind = self.network.upper().replace("VIT", "ViT")
        return f"RRL-{kind}, λ = {self.penalty:g}" if self.penalty else f"vanilla {kind}"

    @property
    def strong(self) -> bool:
        """Return whether the penalty is the one that brings the gradient inside the foreground."""
        return self.penalty == PENALTIES[self.network]

    @property
    def sources(self) -> tuple[str, ...]:
        """Return the names of the fine maps that its coarse maps are summed from."""
        return ("gradient", "gradcam") if self.network == "cnn" else ("gradient",)

    def recipe(self, effort: Effort) -> Recipe:
        """Return how it is trained."""
        return effort.hurry(RECIPES[self.network])

    def trained(self, effort: Effort, seed: int = SEED, *, world: str = "shapes") -> TrainedNetwork:
        """Return the trained network, from the user's cache if it was trained before."""
        return trained(
            self.network,
            self.penalty,
            world=world,
            count=effort.scenes,
            seed=seed,
            recipe=self.recipe(effort),
            show_progress=sys.stderr.isatty(),
        )


def _family(network: str, paper: str | None = None) -> tuple[Subject, ...]:
    penalties = (0.0, PAPER_PENALTY, PENALTIES[network])
    return tuple(Subject(network, penalty, paper if penalty else None) for penalty in penalties)


CNNS = _family("cnn", "RRL-CNN")
SUBJECTS = (*_family("mlp", "RRL-MLP"), *CNNS, *_family("vit"))


def reported_scenes(effort: Effort, seed: int = SEED) -> Drawings:
    """Return the scenes that results are reported on; nothing is chosen by them."""
    return split(shapes(effort.scenes, seed), seed).test


def validation_scenes(effort: Effort, seed: int = SEED) -> Drawings:
    """Return the scenes that settings are chosen by."""
    return split(shapes(effort.scenes, seed), seed).validation
