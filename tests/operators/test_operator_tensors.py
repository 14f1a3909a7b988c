"""The operators as functions on tensors: gradients, kinds, dtypes, memory, batches, lattices."""

from functools import partial

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch.autograd import gradcheck, gradgradcheck

from tests.helpers.cases import (
    OPERATORS,
    assert_agree,
    both_forms,
    both_systems,
    bowl,
    every_operator,
    make_case,
)
from usu import redistribute

# Gradients


def tensors(rng, shape, size, *, segmented, regions, batch=()):
    """Draw float64 tensors that record gradients, and the segments and options that go with them."""
    case = make_case(rng, np.float64, shape, size, regions=regions, segments=5 if segmented else None)
    coarse = torch.from_numpy(rng.normal(size=(*batch, *case.coarse.shape))).requires_grad_()
    scores = torch.from_numpy(rng.uniform(0.05, 0.95, (*batch, *case.scores.shape))).requires_grad_()
    return coarse, scores, case.segments, case.options


@every_operator
@both_forms
@both_systems
@pytest.mark.parametrize("temperature", [1.0, 0.1, 0.01])
def test_gradients(operator, segmented, regions, temperature):
    rng = np.random.default_rng(10)
    coarse, scores, segments, options = tensors(rng, (2, 2), (3, 4), segmented=segmented, regions=regions)
    run = partial(operator, segments=segments, temperature=temperature, **options)
    assert gradcheck(run, (coarse, scores))
    assert gradcheck(lambda values: run(values, scores.detach()), (coarse,))
    assert gradcheck(lambda values: run(coarse.detach(), values), (scores,))


@every_operator
@pytest.mark.parametrize("potential", ["power", "log-odds", bowl])
def test_gradients_of_other_potentials(operator, potential):
    if potential is bowl and operator is OPERATORS["usu opposite"]:
        pytest.skip("the callable has a single form here; 'same' covers it")
    coarse, scores, segments, _ = tensors(
        np.random.default_rng(11), (2, 2), (3, 4), segmented=True, regions=False
    )
    assert gradcheck(
        partial(operator, segments=segments, temperature=0.3, potential=potential), (coarse, scores)
    )


@every_operator
@both_forms
def test_gradients_at_the_smallest_temperature(operator, segmented):
    rng = np.random.default_rng(12)
    coarse, scores, segments, _ = tensors(rng, (2, 2), (3, 4), segmented=segmented, regions=False)
    close = (0.5 + 5e-4 * scores.detach()).requires_grad_()
    run = partial(operator, segments=segments, temperature=1e-4)
    assert gradcheck(run, (coarse, close), eps=1e-9, rtol=1e-3)
    for dtype in (torch.float32, torch.float64):
        values = [tensor.detach().to(dtype).requires_grad_() for tensor in (coarse, scores)]
        run(*values).square().sum().backward()
        assert all(value.grad.isfinite().all() for value in values)


@both_forms
def test_gradients_of_batches_and_second_derivatives(segmented):
    rng = np.random.default_rng(13)
    arguments = {"segmented": segmented, "regions": False, "batch": (2,)}
    coarse, scores, segments, _ = tensors(rng, (1, 2), (2, 3), **arguments)
    segments = segments if segments is None else np.stack([segments, segments[::-1]])
    run = partial(redistribute, segments=segments)
    assert gradcheck(run, (coarse, scores))
    assert gradcheck(run, (coarse[0].detach().requires_grad_(), scores))
    assert gradgradcheck(run, (coarse, scores))


def test_gradients_flow_after_a_call_in_inference_mode():
    coarse, scores = torch.rand(3, 5), torch.rand(19, 23)
    with torch.inference_mode():
        redistribute(coarse, scores)
    coarse.requires_grad_()
    redistribute(coarse, scores).sum().backward()
    assert coarse.grad.sum() == pytest.approx(19 * 23)


# Kinds, dtypes, memory


@every_operator
@both_forms
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("temperature", [1e-3, 0.1, 1e4])
def test_half_precision_is_the_float32_result_rounded(device, operator, segmented, dtype, temperature):
    case = make_case(
        np.random.default_rng(14), np.float32, (3, 4), (17, 22), segments=6 if segmented else None
    )
    segments = case.segments
    coarse, scores = (torch.from_numpy(array).to(device, dtype) for array in (case.coarse, case.scores))
    result = operator(coarse, scores, segments, temperature=temperature)
    exact = operator(coarse.float(), scores.float(), segments, temperature=temperature)
    assert result.dtype == dtype
    assert torch.equal(result, exact.to(dtype))


@every_operator
@both_forms
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_numpy_in_numpy_out(operator, segmented, dtype):
    case = make_case(np.random.default_rng(15), dtype, (3, 4), (17, 22), segments=6 if segmented else None)
    result = operator(case.coarse, case.scores, case.segments)
    assert type(result) is np.ndarray
    assert result.dtype == dtype
    segments = case.segments if case.segments is None else torch.from_numpy(case.segments)
    twin = operator(torch.from_numpy(case.coarse), torch.from_numpy(case.scores), segments)
    assert isinstance(twin, torch.Tensor)
    assert_array_equal(result, twin.numpy())


def test_the_coarse_map_decides_the_dtype_and_the_widest_input_the_precision():
    case = make_case(np.random.default_rng(16), np.float64, (2, 2), (9, 9))
    mixed = redistribute(case.coarse.astype(np.float32), case.scores)
    exact = redistribute(case.coarse.astype(np.float32).astype(np.float64), case.scores)
    assert_array_equal(mixed, exact.astype(np.float32))
    assert redistribute(np.array([[4]]), case.scores).dtype == np.float32  # integers: torch's default


@every_operator
def test_memory_layout_and_label_types_do_not_matter(operator):
    case = make_case(np.random.default_rng(17), np.float64, (4, 6), (12, 18), segments=6)
    expected = operator(case.coarse, case.scores, case.segments)
    for kind in (np.uint8, np.int16, np.int32, np.uint64, ">i4"):
        assert_array_equal(operator(case.coarse, case.scores, case.segments.astype(kind)), expected)
    frozen = case.coarse.astype(">f8")
    frozen.flags.writeable = False
    assert_array_equal(operator(frozen, case.scores[::-1], 5 - case.segments), expected)
    dense = operator(case.coarse, case.dense)
    strided = torch.from_numpy(case.dense.T.copy()).T
    assert_allclose(operator(torch.from_numpy(case.coarse), strided), dense, rtol=1e-14)
    expanded = torch.tensor([0.3], dtype=torch.float64).expand(12, 18)
    assert_allclose(
        operator(torch.from_numpy(case.coarse), expanded), operator(case.coarse, expanded.numpy().copy())
    )


@every_operator
@both_forms
@both_systems
@pytest.mark.parametrize("temperature", [1e-4, 0.1, 1e4])
@pytest.mark.parametrize("grad", [(), (0,), (1,), (0, 1)], ids=["no grad", "coarse", "scores", "both"])
def test_the_callers_arrays_are_never_touched(operator, segmented, regions, temperature, grad):
    rng = np.random.default_rng(18)
    for shape, size in [((2, 2), (8, 6)), ((2, 3), (7, 7))]:  # whole cells work in place, odd ones do not
        case = make_case(rng, np.float64, shape, size, regions=regions, segments=5 if segmented else None)
        for dtype in (torch.float32, torch.float64):
            given_ = [torch.from_numpy(array).to(dtype) for array in (case.coarse, case.scores)]
            given_ += [] if case.segments is None else [torch.from_numpy(case.segments)]
            for position in grad:
                given_[position].requires_grad_()
            copies, versions = [array.clone() for array in given_], [array._version for array in given_]
            options = case.options | {"mass": "total"}  # the map itself serves as the masses
            result = operator(*given_, temperature=temperature, **options)
            result.detach().fill_(9.0)
            assert all(map(torch.equal, given_, copies))
            assert [array._version for array in given_] == versions


# Batches and dimensions


@every_operator
@both_systems
@pytest.mark.parametrize(
    ("coarse_batch", "scores_batch", "segments_batch"),
    [
        ((2,), (2,), ()),
        ((2,), (2,), (2,)),
        ((2,), (), ()),
        ((), (2,), ()),
        ((), (), (2,)),
        ((2, 1), (3,), (2, 3)),
        ((3,), (2, 1), (1, 3)),
        ((1,), (1,), ()),
        ((2,), (2,), None),
        ((2,), (), None),
        ((), (2,), None),
        ((2, 1), (3,), None),
    ],
)
def test_batches_equal_one_by_one(operator, regions, coarse_batch, scores_batch, segments_batch):
    rng = np.random.default_rng(19)
    one = make_case(rng, np.float64, (2, 3), (8, 7), regions=regions)
    coarse = rng.normal(size=(*coarse_batch, *one.coarse.shape))
    if segments_batch is None:
        scores, segments, core = rng.random((*scores_batch, 8, 7)), None, 2
    else:
        scores, core = rng.random((*scores_batch, 5)), 1
        segments = rng.integers(5, size=(*segments_batch, 8, 7))
    batch = np.broadcast_shapes(coarse_batch, scores_batch, segments_batch or ())
    for temperature in (1e-3, 0.1):
        run = partial(operator, temperature=temperature, **one.options)
        result = run(coarse, scores, segments)
        assert result.shape == (*batch, 8, 7)
        every_coarse = np.broadcast_to(coarse, (*batch, *one.coarse.shape))
        every_scores = np.broadcast_to(scores, (*batch, *scores.shape[scores.ndim - core :]))
        every_segments = None if segments is None else np.broadcast_to(segments, (*batch, 8, 7))
        for index in np.ndindex(batch):
            labels = None if every_segments is None else every_segments[index]
            alone = run(every_coarse[index], every_scores[index], labels)
            assert_agree(result[index].ravel(), alone.ravel(), one.labels, 1e-12)


@every_operator
def test_an_image_of_one_row_is_a_signal_and_a_volume_of_one_slice_an_image(operator):
    case = make_case(np.random.default_rng(20), np.float64, (3, 4), (10, 13), segments=6)
    image = operator(case.coarse, case.scores, case.segments)
    volume = operator(case.coarse[None], case.scores, case.segments[None], ndim=3)
    assert_allclose(volume[0], image, rtol=1e-14)
    signal = operator(case.coarse[0], case.scores, case.segments[0], ndim=1)
    row = operator(case.coarse[:1], case.scores, case.segments[:1])
    assert_allclose(signal, row[0], rtol=1e-14)
