"""`usu explain --source` for every name, and `--size photograph`."""

import re
import sys
from functools import partial

import numpy as np
import pytest
from PIL import Image
from skimage.data import chelsea

import usu
from tests.helpers.networks import SmallViT, small_cnn
from usu import cli, pipeline, plot
from usu.models import loading as models
from usu.models.classifier import Classifier, Preparation
from usu.sources.registry import SOURCES

UPSAMPLERS = [
    *("nearest", "bilinear", "bicubic", "lanczos", "conserving"),
    *("usu", "usu-continuous", "iwmr", "hybrid", "total-conserving"),
]
ON_SUPERPIXELS = ["nearest", "usu", "iwmr", "hybrid"]
SUPERPIXELS = ("shap", "lime")
NETWORKS = {"cnn": small_cnn, "vit": lambda: SmallViT().eval()}


@pytest.fixture
def explain(tmp_path, monkeypatch, capsys):
    """Return a function from arguments to the exit code and both outputs, on small networks and images."""
    prepare = Preparation(24, (16, 16), (0.5,) * 3, (0.5,) * 3)
    monkeypatch.setattr(
        models, "load_classifier", lambda name, weights: Classifier(name, NETWORKS[name](), prepare)
    )
    few = {"scoring": "mask", "segmentation": {"quadtree": (4, 16)}}
    monkeypatch.setattr(pipeline, "explain", partial(pipeline.explain, **few))
    Image.fromarray(chelsea()[::4, ::4]).save(tmp_path / "cat.png")

    def run(*arguments):
        names = ("explain", tmp_path / "cat.png", "--out", tmp_path, *arguments)
        try:
            code = cli.main([str(name) for name in names])
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def figures(monkeypatch):
    """Keep the figures that would be written, by their file's name."""
    kept = {}
    monkeypatch.setattr(plot, "save_figure", lambda figure, path, **_: kept.update({path.name: figure}))
    return kept


def titles(figure):
    return [axis.get_title() for axis in figure.axes if axis.get_title()]


@pytest.mark.parametrize("source", SOURCES)
def test_every_source(explain, figures, tmp_path, source):
    model = "vit" if source in ("rollout", "attention-relevance") else "cnn"
    code, output, errors = explain("--source", source, "--model", model)
    assert (code, errors) == (0, "")
    found = usu.Explanation.load(tmp_path / "cat" / "explanation.npz")
    assert found.source == source
    kind = "superpixels" if source in SUPERPIXELS else "cells"
    shape = " × ".join(map(str, found.coarse.shape))
    assert re.search(rf"^coarse map +{re.escape(source)}, {shape} {kind}", output, re.MULTILINE)
    expected = ON_SUPERPIXELS if source in SUPERPIXELS else UPSAMPLERS
    rows = re.findall(r"^([\w-]+) +(\S+e\S+) +(\S+e\S+) +(\S+)$", output, re.MULTILINE)
    assert [name for name, *_ in rows] == expected
    relative = {name: float(error) for name, _, error, _ in rows}
    assert max(relative["nearest"], relative["usu"]) < 1e-5
    total = sum(float(np.sum(part, dtype=np.float64)) for part in (found.coarse, *found.further))
    assert float(rows[0][-1]) == pytest.approx(total, rel=1e-4, abs=1e-6 * float(np.abs(found.coarse).sum()))
    drawn = titles(figures["comparison.png"])
    assert [name for name, title in plot.TITLES.items() if title in drawn] == expected
    assert any(title.startswith("Coarsest map" if source == "fullgrad" else "Coarse map") for title in drawn)


def test_fullgrads_other_grids_count(explain, tmp_path):
    code, output, _ = explain("--source", "fullgrad", "--model", "cnn")
    assert code == 0
    found = usu.Explanation.load(tmp_path / "cat" / "explanation.npz")
    assert "fullgrad, 4 × 4 cells and 2 further grids" in output
    assert float(found.attribution.sum()) == pytest.approx(
        float(found.coarse.sum() + sum(grid.sum() for grid in found.further)), rel=1e-4
    )


@pytest.mark.parametrize("size", ["network", "photograph"])
def test_size(explain, figures, tmp_path, size):
    code, _, errors = explain("--size", size, "--model", "cnn")
    assert (code, errors) == (0, "")
    found = usu.Explanation.load(tmp_path / "cat" / "explanation.npz")
    assert found.attribution.shape == (16, 16)
    whole = found.to_original_size()
    assert whole.shape == (75, 113)
    assert whole.sum() == pytest.approx(found.attribution.sum(), rel=1e-5)
    # Of 24 × 36 pixels the middle 16 × 16 are seen: a border of 12 and of 31 pixels of the photograph is not.
    assert not whole[:12].any()
    assert not whole[:, :31].any()
    assert whole[13:62, 33:80].any()
    drawn = figures["overlay.png"].axes[1].images[-1].get_array()
    np.testing.assert_array_equal(drawn, {"network": found.attribution, "photograph": whole}[size])
    picture = figures["overlay.png"].axes[0].images[0].get_array()
    assert picture.shape == (*drawn.shape, 3)


@pytest.mark.parametrize(
    ("source", "library", "adapter", "extra"),
    [
        ("hirescam", "pytorch_grad_cam", "gradcam", "cam"),
        ("occlusion", "captum.attr", "captum", "captum"),
        ("shap", "shap", "shap", "shap"),
        ("lime", "sklearn", "captum", "lime"),
    ],
)
def test_a_missing_library_is_one_line(explain, monkeypatch, source, library, adapter, extra):
    monkeypatch.setitem(sys.modules, library, None)
    for module in [name for name in sys.modules if name.startswith("usu.sources.")]:
        monkeypatch.delitem(sys.modules, module)
    code, output, errors = explain("--source", source, "--model", "cnn")
    assert (code, output) == (2, "")
    assert f"pip install 'usu-xai[{extra}]'" in errors
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--source", "rollout", "--model", "cnn"), "rollout is not defined for this model"),
        (("--source", "rise", "--model", "cnn", "--layer", "4"), "layer must be None for source 'rise'"),
        (("--source", "ablationcam", "--model", "vit"), "ablationcam needs a layer of shape"),
    ],
)
def test_a_source_that_does_not_fit_is_one_line(explain, arguments, message):
    code, output, errors = explain(*arguments)
    assert (code, output) == (2, "")
    assert re.match(rf"usu: error: \S*cat\.png: {message}", errors)
    assert errors.count("\n") == 1
