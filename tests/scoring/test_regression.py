"""Scores by regression on random coalitions, against a linear model's own weights and a slow ridge."""

import numpy as np
import pytest
import torch

import usu
from usu.scoring.perturbation import Perturbation
from usu.scoring.refinement import Rules
from usu.scoring.regression import Regression, draw_coalitions, ridge

LABELS = torch.tensor([[0, 0, 1], [2, 2, 1]])
WEIGHTS = torch.tensor([[1.0, 1.0, 0.0], [0.0, -2.0, 3.0]])


def linear(batch):
    total = (batch[:, 0] * WEIGHTS.to(batch)).sum((1, 2))
    return torch.stack([torch.zeros_like(total), total], dim=1)


def test_a_linear_model_is_found(device):
    found = usu.score_segments(
        linear,
        torch.ones(1, 2, 3, dtype=torch.float64, device=device),
        LABELS,
        1,
        scoring="regression",
        passes=4000,
        baselines="zeros",
        output="logit",
    )
    assert found.raw_scores.tolist() == pytest.approx([2.0, 3.0, -2.0], rel=5e-3)
    assert found.scores.tolist() == pytest.approx([2 / 3, 1.0, 0.0], rel=5e-3)
    assert found.forward_passes == 4000


def test_scores_are_coefficients_per_pixel():
    found = usu.score_segments(
        linear,
        torch.ones(1, 2, 3, dtype=torch.float64),
        torch.tensor([[0, 0, 0], [0, 1, 2]]),
        1,
        scoring="regression",
        passes=4000,
        baselines="zeros",
        output="logit",
    )
    assert found.raw_scores.tolist() == pytest.approx([2.0, -2.0, 3.0], rel=5e-3)
    assert found.scores.tolist() == pytest.approx([2 / 4 / 3, 0.0, 1.0], rel=5e-3)


def test_ridge_against_its_normal_equations():
    generator = np.random.default_rng(0)
    design, answers = generator.random((12, 5)) < 0.5, generator.random(12)
    # The intercept as a column of its own that is not penalised.
    full = np.column_stack([np.ones(12), design])
    penalty = np.diag([0.0, *[1.0] * 5])
    expected = np.linalg.solve(full.T @ full + penalty, full.T @ answers)[1:]
    found = ridge(torch.from_numpy(design).double(), torch.from_numpy(answers))
    assert found.numpy() == pytest.approx(expected, abs=1e-12)


def test_coalitions_come_with_their_complements_from_every_level():
    coarse, fine = torch.tensor([[0, 0, 1, 1]]), torch.tensor([[0, 1, 2, 3]])
    draws = list(draw_coalitions([coarse, fine], 20))
    assert len(draws) == 40
    for one, other in zip(draws[::2], draws[1::2], strict=True):
        assert torch.equal(one, ~other)
    assert all(kept[0] == kept[1] and kept[2] == kept[3] for kept in draws[0::4])  # of the coarse level
    assert not all(kept[0] == kept[1] for kept in draws[2::4])
    assert {int(kept.sum()) for kept in draws[2::4]} <= {1, 2, 3}


def test_the_global_random_state_is_left_alone():
    torch.manual_seed(3)
    state = torch.random.get_rng_state()
    usu.score_segments(linear, torch.ones(1, 2, 3), LABELS, 1, scoring="regression", passes=20)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_two_passes_tell_the_ends_only():
    found = usu.score_segments(
        linear,
        torch.ones(1, 2, 3),
        LABELS,
        1,
        scoring="regression",
        passes=2,
        baselines="zeros",
        output="logit",
    )
    assert found.forward_passes == 2
    assert found.raw_scores.tolist() == pytest.approx([float(found.raw_scores[0])] * 3)


def test_hierarchies_of_one_image_report_its_passes_together():
    hierarchies = [usu.Hierarchy([LABELS]), usu.Hierarchy([1 - LABELS.clamp(max=1)])]
    perturbed = Perturbation(
        linear,
        torch.ones(1, 2, 3),
        1,
        baselines="zeros",
        output="logit",
        perturbations_per_eval=16,
        show_progress=False,
    )
    found = Regression(passes=50).score(perturbed, [(0, one) for one in hierarchies], Rules())
    assert [one.forward_passes for one in found] == [50, 50] == 2 * perturbed.passes
