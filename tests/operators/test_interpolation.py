"""The baselines against PyTorch, Pillow, the slow reference, and the operator where they must meet."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from torch.autograd import gradcheck

from tests.helpers import reference
from usu import interpolate, redistribute

MODES = ["nearest", "bilinear", "bicubic", "lanczos"]
SIZES = [((4, 4), (4, 4)), ((7, 7), (28, 28)), ((5, 3), (23, 31)), ((9, 12), (4, 5)), ((1, 2), (6, 1))]
every_mode = pytest.mark.parametrize("mode", MODES)


def draw(*shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


@pytest.mark.parametrize(("grid", "size"), SIZES)
@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_agrees_with_torch(device, mode, grid, size):
    coarse = torch.from_numpy(draw(2, 3, *grid)).to(device)
    expected = F.interpolate(coarse, size, mode=mode, align_corners=False)
    torch.testing.assert_close(interpolate(coarse, size, mode), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("grid", "size"), [((4,), (9,)), ((5,), (3,)), ((2, 3, 4), (5, 7, 8))])
def test_bilinear_is_linear_in_one_and_three_dimensions(grid, size):
    coarse = torch.from_numpy(draw(2, 3, *grid))
    expected = F.interpolate(coarse, size, mode={1: "linear", 3: "trilinear"}[len(size)], align_corners=False)
    torch.testing.assert_close(interpolate(coarse, size, "bilinear"), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("grid", "size"), SIZES)
def test_lanczos_agrees_with_pillow(grid, size):
    coarse = draw(*grid, dtype=np.float32)
    image = Image.fromarray(coarse).resize(size[::-1], Image.Resampling.LANCZOS)
    assert image.mode == "F"
    assert_allclose(interpolate(coarse, size, "lanczos"), np.asarray(image), rtol=0, atol=2e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("cells", "length"), [(1, 5), (7, 7), (7, 50), (14, 33), (40, 9)])
def test_lanczos_agrees_with_the_reference(dtype, cells, length):
    row = draw(cells, dtype=dtype)
    tolerance = {np.float32: 2e-6, np.float64: 1e-13}[dtype]
    assert_allclose(
        interpolate(row, (length,), "lanczos"), reference.lanczos(row.tolist(), length), atol=tolerance
    )


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 18)), min_size=1, max_size=3))
def test_nearest_agrees_with_the_reference_for_any_sizes(axes):
    shape, size = zip(*axes, strict=True)
    coarse = draw(*shape)
    result = interpolate(coarse, size, "nearest")
    assert_array_equal(result.ravel(), reference.nearest(coarse.ravel().tolist(), shape, size))


def test_nearest_is_redistribution_with_equal_scores_where_float32_would_miss_a_border():
    for cells, length in [(4, 41), (2, 61), (6, 7), (39, 299), (7, 224)]:
        coarse = np.arange(1.0, cells + 1)
        expected = redistribute(coarse, np.full(length, 0.5), ndim=1)
        assert_allclose(interpolate(coarse, (length,), "nearest"), expected, rtol=1e-14)
    image = draw(5, 3)
    expected = redistribute(image, np.zeros((37, 41)))
    assert_allclose(interpolate(image, (37, 41), "nearest"), expected, rtol=1e-14)


@every_mode
def test_a_volume_or_a_row_is_done_axis_by_axis(mode):
    volume = draw(3, 4, 5)
    result = interpolate(volume, (5, 4, 9), mode)
    step = np.moveaxis(interpolate(np.moveaxis(volume, 0, -1), (5,), mode), -1, 0)
    step = interpolate(step, (9,), mode)
    assert_allclose(result, step, rtol=1e-12, atol=1e-13)
    row = draw(1, 6)
    assert_allclose(
        interpolate(row, (1, 11), mode)[0], interpolate(row[0], (11,), mode), rtol=1e-12, atol=1e-14
    )


@every_mode
def test_batches_equal_one_by_one_and_constants_stay(mode):
    coarse = draw(2, 3, 5, 4)
    result = interpolate(coarse, (9, 13), mode)
    assert result.shape == (2, 3, 9, 13)
    for index in np.ndindex(2, 3):
        assert_allclose(result[index], interpolate(coarse[index], (9, 13), mode), rtol=1e-13, atol=1e-14)
    assert_allclose(interpolate(np.full((5, 4), 3.0), (9, 13), mode), 3.0, rtol=1e-13)


@every_mode
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_kind_dtype_and_device_are_the_callers(device, mode, dtype):
    coarse = torch.from_numpy(draw(4, 5)).to(device, dtype)
    result = interpolate(coarse, (9, 8), mode)
    assert (result.dtype, result.device) == (dtype, coarse.device)
    wide = coarse.double() if dtype == torch.float64 else coarse.float()
    assert torch.equal(result, interpolate(wide, (9, 8), mode).to(dtype))
    if dtype != torch.bfloat16:
        array = interpolate(coarse.cpu().numpy(), (9, 8), mode)
        assert type(array) is np.ndarray
        assert_allclose(array, result.cpu().numpy(), rtol=1e-6, atol=1e-6)


@every_mode
@pytest.mark.parametrize("size", [(4, 5), (8, 10), (3, 2)])
def test_the_callers_array_is_neither_touched_nor_shared(mode, size):
    coarse = draw(4, 5)
    copy = coarse.copy()
    interpolate(coarse, size, mode)[...] = 9.0
    assert_array_equal(coarse, copy)


@every_mode
def test_autocast_changes_nothing(mode):
    coarse = torch.from_numpy(draw(5, 6, dtype=np.float32))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = interpolate(coarse, (11, 9), mode)
    assert torch.equal(found, interpolate(coarse, (11, 9), mode))


@every_mode
def test_gradients(mode):
    coarse = torch.from_numpy(draw(2, 3, 2)).requires_grad_()
    with torch.inference_mode():
        interpolate(coarse.detach().clone(), (5, 7), mode)
    assert gradcheck(lambda values: interpolate(values, (5, 7), mode), (coarse,))


def test_interpolation_does_not_conserve_mass_and_nearest_on_whole_cells_does():
    coarse = draw(4, 4)
    sums = {mode: interpolate(coarse, (8, 8), mode).reshape(4, 2, 4, 2).sum((1, 3)) for mode in MODES}
    assert_allclose(sums["nearest"], 4 * coarse, rtol=1e-14)
    for mode in MODES[1:]:
        assert np.abs(sums[mode] - 4 * coarse).max() > 0.1


@pytest.mark.parametrize(
    ("arguments", "error", "name"),
    [
        (([[1.0]], (2, 2), "linear"), ValueError, "mode"),
        (([[1.0]], (2, 2), "Bilinear"), ValueError, "mode"),
        (([[1.0]], (2, 2), None), ValueError, "mode"),
        (([[1.0]], (2, 2), ["nearest"]), ValueError, "mode"),
        (([[1.0]], (2, 2), np.ones(2)), ValueError, "mode"),
        (([[1.0]], (0, 2), "nearest"), ValueError, "size"),
        (([[1.0]], (-3, 2), "nearest"), ValueError, "size"),
        (([[1.0]], (), "nearest"), ValueError, "size"),
        ((np.ones((1, 1, 1, 1)), (2, 2, 2, 2), "nearest"), ValueError, "size"),
        (([[1.0]], (2.0, 2.5), "nearest"), TypeError, "size"),
        (([[1.0]], (2, float("nan")), "nearest"), TypeError, "size"),
        (([[1.0]], 4, "nearest"), TypeError, "size"),
        (([[1.0]], None, "nearest"), TypeError, "size"),
        (([[1.0]], "44", "nearest"), TypeError, "size"),
        (([1.0], (2, 2), "nearest"), ValueError, "coarse"),
        ((1.0, (2,), "nearest"), ValueError, "coarse"),
        ((np.ones((0, 3)), (2, 2), "nearest"), ValueError, "coarse"),
        (([[1.0, np.nan]], (2, 2), "bicubic"), ValueError, "coarse"),
        (([[1.0, -np.inf]], (2, 2), "lanczos"), ValueError, "coarse"),
        (([[1.0], [1.0, 2.0]], (2, 2), "nearest"), ValueError, "coarse"),
        (([["a"]], (2, 2), "nearest"), TypeError, "coarse"),
        ((None, (2, 2), "nearest"), TypeError, "coarse"),
        (([[1j]], (2, 2), "nearest"), TypeError, "coarse"),
    ],
)
def test_bad_input(arguments, error, name):
    with pytest.raises(error, match=rf"^{name}\b"):
        interpolate(*arguments)
