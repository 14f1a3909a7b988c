"""Explanations of the lime package: each superpixel's weight is what its pixels sum to."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from lime.lime_image import LimeImageExplainer

import usu
from tests.helpers.networks import small_cnn
from usu.adapters import lime

OPTIONS = {"segmentation": {"quadtree": (4, 16)}, "scoring": "mask"}


@pytest.fixture(scope="module")
def model():
    return small_cnn()


@pytest.fixture(scope="module")
def image():
    return torch.rand(3, 16, 24, generator=torch.Generator().manual_seed(1))


def explanation_of(model, image, start=0, **options):
    def classifier_fn(pictures):
        batch = torch.from_numpy(pictures).movedim(-1, 1).float()
        return model(batch).softmax(1).detach().numpy()

    labels = usu.segment(image, (6,), "quadtree").levels[0].numpy() + start
    return LimeImageExplainer(random_state=0).explain_instance(
        image.movedim(0, -1).double().numpy(),
        classifier_fn,
        segmentation_fn=lambda _: labels,
        num_samples=60,
        **{"top_labels": None, "labels": (3,), **options},
    )


def sums_of(found, explanation):
    return np.bincount(explanation.segments.ravel(), weights=found.attribution.double().flatten())


def test_pixels_sum_to_the_weights(model, image):
    explanation = explanation_of(model, image)
    found = lime.upsample(explanation, image, model, 3, images=image, **OPTIONS)
    weights = [weight for _, weight in sorted(explanation.local_exp[3])]
    assert len(weights) == 6
    assert np.std(weights) > 1e-6
    assert (found.mass, found.target, tuple(found.coarse.shape)) == ("total", 3, (6,))
    assert np.allclose(sums_of(found, explanation), weights, atol=1e-5 * np.abs(weights).max())


def test_on_a_device(model, image, device):
    explanation = explanation_of(model, image)
    found = lime.upsample(explanation, image.to(device), small_cnn().to(device), 3, **OPTIONS)
    assert found.neighbourhoods.device.type == found.attribution.device.type == device.type
    assert np.allclose(
        sums_of(replace(found, attribution=found.attribution.cpu()), explanation),
        [weight for _, weight in sorted(explanation.local_exp[3])],
        atol=1e-5,
    )


def test_a_batch_of_one(model, image):
    explanation = explanation_of(model, image)
    alone = lime.upsample(explanation, image, model, 3, **OPTIONS)
    (found,) = lime.upsample(explanation, image[None], model, 3, **OPTIONS)
    assert torch.equal(found.attribution, alone.attribution)


def test_superpixels_without_a_weight_get_no_mass(model, image):
    explanation = explanation_of(model, image, num_features=2)
    kept = dict(explanation.local_exp[3])
    assert len(kept) == 2
    sums = sums_of(lime.upsample(explanation, image, model, 3, **OPTIONS), explanation)
    for superpixel, total in enumerate(sums):
        assert total == pytest.approx(kept.get(superpixel, 0), abs=1e-8)


def test_a_target_is_given_as_to_any_adapter(model, image):
    explanation, classes = explanation_of(model, image), [*"abcde"]
    expected = lime.upsample(explanation, image, model, 3, **OPTIONS).attribution
    (listed,) = lime.upsample(explanation, image[None], model, [3], **OPTIONS)
    named = lime.upsample(explanation, image, model, "d", class_names=classes, **OPTIONS)
    assert torch.equal(listed.attribution, expected)
    assert torch.equal(named.attribution, expected)


def test_a_target_that_was_not_explained(model, image):
    with pytest.raises(ValueError, match=r"one of the classes that LIME explained, \[3\], got 1"):
        lime.upsample(explanation_of(model, image), image, model, 1, **OPTIONS)
    with pytest.raises(TypeError, match="target must be a class index"):
        lime.upsample(explanation_of(model, image), image, model, "a class", **OPTIONS)


def test_labels_that_lime_itself_takes_for_others(model, image):
    with pytest.raises(ValueError, match="pass start_label=0 to the segmentation"):
        lime.upsample(explanation_of(model, image, start=1), image, model, 3, **OPTIONS)


def test_inputs_of_another_size(model, image):
    with pytest.raises(ValueError, match=r"of one image of \(16, 24\) pixels, inputs are \(1, 3, 16, 16\)"):
        lime.upsample(explanation_of(model, image), image[..., :16], model, 3, **OPTIONS)
