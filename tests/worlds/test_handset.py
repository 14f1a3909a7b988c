"""The hand-set network: its written truth is what ablation, one pixel after the other, finds."""

from __future__ import annotations

import itertools

import pytest
import torch

from usu.worlds.gradients import attribution
from usu.worlds.handset import CLASSES, COLOURS, ColourCounter, colour_scene

SIZE = 16


@pytest.mark.parametrize("seed", range(4))
def test_truth_is_what_each_single_pixel_takes_from_the_logit(seed):
    model, scene = ColourCounter(SIZE), colour_scene(seed, SIZE)
    ablated = scene.inputs.expand(SIZE * SIZE, -1, -1, -1).clone()
    pixels = torch.arange(SIZE * SIZE)
    ablated[pixels, :, pixels // SIZE, pixels % SIZE] = 0.45  # a grey
    whole = model(scene.inputs[None])[:, scene.target]
    lost = (whole - model(ablated)[:, scene.target]).reshape(SIZE, SIZE)
    assert torch.allclose(lost, scene.truth, atol=2e-6)
    assert float(scene.truth.max()) > 0.1  # against which 2e-6 is nothing
    assert 0 < int(scene.truth.count_nonzero()) < SIZE * SIZE


def test_truth_holds_after_any_others_are_gone():
    """Ablation in three random orders: each pixel loses its own term whatever went before it (Shapley)."""
    model, scene = ColourCounter(SIZE).double(), colour_scene(1, SIZE)
    inputs, generator = scene.inputs.double(), torch.Generator().manual_seed(0)
    for _ in range(3):
        order = torch.randperm(SIZE * SIZE, generator=generator)
        rank = torch.empty_like(order)
        rank[order] = torch.arange(SIZE * SIZE)
        gone = rank.reshape(1, 1, SIZE, SIZE) < torch.arange(SIZE * SIZE + 1).reshape(-1, 1, 1, 1)
        logits = model(torch.where(gone, 0.3, inputs))[:, scene.target]
        lost = torch.empty(SIZE * SIZE, dtype=torch.float64)
        lost[order] = logits[:-1] - logits[1:]
        assert torch.allclose(lost.reshape(SIZE, SIZE), scene.truth.double(), atol=1e-7)


def test_the_logit_is_the_sum_of_the_truth():
    model = ColourCounter(64)
    for seed in range(5):
        scene = colour_scene(seed, 64)
        logits = model(scene.inputs[None])[0]
        assert float(logits[scene.target]) == pytest.approx(float(scene.truth.sum()), rel=1e-4)
        assert int(logits.argmax()) == scene.target
    assert {colour_scene(seed, 32).target for seed in range(8)} == {0, 1}


def test_detectors_see_their_own_colour_only():
    detectors = ColourCounter(8).detectors
    for name, brightness in itertools.product(COLOURS, (0.0, 0.3, 0.7, 1.0)):
        pixel = brightness * torch.tensor(COLOURS[name].rgb).reshape(1, 3, 1, 1)
        answers = dict(zip(COLOURS, detectors(pixel).flatten().tolist(), strict=True))
        assert answers.pop(name) == pytest.approx(COLOURS[name].response(brightness), abs=1e-6)
        assert set(answers.values()) == {0.0}
    for grey in (0.0, 0.3, 0.6, 1.0):
        assert float(detectors(torch.full((1, 3, 1, 1), grey)).sum()) == 0


def test_gradient_support_is_the_truth():
    model, scene = ColourCounter(32), colour_scene(3, 32)
    assert torch.equal(attribution(model, scene.inputs, scene.target) > 0, scene.truth > 0)


def test_scenes_are_seeded_and_coloured():
    assert torch.equal(colour_scene(5, 32).inputs, colour_scene(5, 32).inputs)
    assert not torch.equal(colour_scene(5, 32).inputs, colour_scene(6, 32).inputs)
    assert CLASSES == ("warm", "cool")
    levels = colour_scene(0, 224).truth.unique()
    assert len(levels) >= 3  # nothing, and several importances: how much, not only which
