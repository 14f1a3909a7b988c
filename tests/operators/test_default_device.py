"""Under another default device nothing leaves the device of the arguments; "meta" stands in for a GPU."""

import numpy as np
import pytest
import torch

import usu
from tests.helpers.networks import small_cnn
from usu.operators.coarse import Coarse
from usu.operators.interpolation import lanczos_weights
from usu.scoring.controls import shuffled

DRAW = torch.Generator().manual_seed(0)
COARSE, INPUTS = torch.rand(4, 4, generator=DRAW), torch.rand(3, 16, 16, generator=DRAW)
MODEL = small_cnn()
PLACEMENT = usu.Placement.whole((12, 20)).resize((16, 16))


def upsampled(**options):
    options = {"segmentation": {"quadtree": (4, 16)}, **options}
    return usu.upsample(COARSE, INPUTS, MODEL, 1, **options)


def lanczos():
    lanczos_weights.cache_clear()
    return usu.interpolate(COARSE, (17, 19), "lanczos")


CALLS = {
    "mask": lambda: upsampled().attribution,
    "owen": lambda: upsampled(scoring="owen", passes=20).attribution,
    "regression": lambda: upsampled(scoring="regression", passes=20).attribution,
    "noise": lambda: upsampled(baselines="noise").attribution,
    "complete": lambda: upsampled(mode="complete", passes=20).attribution,
    "explain": lambda: usu.explain(MODEL, INPUTS, segmentation={"slic": (9,)}).attribution,
    "rise": lambda: usu.explain(MODEL, INPUTS, source="rise", segmentation={"slic": (9,)}).attribution,
    "desiderata": lambda: torch.as_tensor(
        [finding.residual or 0.0 for finding in usu.check_desiderata("usu", COARSE, size=(16, 16)).values()],
        device="cpu",
    ),
    "lanczos": lanczos,
    "photograph": lambda: upsampled(placement=PLACEMENT).to_original_size(),
    "shuffled": lambda: shuffled(upsampled(), np.random.default_rng(0)),
    "masses": lambda: Coarse(COARSE.numpy()).masses((16, 16)),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_results_are_the_same_whatever_the_default_device(call):
    with torch.device("meta"):
        found = call()
    assert torch.equal(found, call())


def test_pages_and_files_know_no_default_device(tmp_path):
    found = upsampled()
    with torch.device("meta"):
        found.save(tmp_path / "a.npz")
        assert usu.Explanation.load(tmp_path / "a.npz")._repr_html_()
