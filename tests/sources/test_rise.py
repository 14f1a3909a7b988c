"""RISE, against a loop over single masks and against answers that are worked out by hand."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import usu
from tests.helpers.networks import fingerprint, small_cnn
from usu.models.baselines import make_fill
from usu.sources.rise import Rise, rise

TARGETS = [0, 4, 2]


@pytest.fixture
def model():
    return small_cnn()


@pytest.fixture
def batch():
    return 8 * torch.randn(3, 3, 12, 16, generator=torch.Generator().manual_seed(1))


def grids_of(masks, cells, shown, seed):
    """Return the cells of all masks in one draw, (masks, cells, cells)."""
    drawn = torch.rand(masks, cells, cells, generator=torch.Generator().manual_seed(seed))
    return (drawn < shown).numpy().astype(float)


def blown_up(grid, size):
    """Interpolate a grid between the centres of its cells, pixel by pixel, constant beyond the outermost."""
    mask = np.empty(size)
    for y, x in np.ndindex(*size):
        places = [
            np.clip((pixel + 0.5) * len(grid) / side - 0.5, 0, len(grid) - 1)
            for pixel, side in zip((y, x), size, strict=True)
        ]
        low = [min(int(place), len(grid) - 2) for place in places]
        (v, u) = (place - start for place, start in zip(places, low, strict=True))
        near = grid[low[0] : low[0] + 2, low[1] : low[1] + 2]
        mask[y, x] = np.array([1 - v, v]) @ near @ np.array([1 - u, u])
    return mask


def slow_rise(model, image, target, fill, grids, masks, link):
    """Return E[f m] / E[m] of each cell and E[f], one mask at a time, in float64."""
    answers = []
    for mask in masks:
        shown = image * mask + fill * (1 - mask)
        with torch.no_grad():
            answers.append(float(link(model(shown[None]))[0, target]))
    answers = np.array(answers)
    return np.einsum("n,nhw->hw", answers, grids) / grids.sum(0), answers.mean()


@pytest.mark.parametrize(
    ("options", "link"),
    [
        ({}, lambda outputs: outputs.softmax(1)),
        ({"output": "logit", "baselines": "blur"}, lambda outputs: outputs),
        ({"shown": 0.3, "cells": 3, "seed": 7, "baselines": "mean"}, lambda outputs: outputs.softmax(1)),
    ],
)
def test_it_is_the_loop_over_masks(model, batch, options, link, device):
    source = Rise(**{"cells": 4, "masks": 40, **options})
    expected = []
    exact = small_cnn().double()
    fills = make_fill(batch.double(), source.baselines)
    grids = grids_of(source.masks, source.cells, source.shown, source.seed)
    masks = torch.from_numpy(np.stack([blown_up(grid, (12, 16)) for grid in grids]))
    for image, fill, target in zip(batch.double(), fills, TARGETS, strict=True):
        conditional, mean = slow_rise(exact, image, target, fill, grids, masks, link)
        expected.append(conditional - mean)
    found = source(exact.to(device), batch.double().to(device), TARGETS, None)
    np.testing.assert_allclose(found.values.cpu(), expected, atol=1e-12)
    single = source(model.to(device), batch.to(device), TARGETS, None)
    np.testing.assert_allclose(single.values.cpu(), expected, atol=1e-2 * np.abs(expected).max())
    assert np.abs(expected).max() > 1e-3
    assert (found.mass, found.source, found.layer) == ("total", "rise", None)


def test_scaled_to_its_extremes_it_is_the_papers_map(model, batch):
    source = Rise(cells=4, masks=40)
    grids, image = grids_of(40, 4, 0.5, 0), batch[0].double()
    masks = torch.from_numpy(np.stack([blown_up(grid, (12, 16)) for grid in grids]))
    exact = small_cnn().double()
    conditional, _ = slow_rise(exact, image, 0, 0.0, grids, masks, lambda outputs: outputs.softmax(1))
    values = source(model.double(), batch[:1].double(), [0], None).values[0].numpy()
    scaled = [(each - each.min()) / (each.max() - each.min()) for each in (values, conditional)]
    np.testing.assert_allclose(*scaled, atol=1e-6)


class Centres(nn.Module):
    """Adds up the pixels in the centre of each of 2 × 2 cells, with weights; class 1 is always 3."""

    weights = torch.tensor([[4.0, -2.0], [1.0, 0.0]], dtype=torch.float64)

    def forward(self, batch):
        centres = batch[:, 0, 1::3, 1::3]  # cells of 3 × 3 pixels
        first = (centres * self.weights.to(batch)).sum((1, 2))
        return torch.stack([first, torch.full_like(first, 3)], dim=1)


@pytest.mark.parametrize("shown", [0.5, 0.2])
def test_an_additive_model_has_its_weights_times_the_share_hidden(shown):
    # At a cell's centre the mask is the cell's own bit, so E[f | on] - E[f] = w - shown · w.
    source = Rise(cells=2, masks=20_000, shown=shown, output="logit", perturbations_per_eval=2000)
    values = source(Centres().eval(), torch.ones(1, 1, 6, 6, dtype=torch.float64), [0], None).values[0]
    spread = 21**0.5 * (shown * (1 - shown)) ** 0.5
    error = spread * ((1 - shown) / (shown * source.masks)) ** 0.5
    np.testing.assert_allclose(values, (1 - shown) * Centres.weights, atol=4 * error)


def test_an_answer_that_never_changes_is_due_to_no_cell():
    values = Rise(cells=2, masks=50, output="logit")(
        Centres().eval(), torch.ones(2, 1, 6, 6), [1, 1], None
    ).values
    np.testing.assert_allclose(values, np.zeros((2, 2, 2)), atol=1e-12)


@settings(max_examples=30)
@given(count=st.integers(2, 60), chunk=st.integers(1, 70), seed=st.integers(0, 5))
def test_batches_of_masks_change_nothing(count, chunk, seed):
    image, network = torch.ones(1, 1, 6, 6, dtype=torch.float64), Centres().eval()
    one = Rise(cells=2, masks=count + 20, output="logit", seed=seed)
    other = dataclasses.replace(one, perturbations_per_eval=chunk)
    expected, found = (source(network, image, [0], None).values for source in (one, other))
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_a_batch_is_as_its_images(model, batch):
    source = Rise(masks=60)
    together = source(model, batch, TARGETS, None).values
    for image, target in enumerate(TARGETS):
        alone = source(model, batch[image : image + 1], [target], None).values[0]
        torch.testing.assert_close(together[image], alone, rtol=0, atol=0)


def test_seeded_and_the_global_generator_is_left_alone(model, batch):
    before = torch.random.get_rng_state()
    once, again, other = (Rise(masks=40, seed=seed)(model, batch, TARGETS, None).values for seed in (3, 3, 4))
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_forward_passes_and_batches_are_as_promised(model, batch):
    seen = []
    handle = model.register_forward_pre_hook(lambda _, arguments: seen.append(len(arguments[0])))
    found = Rise(masks=37, perturbations_per_eval=8)(model, batch, TARGETS, None)
    handle.remove()
    assert seen == [8, 8, 8, 8, 5] * 3
    assert found.forward_passes == (37, 37, 37)


def test_the_model_is_left_as_it_was(model, batch):
    before = fingerprint(model)
    Rise(masks=20)(model, batch, TARGETS, None)
    assert fingerprint(model) == before


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_floats(model, batch, dtype):
    source = Rise(masks=40, cells=4)
    expected = source(model, batch, TARGETS, None).values
    found = source(model.to(dtype), batch.to(dtype), TARGETS, None).values
    assert found.dtype == dtype
    np.testing.assert_allclose(found.double(), expected, atol=0.05)


def test_targets_may_be_scores_of_the_callers(model, batch):
    source = Rise(masks=40, output="logit")
    expected = source(model, batch, [2, 2, 2], None).values
    found = source(model, batch, [lambda outputs: outputs[:, 2]] * 3, None).values
    torch.testing.assert_close(found, expected)


def test_the_pipeline_keeps_its_mass(model, batch):
    explanation = usu.explain(
        model, batch[0], 1, source=Rise(masks=40, cells=4), segmentation={"quadtree": (4, 16)}, mode="usu"
    )
    cells = explanation.attribution.reshape(4, 3, 4, 4).sum((1, 3))
    np.testing.assert_allclose(cells, explanation.coarse, atol=1e-6)


def test_the_registered_one_is_the_papers_but_for_the_number_of_masks():
    assert rise == Rise(cells=7, masks=1000, shown=0.5, baselines="zeros", output="probability")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"cells": 1}, ValueError, "cells must be at least 2, got 1"),
        ({"masks": 10.0}, TypeError, r"masks must be an integer, got 10\.0"),
        ({"perturbations_per_eval": 0}, ValueError, "perturbations_per_eval must be at least 1"),
        ({"shown": 1.0}, ValueError, "shown must be a probability between 0 and 1"),
        ({"output": "odds"}, ValueError, "output must be one of"),
    ],
)
def test_bad_settings(options, error, message):
    with pytest.raises(error, match=message):
        Rise(**options)


@pytest.mark.parametrize(
    ("options", "change", "message"),
    [
        ({}, {"targets": [1, 2]}, "target must be one index or 3, one per image"),
        ({}, {"targets": [1, 2, 5]}, "target must be below the model's 5 classes, got 5"),
        ({}, {"layer": "4"}, "layer must be None for source 'rise'"),
        ({"cells": 13}, {}, "cells must be at most the sides of the inputs"),
        ({"masks": 2, "shown": 0.1}, {}, "masks must be enough to show each of 7 × 7 cells, got 2"),
        ({"baselines": "white"}, {}, "baselines must be one of"),
    ],
)
def test_bad_calls(model, batch, options, change, message):
    before = fingerprint(model)
    arguments = {"model": model, "inputs": batch, "targets": TARGETS, "layer": None, **change}
    with pytest.raises(ValueError, match=message):
        Rise(**{"masks": 20, **options})(**arguments)
    assert fingerprint(model) == before


def test_training_mode_is_refused(model, batch):
    with pytest.raises(ValueError, match="training mode"):
        rise(model.train(), batch, TARGETS, None)
