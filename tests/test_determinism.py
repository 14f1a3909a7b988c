"""The same seed gives the same bits, in one process and in another; threads change the last digits alone."""

import hashlib
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

import usu
from tests.helpers.networks import small_cnn
from usu.models.loading import load_classifier
from usu.operators.registry import MODES
from usu.scoring.registry import SCORINGS

PASSES = {"owen": 8, "regression": 8, "order": 14, "mask+order": 20}
WAYS = {
    **{f"mode {mode}": {"mode": mode} for mode in MODES},
    **{f"scoring {name}": {"scoring": name, "mode": "usu"} for name in SCORINGS},
    "continuous": {"continuous": True},
    "noise": {"baselines": "noise", "mode": "iwmr"},
    "superpixels": {"segmentation": {"slic": (6, 12), "watershed": (8,)}},
    **{
        f"source {name}": {"source": name}
        for name in ("rise", "shap", "lime", "scorecam", "integrated-gradients")
    },
}


def explained(way):
    given = {"segmentation": {"quadtree": (4, 8)}, "backend": "eager", **WAYS[way]}
    scoring = given.get("scoring", "owen" if given.get("mode") == "complete" else "order")
    if scoring in PASSES:
        given["passes"] = PASSES[scoring]
    picture = torch.randn(3, 24, 20, generator=torch.Generator().manual_seed(4))
    return usu.explain(small_cnn(), picture, 2, **given)


def digest(way):
    """Return a hash of all the arrays of an explanation."""
    found, sha = explained(way), hashlib.sha256()
    for part in (found.attribution, found.coarse, found.score_map, *found.raw_scores, *found.partitions):
        sha.update(np.ascontiguousarray(part).tobytes())
    return sha.hexdigest()


@pytest.mark.parametrize("way", WAYS)
def test_the_same_bits_again(way):
    first = digest(way)
    torch.rand(7)  # another state of the global generators is no reason for another map
    np.random.random(7)  # noqa: NPY002
    assert digest(way) == first


def test_the_same_bits_in_a_fresh_process():
    """With other seeds of hashes, by which Python orders sets, and of the global generators."""
    script = "from tests.test_determinism import WAYS, digest\nimport torch; torch.set_num_threads(1)\n"
    script += "for way in WAYS: print(way, digest(way), sep='=')"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        expected = {way: digest(way) for way in WAYS}
    finally:
        torch.set_num_threads(threads)
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment
    )
    assert dict(line.split("=") for line in done.stdout.splitlines()) == expected


@pytest.mark.parametrize("way", WAYS)
def test_numbers_of_threads_change_the_last_digits_alone(way):
    before = torch.get_num_threads()
    maps = []
    try:
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            maps.append(explained(way).attribution.double())
    finally:
        torch.set_num_threads(before)
    for other in maps[1:]:
        assert float((other - maps[0]).abs().max()) <= 1e-6 * float(maps[0].abs().max())


def test_in_double_precision_a_trained_networks_default_map_does_not_follow_rounding():
    """Other images in the batch round its answers differently, as other threads and processors do."""
    network = load_classifier("efficientnet-lite0")
    small = replace(network, prepare=replace(network.prepare, resize=64, crop=(64, 64)))
    classifier = small.to("cpu", torch.float64)
    alone = [one[None] for one in classifier.prepare(Image.fromarray(skimage.data.chelsea()))]
    both = [torch.cat([one, one.flip(-1)]) for one in alone]
    one, other = (
        usu.explain(classifier.model, inputs, images=pictures, passes=80)[0].attribution
        for inputs, pictures in (alone, both)
    )
    assert float((other - one).abs().max()) <= 1e-9 * float(one.abs().max())
