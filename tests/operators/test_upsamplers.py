"""Every built-in name is the function it stands for, on densities and totals, and promises what it keeps."""

import numpy as np
import pytest
import torch

import usu
from usu.operators.lattice import grid
from usu.operators.setting import Setting
from usu.operators.upsamplers import UPSAMPLERS, find_upsampler

RNG = np.random.default_rng(0)
COARSE, SCORES = RNG.random((3, 4)), RNG.random((13, 18))
AREAS = np.outer([4, 5, 4], [4, 5, 4, 5])  # 13 over 3 and 18 over 4, by pixel centres
LABELS = RNG.permutation(np.arange(234) % 7).reshape(13, 18)


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic", "lanczos", "conserving"])
def test_interpolation_by_name(mode):
    expected = usu.interpolate(COARSE, (13, 18), mode)
    np.testing.assert_array_equal(find_upsampler(mode)(COARSE, SCORES), expected)
    totals = find_upsampler(mode, mass="total")(COARSE * AREAS, SCORES)
    np.testing.assert_allclose(totals, expected, rtol=1e-12)


@pytest.mark.parametrize("mass", ["density", "total"])
@pytest.mark.parametrize("labels", [None, LABELS])
def test_redistribution_by_name(mass, labels):
    coarse = COARSE if labels is None else RNG.random(7)
    setting = {"temperature": 0.2, "potential": "log-odds", "mass": mass}
    shared = {**setting, "neighbourhoods": labels}
    soft = {**shared, "importance_temperature": 0.5}
    expected = {
        "usu": usu.redistribute(coarse, SCORES, **shared),
        "iwmr": usu.iwmr(coarse, SCORES, **soft),
        "hybrid": usu.iwmr(coarse, SCORES, prior="mass", **soft),
    }
    if labels is None:
        expected["usu-continuous"] = usu.redistribute(coarse, SCORES, continuous=True, **setting)
        expected["total-conserving"] = usu.share_total(coarse, SCORES, **setting)
    for name, pixels in expected.items():
        np.testing.assert_array_equal(find_upsampler(name, **soft)(coarse, SCORES), pixels)


def test_nearest_knows_superpixels_and_other_kernels_do_not():
    coarse = RNG.random(7)
    upsample = find_upsampler("nearest", neighbourhoods=LABELS)
    np.testing.assert_array_equal(upsample(coarse, SCORES), coarse[LABELS])
    for name in ("bicubic", "conserving", "total-conserving"):
        with pytest.raises(ValueError, match=f"neighbourhoods must be None for '{name}'"):
            find_upsampler(name, neighbourhoods=LABELS)(coarse, SCORES)
    with pytest.raises(ValueError, match="coarse must be finite"):
        upsample(coarse * np.nan, SCORES)


@pytest.mark.parametrize("name", [name for name, entry in UPSAMPLERS.items() if entry.budget])
@pytest.mark.parametrize("temperature", [1e-6, 0.1, 1e3])
@pytest.mark.parametrize("signed", [False, True])
def test_promised_masses_are_kept(name, temperature, signed):
    coarse = np.where(RNG.random((3, 4)) < 0.2, 0.0, COARSE - 0.5 * signed)
    pixels = find_upsampler(name, temperature=temperature, mass="total")(coarse, SCORES)
    edges = [np.cumsum([0, 4, 5]), np.cumsum([0, 4, 5, 4])]
    sums = np.add.reduceat(np.add.reduceat(pixels, edges[0], axis=0), edges[1], axis=1)
    setting = Setting(temperature=temperature, mass="total")
    masses, scores = torch.from_numpy(coarse), torch.from_numpy(SCORES)
    promised = UPSAMPLERS[name].budget(masses, scores, grid((3, 4), SCORES.shape), setting)
    np.testing.assert_allclose(sums, promised, atol=1e-13)


@pytest.mark.parametrize("name", ["iwmr", "hybrid", "total-conserving"])
def test_an_empty_map_is_promised_nothing(name):
    zeros, halves = torch.zeros(1, 3, dtype=torch.float64), torch.full((2, 6), 0.5, dtype=torch.float64)
    assert torch.equal(UPSAMPLERS[name].budget(zeros, halves, grid((1, 3), (2, 6)), Setting()), zeros)


def test_callables_get_densities_and_nothing_else():
    seen = []

    def record(coarse, scores):
        seen.append((coarse, scores))
        return scores

    find_upsampler(record)(COARSE, SCORES)
    find_upsampler(record, mass="total", temperature=3.0)(COARSE * AREAS, SCORES)
    assert seen[0][0] is COARSE
    np.testing.assert_allclose(seen[1][0], COARSE, rtol=1e-12)
    assert seen[1][1] is SCORES


@pytest.mark.parametrize("name", UPSAMPLERS)
def test_batches_and_dtypes_pass_through(name):
    coarse = torch.rand(2, 3, 4).half()
    pixels = find_upsampler(name, mass="total")(coarse, torch.rand(2, 13, 18))
    assert pixels.shape == (2, 13, 18)
    assert pixels.dtype == torch.float16


def test_the_registry_and_its_settings_are_frozen():
    with pytest.raises(TypeError):
        UPSAMPLERS["mine"] = UPSAMPLERS["usu"]
    with pytest.raises(AttributeError):
        Setting().temperature = 2.0


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (["bilinea"], {}, ValueError, "upsampler must be one of"),
        ([None], {}, TypeError, "upsampler must be a name or a callable"),
        (["usu"], {"temperature": -1}, ValueError, "temperature must be positive"),
        (["usu"], {"importance_temperature": "x"}, TypeError, "importance_temperature must be"),
        (["usu"], {"potential": 3}, TypeError, "potential must be"),
        (["usu"], {"mass": None}, ValueError, "mass must be one of"),
    ],
)
def test_bad_settings_are_refused_by_name(arguments, options, error, message):
    with pytest.raises(error, match=message):
        find_upsampler(*arguments, **options)


def test_a_wrong_sign_rule_is_refused_by_every_name():
    for name in UPSAMPLERS:
        with pytest.raises(ValueError, match="negative must be one of"):
            find_upsampler(name, negative="flip")
