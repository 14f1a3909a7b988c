"""α- and β-errors, mass deficit and excess: by hand, in every kind of array, and refused where malformed."""

import numpy as np
import pytest
import torch

import usu
from tests.helpers.reference import grid_labels
from usu.metrics.errors import error_maps, mass_errors


def test_error_maps_by_hand():
    errors = error_maps(np.array([[3.0, 1.0], [-2.0, 0.0]]), np.array([[1.0, 1.0], [2.5, -4.0]]))
    np.testing.assert_array_equal(errors.alpha, [[2, 0], [0, 0]])
    np.testing.assert_array_equal(errors.beta, [[0, 0], [0.5, 4]])


def test_a_wrong_sign_alone_is_no_error_of_equation_3():
    errors = error_maps([[2.0]], [[-2.0]])
    assert errors.alpha == errors.beta == 0


@pytest.mark.parametrize("size", [(6, 6), (7, 5), (2, 3)])
def test_mass_errors_sum_over_the_cells_of_a_grid(size, rng):
    attribution, truth = rng.normal(size=(2, *size))
    errors = mass_errors(attribution, truth, (2, 3))
    surplus = np.zeros(6)
    np.add.at(surplus, grid_labels((2, 3), size), (attribution - truth).ravel())
    np.testing.assert_allclose(errors.excess, surplus.clip(min=0).reshape(2, 3), atol=1e-14)
    np.testing.assert_allclose(errors.deficit, (-surplus).clip(min=0).reshape(2, 3), atol=1e-14)


def test_a_grid_given_by_labels_gives_the_same_masses(rng):
    attribution, truth = rng.random((2, 6, 8))
    by_shape = mass_errors(attribution, truth, (3, 4))
    by_labels = mass_errors(attribution, truth, np.array(grid_labels((3, 4), (6, 8))).reshape(6, 8))
    np.testing.assert_allclose(by_labels.deficit, by_shape.deficit.ravel(), atol=1e-15)
    np.testing.assert_allclose(by_labels.excess, by_shape.excess.ravel(), atol=1e-15)


def test_batches_broadcast(rng):
    attribution, truth = rng.random((2, 3, 4, 6)), rng.random((3, 4, 6))
    maps, masses = error_maps(attribution, truth), mass_errors(attribution, truth, (2, 2))
    assert maps.alpha.shape == (2, 3, 4, 6)
    assert masses.deficit.shape == (2, 3, 2, 2)
    np.testing.assert_array_equal(
        masses.deficit[1, 2], mass_errors(attribution[1, 2], truth[2], (2, 2)).deficit
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_kind_device_and_dtype_are_the_callers(dtype, device):
    attribution = torch.rand(4, 4, device=device).to(dtype)
    truth = torch.rand(4, 4, device=device).to(dtype)
    maps, masses = error_maps(attribution, truth), mass_errors(attribution, truth, (2, 2))
    assert maps.alpha.dtype == maps.beta.dtype == dtype
    assert masses.deficit.dtype == torch.promote_types(dtype, torch.float32)
    assert maps.alpha.device == masses.excess.device == attribution.device
    if dtype is not torch.bfloat16:
        assert isinstance(error_maps(attribution.cpu().numpy(), truth.cpu().numpy()).alpha, np.ndarray)


def test_half_precision_masses_do_not_overflow():
    errors = mass_errors(torch.full((512, 512), 8.0, dtype=torch.float16), torch.zeros(512, 512), (1, 1))
    assert errors.excess.item() == 8 * 512 * 512


def test_a_mask_is_a_truth():
    errors = error_maps(np.array([[0.25, 0.5]]), np.array([[True, False]]))
    np.testing.assert_array_equal(errors.beta, [[0.75, 0]])


def test_errors_are_differentiable():
    attribution = torch.rand(4, 4, dtype=torch.float64, requires_grad=True)
    mass_errors(attribution, torch.zeros(4, 4), (2, 2)).excess.sum().backward()
    assert torch.equal(attribution.grad, torch.ones(4, 4, dtype=torch.float64))


def test_conservation_zeroes_both_mass_errors(rng):
    """Supplement D: where M_k aggregates the truth, USU's deficit and excess vanish."""
    truth = rng.random((12, 12))
    masses = truth.reshape(3, 4, 3, 4).sum((1, 3))
    attribution = usu.redistribute(masses, rng.random((12, 12)), mass="total")
    errors = mass_errors(attribution, truth, (3, 3))
    assert max(errors.deficit.max(), errors.excess.max()) < 1e-13


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[1.0, np.nan]], [[1.0, 1.0]]), "attribution must be finite"),
        (([[1.0, 1.0]], [[np.inf, 1.0]]), "truth must be finite"),
        (([[1.0, 1.0]], [[1.0], [1.0]]), "truth must cover the lattice of attribution"),
        (([1.0, 1.0], [1.0, 1.0]), "attribution must end in 2 lattice dimensions"),
        ((np.ones((2, 4, 4)), np.ones((3, 4, 4))), "truth of shape .* does not broadcast"),
        ((np.zeros((0, 4)), np.ones((4, 4))), "attribution is empty"),
    ],
)
def test_malformed_maps_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        error_maps(*arguments)


@pytest.mark.parametrize(
    ("neighbourhoods", "error", "message"),
    [
        ((3, 9), ValueError, "neighbourhoods is a grid"),
        ((0, 2), ValueError, "neighbourhoods is a grid"),
        ((), TypeError, "neighbourhoods must be a label map or a tuple"),
        (3, TypeError, "neighbourhoods must be a label map or a tuple"),
        ((2.5, 2), TypeError, "neighbourhoods must be a label map or a tuple"),
        ([[0, 2], [2, 2]], ValueError, "neighbourhoods must label"),
        (np.zeros((4, 4)), TypeError, "neighbourhoods must be integer labels"),
        (3 - 3 * np.eye(4, dtype=int), ValueError, "neighbourhoods has no pixel for label"),
        ("grid", TypeError, "neighbourhoods"),
    ],
)
def test_malformed_neighbourhoods_are_refused(neighbourhoods, error, message):
    with pytest.raises(error, match=message):
        mass_errors(np.ones((4, 4)), np.ones((4, 4)), neighbourhoods)


def test_other_kinds_are_refused():
    with pytest.raises(TypeError, match="truth must be an array"):
        error_maps([[1.0]], [["a"]])
    with pytest.raises(TypeError, match="attribution must be real"):
        error_maps(torch.ones(1, 1, dtype=torch.complex64), [[1.0]])


@pytest.fixture
def rng():
    return np.random.default_rng(0)
