"""Mosaics and pasted photographs, with a really trained network."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

from tests.helpers.reference import grid_labels
from usu.models.loading import load_classifier
from usu.worlds.mosaics import mosaics, straddling
from usu.worlds.pasted import pasted
from usu.worlds.photographs import between_borders, confident, covering, normalised, probabilities

LEAST = 0.2  # of what ships with scikit-image, four are told with more: a cat, a cup, a camera man, a rocket
GRID = (7, 7)


@pytest.fixture(scope="module")
def classifier():
    return load_classifier("efficientnet-lite0")


@pytest.fixture(scope="module")
def photographs(classifier):
    names = ("chelsea", "coffee", "camera", "rocket", "grass")
    return confident(classifier, [Image.fromarray(getattr(skimage.data, name)()) for name in names], LEAST)


def test_confident_photographs_are_those_the_classifier_is_sure_of(classifier, photographs):
    found = [classifier.class_names[photograph.target] for photograph in photographs]
    assert found == ["tiger cat", "espresso", "tripod", "missile"]  # and the grass is left out
    for photograph in photographs:
        assert photograph.picture.shape == (3, 224, 224)
        answer = probabilities(classifier, normalised(classifier, photograph.picture)[None])[0]
        assert float(answer[photograph.target]) == pytest.approx(photograph.probability, abs=1e-5)
        assert int(answer.argmax()) == photograph.target
        assert photograph.probability >= LEAST
    with pytest.raises(ValueError, match="least must be a probability"):
        confident(classifier, [], least=1.5)


@lru_cache
def labels_of(cells, length):
    return tuple(grid_labels((cells,), (length,)))


def on_a_border(position, length, cells):
    labels = labels_of(cells, length)
    return labels[position] != labels[position - 1]


@pytest.fixture(scope="module")
def made(classifier, photographs):
    return mosaics(classifier, photographs, 4, GRID, size=(224, 224), seed=1)


def test_mosaics_are_cut_inside_cells_and_truth_is_one_tile(made, photographs, classifier):
    for mosaic in made:
        row, column = mosaic.border
        assert not on_a_border(row, 224, 7)
        assert not on_a_border(column, 224, 7)
        rows, columns = mosaic.scene.truth.bool().any(1), mosaic.scene.truth.bool().any(0)
        assert [int(rows.sum()), int(columns.sum())] in [
            [height, width] for height in (row, 224 - row) for width in (column, 224 - column)
        ]
        assert float(mosaic.scene.truth.sum()) == float(rows.sum() * columns.sum())
        assert mosaic.scene.target in {photograph.target for photograph in photographs}
        assert torch.equal(mosaic.scene.inputs, normalised(classifier, mosaic.scene.picture))


def test_a_mosaics_tile_is_the_targets_photograph(made, photographs):
    for mosaic in made:
        (photograph,) = [one for one in photographs if one.target == mosaic.scene.target]
        mask = mosaic.scene.truth.bool()
        height, width = int(mask.any(1).sum()), int(mask.any(0).sum())
        tile = mosaic.scene.picture[:, mask].reshape(3, height, width)
        assert torch.equal(tile, covering(photograph.picture, (height, width)))


def test_straddling_cells_are_counted_by_hand(made):
    for mosaic in made:
        axis = torch.tensor(labels_of(7, 224))
        labels = (7 * axis[:, None] + axis).flatten()
        truth = mosaic.scene.truth.flatten()
        expected = [len(truth[labels == cell].unique()) == 2 for cell in range(49)]
        assert mosaic.straddling.flatten().tolist() == expected
        assert any(expected)
    assert straddling(torch.eye(4), (2, 2)).tolist() == [[True, False], [False, True]]


def test_worlds_of_photographs_are_seeded(made, classifier, photographs):
    again = mosaics(classifier, photographs, 1, GRID, size=(224, 224), seed=1)[0]
    assert torch.equal(again.scene.inputs, made[0].scene.inputs)
    assert again.probability == pytest.approx(made[0].probability)
    assert len({mosaic.border for mosaic in made}) > 1


def test_pasted_photographs_are_noticed(classifier, photographs):
    kept = pasted(classifier, photographs, 1, GRID, share=0.6, tries=8, seed=1)
    assert kept
    for one in kept:
        assert one.before < 0.01 < 0.2 < one.after
        mask = one.scene.truth.bool()
        assert int(mask.sum()) == 134 * 134
        rows, columns = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
        assert (int(rows[0]), int(columns[0])) == one.corner
        for start, end in ((rows[0], rows[-1] + 1), (columns[0], columns[-1] + 1)):
            assert not on_a_border(int(start), 224, 7)
            assert not on_a_border(int(end), 224, 7)
        answers = probabilities(classifier, one.scene.inputs[None])[0]
        assert float(answers[one.scene.target]) == pytest.approx(one.after, abs=1e-4)
        grounds = [photograph.picture for photograph in photographs]
        outside = [bool((one.scene.picture == ground)[:, ~mask].all()) for ground in grounds]
        assert outside.count(True) == 1
    again = pasted(classifier, photographs, 1, GRID, share=0.6, tries=8, seed=1)
    assert torch.equal(again[0].scene.inputs, kept[0].scene.inputs)


def test_covering_keeps_the_proportions():
    """A picture whose columns tell their own place stays linear in place, whatever it is fitted to."""
    ramp = torch.linspace(0, 1, 64).expand(3, 64, 64)
    for size in ((32, 32), (20, 50), (50, 20)):
        fitted = covering(ramp, size)
        assert fitted.shape == (3, *size)
        slope = fitted[0, size[0] // 2].diff()[2:-2].mean()
        assert float(slope) == pytest.approx(1 / max(size), rel=0.05)


@pytest.mark.parametrize(("length", "cells"), [(224, 7), (224, 14), (10, 3), (7, 7), (5, 1)])
def test_positions_between_borders(length, cells):
    expected = [one for one in range(1, length) if not on_a_border(one, length, cells)]
    assert between_borders(length, cells, 0, length) == expected
    assert between_borders(length, cells, 3, 4) == [one for one in expected if one in (3, 4)]


def test_what_cannot_be_composed_is_refused(classifier, photographs):
    with pytest.raises(ValueError, match="photographs must be of at least 4 classes, got 3"):
        mosaics(classifier, photographs[:3], 1, GRID)
    with pytest.raises(ValueError, match="has no cell that a border could cut"):
        mosaics(classifier, photographs, 1, (224, 224), size=(224, 224))
    with pytest.raises(ValueError, match="photographs must be of at least 2 classes"):
        pasted(classifier, photographs[:1], 1, GRID)
    with pytest.raises(ValueError, match="share must be between 0 and 1"):
        pasted(classifier, photographs, 1, GRID, share=1.0)
    with pytest.raises(ValueError, match="finds no place between the borders"):
        pasted(classifier, photographs, 1, (224, 224))


def test_worlds_of_photographs_ask_for_no_gradient(made):
    assert not any(mosaic.scene.inputs.requires_grad for mosaic in made)
    assert np.isfinite([mosaic.probability for mosaic in made]).all()
