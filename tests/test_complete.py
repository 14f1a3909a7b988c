"""The complete map: it conserves its own cells, and all of it accounts for the prediction."""

import numpy as np
import pytest
import skimage.data
import torch
from networks import small_cnn
from PIL import Image

import usu
from usu.fill import make_fill
from usu.models import load_classifier

TREES = {"slic": (2, 4, 8, 16, 32), "quadtree": (64,)}


@pytest.fixture(scope="module")
def classifier():
    return load_classifier("efficientnet-lite0")


@pytest.fixture(scope="module")
def photograph(classifier):
    return classifier.prepare(Image.fromarray(skimage.data.chelsea()))


def cell_sums(found):
    cells = np.asarray(found.neighbourhoods)
    return np.bincount(cells.ravel(), np.asarray(found.attribution, dtype=np.float64).ravel())


@pytest.mark.parametrize("passes", [2, 3, 5, 26, 60])
def test_a_photograph_is_accounted_for(classifier, photograph, passes):
    inputs, picture = photograph
    found = usu.explain(
        classifier.model,
        inputs,
        target=285,
        images=picture,
        mode="complete",
        passes=passes,
        segmentation=TREES,
    )
    with torch.no_grad():
        both = classifier.model(torch.stack([inputs, make_fill(inputs[None], "blur")[0]])).softmax(1)[:, 285]
    assert float(found.attribution.double().sum()) == pytest.approx(float(both[0] - both[1]), abs=1e-5)
    assert cell_sums(found) == pytest.approx(found.coarse.double().numpy(), abs=1e-6)
    assert found.forward_passes <= passes + 2  # Grad-CAM's own, and the search for its layer
    assert (found.mass, found.source) == ("total", "owen")


def test_players_of_several_trees_are_intersected():
    labels = [np.array([[0, 0, 1, 1]]), np.array([[0, 1, 1, 1]])]

    def weighted(batch):
        answer = (batch[:, 0, 0] * torch.tensor([1.0, 2.0, 3.0, 4.0])).sum(1)
        return torch.stack([answer, 0 * answer], dim=1)

    found = usu.upsample(
        np.zeros((1, 4), dtype=np.float32),
        np.ones((1, 1, 4), dtype=np.float32),
        lambda batch: weighted(torch.from_numpy(batch)).numpy(),
        0,
        mode="complete",
        passes=100,
        output="logit",
        baselines="zeros",
        segmentation=[usu.Hierarchy([one]) for one in labels],
    )
    # First tree: 3 and 7 on two pixels each; second: 1 and 9 on one and three. Means: 1.25, 2.25, 3.25, 3.25.
    assert isinstance(found.attribution, np.ndarray)
    assert found.attribution[0] == pytest.approx([1.25, 2.25, 3.25, 3.25])
    assert sorted(found.coarse.tolist()) == pytest.approx([1.25, 2.25, 6.5])


def test_within_a_cell_pixels_follow_the_source_also_where_mass_is_negative():
    def negative(batch):
        return torch.stack([-batch.sum((1, 2, 3)), torch.zeros(len(batch))], dim=1)

    coarse = torch.tensor([[0.0, 1.0]])
    found = usu.upsample(
        coarse,
        torch.ones(1, 1, 4),
        negative,
        0,
        mode="complete",
        passes=2,
        output="logit",
        baselines="zeros",
        segmentation=usu.Hierarchy([[[0, 0, 1, 1]]]),
    )
    assert float(found.attribution.sum()) == pytest.approx(-4)
    assert found.attribution[0].diff().min() >= 0  # less negative where the source says more
    assert found.attribution[0, 0] < found.attribution[0, -1] < 0


def test_it_is_saved_and_loaded(tmp_path):
    model = small_cnn()
    found = usu.explain(model, torch.rand(3, 16, 16), mode="complete", passes=20, segmentation=TREES)
    found.save(tmp_path / "complete.npz")
    loaded = usu.Explanation.load(tmp_path / "complete.npz")
    assert loaded.mode == "complete"
    assert np.array_equal(loaded.attribution, found.attribution.numpy())
    assert np.allclose(loaded.by("usu"), loaded.attribution, atol=1e-7)


def test_it_needs_owen_values():
    with pytest.raises(ValueError, match="needs method='owen', not 'mask'"):
        usu.explain(small_cnn(), torch.rand(3, 16, 16), mode="complete", method="mask")
