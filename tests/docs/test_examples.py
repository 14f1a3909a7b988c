"""The examples as they are shipped: a photograph, a class inside a mask, a detector's box."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

import usu
from tests.helpers.networks import fingerprint

FOLDER = Path(__file__).parents[2] / "examples"


def load(name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


quickstart, segmentation, detection = load("quickstart"), load("segmentation"), load("detection")


def test_the_first_example_draws_and_keeps_a_map_of_the_predicted_class(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(skimage.data.camera()).save("photo.png")
    quickstart.main("photo.png")
    said = capsys.readouterr().out
    assert said.startswith("tripod, ")
    with Image.open("quickstart.png") as drawn:
        assert drawn.width > 500
    found = usu.Explanation.load("quickstart.npz")
    assert f"the cells sum to {found.coarse.sum():.4f}, " in said
    np.testing.assert_allclose(found.attribution.sum(), found.coarse.sum(), rtol=1e-4)
    cells = found.upsampled_by("usu").reshape(7, 32, 7, 32).sum((1, 3))
    np.testing.assert_allclose(cells, found.coarse, rtol=1e-4, atol=1e-5)


@pytest.fixture
def seen(monkeypatch):
    """Note what `usu.explain` is called with by an example, and what the network was like before."""
    calls, explain = [], usu.explain

    def noting(model, inputs, target, **options):
        calls.append((model, inputs, target, fingerprint(model)))
        return explain(model, inputs, target, **options)

    monkeypatch.setattr(usu, "explain", noting)
    return calls


def gradcam_by_hand(model, layer, inputs, target):
    """Return Σ_c mean(∂f/∂A_c)·A_c, (gh, gw), by PyTorch alone."""
    kept = []
    handle = model.get_submodule(layer).register_forward_hook(lambda *call: kept.append(call[-1]))
    answer = target(model(inputs[None].requires_grad_()))
    handle.remove()
    (gradient,) = torch.autograd.grad(answer.sum(), kept[-1])
    return (gradient.mean((2, 3), keepdim=True) * kept[-1]).sum(1)[0].detach()


CASES = {
    "segmentation, the last layer": (segmentation.explain_largest_class, None, "classifier"),
    "segmentation, the backbone": (segmentation.explain_largest_class, "backbone.16", "backbone.16"),
    "detection, the last layer": (detection.explain_best_box, None, "backbone.fpn.layer_blocks.0"),
    "detection, the backbone": (detection.explain_best_box, "backbone.body.16", "backbone.body.16"),
}


@pytest.mark.parametrize("case", CASES)
def test_map_and_scores_are_of_the_target(case, seen):
    example, layer, found_layer = CASES[case]
    found = example(cells=layer)
    ((model, inputs, target, before),) = seen
    assert fingerprint(model) == before
    assert found.layer == found_layer
    expected = gradcam_by_hand(model, found_layer, inputs, target)
    scale = float(expected.abs().max())
    assert scale > 0
    torch.testing.assert_close(found.coarse, expected, rtol=1e-4, atol=1e-5 * scale)
    rows, columns = (pixels // cells for pixels, cells in zip((128, 192), expected.shape, strict=True))
    cells = found.upsampled_by("usu").double().unfold(0, rows, rows).unfold(1, columns, columns).sum((2, 3))
    torch.testing.assert_close(cells, found.coarse.double(), rtol=1e-5, atol=1e-5 * scale)
    assert max(float(raw.std()) for raw in found.raw_scores) > 0
    assert found.probability is None


def detections(boxes, labels, scores):
    return {"boxes": torch.tensor(boxes), "labels": torch.tensor(labels), "scores": torch.tensor(scores)}


def test_a_box_is_found_again_by_its_overlap_and_its_label():
    target = detection.score_of(torch.tensor([0.0, 0.0, 4.0, 4.0]), label=3)
    found = [
        detections([[0.0, 0.0, 4.0, 2.0], [0.0, 0.0, 4.0, 4.0]], [3, 2], [0.8, 0.9]),  # half of it
        detections([[8.0, 8.0, 9.0, 9.0], [0.0, 0.0, 4.0, 4.0]], [3, 3], [0.9, 0.25]),
        {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64), "scores": torch.zeros(0)},
    ]
    torch.testing.assert_close(target(found), torch.tensor([0.4, 0.25, 0.0]))


def test_a_class_is_summed_over_its_mask():
    logits = torch.arange(24.0).view(2, 3, 2, 2)
    mask = torch.tensor([[True, False], [False, True]])
    expected = torch.tensor([4.0 + 7.0, 16.0 + 19.0])
    torch.testing.assert_close(segmentation.class_in(mask, 1)({"out": logits}), expected)


def test_without_a_callable_other_outputs_are_refused_with_the_way_out():
    torch.manual_seed(0)
    model = detection.fasterrcnn_mobilenet_v3_large_320_fpn(weights=None, weights_backbone=None).eval()
    before = fingerprint(model)
    for target in (1, None):
        with pytest.raises(TypeError, match=r"the model's output .* give a callable on the output as target"):
            usu.explain(model, torch.rand(3, 64, 64), target)
    assert fingerprint(model) == before
