"""Models without gradients or hooks: what is said, and which sources work on them."""

import warnings

import pytest
import torch
from torch import nn

import usu
from tests.helpers.networks import small_cnn

OPTIONS = {"segmentation": {"quadtree": (4,)}, "scoring": "mask"}


class PartlyDetached(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone, self.head = small_cnn()[:5], small_cnn()[5:]

    def forward(self, batch):
        with torch.no_grad():
            cells = self.backbone(batch)
        return self.head(cells)


def image():
    return torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(1))


def quietly(make):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make()


def exported():
    batch = torch.export.Dim("batch")
    program = torch.export.export(small_cnn(), (torch.zeros(2, 3, 16, 16),), dynamic_shapes=({0: batch},))
    return program.module()


def quantised():
    return torch.ao.quantization.quantize_dynamic(small_cnn(), {nn.Linear}, dtype=torch.qint8).eval()


KINDS = {
    "no_grad": (lambda: PartlyDetached().eval(), r"runs under torch.no_grad\(\) or detaches"),
    "traced": (lambda: torch.jit.trace(small_cnn(), torch.zeros(1, 3, 16, 16)), "this one is TorchScript"),
    "scripted": (lambda: torch.jit.script(small_cnn()), "this one is TorchScript"),
    "frozen": (lambda: torch.jit.freeze(torch.jit.script(small_cnn())), "this one is TorchScript"),
    "exported": (exported, "a program of torch.export"),
    "quantised": (quantised, "its quantised layers have none"),
}


@pytest.mark.parametrize("source", ["gradcam", "rollout", "fullgrad"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_case_is_named_and_what_works(kind, source):
    make, message = KINDS[kind]
    with pytest.raises(ValueError, match=message) as told:
        usu.explain(quietly(make), image(), 2, source=source, **OPTIONS)
    assert "source='occlusion', 'rise', 'shap' or 'lime'" in str(told.value)


@pytest.mark.parametrize("source", ["occlusion", "rise"])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "quantised"])
def test_sources_that_only_call_the_model_work_on_all(kind, source):
    model = small_cnn()
    if kind == "no_grad":
        model = nn.Sequential(*PartlyDetached().backbone, *PartlyDetached().head).eval()
    expected = usu.explain(model, image(), 2, source=source, **OPTIONS)
    found = usu.explain(quietly(KINDS[kind][0]), image(), 2, source=source, **OPTIONS)
    torch.testing.assert_close(found.coarse, expected.coarse, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(found.attribution, expected.attribution, rtol=1e-3, atol=1e-5)


def test_a_quantised_model_is_occluded():
    found = usu.explain(quietly(quantised), image(), 2, source="occlusion", **OPTIONS)
    expected = usu.explain(small_cnn(), image(), 2, source="occlusion", **OPTIONS)
    torch.testing.assert_close(found.coarse, expected.coarse, rtol=0.2, atol=0.02)  # of eight bits


@pytest.mark.parametrize("source", ["gradcam", "eigencam", "fullgrad"])
def test_a_compiled_model_runs_as_it_is_written(source):
    expected = usu.explain(small_cnn(), image(), 2, source=source, **OPTIONS).coarse
    inner = small_cnn()
    found = usu.explain(torch.compile(inner, backend="eager"), image(), 2, source=source, **OPTIONS)
    assert torch.equal(found.coarse, expected)
    assert found.layer == (None if source == "fullgrad" else "4")
    inner.compile(backend="eager")
    compiled = inner._compiled_call_impl
    assert torch.equal(usu.explain(inner, image(), 2, source=source, **OPTIONS).coarse, expected)
    assert inner._compiled_call_impl is compiled
