"""A folder of pictures that `usu explain` explains by a small network, and what it leaves of them."""

import json

import numpy as np
import torch
from PIL import Image

import usu
from tests.helpers.networks import small_cnn
from usu.cli import main

OPTIONS = ("--source", "gradcam", "--scoring", "mask", "--backend", "eager")


def ten_pictures(folder):
    """Return a new folder of ten small pictures and one file that is none; beside it a network's card."""
    place = folder / "photographs"
    place.mkdir()
    for number in range(10):
        pixels = np.random.default_rng(number).integers(0, 256, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{number}.png")
    (place / "bad.jpg").write_bytes(b"no image")
    torch.save(small_cnn().state_dict(), folder / "small.pt")
    card = {
        "network": "tests.helpers.networks:small_cnn",
        "weights": "small.pt",
        "prepare": {"size": 16, "mean": 0.5, "std": 0.5},
    }
    (folder / "small.json").write_text(json.dumps(card))
    return place


def explain(photographs, out, *options):
    """Run the command; return its exit code."""
    card = photographs.parent / "small.json"
    return main(["explain", str(photographs), "--model", str(card), "--out", str(out), *OPTIONS, *options])


def records(out):
    """Return the records of a run by their files' names."""
    return {path.name: usu.Explanation.load(path) for path in out.glob("*.npz")}


def same(one, other):
    """Assert that two runs of the small network have the same records."""
    assert one.keys() == other.keys()
    for name, record in one.items():
        np.testing.assert_allclose(record.attribution, other[name].attribution, rtol=1e-4, atol=1e-6)
        assert record.settings == other[name].settings
        assert (record.target, record.model) == (other[name].target, "small")
