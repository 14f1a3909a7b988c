"""Propositions 3 to 10, the properties of eq. 17 and theorem 8 (supplement C), each under its own number.

The other half of the paper's claims is in test_propositions.py.
"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import usu
from tests.helpers.networks import small_cnn
from usu.pipeline import MODES
from usu.scoring.refinement import (
    KERNELS,
    MIXINGS,
    boundary_segments,
    changed,
    h_map,
    merge,
    mixing_coefficient,
)

seeds = st.integers(0, 2**31)
shapes = st.tuples(st.integers(1, 12), st.integers(1, 12))
unit = st.floats(0, 1)


@st.composite
def matrices(draw, count=1):
    """Draw score matrices (H, W) of one size, with equal scores among them."""
    shape = draw(shapes)
    rng = np.random.default_rng(draw(seeds))
    levels = draw(st.sampled_from([1, 3, 1000]))
    drawn = [torch.from_numpy(rng.integers(0, levels + 1, shape) / levels) for _ in range(count)]
    return drawn if count > 1 else drawn[0]


# --- C.2: the H-map ---


@given(pair=matrices(2), factor=st.floats(-1e3, 1e3))
def test_proposition_03_h_map_is_linear(pair, factor):
    """The paper's kernel is; the gradient's length, the library's other kernel, is a seminorm."""
    first, second = pair
    both = h_map(first) + h_map(second)
    torch.testing.assert_close(h_map(first + second), both, rtol=0, atol=1e-14)
    torch.testing.assert_close(h_map(factor * first), factor * h_map(first), rtol=1e-12, atol=1e-12)
    lengths = [h_map(scores, "gradient") for scores in (first, second, first + second, factor * first)]
    assert (lengths[2] <= lengths[0] + lengths[1] + 1e-14).all()
    torch.testing.assert_close(lengths[3], abs(factor) * lengths[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kernel", KERNELS)
@given(scores=matrices(), level=unit, place=st.tuples(unit, unit))
def test_proposition_04_zero_on_constant_regions(kernel, scores, level, place):
    """With replicated borders it holds for the pixels of the border, too."""
    row, column = (round(part * (length - 1)) for part, length in zip(place, scores.shape, strict=True))
    scores[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2] = level
    assert h_map(scores, kernel)[row, column] == 0


# --- C.3, C.4: boundary set and comparator ---


@given(h=matrices(), thresholds=st.tuples(unit, unit), segments=st.integers(1, 9), seed=seeds)
def test_proposition_05_boundary_set_is_monotone_in_the_threshold(h, thresholds, segments, seed):
    labels = torch.from_numpy(np.random.default_rng(seed).integers(0, segments, h.shape))
    lower, higher = (boundary_segments(h, labels, threshold) for threshold in sorted(thresholds))
    assert not (higher & ~lower).any()
    assert not boundary_segments(h, labels, 2.0).any()
    varied = {int(label) for label in labels[h > 0]}
    assert {int(label) for label in boundary_segments(h, labels, 1e-9).nonzero()} == varied


@given(pair=matrices(2), tolerance=st.floats(1e-9, 20))
def test_proposition_06_comparator_is_symmetric(pair, tolerance):
    first, second = pair
    assert changed(first, second, tolerance) == changed(second, first, tolerance)


@given(scores=matrices(), tolerance=st.floats(1e-300, 1))
def test_proposition_07_comparator_ends_on_equal_matrices(scores, tolerance):
    assert not changed(scores, scores.clone(), tolerance)


# --- C.5: the mixing coefficient ---

centres = st.floats(0, 1)
sharpnesses = st.floats(1e-3, 1)
offsets = st.floats(-30, 30)  # in units of τ; beyond 36 the sigmoid is 1 to float64's last digit


def alpha_at(offset, centre, sharpness):
    """Return α where |H| = μ + offset·τ, for H of either sign."""
    h = torch.tensor([1.0, -1.0], dtype=torch.float64) * (centre + offset * sharpness)
    alpha = mixing_coefficient(h, centre, sharpness)
    assert alpha[0] == alpha[1]
    return float(alpha[0])


def reachable(offset, centre, sharpness):
    """Say whether |H| = μ + offset·τ is a magnitude at all."""
    return centre + offset * sharpness >= 0


@given(offset=offsets, centre=centres, sharpness=sharpnesses)
def test_equation_17_property_1_strictly_between_0_and_1(offset, centre, sharpness):
    if reachable(offset, centre, sharpness):
        assert 0 < alpha_at(offset, centre, sharpness) < 1


@given(offset=offsets, step=st.floats(0.01, 10), centre=centres, sharpness=sharpnesses)
def test_equation_17_property_2_strictly_decreasing(offset, step, centre, sharpness):
    if reachable(offset, centre, sharpness):
        assert alpha_at(offset + step, centre, sharpness) < alpha_at(offset, centre, sharpness)


@given(centre=centres, sharpness=sharpnesses)
def test_equation_17_property_3_one_half_at_the_centre(centre, sharpness):
    assert alpha_at(0.0, centre, sharpness) == 0.5


@given(offset=st.floats(5, 1e3), centre=centres, sharpness=sharpnesses)
def test_equation_17_properties_4_and_5_one_depth_dominates(offset, centre, sharpness):
    assert alpha_at(offset, centre, sharpness) < 0.01
    if reachable(-offset, centre, sharpness):
        assert alpha_at(-offset, centre, sharpness) > 0.99


# --- C.6: the merge ---


@given(matrices=matrices(3))
def test_proposition_08_merge_is_a_convex_combination(matrices):
    coarse, fine, alpha = matrices
    merged = merge(coarse, fine, alpha)
    torch.testing.assert_close(merged - fine, alpha * (coarse - fine), rtol=0, atol=1e-15)
    assert (merged >= torch.minimum(coarse, fine) - 1e-15).all()
    assert (merged <= torch.maximum(coarse, fine) + 1e-15).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@given(matrices=matrices(3), seed=seeds)
def test_proposition_09_merge_is_bounded(dtype, matrices, seed):
    """To the last bit: α + (1-α) rounds to 1, and rounding is monotone."""
    coarse, fine, _ = (part.to(dtype) for part in matrices)
    alpha = torch.rand(coarse.shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    merged = merge(coarse, fine, alpha)
    assert 0 <= merged.min() <= merged.max() <= 1


@given(matrices=matrices(2))
def test_proposition_10_merge_is_the_identity_on_equal_inputs(matrices):
    scores, alpha = matrices
    torch.testing.assert_close(merge(scores, scores, alpha), scores, rtol=4e-16, atol=0)


# --- C.7: the whole pipeline ---

MODEL = small_cnn()
DEPTHS = (2, 5, 16, 64)


@st.composite
def runs(draw):
    """Draw the arguments of `usu.upsample`: an image, a signed map of any grid, and all that can be set."""
    generator = torch.Generator().manual_seed(draw(seeds))
    grid = draw(st.tuples(st.integers(1, 7), st.integers(1, 7)))
    method = draw(st.sampled_from(["watershed", "slic", "quadtree"]))
    return {
        "coarse": torch.randn(grid, generator=generator, dtype=torch.float64),
        "inputs": torch.randn(3, 16, 16, generator=generator),
        "target": draw(st.integers(0, 4)),
        "mass": draw(st.sampled_from(["density", "total"])),
        "segmentation": {method: DEPTHS[: draw(st.integers(1, 4))], "quadtree": (4, 16)},
        "threshold": draw(st.sampled_from([None, 0.05, 0.3])),
        "tolerance": draw(st.sampled_from([1e-6, 3.0])),
        "temperature": draw(st.sampled_from([1e-3, 0.1, 10.0])),
        "negative": draw(st.sampled_from(["same", "opposite"])),
        "output": draw(st.sampled_from(["probability", "logit"])),
    }


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("mixing", MIXINGS)
@pytest.mark.parametrize("mode", sorted(set(MODES) - {"complete"}))  # which has masses of its own
@settings(max_examples=5)
@given(arguments=runs())
def test_theorem_08_mass_conservation_through_recursion(mode, mixing, kernel, arguments):
    """Depth by depth, whatever the merge; `mode="usu"` keeps the mass of each cell as well."""
    found = usu.upsample(forward_func=MODEL, mode=mode, mixing=mixing, kernel=kernel, **arguments)
    coarse = arguments["coarse"]
    cells = usu.interpolate(
        torch.arange(coarse.numel(), dtype=torch.float64).view(coarse.shape), (16, 16), "nearest"
    )
    owner = cells.long().flatten()
    areas = torch.bincount(owner).view(coarse.shape)
    masses = coarse * areas if arguments["mass"] == "density" else coarse
    unit = float(masses.abs().sum())
    assert abs(float(found.attribution.sum() - masses.sum())) <= 1e-12 * unit
    assert 0 <= found.score_map.min() <= found.score_map.max() <= 1
    if mode == "usu":
        sums = torch.zeros_like(masses).flatten().index_add(0, owner, found.attribution.flatten())
        assert float((sums.view(masses.shape) - masses).abs().max()) <= 1e-12 * unit


def test_theorem_08_goes_through_every_depth():
    """What the theorem is about does happen here: each depth is scored, and the last changes the map."""
    inputs = torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(1))
    coarse = torch.ones(4, 4, dtype=torch.float64)
    shared = {"mixing": "segment", "threshold": None, "output": "logit"}
    deep, shallow = (
        usu.upsample(coarse, inputs, MODEL, 1, segmentation={"quadtree": counts}, **shared)
        for counts in (DEPTHS, DEPTHS[:-1])
    )
    assert [len(scores) for scores in deep.scores] == list(DEPTHS)
    assert (deep.attribution - shallow.attribution).abs().max() > 0.01


@given(matrices=matrices(3), constant=unit)
def test_theorem_08_last_step_holds_for_one_alpha(matrices, constant):
    coarse, fine, _ = matrices
    first, second = coarse / max(float(coarse.sum()), 1e-9), fine / max(float(fine.sum()), 1e-9)
    if coarse.any() and fine.any():
        assert float(merge(first, second, constant).sum()) == pytest.approx(1, abs=1e-12)


@given(size=st.integers(2, 30), wanted=unit)
def test_theorem_08_last_step_fails_for_an_alpha_that_varies(size, wanted):
    """Two maps of mass 1 merge to any mass in [0, 2], although α + (1-α) = 1 at each pixel."""
    first, second = torch.zeros(2, 1, size, dtype=torch.float64)
    first[0, 0] = second[0, -1] = 1.0
    alpha = torch.full((1, size), wanted, dtype=torch.float64)
    alpha[0, -1] = 1 - wanted
    assert float(merge(first, second, alpha).sum()) == pytest.approx(2 * wanted)


def test_theorem_08_last_step_fails_on_real_depths():
    """Merging the attributions of real depths by eq. 17 changes the mass; merging scores does not."""
    inputs = torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(1))
    hierarchy = usu.segment(torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(2)), (4, 32))
    refined = usu.refine(MODEL, inputs, hierarchy, 1, output="logit", mixing="pixel", kernel="gradient")
    coarse = torch.rand(4, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    attributions = [
        usu.redistribute(coarse, scores, labels)
        for scores, labels in zip(refined.scores, refined.partitions, strict=True)
    ]
    mass = float(coarse.sum()) * 16
    assert [float(attribution.sum()) for attribution in attributions] == pytest.approx([mass] * 2, rel=1e-12)
    merged = merge(*attributions, refined.mixings[0])
    assert abs(float(merged.sum()) / mass - 1) > 1e-3
    assert float(usu.redistribute(coarse, refined.score_map).sum()) == pytest.approx(mass, rel=1e-12)
