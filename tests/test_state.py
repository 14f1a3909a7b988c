"""What belongs to the user's process is as it was: seeds, modes, types, filters, threads, styles, paths."""

import logging
import os
import random
import sys
import warnings
from contextlib import suppress

import matplotlib as mpl
import numpy as np
import pytest
import torch

import usu
from tests.helpers.networks import small_cnn
from usu.report import Entry, html
from usu.scoring.registry import SCORINGS

OPTIONS = {"segmentation": {"quadtree": (4, 8)}}
IMPORTS = ("filters", "levels", "environment", "places")
LOGGERS = ("", "matplotlib", "torch", "PIL", "openvino", "usu")


def state():
    """Everything that a call must leave alone, as values that can be compared."""
    generator = np.random.get_state()  # noqa: NPY002
    return {
        "torch's seed": torch.get_rng_state().tolist(),
        "numpy's seed": (generator[1].tolist(), *generator[2:]),
        "random's seed": random.getstate(),
        "gradients": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "anomalies": torch.is_anomaly_enabled(),
        "types": (torch.get_default_dtype(), torch.get_default_device()),
        "precision": (torch.get_float32_matmul_precision(), torch.are_deterministic_algorithms_enabled()),
        "cudnn": (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic),
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "numpy's errors": np.geterr(),
        "printing": (np.get_printoptions(), vars(torch._tensor_str.PRINT_OPTS).copy()),
        "style": dict(mpl.rcParams),
        "backend": mpl.get_backend(),
        "filters": list(warnings.filters),
        "levels": [logging.getLogger(name).level for name in LOGGERS],
        "environment": dict(os.environ),
        "places": (os.getcwd(), list(sys.path), sys.getrecursionlimit(), sys.getswitchinterval()),
    }


def own_settings():
    torch.manual_seed(5)
    np.random.seed(6)  # noqa: NPY002
    random.seed(7)
    mpl.use("agg")


def assert_left(call):
    """Compare the state around two calls; around the first without what imports of libraries change."""
    for excepted in (IMPORTS, ()):
        own_settings()
        before = state()
        with suppress(ValueError):
            call()
        after = state()
        assert [name for name in after if after[name] != before[name] and name not in excepted] == []


def picture():
    return torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(1))


MODEL = small_cnn()
PASSES = {"owen": 8, "regression": 8, "order": 14, "mask+order": 20}


@pytest.mark.parametrize("scoring", SCORINGS)
def test_explaining(scoring):
    passes = {"passes": PASSES[scoring]} if scoring in PASSES else {}
    assert_left(
        lambda: usu.explain(MODEL, picture(), scoring=scoring, baselines="noise", **passes, **OPTIONS)
    )


@pytest.mark.parametrize("mode", ["usu", "hybrid", "complete"])
def test_modes(mode):
    assert_left(lambda: usu.explain(MODEL, picture(), 2, mode=mode, **OPTIONS))


@pytest.mark.parametrize(
    "source", ["gradcam", "rise", "shap", "lime", "occlusion", "fullgrad", "ablationcam"]
)
def test_sources(source):
    assert_left(lambda: usu.explain(MODEL, picture(), 2, source=source, **OPTIONS))


def test_users_own_modes():
    """A user's modes hold within a call, too, and are not reset to the usual ones."""
    torch.set_default_dtype(torch.float64)
    try:
        with torch.no_grad(), np.errstate(all="raise"), warnings.catch_warnings():
            warnings.simplefilter("error")
            assert_left(lambda: usu.explain(MODEL, picture().float(), 2, mode="usu", **OPTIONS))
    finally:
        torch.set_default_dtype(torch.float32)


def test_the_operators_and_checks():
    coarse, scores = np.random.default_rng(0).random((3, 4)), np.random.default_rng(1).random((12, 16))
    for name in usu.UPSAMPLERS:
        assert_left(lambda name=name: usu.find_upsampler(name)(coarse, scores))
    assert_left(lambda: usu.check_desiderata("usu", coarse, scores))
    assert_left(lambda: usu.redistribute(coarse, 1e-3 * scores, temperature=1e-9, continuous=True))


def test_figures_files_and_reports(tmp_path):
    found = usu.explain(MODEL, picture(), 2, images=picture().sigmoid(), **OPTIONS)
    assert_left(lambda: found.save_image(tmp_path / "map.png", dpi=20))
    assert_left(lambda: html([Entry(found, verdicts=False)]))
    assert_left(lambda: found.save(tmp_path / "map.npz"))
    assert_left(lambda: usu.Explanation.load(tmp_path / "map.npz"))
    with usu.plot.publication("column"):
        assert_left(lambda: usu.plot.overlay_figure(found))


@pytest.mark.parametrize(
    "wrong",
    [
        {"target": 99},
        {"temperature": -1.0},
        {"layer": "attic"},
        {"scoring": "order", "passes": 3},
        {"baselines": lambda inputs: inputs * float("nan")},
        {"source": lambda *_: None},
        {"output": lambda outputs: outputs[:, 0]},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_after_an_error(wrong):
    def call():
        with pytest.raises((ValueError, TypeError)):
            usu.explain(MODEL, picture(), **{"target": 2, **OPTIONS, **wrong})

    assert_left(call)
