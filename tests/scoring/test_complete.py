"""The complete map: it conserves its own cells, and all of it accounts for the prediction."""

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image
from torch import nn

import usu
from tests.helpers.networks import small_cnn
from usu.models.baselines import make_fill
from usu.models.loading import load_classifier

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
    assert found.forward_passes <= passes + 1  # the gradient's own
    assert (found.mass, found.source, found.layer) == ("total", "gradient", None)


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


class Weighted(nn.Module):
    """Two classes: the inputs weighted and summed, and nothing."""

    def __init__(self, weights):
        super().__init__()
        self.weights = nn.Parameter(torch.tensor(weights))

    def forward(self, batch):
        answer = (batch * self.weights).sum((1, 2, 3))
        return torch.stack([answer, 0 * answer], dim=1)


LINEAR = {"mode": "complete", "passes": 2, "output": "logit", "segmentation": usu.Hierarchy([[[0, 0, 0, 0]]])}


@pytest.mark.parametrize("kind", [torch.from_numpy, np.asarray], ids=["tensor", "array"])
def test_pixels_share_by_their_gradient_times_the_difference_from_the_fill(kind):
    model = Weighted([[[1.0, -1.0, 2.0, 0.0]], [[0.0, 0.0, 0.0, 3.0]], [[0.0] * 4]]).eval()
    inputs = kind(np.array([[[1.0, 2.0, 2.0, 5.0]], [[1.0, 1.0, 1.0, 2.0]], [[7.0] * 4]], dtype=np.float32))
    found = usu.explain(model, inputs, 0, baselines="zeros", **LINEAR)
    # Summed over channels, the first order is 1, -2, 4, 6.
    scores = np.tanh(np.array([1.0, 0.0, 4.0, 6.0]) / (2 * np.sqrt((1 + 16 + 36) / 4)))
    weights = np.exp(scores)
    assert type(found.attribution) is type(inputs)
    assert np.asarray(found.score_map)[0] == pytest.approx(scores, rel=1e-6)
    assert np.asarray(found.attribution)[0] == pytest.approx(9 * weights / weights.sum(), rel=1e-6)
    assert found.forward_passes == 3
    # The fill is where the differences start.
    found = usu.explain(model, inputs, 0, baselines="mean", **LINEAR)
    # -1.5, 0.5, -1 and 3 · 0.75, of which two are positive.
    scores = np.tanh(np.array([0.0, 0.5, 0.0, 2.25]) / (2 * np.sqrt((0.25 + 2.25**2) / 4)))
    assert np.asarray(found.score_map)[0] == pytest.approx(scores, rel=1e-5)


class TwoClasses(nn.Module):
    """Two classes that both weigh the inputs."""

    def __init__(self):
        super().__init__()
        self.weights = nn.Parameter(torch.tensor([[2.0, 1.0, 3.0, 1.0], [1.0, 2.0, 0.0, 1.0]]))

    def forward(self, batch):
        return batch.flatten(1) @ self.weights.T


def test_the_gradient_is_that_of_what_is_explained():
    options = {**LINEAR, "output": "probability", "baselines": "zeros"}
    found = usu.explain(TwoClasses().eval(), torch.full((1, 1, 4), 0.1), 0, **options)
    # A softmax of two goes by the difference of their logits: 1, -1, 3 and 0 times the same.
    scores = np.tanh(np.array([1.0, 0.0, 3.0, 0.0]) / (2 * np.sqrt((1 + 9) / 4)))
    assert np.asarray(found.score_map)[0] == pytest.approx(scores, abs=1e-6)


def test_pixels_share_evenly_where_there_is_no_slope():
    found = usu.explain(Weighted([[[0.0] * 4]]).eval(), torch.rand(1, 1, 4), 0, baselines="zeros", **LINEAR)
    assert found.score_map.unique().tolist() == [0.0]
    assert found.attribution.unique().tolist() == [0.0]


def test_images_of_a_batch_have_their_own_gradients():
    model, batch = small_cnn(), torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    settings = {"target": 1, "mode": "complete", "passes": 12, "segmentation": {"quadtree": (16,)}}
    together = usu.explain(model, batch, **settings)
    for one, image in zip(together, batch, strict=True):
        alone = usu.explain(model, image, **settings)
        torch.testing.assert_close(one.attribution, alone.attribution)
        assert one.forward_passes == alone.forward_passes


class Detached(nn.Module):
    def forward(self, batch):
        return batch.detach().sum((2, 3))


class Steep(nn.Module):
    """Finite, with an infinite slope."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, batch):
        return self.weight * (batch - batch).sqrt().sum((2, 3)) + batch.sum((2, 3))


@pytest.mark.parametrize(
    ("model", "message"),
    [(Detached(), "have no gradient .*: name a source"), (Steep(), "gradient must be finite")],
)
def test_a_model_without_gradients_needs_a_source(model, message):
    inputs = torch.rand(3, 16, 16)
    with pytest.raises(ValueError, match=message):
        usu.explain(model.eval(), inputs, 1, mode="complete", segmentation=TREES)
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    found = usu.explain(
        model, inputs, 1, mode="complete", source="occlusion", passes=10, segmentation=TREES, output="logit"
    )
    assert float(found.attribution.sum()) == pytest.approx(float(found.coarse.sum()), rel=1e-5)


def test_a_layer_needs_a_source():
    with pytest.raises(ValueError, match="layer='0' needs a source that describes a layer"):
        usu.explain(small_cnn(), torch.rand(3, 16, 16), mode="complete", layer="0")


def test_the_model_is_left_as_it_was():
    model = small_cnn()
    next(model.parameters()).requires_grad_(False)
    before = [parameter.requires_grad for parameter in model.parameters()]
    usu.explain(model, torch.rand(3, 16, 16), mode="complete", passes=4, segmentation=TREES)
    assert [parameter.requires_grad for parameter in model.parameters()] == before
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


def test_it_is_saved_and_loaded(tmp_path):
    model = small_cnn()
    found = usu.explain(model, torch.rand(3, 16, 16), mode="complete", passes=20, segmentation=TREES)
    found.save(tmp_path / "complete.npz")
    loaded = usu.Explanation.load(tmp_path / "complete.npz")
    assert loaded.mode == "complete"
    assert np.array_equal(loaded.attribution, found.attribution.numpy())
    assert np.allclose(loaded.upsampled_by("usu"), loaded.attribution, atol=1e-7)


def test_it_needs_owen_values():
    with pytest.raises(ValueError, match="needs scoring='owen', not 'mask'"):
        usu.explain(small_cnn(), torch.rand(3, 16, 16), mode="complete", scoring="mask")


def test_it_needs_the_opposite_of_negative_cells():
    image, options = torch.rand(3, 16, 16), {"mode": "complete", "segmentation": {"quadtree": (4,)}}
    with pytest.raises(ValueError, match="needs negative='opposite', not 'same'"):
        usu.explain(small_cnn(), image, negative="same", **options)
    given, left = (
        usu.explain(small_cnn(), image, 1, **options, **one) for one in ({"negative": "opposite"}, {})
    )
    assert given.settings == left.settings
    assert left.settings["negative"] == "opposite"
