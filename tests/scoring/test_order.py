"""Scores by order, against the same fit by autograd and PyTorch's Adam, and what a fit must leave alone."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import interpolate

import usu
from tests.helpers.networks import fingerprint, small_cnn
from usu.scoring.order import threshold

FOUR = np.kron(np.arange(4).reshape(2, 2), np.ones((4, 4), dtype=np.int64))
ROWS = np.repeat(np.arange(8), 8).reshape(8, 8)
OPTIONS = {"baselines": "zeros", "output": "logit", "scoring": "order"}


def curved(batch):
    """Class 0 saturates in the upper left quarter and loses by the last row."""
    quarter, last = batch[:, 0, :4, :4].sum((1, 2)), batch[:, 0, 7].sum(1)
    answer = 3 * torch.tanh(quarter / 6) - 0.2 * last
    return torch.stack([answer, torch.zeros_like(answer)], dim=1)


def slow_fit(forward_func, inputs, coarse, partitions, steps, ridge, seed=0):
    """The fit for one image against zeros, written from its definition: returns numbers and the score map."""
    start = interpolate(coarse[None, None], inputs.shape[-2:], mode="bilinear", align_corners=False)[0, 0]
    start = (start - start.mean()) / start.std(correction=0)
    labels = [torch.as_tensor(one) for one in partitions]
    starts = [
        torch.stack([start[one == segment].mean() for segment in range(int(one.max()) + 1)]) / len(labels)
        for one in labels
    ]
    numbers = [one.clone().requires_grad_() for one in starts]
    adam = torch.optim.Adam(numbers, lr=0.3, betas=(0.7, 0.95))
    scale = abs(float(forward_func(inputs[None])[0, 0] - forward_func(inputs[None] * 0)[0, 0]))
    seen = []
    for step in range(steps):
        field = sum(own[one] for own, one in zip(numbers, labels, strict=True))
        share = 0.1 + 0.8 * ((0.5 + (seed * steps + step) * (5**0.5 - 1) / 2) % 1)
        sorted_values = field.detach().flatten().sort().values
        mask = torch.sigmoid((field - sorted_values[round((1 - share) * field.numel()) - 1]) / 0.4)
        without, alone = forward_func(torch.stack([inputs * (1 - mask), inputs * mask]))[:, 0]
        changes = [(own - first).square().mean() for own, first in zip(numbers, starts, strict=True)]
        adam.zero_grad()
        ((without - alone) / scale + ridge * sum(changes)).backward()
        adam.step()
        if step >= steps // 3:
            seen.append([own.detach().clone() for own in numbers])
    means = [torch.stack(each).mean(0) for each in zip(*seen, strict=True)]
    field = sum(own[one] for own, one in zip(means, labels, strict=True))
    return means, torch.sigmoid(1.5 * (field - field.mean()) / field.std(correction=0))


@pytest.mark.parametrize(("ridge", "seed"), [(0.3, 0), (0.0, 2)])
def test_the_fit_is_the_one_by_autograd(ridge, seed, device):
    torch.manual_seed(seed)
    inputs, coarse = torch.rand(2, 8, 8, dtype=torch.float64), torch.randn(2, 2, dtype=torch.float64)
    found = usu.upsample(
        coarse.to(device),
        inputs.to(device),
        curved,
        0,
        segmentation=[usu.Hierarchy([FOUR]), usu.Hierarchy([ROWS])],
        images=torch.rand(3, 8, 8),
        mode="usu",
        **{**OPTIONS, "scoring": usu.Order(passes=2 + 6 * 9, ridge=ridge, seed=seed)},
    )
    numbers, score_map = slow_fit(curved, inputs, coarse, [FOUR, ROWS], 9, ridge, seed)
    for raw, expected in zip(found.raw_scores, numbers, strict=True):
        assert raw.cpu().numpy() == pytest.approx(expected.numpy(), abs=1e-6)
    assert found.score_map.cpu().numpy() == pytest.approx(score_map.numpy(), abs=1e-6)


def test_it_finds_what_a_coarse_map_does_not_know():
    found = usu.score_segments(curved, torch.ones(1, 8, 8), FOUR, 0, **OPTIONS)
    assert found.scores.argmax() == 0
    assert found.scores[0] > 0.9
    assert found.scores[1] > found.scores[2:].max()  # it has nothing, the lower two have the row that harms


def test_the_logit_of_the_map_is_the_mean_of_the_partitions():
    model = small_cnn()
    segmentation = {"slic": (4, 16), "watershed": (8,)}
    found = usu.explain(
        model,
        torch.rand(3, 16, 16),
        scoring="order",
        passes=20,
        segmentation=segmentation,
        perturbations_per_eval=1,
        mode="usu",
    )
    assert [len(one.partitions) for one in found.refinements] == [2, 1]
    logits = [own[labels].logit() for own, labels in zip(found.scores, found.partitions, strict=True)]
    assert torch.allclose(sum(logits) / 3, found.score_map.logit(), atol=1e-4)
    assert all(torch.allclose(one.score_map, found.score_map, atol=1e-6) for one in found.refinements)
    assert (found.settings["scoring"], found.settings["passes"], found.settings["ridge"]) == (
        "order",
        20,
        1.0,
    )


@pytest.fixture(scope="module")
def model():
    return small_cnn()


@settings(max_examples=15)
@given(st.integers(8, 60), st.integers(1, 4), st.integers(1, 3))
def test_passes_are_counted_and_bounded(passes, at_once, count):
    network, sizes = small_cnn(), []
    network.register_forward_hook(lambda module, given, result: sizes.append(len(given[0])))
    labels = [np.arange(256).reshape(16, 16) // 64] * count
    found = usu.score_segments(
        network, torch.rand(count, 3, 16, 16), labels, 1, scoring="order", passes=passes,
        perturbations_per_eval=at_once,
    )  # fmt: skip
    steps = (passes - 2) // 6
    assert [one.forward_passes for one in found] == [2 + 6 * steps] * count
    assert sum(sizes) == count * (2 + 2 * steps)  # a gradient counts, but is no forward pass
    assert max(sizes) <= at_once


@pytest.mark.parametrize("output", ["probability", "logit", torch.tanh])
def test_a_batch_equals_one_by_one(model, output):
    inputs, before = torch.rand(3, 3, 16, 16), fingerprint(model)
    options = {"scoring": "order", "passes": 50, "segmentation": {"slic": (4, 16)}, "output": output}
    together = usu.explain(model, inputs, [0, 1, 2], perturbations_per_eval=5, mode="usu", **options)
    for image, found in enumerate(together):
        one = usu.explain(model, inputs[image], image, mode="usu", **options)
        again = usu.explain(model, inputs[image], image, mode="usu", **options)
        assert torch.equal(one.score_map, again.score_map)
        assert torch.allclose(one.score_map, found.score_map, atol=1e-4)
    assert not torch.allclose(together[0].score_map, together[1].score_map, atol=0.1)
    assert fingerprint(model) == before


def test_the_unit_of_the_answer_does_not_matter(model):
    inputs, labels = torch.rand(3, 16, 16, dtype=torch.float64), np.arange(256).reshape(16, 16) // 64
    one, other = (
        usu.score_segments(
            model.double(),
            inputs,
            labels,
            lambda outputs, factor=factor: factor * outputs[:, 1],
            scoring="order",
        )
        for factor in (1.0, 100.0)
    )
    model.float()
    assert torch.allclose(one.raw_scores, other.raw_scores, atol=1e-4)


def test_the_start_is_what_the_ridge_holds(model):
    coarse, inputs = torch.rand(4, 4), torch.rand(3, 16, 16)
    held = usu.upsample(
        coarse, inputs, model, 0, scoring=usu.Order(ridge=1e6), segmentation={"slic": (16,)}, mode="usu"
    )
    start = interpolate(coarse[None, None], (16, 16), mode="bilinear", align_corners=False)[0, 0]
    labels = held.partitions[0]
    means = torch.stack([start[labels == one].mean() for one in range(int(labels.max()) + 1)])
    expected = (means - start.mean()) / start.std(correction=0)
    assert torch.allclose(held.raw_scores[0], expected, atol=0.1)
    cells = usu.upsample(
        coarse.flatten()[:2], inputs, model, 0, neighbourhoods=np.arange(256).reshape(16, 16) // 128,
        scoring=usu.Order(ridge=1e6), segmentation={"slic": (16,)}, mode="usu",
    )  # fmt: skip
    assert torch.sign(cells.score_map[:6].mean() - 0.5) == torch.sign(coarse[0, 0] - coarse[0, 1])


def test_a_constant_answer_gives_even_scores():
    def constant(batch):
        return torch.stack([0 * batch.sum((1, 2, 3)), torch.ones(len(batch))], dim=1)

    found = usu.score_segments(constant, torch.ones(1, 8, 8), FOUR, 0, **OPTIONS)
    assert found.scores.tolist() == [0.5] * 4


def test_shares_are_spread_evenly():
    shares = np.sort([threshold(number) for number in range(20, 46)])
    assert shares[0] >= 0.1
    assert shares[-1] <= 0.9
    assert np.diff(shares).max() < 3 * 0.8 / 26


def without_gradient(network):
    return lambda batch: network(batch.detach())


def through_numpy(network):
    return lambda batch: network(torch.from_numpy(batch.numpy()))


class Cut(torch.nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, batch):
        return self.network(batch.detach())


@pytest.mark.parametrize("black_box", [without_gradient, through_numpy, lambda network: Cut(network).eval()])
def test_a_black_box_is_told_what_to_use(model, black_box):
    before = fingerprint(model)
    with pytest.raises(ValueError, match=r"no gradient .* use scoring='mask' or 'owen'"):
        usu.score_segments(
            black_box(model), torch.rand(3, 16, 16), np.zeros((16, 16), int), 0, scoring="order"
        )
    assert fingerprint(model) == before


def test_numpy_knows_no_gradient_but_a_module_does(model):
    inputs, labels = np.random.default_rng(0).random((3, 16, 16), dtype=np.float32), np.zeros((16, 16), int)
    with pytest.raises(ValueError, match="use scoring='mask' or 'owen'"):
        usu.score_segments(
            lambda batch: model(torch.from_numpy(batch)).detach().numpy(), inputs, labels, 0, scoring="order"
        )
    assert isinstance(usu.score_segments(model, inputs, labels, 0, scoring="order").scores, np.ndarray)


def test_a_failing_model_is_left_as_it_was():
    network, calls = small_cnn(), []
    before = fingerprint(network)

    def fails(outputs):
        calls.append(outputs.requires_grad)
        if len(calls) == 5:
            raise KeyError("broken")
        return outputs[:, 0]

    with pytest.raises(KeyError, match="broken"):
        usu.score_segments(network, torch.rand(3, 16, 16), np.zeros((16, 16), int), fails, scoring="order")
    assert calls == [False, False, True, True, True]
    assert fingerprint(network) == before


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"passes": 7}, ValueError, "passes must be at least 8"),
        ({"ridge": -0.1}, ValueError, "ridge must be at least 0"),
        ({"ridge": "much"}, TypeError, "ridge"),
        ({"seed": 0.5}, TypeError, "seed"),
    ],
)
def test_bad_settings(options, error, words):
    with pytest.raises(error, match=words):
        usu.Order(**options)


def test_no_hierarchy_of_another_size(model):
    with pytest.raises(ValueError, match="hierarchy has label maps"):
        usu.upsample(
            torch.rand(4, 4),
            torch.rand(3, 16, 16),
            model,
            0,
            segmentation=usu.Hierarchy([FOUR]),
            scoring="order",
            mode="usu",
        )


def test_masking_and_order_share_the_passes_and_the_exponents(model):
    torch.manual_seed(3)
    inputs, coarse, before = torch.rand(2, 3, 16, 16), torch.rand(2, 4, 4), fingerprint(model)
    trees = [[usu.segment(image, (count, 16), "slic"), usu.segment(image, (8,), "watershed")]
             for image, count in zip(inputs, (4, 9), strict=True)]  # fmt: skip
    options = {"segmentation": trees, "output": "logit"}
    both = usu.upsample(coarse, inputs, model, [0, 1], scoring="mask+order", passes=44, mode="usu", **options)
    for image, found in enumerate(both):
        count = trees[image][0].counts[0]
        steps = (44 - 2 - count) // 6
        own = {**options, "segmentation": trees[image]}
        order = usu.upsample(
            coarse[image],
            inputs[image],
            model,
            image,
            scoring="order",
            passes=2 + 6 * steps,
            mode="usu",
            **own,
        )
        masked = usu.score_segments(
            model, inputs[image], trees[image][0].levels[0], image, output="logit", scoring="mask"
        )
        of_mask = masked.scores[torch.as_tensor(trees[image][0].levels[0])]
        weights = (of_mask / 0.4 + order.score_map / 0.3).exp()
        ratio = weights / (found.score_map / (0.12 / 0.7)).exp()
        assert torch.allclose(ratio, ratio.flatten()[0], rtol=1e-2)
        assert [len(each.partitions) for each in found.refinements] == [3, 1]
        assert torch.allclose(found.raw_scores[0], masked.raw_scores, atol=1e-5)
        assert found.forward_passes == 2 + count + 6 * steps <= 44
    assert fingerprint(model) == before


def test_masks_must_leave_a_step(model):
    with pytest.raises(
        ValueError, match="passes=40 leave nothing for the fit after 33 masks: give at least 41"
    ):
        usu.score_segments(
            model,
            torch.rand(3, 16, 16),
            (np.arange(256) % 33).reshape(16, 16),
            0,
            scoring="mask+order",
            passes=40,
        )


def test_where_a_copys_answer_is_constant_it_has_no_slope():
    """A detector that finds no box in a masked copy says 0, whatever its pixels."""

    def detector(batch):
        bright = batch.sum((1, 2, 3))
        answer = torch.where(bright > 40, bright, torch.zeros(()))
        return answer[:, None] if bool((bright > 40).any()) else torch.zeros(len(batch), 1)

    image = torch.ones(1, 8, 8)
    options = {"baselines": "zeros", "output": "logit", "segmentation": [usu.Hierarchy([FOUR])]}
    found = usu.upsample(torch.eye(2), image, detector, 0, images=image, **options)
    assert found.settings["scoring"] == "order"
    assert torch.isfinite(found.attribution).all()
    with pytest.raises(ValueError, match="no gradient"):
        usu.score_segments(lambda batch: torch.zeros(len(batch), 1), image, FOUR, 0, **OPTIONS)
