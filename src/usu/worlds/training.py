"""Networks trained on shapes or patterns, plain or right for the right reasons (paper, eq. 22)."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from usu.arrays.checks import check_choice, check_number
from usu.models.contexts import frozen
from usu.runtime.random import torch_seeded
from usu.worlds.cache import cache_file, find, keep
from usu.worlds.drawings import Drawings, Split, split
from usu.worlds.gradients import differentiate, share_inside
from usu.worlds.networks import NETWORKS
from usu.worlds.patterns import patterns
from usu.worlds.shapes import shapes

WORLDS: dict[str, Callable[[int, int, int], Drawings]] = {"shapes": shapes, "patterns": patterns}

PAPER_PENALTY = 0.1  # λ of eq. 22

# Of the softplus that replaces ReLU while the penalty is on; the two differ by at most 0.023.
_SHARPNESS = 30.0

_MEASURED_AT_ONCE = 25  # scenes


@dataclass(frozen=True)
class Stage:
    """A part of the training."""

    steps: int  # of the optimiser
    batch: int  # images per step
    # 1 for whole images; n for every n-th row and column, n² times cheaper, for networks that take images of
    # any size.
    every: int = 1
    learning_rate: float = 1e-3  # the highest; the rate rises and falls once in each stage


@dataclass(frozen=True)
class Recipe:
    """How one network is trained, by Adam."""

    plain: tuple[Stage, ...]  # stages on cross entropy alone
    penalised: tuple[Stage, ...]  # stages with the penalty, which start from the plain network


# What a CNN learns on small images, for a sixteenth of the work, also holds on large ones.
RECIPES = {
    "cnn": Recipe(
        plain=(Stage(120, 32, 4, 2e-3), Stage(40, 24, 2), Stage(20, 16)),
        penalised=(Stage(200, 32, 4, 2e-3), Stage(50, 24, 2), Stage(30, 16)),
    ),
    "mlp": Recipe(plain=(Stage(60, 32),), penalised=(Stage(240, 48),)),
    "vit": Recipe(plain=(Stage(150, 32),), penalised=(Stage(240, 32, 1, 3e-4),)),
}


@dataclass(frozen=True)
class TrainingSettings:
    """Everything that determines the weights; the key of the cache."""

    network: str
    penalty: float
    world: str
    count: int
    seed: int
    size: int
    recipe: Recipe


@dataclass(frozen=True)
class Quality:
    """How good a network is on some scenes."""

    accuracy: float  # share of scenes that are classified correctly
    inside: float  # mean share of |∇ₓ s_y| that is inside the foreground


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """A trained network, in evaluation mode."""

    model: nn.Module  # takes (B, 1, size, size) in [0, 1], returns logits (B, classes)
    test: Quality  # its quality on the test scenes, by which nothing was chosen
    validation: Quality  # its quality on the validation scenes, by which the penalty may be chosen
    before: Quality  # the quality of the plain network, before the penalty, on the test scenes
    settings: TrainingSettings  # of the training
    seconds: float  # that its training took, without the plain network's

    def __str__(self) -> str:
        """Return a summary in one line."""
        return (
            f"{self.settings.network} on {self.settings.world}, λ = {self.settings.penalty:g}: accuracy "
            f"{self.test.accuracy:.3f}, gradient inside the foreground {self.before.inside:.3f} before and "
            f"{self.test.inside:.3f} after, {self.seconds:.0f} s"
        )


def trained(
    name: str,
    penalty: float = 0.0,
    *,
    world: str = "shapes",
    count: int = 2000,
    seed: int = 0,
    size: int = 224,
    recipe: Recipe | None = None,
    cache: str | os.PathLike[str] | None = None,
    show_progress: bool = False,
) -> TrainedNetwork:
    """Return a trained network, from the cache if it was trained before.

    Without a penalty it is trained on cross entropy alone. With one, that network is fine-tuned on
    L = CE + λ · Σ_{x ∉ FG} |∇ₓ s_y|² (eq. 22), with s_y the logit of the true class and the mean taken over
    images; λ grows from 0 over the first third of the steps, and ReLUs are softened meanwhile. The paper
    seems to train from scratch, but a penalty from the first step on can trap a network where all its
    gradients are zero.

    Args:
        name: "cnn", "mlp" or "vit".
        penalty: λ, at least 0.
        world: "shapes" or "patterns".
        count: scenes in all, of which 70 % are for training.
        seed: of scenes, split, initial weights and the order of training.
        size: pixels of a side.
        recipe: how to train; `RECIPES[name]` if None.
        cache: folder of the weights; the user's cache folder if None.
        show_progress: show a bar, then the result in one line, on standard error.

    Raises:
        ValueError: an unknown name or world, a negative penalty, too few scenes to split.
    """
    check_choice(name, tuple(NETWORKS), "name")
    check_choice(world, tuple(WORLDS), "world")
    if check_number(penalty, "penalty") < 0:
        raise ValueError(f"penalty must be at least 0, got {penalty!r}")
    settings = TrainingSettings(name, float(penalty), world, count, seed, size, recipe or RECIPES[name])
    return _find_or_train(settings, cache, show_progress)


def _find_or_train(
    settings: TrainingSettings, cache: str | os.PathLike[str] | None, show_progress: bool
) -> TrainedNetwork:
    if settings.penalty == 0:  # the plain network does not depend on the penalised stages
        settings = replace(settings, recipe=replace(settings.recipe, penalised=()))
    path = cache_file(f"{settings.world}-{settings.network}", asdict(settings), cache)
    found = find(path, partial(_restored, settings))
    if found is None:
        plain = None
        if settings.penalty > 0:
            plain = _find_or_train(replace(settings, penalty=0.0), cache, show_progress)
        found = _train(settings, plain, show_progress)
        weights = {name: values.numpy() for name, values in found.model.state_dict().items()}
        keep(path, weights, _facts(found))
    if show_progress:
        print(found, file=sys.stderr)
    return found


def measure(model: nn.Module, scenes: Drawings) -> Quality:
    """Return a network's accuracy and share of gradient inside the foreground on some scenes."""
    model.eval()
    stack, right, inside = _Stack.of(scenes), [], []
    with frozen(model.parameters()):
        for chosen in torch.arange(len(stack)).split(_MEASURED_AT_ONCE):
            inputs, truth, targets = stack.take(chosen)
            logits, gradients = differentiate(model, inputs, targets)
            right.append(logits.argmax(1) == targets)
            inside.append(share_inside(gradients.sum(1), truth))
    return Quality(float(torch.cat(right).double().mean()), float(torch.cat(inside).mean()))


@dataclass(frozen=True, eq=False)
class _Stack:
    """Scenes in memory: inputs (N, 1, size, size) and truth (N, size, size) as bytes."""

    inputs: Tensor
    truth: Tensor
    targets: Tensor

    @classmethod
    def of(cls, scenes: Drawings) -> _Stack:
        drawn = [
            ((255 * scene.inputs).round().to(torch.uint8), scene.truth.to(torch.uint8), scene.target)
            for scene in scenes
        ]
        inputs, truth, targets = zip(*drawn, strict=True)
        return cls(torch.stack(inputs), torch.stack(truth), torch.tensor(targets))

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, chosen: Tensor, every: int = 1) -> tuple[Tensor, Tensor, Tensor]:
        """Return inputs and truth as float32, and the targets, of the chosen scenes."""
        rows = slice(every // 2, None, every)
        inputs, truth = self.inputs[chosen, :, rows, rows], self.truth[chosen, rows, rows]
        return inputs / 255, truth.to(torch.float32), self.targets[chosen]


def _train(settings: TrainingSettings, plain: TrainedNetwork | None, show_progress: bool) -> TrainedNetwork:
    parts = parts_of(settings)
    started = time.perf_counter()
    # The user's random numbers continue as if nothing had been trained.
    with torch_seeded(settings.seed):
        model = _untrained(settings)
    if plain is not None:
        model.load_state_dict(plain.model.state_dict())
    stages = settings.recipe.penalised if plain else settings.recipe.plain
    steps = sum(stage.steps for stage in stages)
    description = f"training {settings.network}, λ = {settings.penalty:g}"
    with (
        tqdm(total=steps, desc=description, unit="step", disable=not show_progress, leave=False) as bar,
        softened(model) if plain else nullcontext(),
    ):
        for loss, inside in _descend(model.train(), _Stack.of(parts.train), settings, stages):
            bar.update()
            bar.set_postfix(loss=f"{loss:.3f}", inside=f"{inside:.2f}", refresh=False)
    seconds = time.perf_counter() - started
    test = measure(model, parts.test)
    validation = measure(model, parts.validation)
    return TrainedNetwork(model, test, validation, plain.test if plain else test, settings, seconds)


@contextmanager
def softened(model: nn.Module) -> Iterator[None]:
    """Replace every ReLU of a model by softplus, and put ReLUs back at the end.

    The gradient of a network of ReLUs does not change when a threshold moves a little, so a penalty on it
    cannot move any: units that respond to the background stay, however large λ is.
    """
    found = [
        (parent, name)
        for parent in model.modules()
        for name, module in parent.named_children()
        if isinstance(module, nn.ReLU)
    ]
    try:
        for parent, name in found:
            setattr(parent, name, nn.Softplus(_SHARPNESS))
        yield
    finally:
        for parent, name in found:
            setattr(parent, name, nn.ReLU())


def _descend(
    model: nn.Module, scenes: _Stack, settings: TrainingSettings, stages: Sequence[Stage]
) -> Iterator[tuple[float, float]]:
    """Train `model` in place; yield loss and share inside (NaN without a penalty) of each step."""
    optimiser = torch.optim.Adam(model.parameters(), fused=True)
    order = _dealt(len(scenes), settings.seed)
    every_step = [(stage, step) for stage in stages for step in range(stage.steps)]
    for step, (stage, step_of_stage) in enumerate(every_step):
        for group in optimiser.param_groups:
            group["lr"] = stage.learning_rate * _cycle((step_of_stage + 0.5) / stage.steps)
        batch = scenes.take(torch.tensor([*islice(order, stage.batch)]), stage.every)
        # On every n-th row and column, a gradient is n² times as large and has n² times fewer pixels: this
        # keeps λ as it is on whole images.
        penalty = settings.penalty / stage.every**2 * min(1.0, 3 * (step + 1) / len(every_step))
        loss, inside = loss_of(model, batch, penalty)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        yield float(loss.detach()), inside


def _cycle(progress: float) -> float:
    """Return the share of the highest learning rate: up in the first tenth, then down along a cosine."""
    return min(10 * progress, (1 + math.cos(math.pi * progress)) / 2)


def _dealt(count: int, seed: int) -> Iterator[int]:
    """Yield the numbers of scenes without end: all in a random order, then all in another one."""
    random = torch.Generator().manual_seed(seed)
    while True:
        yield from torch.randperm(count, generator=random).tolist()


def loss_of(model: nn.Module, batch: tuple[Tensor, Tensor, Tensor], penalty: float) -> tuple[Tensor, float]:
    """Return the loss of eq. 22, and the share of the gradients inside the foreground."""
    inputs, truth, targets = batch
    if penalty == 0:
        return cross_entropy(model(inputs), targets), float("nan")
    logits, gradients = differentiate(model, inputs, targets, create_graph=True)
    outside = (gradients.square().sum(1) * (1 - truth)).sum((1, 2)).mean()
    inside = share_inside(gradients.detach().sum(1), truth).mean()
    return cross_entropy(logits, targets) + penalty * outside, float(inside)


def parts_of(settings: TrainingSettings) -> Split:
    """Return the scenes for training, validation and test."""
    return split(WORLDS[settings.world](settings.count, settings.seed, settings.size), settings.seed)


def _untrained(settings: TrainingSettings) -> nn.Module:
    classes = len(WORLDS[settings.world](1, 0, settings.size).classes)
    return NETWORKS[settings.network](classes, settings.size)


def _facts(network: TrainedNetwork) -> dict[str, Any]:
    qualities = {name: asdict(getattr(network, name)) for name in ("test", "validation", "before")}
    return {**qualities, "seconds": network.seconds}


def _restored(settings: TrainingSettings, weights: dict[str, Any], facts: dict[str, Any]) -> TrainedNetwork:
    model = _untrained(settings)
    model.load_state_dict({name: torch.from_numpy(values) for name, values in weights.items()})
    qualities = {name: Quality(**facts[name]) for name in ("test", "validation", "before")}
    return TrainedNetwork(model.eval(), **qualities, settings=settings, seconds=facts["seconds"])
