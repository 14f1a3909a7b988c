"""Worlds without training: deterministic by seed, and with the truth that geometry says they have."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from tests.helpers.networks import fingerprint, small_cnn
from tests.helpers.reference import grid_labels
from usu.metrics.errors import error_maps, mass_errors
from usu.operators.interpolation import interpolate
from usu.operators.redistribution import redistribute
from usu.worlds import Scene
from usu.worlds.aggregation import aggregate, smooth_field, truth_maps
from usu.worlds.drawings import split
from usu.worlds.gradients import attribution, share_inside
from usu.worlds.patterns import PATTERNS, patterns
from usu.worlds.shapes import CLASSES, shapes

WORLDS = pytest.mark.parametrize("world", [shapes, patterns])


def test_a_scene_holds_what_fits_together():
    image, mask = torch.rand(3, 4, 5), torch.ones(4, 5)
    assert Scene(image, image[:1], mask, 2).target == 2
    with pytest.raises(ValueError, match=r"got \(3, 4, 5\), \(3, 4, 5\) and \(5, 4\)"):
        Scene(image, image, mask.T, 0)
    for wrong in (mask - 2, 0 * mask):
        with pytest.raises(ValueError, match="at least 0 and not 0 everywhere"):
            Scene(image, image, wrong, 0)


@WORLDS
def test_scenes_depend_on_the_seed_and_their_number_alone(world):
    few, many, other = world(5, 7, 64), world(50, 7, 64), world(5, 8, 64)
    for index in range(5):
        assert torch.equal(few[index].inputs, many[index].inputs)
        assert torch.equal(few[index].truth, many[index].truth)
        assert not torch.equal(few[index].inputs, other[index].inputs)
    assert torch.equal(many[10:20][3].inputs, many[13].inputs)
    assert torch.equal(many[-1].inputs, many[49].inputs)


@WORLDS
def test_the_bright_pixels_are_the_truth(world):
    for scene in world(10, 1, 96):
        assert set(scene.truth.unique().tolist()) == {0.0, 1.0}
        background, foreground = scene.picture.unique()
        assert 0 <= background <= 0.3
        assert 0.6 <= foreground <= 1
        assert torch.equal(scene.truth == 1, scene.picture[0] == foreground)
        assert torch.allclose(255 * scene.picture, (255 * scene.picture).round(), atol=1e-4)


def extents(mask):
    rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
    return [int(bound) for axis in (rows, columns) for bound in (axis.min(), axis.max() + 1)]


def test_shapes_are_what_their_class_says_and_centred():
    """Share of the bounding box: π/4 for a disc, 1/2 for a triangle, 1 for a square."""
    fill = {"circle": math.pi / 4, "triangle": 0.5, "square": 1.0}
    sides = {"circle": 1.0, "triangle": math.sqrt(3) / 2, "square": 1.0}
    for scene in shapes(30, 2, 224):
        name = CLASSES[scene.target]
        top, bottom, left, right = extents(scene.truth.bool())
        assert abs(top + bottom - 224) <= 2
        assert left + right == 224
        height, width = bottom - top, right - left
        assert float(scene.truth.sum()) / (height * width) == pytest.approx(fill[name], abs=0.02)
        assert height / width == pytest.approx(sides[name], abs=0.03)


def test_neither_area_nor_brightness_tells_the_shapes_apart():
    areas = [[] for _ in CLASSES]
    for scene in shapes(300, 0, 56):
        areas[scene.target].append(float(scene.truth.mean()))
    means = [np.mean(one) for one in areas]
    spread = np.std(areas[0])
    assert max(means) - min(means) < spread / 2
    assert max(map(max, areas)) / min(map(min, areas)) > 1.6


def test_patterns_have_the_symmetries_of_their_names():
    masks = {PATTERNS[scene.target]: scene.truth.bool() for scene in patterns(5, 3, 224)}
    rings, spiral = masks["concentric wave"], masks["spiral"]
    for turned in (rings.T, rings.flip(0), rings.flip(1)):
        assert torch.equal(rings, turned)
    # Half a turn of a spiral of one arm moves it by half a period: a bright pixel seldom meets a bright one.
    assert float((spiral & spiral.flip(0, 1)).sum() / spiral.sum()) < 0.05
    for name in ("zigzag", "sine"):
        mask = masks[name].double()
        agreement = [float((mask[shift:] == mask[:-shift]).double().mean()) for shift in range(35, 60)]
        assert max(agreement) > 0.93  # there is a period in the range of periods, to the nearest pixel
        assert not torch.equal(mask[:, :1].expand_as(mask), mask)  # and the bands are not straight
    for name, mask in masks.items():
        assert 0.15 < float(mask.double().mean()) < 0.55, name


@WORLDS
def test_split_is_balanced_disjoint_and_deterministic(world):
    scenes = world(2000, 0, 32)
    parts = split(scenes)
    numbers = [part.numbers for part in (parts.train, parts.validation, parts.test)]
    assert sorted(sum(numbers, ())) == list(range(2000))
    assert [len(part) / 2000 for part in numbers] == pytest.approx([0.7, 0.15, 0.15], abs=0.001)
    for part in (parts.train, parts.validation, parts.test):
        counts = np.bincount([part.target(index) for index in range(len(part))])
        assert counts.max() - counts.min() <= 1
        assert part.target(3) == part[3].target
    assert split(scenes).test.numbers == parts.test.numbers
    assert split(scenes, seed=1).test.numbers != parts.test.numbers


@WORLDS
def test_bad_numbers_are_refused(world):
    for arguments in [(0,), (3, -1), (3, 0, 0)]:
        with pytest.raises(ValueError, match="count and size must be at least 1 and seed at least 0"):
            world(*arguments)
    with pytest.raises(ValueError, match="at least 4 of each class"):
        split(world(9, 0, 8))


# Exact aggregation.


@pytest.mark.parametrize("grid", [(4, 4), (7, 7), (14, 14), (5, 3)])
def test_aggregate_sums_the_pixels_of_each_cell(grid):
    truth = torch.rand(2, 28, 23, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = torch.zeros(2, grid[0] * grid[1], dtype=torch.float64)
    for pixel, label in enumerate(grid_labels(grid, (28, 23))):
        expected[:, label] += truth.flatten(1)[:, pixel]
    assert torch.allclose(aggregate(truth, grid), expected.reshape(2, *grid), rtol=1e-12)


def test_exact_masses_leave_a_conserving_operator_no_deficit_and_an_interpolation_some():
    for truth in truth_maps(2, 0, 56):
        coarse = aggregate(truth.values, (7, 7))
        kept = redistribute(coarse, truth.scores, mass="total", temperature=0.1)
        bled = interpolate(coarse / 64, (56, 56), "bilinear")
        total = float(truth.values.sum())
        assert truth.kind in ("mask", "pattern", "field")
        errors, others = mass_errors(kept, truth.values, (7, 7)), mass_errors(bled, truth.values, (7, 7))
        assert float(errors.deficit.sum() + errors.excess.sum()) < 1e-4 * total
        assert float(others.deficit.sum() + others.excess.sum()) > 1e-2 * total
        if truth.kind != "field":  # where the truth is flat on its support, oracle scores give it back
            assert float(error_maps(kept, truth.values).alpha.sum()) < 5e-3 * total


def test_smooth_fields_are_smooth_positive_and_seeded():
    fine, coarse = smooth_field(64, 0.03, 1), smooth_field(64, 0.2, 1)
    assert torch.equal(fine, smooth_field(64, 0.03, 1))
    assert not torch.equal(fine, smooth_field(64, 0.03, 2))
    for field in (fine, coarse):
        assert 0 < float(field.min()) < 0.3
        assert float(field.max()) == 1
    roughness = [float(field.diff(dim=0).abs().mean() / field.std()) for field in (fine, coarse)]
    assert roughness[1] < roughness[0] / 3 < 0.2
    with pytest.raises(ValueError, match="scale must be above 0"):
        smooth_field(8, 0.0, 0)
    with pytest.raises(ValueError, match="size must be at least 2, got 1"):
        smooth_field(1, 0.1, 0)


@pytest.mark.parametrize("scale", [1.0, 5.0, 1000.0])
def test_of_a_field_wider_than_the_image_the_slowest_wave_is_left(scale):
    field = smooth_field(32, scale, 0).double().log()
    waves = torch.fft.fft2(field).abs()
    waves[0, 0] = 0  # the largest value is 1
    slowest = waves[[0, 0, 1, -1], [1, -1, 0, 0]]
    assert float(slowest.square().sum() / waves.square().sum()) == pytest.approx(1)


# Input gradients.


def test_gradients_are_those_of_finite_differences():
    model = small_cnn().double()
    model[1], model[4] = nn.Tanh().eval(), nn.Tanh().eval()  # no kinks, for the differences' sake
    inputs = torch.rand(3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = torch.zeros(3, 16, 16, dtype=torch.float64)
    with torch.no_grad():
        for channel in range(3):
            steps = torch.zeros(256, 3, 16, 16, dtype=torch.float64)
            steps[torch.arange(256), channel, torch.arange(256) // 16, torch.arange(256) % 16] = 1e-5
            ends = [model(inputs + sign * steps)[:, 2] for sign in (1, -1)]
            expected[channel] = ((ends[0] - ends[1]) / 2e-5).reshape(16, 16)
    pixels = attribution(model, inputs, 2)
    assert torch.allclose(pixels, expected.abs().sum(0), atol=1e-9)
    cells = aggregate(pixels, (4, 4))
    assert torch.allclose(cells, expected.abs().sum(0).reshape(4, 4, 4, 4).sum((1, 3)), atol=1e-8)


def test_a_batch_is_its_images_and_the_model_is_left_as_it_was():
    model = small_cnn()
    before = fingerprint(model)
    inputs = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    together = attribution(model, inputs, [0, 4, 2])
    for index, target in enumerate([0, 4, 2]):
        assert torch.allclose(together[index], attribution(model, inputs[index], target), rtol=1e-4)
    assert not together.requires_grad
    assert fingerprint(model) == before
    with pytest.raises(ValueError, match="target must be a class index"):
        attribution(model, inputs, [0, 1])
    with pytest.raises(ValueError, match="training mode"):
        attribution(model.train(), inputs, 0)


def test_share_inside_by_hand():
    pixels = torch.tensor([[[3.0, -1.0], [0.0, 4.0]], [[0.0, 0.0], [0.0, 0.0]]])
    mask = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    assert share_inside(pixels, mask.expand(2, 2, 2)).tolist() == [0.5, 0.0]
