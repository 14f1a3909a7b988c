"""Sources that perturb inputs keep nothing alive between calls, with small budgets; CAMs: test_gradcam."""

import gc
import weakref

import pytest
import torch

from tests.helpers.networks import SmallViT, fingerprint, small_cnn
from usu.sources.captum import IntegratedGradientsSource, LimeSource, OcclusionSource
from usu.sources.rise import Rise
from usu.sources.rollout import rollout
from usu.sources.shap import ShapSource

CASES = {
    "rise": (Rise(cells=3, masks=16), small_cnn),
    "occlusion": (OcclusionSource(cells=3), small_cnn),
    "integrated-gradients": (IntegratedGradientsSource(cells=3, n_steps=4), small_cnn),
    "lime": (LimeSource(superpixels=4, n_samples=8), small_cnn),
    "shap": (ShapSource(max_evals=6), small_cnn),
    "rollout": (rollout, SmallViT),
}


def tensors():
    gc.collect()
    return sum(isinstance(thing, torch.Tensor) for thing in gc.get_objects())


@pytest.mark.parametrize("name", CASES)
def test_fifty_calls_keep_nothing_alive(young, name):
    source, network = CASES[name]
    model, inputs = network().eval(), torch.rand(1, 3, 16, 16)
    before = fingerprint(model)
    for _ in range(2):
        source(model, inputs, [1], None)
    few = tensors()
    for _ in range(50):
        source(model, inputs, [1], None)
    assert tensors() <= few
    assert fingerprint(model) == before
    alive = weakref.ref(model)
    del model
    gc.collect()
    assert alive() is None
