"""Refinement: the H-map, splitting and merging by hand, and what is scored again."""

import numpy as np
import pytest
import torch

from usu import Hierarchy, h_map, refine
from usu.scoring.refinement import Rules, boundary_segments, changed, merge, mixing_coefficient, split


def test_diagonal_kernel_is_blind_to_straight_edges_and_sees_corners():
    edge = np.zeros((4, 5))
    edge[:, 2:] = 1
    assert (h_map(edge) == 0).all()
    assert (h_map(edge.T.copy()) == 0).all()
    corner = np.zeros((4, 4))
    corner[2:, 2:] = 1
    expected = np.zeros((4, 4))
    expected[1:3, 1:3] = -1
    assert np.array_equal(h_map(corner), expected)


def test_gradient_kernel_sees_every_edge():
    edge = torch.zeros(4, 5, dtype=torch.float64)
    edge[:, 2:] = 1
    found = h_map(edge, kernel="gradient")
    assert torch.equal(found, torch.tensor([[0.0, 1, 1, 0, 0]] * 4, dtype=torch.float64))
    assert h_map(torch.eye(3), kernel="gradient").max() <= 2**0.5


def test_h_map_equals_scipys_convolution():
    from scipy.ndimage import convolve

    scores = np.random.default_rng(0).random((3, 9, 7))
    kernel = np.array([[-1, 0, 1], [0, 0, 0], [1, 0, -1]])
    expected = np.stack([convolve(plane, kernel, mode="nearest") for plane in scores])
    assert np.allclose(h_map(scores), expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.5],), r"scores must be a score matrix"),
        (([[np.nan, 0.0]],), "scores must be finite"),
        (([[0.5, 0.0]], "sobel"), "kernel must be one of"),
    ],
)
def test_h_map_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        h_map(*arguments)


def test_boundary_segments_by_hand():
    h = torch.tensor([[0.0, -0.6, 0.2, 0.0]])
    labels = torch.tensor([[0, 0, 1, 2]])
    assert boundary_segments(h, labels, 0.2).tolist() == [True, False, False]
    assert boundary_segments(h, labels, 0.1).tolist() == [True, True, False]
    assert boundary_segments(h, labels, None).all()


def test_mixing_and_merge_by_hand():
    alpha = mixing_coefficient(torch.tensor([0.1, -0.1, 0.0, 1.0]), centre=0.1, sharpness=0.02)
    assert torch.allclose(alpha[:2], torch.tensor(0.5))
    assert alpha[2] > 0.99
    assert alpha[3] < 0.01
    merged = merge(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), torch.tensor([0.25, 0.25]))
    assert merged.tolist() == [0.25, 0.75]


def test_changed_is_the_frobenius_norm():
    assert not changed(torch.zeros(2, 2), torch.full((2, 2), 0.5), tolerance=1.0)
    assert changed(torch.zeros(2, 2), torch.full((2, 2), 0.51), tolerance=1.0)


def test_split_renumbers_and_scores_only_what_is_new():
    labels = torch.tensor([[0, 0, 1, 2]])
    finer = torch.tensor([[0, 1, 2, 3]])
    combined, raw = split(labels, torch.tensor([5.0, 6.0, 7.0]), torch.tensor([True, True, False]), finer)
    # Segment 0 gives way to two children; segment 1 is its own only child; segment 2 was not split.
    assert combined.tolist() == [[1, 2, 3, 0]]
    assert raw[combined].isnan().tolist() == [[True, True, False, False]]
    assert raw[3] == 6.0
    assert raw[0] == 7.0


WEIGHTS = torch.tensor([[4.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]])
LEVELS = Hierarchy(
    [
        torch.tensor([[0, 0, 1, 1], [0, 0, 1, 1]]),
        torch.tensor([[0, 1, 4, 4], [2, 3, 4, 4]]),
        torch.tensor([[0, 1, 4, 5], [2, 3, 6, 7]]),
    ]
)


def linear(batch: torch.Tensor) -> torch.Tensor:
    total = (batch[:, 0] * WEIGHTS.to(batch)).sum((1, 2))
    return torch.stack([torch.zeros_like(total), total], dim=1)


def run(hierarchy=LEVELS, inputs=None, forward_func=linear, target=1, **options):
    inputs = torch.ones(1, 2, 4) if inputs is None else inputs
    options = {"baselines": "zeros", "output": "logit", "threshold": None, **options}
    return refine(forward_func, inputs, hierarchy, target, **options)


def test_depths_by_hand_and_only_new_segments_are_scored():
    result = run(mixing="mean")
    assert [raw.tolist() for raw in result.raw_scores] == [[4, 4], [4, 0, 0, 0, 4], [4, 0, 0, 0, 1, 1, 1, 1]]
    # f(x), two segments, four children of the left one (the right is its own only child), four of the right.
    assert result.forward_passes == 1 + 2 + 4 + 4
    thirds = torch.tensor([[3.0, 1.0, 2.25, 2.25], [1.0, 1.0, 2.25, 2.25]]) / 3
    assert torch.allclose(result.score_map, thirds)
    assert len(result.h_maps) == len(result.mixings) == 2


def test_the_fill_goes_through_the_model_once_however_many_depths():
    assert run(scoring="keep").forward_passes == 1 + 1 + 2 + 4 + 4
    assert run(scoring="both").forward_passes == 1 + 1 + 2 * (2 + 4 + 4)


def test_homogeneous_segments_are_not_split():
    levels = [[[0, 0, 1, 1, 2, 2]], [[0, 1, 2, 3, 4, 5]]]
    weights = torch.tensor([[1.0, 1.0, 1.0, 1.0, 0.0, 0.0]])

    def forward(batch):
        total = (batch[:, 0] * weights).sum((1, 2))
        return torch.stack([torch.zeros_like(total), total], dim=1)

    result = run(
        Hierarchy(levels), torch.ones(1, 1, 6), forward, threshold=0.5, kernel="gradient", mixing="segment"
    )
    # Scores are 1, 1, 0: the step lies between segments 1 and 2, so that segment 0 stays whole.
    assert [len(raw) for raw in result.raw_scores] == [3, 5]
    assert (result.partitions[1] == result.partitions[1][0, 0]).sum() == 2
    assert result.forward_passes == 1 + 3 + 4


def test_no_boundary_and_convergence_end_the_recursion():
    flat = run(threshold=2.0)
    assert len(flat.partitions) == 1
    converged = run(mixing="mean", tolerance=1e3)
    assert len(converged.partitions) == 2


@pytest.mark.parametrize("mixing", ["pixel", "segment", "mean"])
@pytest.mark.parametrize("kernel", ["diagonal", "gradient"])
def test_score_map_stays_in_range_and_in_kind(mixing, kernel):
    result = run(mixing=mixing, kernel=kernel, threshold=0.05, inputs=np.ones((1, 2, 4), dtype=np.float64),
                 forward_func=lambda batch: linear(torch.from_numpy(batch)).numpy())  # fmt: skip
    assert isinstance(result.score_map, np.ndarray)
    assert result.score_map.min() >= 0
    assert result.score_map.max() <= 1


def test_pixel_mixing_keeps_coarse_scores_away_from_edges():
    labels = np.zeros((9, 12), dtype=np.int64)
    labels[:, 6:] = 1
    fine = labels * 2 + (np.arange(9) >= 4)[:, None]
    weights = torch.zeros(9, 12)
    weights[:4, :6] = 1

    def forward(batch):
        total = (batch[:, 0] * weights).sum((1, 2))
        return torch.stack([torch.zeros_like(total), total], dim=1)

    shared = {"hierarchy": Hierarchy([labels, fine]), "inputs": torch.ones(1, 9, 12), "forward_func": forward,
              "kernel": "gradient", "threshold": 0.1}  # fmt: skip
    by_pixel, by_segment = run(mixing="pixel", **shared), run(mixing="segment", **shared)
    assert by_pixel.score_map[8, 0] > 0.99  # far from the border the fine score 0 does not enter
    assert by_segment.score_map[8, 0] < 0.01


def test_batch_equals_one_by_one():
    inputs = torch.rand(2, 1, 2, 4, generator=torch.Generator().manual_seed(0))
    together = run(hierarchy=[LEVELS, LEVELS], inputs=inputs, target=[1, 1], mixing="segment")
    for image in range(2):
        alone = run(inputs=inputs[image], mixing="segment")
        assert torch.allclose(together[image].score_map, alone.score_map)
        assert together[image].forward_passes == alone.forward_passes


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"kernel": "sobel"}, "kernel must be one of"),
        ({"mixing": "max"}, "mixing must be one of"),
        ({"threshold": 0.0}, "threshold must be positive or None"),
        ({"tolerance": 0.0}, "tolerance must be positive"),
        ({"sharpness": -1.0}, "sharpness must be positive"),
        ({"centre": float("nan")}, "centre must be finite"),
    ],
)
def test_rules_are_checked(rule, message):
    with pytest.raises(ValueError, match=message):
        Rules(**rule)


def test_wrong_hierarchies_are_refused():
    with pytest.raises(ValueError, match="hierarchy has label maps"):
        run(hierarchy=Hierarchy([[[0, 1]]]))
    with pytest.raises(ValueError, match="hierarchy must be one per input: 2 for 1"):
        run(hierarchy=[LEVELS, LEVELS])


@pytest.mark.parametrize("scoring", ["owen", "random", "shap"])
def test_only_masking_goes_from_depth_to_depth(scoring):
    with pytest.raises(ValueError, match=r"scoring must be one of \('mask', 'keep', 'both'\)"):
        run(scoring=scoring)


def test_rules_that_masking_does_not_know_are_refused():
    with pytest.raises(TypeError, match="unknown rule 'passes'; rules are kernel, threshold, tolerance"):
        run(passes=20)
