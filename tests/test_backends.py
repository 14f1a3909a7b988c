"""Masked images through a compiled copy: the same map, what ran in the record, and the model as it was."""

import gc
import sys
import weakref
from functools import partial

import pytest
import torch
from torch import nn

import usu
from tests.helpers.networks import fingerprint, small_cnn
from usu.models import compiled

IMAGE = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0))
SEGMENTS = {"slic": (4, 8)}


def explained(model, **options):
    return usu.explain(model, IMAGE, segmentation=SEGMENTS, scoring="mask", **options)


@pytest.fixture
def worthwhile(monkeypatch):
    """Let OpenVINO's copy pay whatever it costs."""
    monkeypatch.setattr(compiled, "pays", lambda seconds, passes: True)


class Branching(nn.Module):
    """Answers by a branch on the first image: a trace follows the one that its example took."""

    def __init__(self):
        super().__init__()
        self.net = small_cnn()

    def forward(self, batch):
        return self.net(batch) if batch[0].mean() > 0.2 else -self.net(batch)


@pytest.mark.parametrize("backend", ["openvino", "compile"])
def test_the_map_is_the_models(backend, tmp_path, monkeypatch):
    # Its graphs, run by PyTorch: to have them translated to C++ takes minutes.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    model = small_cnn().eval()
    before, plain = fingerprint(model), explained(model, backend="eager")
    found = explained(model, backend=backend)
    assert fingerprint(model) == before
    torch.testing.assert_close(found.attribution, plain.attribution, rtol=1e-4, atol=1e-6)
    assert (plain.backend, found.backend) == ("eager", backend)
    assert ("openvino" in found.versions) == (backend == "openvino")
    assert found.forward_passes == plain.forward_passes
    found.save(tmp_path / "map.npz")
    assert usu.Explanation.load(tmp_path / "map.npz").backend == backend


def test_a_copy_is_made_where_it_pays_within_the_call(worthwhile):
    assert explained(small_cnn().eval()).backend == "openvino"


def test_no_copy_is_made_of_what_is_quick(monkeypatch):
    monkeypatch.setattr(compiled, "Compiled", None)  # nobody may make one
    assert explained(small_cnn().eval()).backend == "eager"


def test_the_break_even_is_where_saved_time_makes_up_for_the_copy():
    cost = compiled._SECONDS + compiled._PASSES * 0.1
    even = cost / (compiled._SAVED * 0.1)
    assert compiled.pays(0.1, int(even) + 1)
    assert not compiled.pays(0.1, int(even) - 1)


def test_masks_go_through_the_copy_and_gradients_through_the_model(worthwhile):
    seen = []

    class Counted(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = small_cnn()

        def forward(self, batch):
            seen.append(len(batch))
            return self.net(batch)

    model = Counted().eval()
    explained(model, backend="openvino")
    first = len(seen)
    assert explained(model, backend="openvino").forward_passes > 8
    # The predicted class, the image, and Grad-CAM; the images that are compared: the copy is kept.
    assert sum(seen[first:]) < 10


@pytest.mark.parametrize("kind", ["branches", "hooks", "float64"])
def test_a_model_whose_copy_would_differ_answers_itself(worthwhile, kind):
    model = Branching().eval() if kind == "branches" else small_cnn().eval()
    image, handle = IMAGE, None
    if kind == "hooks":
        handle = model.register_forward_hook(lambda *_: None)
    if kind == "float64":
        model, image = model.double(), image.double()
    options = {"segmentation": SEGMENTS, "baselines": "zeros", "scoring": "mask"}
    found, plain = (usu.explain(model, image, backend=each, **options) for each in ("auto", "eager"))
    assert found.backend == "eager"
    torch.testing.assert_close(found.attribution, plain.attribution, rtol=0, atol=0)
    assert handle is None or handle.id in model._forward_hooks


def test_a_copy_that_is_there_leaves_a_fit_alone(worthwhile):
    """A fit by gradients follows all rounding, so that its map would tell what ran before."""
    model, options = small_cnn().eval(), {"segmentation": SEGMENTS, "scoring": "order", "passes": 20}
    first = usu.explain(model, IMAGE, **options)
    assert explained(model).backend == "openvino"
    again = usu.explain(model, IMAGE, **options)
    assert (first.backend, again.backend) == ("eager", "eager")
    torch.testing.assert_close(again.attribution, first.attribution, rtol=0, atol=0)


def test_changed_weights_have_a_copy_of_their_own(worthwhile):
    model = small_cnn().eval()
    explained(model)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1.3)
    found, plain = explained(model), explained(model, backend="eager")
    assert found.backend == "openvino"
    torch.testing.assert_close(found.attribution, plain.attribution, rtol=1e-4, atol=1e-6)


def test_a_copy_goes_with_its_model(worthwhile):
    model = small_cnn().eval()
    explained(model)
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


@pytest.fixture
def without_openvino(monkeypatch):
    compiled._openvino.cache_clear()
    monkeypatch.setitem(sys.modules, "openvino", None)
    yield
    compiled._openvino.cache_clear()


def test_a_missing_backend_is_one_line_and_auto_goes_without(without_openvino, worthwhile):
    with pytest.raises(
        ImportError, match=r"backend 'openvino' needs openvino: pip install 'usu-xai\[fast\]'"
    ):
        explained(small_cnn().eval(), backend="openvino")
    assert explained(small_cnn().eval()).backend == "eager"


def test_what_a_backend_cannot_take_is_one_line():
    model = small_cnn().eval()
    with pytest.raises(ValueError, match=r"backend must be one of .*'openvino'.*got 'onnx'"):
        explained(model, backend="onnx")
    with pytest.raises(ValueError, match=r"'openvino' answers differently .*; use backend='eager'"):
        explained(Branching().eval(), backend="openvino", baselines="zeros")
    with pytest.raises(ValueError, match=r"backend must be 'eager' for what is no torch\.nn\.Module"):
        usu.upsample(
            torch.rand(4, 4),
            IMAGE,
            lambda batch: batch.mean((2, 3)),
            target=0,
            output="logit",
            backend="openvino",
        )


def test_openvinos_single_precision_is_not_given_for_double():
    with pytest.raises(ValueError, match="'openvino' computes in single precision, and inputs are float64"):
        usu.explain(small_cnn().eval().double(), IMAGE.double(), backend="openvino", scoring="mask")
