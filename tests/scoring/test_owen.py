"""Owen values, against the mean over all orders that a tree allows, and what they must add up to."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import usu
from tests.helpers.networks import fingerprint, small_cnn
from usu.segmentation.tree import Tree

FIVE = np.array([[0, 0, 1, 2], [0, 0, 1, 2], [3, 3, 4, 4]])
OPTIONS = {"baselines": "zeros", "output": "logit", "scoring": "owen"}


def interacting(batch):
    """Class 0 multiplies and takes a maximum: no answer is the sum of what segments contribute."""
    total = batch.double().sum(1)
    left, right, low = total[:, :2, :2].sum((1, 2)), total[:, :2, 2:].sum((1, 2)), total[:, 2:].sum((1, 2))
    answer = left * right / 4 + torch.maximum(right, 3 * low) + 0.5 * left
    return torch.stack([answer, torch.zeros_like(answer)], dim=1)


def orders(tree, node=0):
    """Yield each order of the segments in which no node is interrupted by others."""
    if tree.children[node] is None:
        yield [tree.order[tree.ranges[node][0]]]
        return
    one, other = tree.children[node]
    for first, second in itertools.product(orders(tree, one), orders(tree, other)):
        yield first + second
        yield second + first


def slow_owen(forward_func, inputs, labels):
    """Average each segment's contribution over all these orders."""
    values, count = np.zeros(labels.max() + 1), 0
    for order in orders(Tree(usu.Hierarchy([labels]))):
        present = np.zeros(labels.shape, dtype=bool)
        before = float(forward_func(inputs[None] * 0)[0, 0])
        for label in order:
            present |= labels == label
            after = float(forward_func(inputs[None] * torch.from_numpy(present))[0, 0])
            values[label] += after - before
            before = after
        count += 1
    return values / count


@pytest.mark.parametrize("seed", range(3))
def test_without_a_bound_they_are_the_mean_over_all_orders(seed, device):
    torch.manual_seed(seed)
    inputs = torch.rand(2, 3, 4, dtype=torch.float64)
    found = usu.score_segments(interacting, inputs.to(device), FIVE, 0, passes=10_000, **OPTIONS)
    expected = slow_owen(interacting, inputs, FIVE)
    assert found.raw_scores.cpu().numpy() == pytest.approx(expected, abs=1e-12)
    density = np.clip(expected / np.bincount(FIVE.ravel()), 0, None)
    assert found.scores.cpu().numpy() == pytest.approx(density / density.max(), abs=1e-12)


def test_a_sum_is_shared_as_it_is():
    def total(batch):
        return torch.stack([batch.sum((1, 2, 3)), torch.zeros(len(batch))], dim=1)

    found = usu.score_segments(total, torch.ones(1, 3, 4), FIVE, 0, passes=1000, **OPTIONS)
    assert found.raw_scores.tolist() == pytest.approx([4, 2, 2, 2, 2])
    assert found.scores.tolist() == pytest.approx([1.0] * 5)


def test_the_budget_goes_to_the_largest_value():
    """One pixel of 64 decides: its ancestors are divided, and what is left shares its value evenly."""
    labels = np.arange(64).reshape(8, 8)

    def corner(batch):
        return torch.stack([batch[:, 0, 7, 7], torch.zeros(len(batch))], dim=1)

    found = usu.score_segments(corner, torch.ones(1, 8, 8), labels, 0, passes=2 + 2 * 4, **OPTIONS)
    assert found.forward_passes <= 10
    nonzero = found.raw_scores.reshape(8, 8).nonzero()
    assert nonzero.min() >= 4  # within the quarter of the corner
    assert float(found.raw_scores.sum()) == pytest.approx(1)


def test_of_two_values_the_one_spread_over_more_pixels_is_divided_first():
    """Values 3 and 2 on 2 and 18 pixels: 3·√2 < 2·√18. The budget is for one division of either."""
    coarse, fine = np.repeat([0, 1], [2, 18])[None], np.repeat([0, 1, 2, 3], [1, 1, 9, 9])[None]

    def two_pixels(batch):
        answer = 3 * batch[:, 0, 0, 0] + 2 * batch[:, 0, 0, 2]
        return torch.stack([answer, 0 * answer], dim=1)

    hierarchy = usu.Hierarchy([coarse, fine])
    # Two passes for each division: of the root, then of one half in both of its contexts.
    options = {**OPTIONS, "segmentation": hierarchy, "passes": 2 + 2 * 3}
    found = usu.upsample(torch.ones(1, 1), torch.ones(1, 1, 20), two_pixels, 0, **options)
    assert found.raw_scores[0].tolist() == pytest.approx([1.5, 1.5, 2.0, 0.0])


@given(st.integers(2, 60), st.integers(1, 30), st.integers(0, 4))
def test_values_add_up_at_any_budget(passes, count, seed):
    generator = np.random.default_rng(seed)
    labels = usu.segment(generator.random((3, 6, 7)), (count,), "slic").levels[-1]
    inputs = torch.from_numpy(generator.random((3, 6, 7)))
    found = usu.score_segments(interacting_anywhere, inputs, labels, 0, passes=passes, **OPTIONS)
    ends = interacting_anywhere(torch.stack([inputs, inputs * 0]))[:, 0]
    assert float(found.raw_scores.sum()) == pytest.approx(float(ends[0] - ends[1]), abs=1e-10)
    assert found.forward_passes <= max(passes, 2)


def interacting_anywhere(batch):
    total = batch.double().sum((1, 3))
    return torch.stack([total[:, 0] * total[:, 1] + total.amax(1), total[:, 0]], dim=1)


@pytest.fixture(scope="module")
def model():
    return small_cnn()


def test_a_batch_equals_one_by_one(model):
    inputs, before = torch.rand(3, 3, 16, 16), fingerprint(model)
    hierarchies = [usu.segment(image, (4, 16), "slic") for image in inputs]
    settings = {"segmentation": hierarchies, "scoring": "owen", "passes": 30}
    together = usu.upsample(torch.rand(3, 4, 4), inputs, model, [0, 1, 2], **settings)
    for image, found in enumerate(together):
        one = usu.upsample(
            torch.rand(4, 4),
            inputs[image],
            model,
            image,
            **{**settings, "segmentation": hierarchies[image]},
            perturbations_per_eval=3,
        )
        assert torch.allclose(found.score_map, one.score_map, atol=1e-3)
        assert torch.allclose(
            found.raw_scores[0], one.raw_scores[0], atol=1e-6
        )  # scores divide by the largest density, tiny here
    assert fingerprint(model) == before


def test_trees_share_the_budget(model):
    inputs = torch.rand(3, 16, 16)
    trees = {"slic": (4, 16), "quadtree": (64,), "watershed": (8,)}
    found = usu.upsample(torch.rand(4, 4), inputs, model, 1, segmentation=trees, scoring="owen", passes=50)
    assert found.forward_passes <= 50
    assert len(found.raw_scores) == 3
    sums = [float(raw.sum()) for raw in found.raw_scores]
    assert sums == pytest.approx([sums[0]] * 3, abs=1e-6)


def test_at_most_one_batch_exists_at_a_time(model):
    largest = 0

    def watched(batch):
        nonlocal largest
        largest = max(largest, len(batch))
        return model(batch)

    labels = torch.arange(256).reshape(16, 16)
    usu.score_segments(
        watched, torch.rand(3, 16, 16), labels, 0, scoring="owen", passes=200, perturbations_per_eval=5
    )
    assert largest == 5


@pytest.mark.parametrize(
    ("passes", "error", "words"),
    [(1, ValueError, "at least 2"), (2.5, TypeError, "an integer"), (True, TypeError, "an integer")],
)
def test_bad_budgets(passes, error, words):
    with pytest.raises(error, match=words):
        usu.score_segments(interacting, torch.ones(1, 3, 4), FIVE, 0, passes=passes, **OPTIONS)


@pytest.mark.parametrize("scoring", ["owen", "regression"])
def test_a_hierarchy_of_another_size_is_refused(model, scoring):
    with pytest.raises(ValueError, match="hierarchy has label maps"):
        usu.upsample(
            torch.rand(4, 4),
            torch.rand(3, 16, 16),
            model,
            0,
            segmentation=usu.Hierarchy([FIVE]),
            scoring=scoring,
        )
