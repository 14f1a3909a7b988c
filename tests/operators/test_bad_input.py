"""Every wrong argument of the operators: an error of usu's own, early, that names the argument."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

import usu

COARSE = np.ones((2, 3))
DENSE = np.full((8, 9), 0.5)
SCORES = np.array([0.1, 0.5, 0.9])
SEGMENTS = np.arange(72).reshape(8, 9) % 3
REGIONS = np.arange(72).reshape(8, 9) % 6
NOTHING = np.ones((2, 0))
NAN, INF = float("nan"), float("inf")

OPERATORS = {"redistribute": usu.redistribute, "iwmr": usu.iwmr}
PACKAGE = Path(usu.__file__).parent


def changed(array, value, index=(0, 0)):
    """Return a copy of `array` with one value replaced."""
    copy = np.array(array)
    copy[index[: copy.ndim]] = value
    return copy


def refused(call, error, start):
    """Assert that usu itself, not NumPy or PyTorch, refuses the call with a message that starts so."""
    with pytest.raises(error, match=rf"^{start}\b") as caught:
        call()
    assert PACKAGE in Path(caught.traceback[-1].path).parents
    assert len(str(caught.value)) > len(start) + 8


def case(name, start, error, /, **arguments):
    return pytest.param(start, error, arguments, id=name)


def dense(name, start, error, /, **arguments):
    return case(
        f"dense, {name}",
        start,
        error,
        coarse=arguments.pop("coarse", COARSE),
        **{"scores": DENSE} | arguments,
    )


def segmented(name, start, error, /, **arguments):
    defaults = {"coarse": COARSE, "scores": SCORES, "segments": SEGMENTS}
    return case(f"segments, {name}", start, error, **defaults | arguments)


ARRAYS = [
    dense("coarse NaN", "coarse", ValueError, coarse=changed(COARSE, NAN)),
    dense("coarse inf", "coarse", ValueError, coarse=changed(COARSE, INF)),
    dense("coarse -inf", "coarse", ValueError, coarse=changed(COARSE, -INF)),
    dense("coarse inf and -inf", "coarse", ValueError, coarse=changed(changed(COARSE, INF), -INF, (1, 1))),
    dense("coarse empty", "coarse", ValueError, coarse=NOTHING),
    dense("coarse an empty batch", "coarse", ValueError, coarse=np.ones((0, 2, 3))),
    dense("coarse a number", "coarse", ValueError, coarse=1.0),
    dense("coarse a signal", "coarse", ValueError, coarse=np.ones(3)),
    dense("coarse ragged", "coarse", ValueError, coarse=[[1.0], [1.0, 2.0]]),
    dense("coarse text", "coarse", TypeError, coarse="map"),
    dense("coarse None", "coarse", TypeError, coarse=None),
    dense("coarse complex", "coarse", TypeError, coarse=COARSE * 1j),
    dense("coarse complex tensor", "coarse", TypeError, coarse=torch.ones(2, 3) * 1j),
    dense("coarse objects", "coarse", TypeError, coarse=COARSE.astype(object)),
    dense("coarse a dictionary", "coarse", TypeError, coarse={"map": COARSE}),
    dense("coarse dates", "coarse", TypeError, coarse=np.zeros((2, 3), "datetime64[s]")),
    dense("coarse sparse", "coarse", TypeError, coarse=torch.ones(2, 3).to_sparse()),
    dense("coarse of more rows than pixels", "coarse", ValueError, coarse=np.ones((9, 3))),
    dense("coarse of more columns than pixels", "coarse", ValueError, coarse=np.ones((2, 10))),
    dense("scores NaN", "scores", ValueError, scores=changed(DENSE, NAN)),
    dense("scores inf", "scores", ValueError, scores=changed(DENSE, INF)),
    dense("scores -inf", "scores", ValueError, scores=changed(DENSE, -INF)),
    dense("scores above 1", "scores", ValueError, scores=changed(DENSE, 1.001)),
    dense("scores below 0", "scores", ValueError, scores=changed(DENSE, -1e-9)),
    dense("scores in percent", "scores", ValueError, scores=DENSE * 100),
    dense("scores integers", "scores", ValueError, scores=(DENSE * 510).astype(np.uint8)),
    dense("scores empty", "scores", ValueError, scores=NOTHING),
    dense("scores a signal", "scores", ValueError, scores=DENSE[0]),
    dense("scores a number", "scores", ValueError, scores=0.5),
    dense("scores None", "scores", TypeError, scores=None),
    dense("scores text", "scores", TypeError, scores=[["high", "low"]]),
    dense("scores complex", "scores", TypeError, scores=DENSE + 0j),
    dense("scores ragged", "scores", ValueError, scores=[[0.1, 0.2], [0.3]]),
    dense("scores sparse", "scores", TypeError, scores=torch.ones(8, 9).to_sparse()),
    segmented("coarse NaN", "coarse", ValueError, coarse=changed(COARSE, NAN)),
    segmented("coarse of more rows than pixels", "coarse", ValueError, coarse=np.ones((9, 3))),
    segmented("scores NaN", "scores", ValueError, scores=changed(SCORES, NAN)),
    segmented("scores above 1", "scores", ValueError, scores=changed(SCORES, 2)),
    segmented("scores of an unused segment above 1", "scores", ValueError, scores=[0.1, 0.5, 0.9, 1.5]),
    segmented("scores a number", "scores", ValueError, scores=0.5),
    segmented("scores none at all", "scores", ValueError, scores=np.ones(0)),
    segmented("scores too few", "segments", ValueError, scores=SCORES[:2]),
    segmented("segments beyond the scores", "segments", ValueError, segments=changed(SEGMENTS, 3)),
    segmented("segments huge", "segments", ValueError, segments=changed(SEGMENTS, 2**62)),
    segmented("segments negative", "segments", ValueError, segments=changed(SEGMENTS, -1)),
    segmented("segments floats", "segments", TypeError, segments=SEGMENTS.astype(float)),
    segmented("segments half floats", "segments", TypeError, segments=torch.zeros(8, 9).half()),
    segmented("segments a mask", "segments", TypeError, segments=SEGMENTS > 1),
    segmented("segments complex", "segments", TypeError, segments=SEGMENTS + 0j),
    segmented("segments text", "segments", TypeError, segments="labels"),
    segmented("segments objects", "segments", TypeError, segments=SEGMENTS.astype(object)),
    segmented("segments ragged", "segments", ValueError, segments=[[0], [0, 1]]),
    segmented("segments empty", "segments", ValueError, segments=np.zeros((2, 0), int)),
    segmented("segments a signal", "segments", ValueError, segments=SEGMENTS[0]),
    segmented("segments a number", "segments", ValueError, segments=1),
    segmented(
        "segments negative in a batch",
        "segments",
        ValueError,
        segments=changed([SEGMENTS] * 2, -1, (1, 0, 0)),
    ),
    segmented(
        "segments beyond the scores in a batch",
        "segments",
        ValueError,
        segments=changed([SEGMENTS] * 2, 3, (1, 0, 0)),
    ),
    segmented(
        "segments beyond a batch of scores",
        "segments",
        ValueError,
        scores=np.stack([SCORES, SCORES]),
        segments=changed(SEGMENTS, 3),
    ),
]

flat = np.ones(6)
LABEL_MAPS = [
    dense(
        "gap", "neighbourhoods", ValueError, coarse=flat, neighbourhoods=np.where(REGIONS == 2, 3, REGIONS)
    ),
    dense("last label missing", "neighbourhoods", ValueError, coarse=np.ones(7), neighbourhoods=REGIONS),
    dense(
        "more values than pixels", "neighbourhoods", ValueError, coarse=np.ones(99), neighbourhoods=REGIONS
    ),
    dense("label beyond", "neighbourhoods", ValueError, coarse=np.ones(5), neighbourhoods=REGIONS),
    dense("huge label", "neighbourhoods", ValueError, coarse=flat, neighbourhoods=changed(REGIONS, 2**60)),
    dense("negative", "neighbourhoods", ValueError, coarse=flat, neighbourhoods=changed(REGIONS, -1)),
    dense("floats", "neighbourhoods", TypeError, coarse=flat, neighbourhoods=REGIONS / 1),
    dense("mask", "neighbourhoods", TypeError, coarse=np.ones(2), neighbourhoods=REGIONS > 2),
    dense("text", "neighbourhoods", TypeError, coarse=flat, neighbourhoods="grid"),
    dense("another size", "neighbourhoods", ValueError, coarse=flat, neighbourhoods=REGIONS[:4]),
    dense("transposed", "neighbourhoods", ValueError, coarse=flat, neighbourhoods=REGIONS.T),
    dense("a batch", "neighbourhoods", ValueError, coarse=flat, neighbourhoods=REGIONS[None]),
    dense("empty", "neighbourhoods", ValueError, coarse=flat, neighbourhoods=REGIONS[:0]),
    dense("coarse a number", "coarse", ValueError, coarse=1.0, neighbourhoods=REGIONS),
    segmented("gap", "neighbourhoods", ValueError, coarse=np.ones(7), neighbourhoods=REGIONS),
    segmented("another size", "neighbourhoods", ValueError, coarse=flat, neighbourhoods=REGIONS[:, :5]),
]

BATCHES = [
    dense("coarse and scores", "batch", ValueError, coarse=np.ones((2, 2, 3)), scores=np.ones((3, 8, 9))),
    segmented("coarse and scores", "batch", ValueError, coarse=np.ones((2, 2, 3)), scores=np.ones((3, 3))),
    segmented("coarse and segments", "batch", ValueError, coarse=np.ones((2, 2, 3)), segments=[SEGMENTS] * 3),
    segmented("scores and segments", "batch", ValueError, scores=np.ones((2, 3)), segments=[SEGMENTS] * 3),
    dense(
        "superpixels",
        "batch",
        ValueError,
        coarse=np.ones((2, 6)),
        scores=np.ones((3, 8, 9)),
        neighbourhoods=REGIONS,
    ),
]

OPTIONS = [
    *(
        dense(f"temperature {bad}", "temperature", ValueError, temperature=bad)
        for bad in (0, -1, 0.0, NAN, INF, -INF)
    ),
    dense("temperature beyond floats", "temperature", ValueError, temperature=10**400),
    *(
        dense(f"temperature {type(bad).__name__}", "temperature", TypeError, temperature=bad)
        for bad in ("0.1", None, True, np.True_, 1j, [0.1], np.array([0.1, 0.2]), torch.tensor(0.1), {})
    ),
    *(dense(f"ndim {bad!r}", "ndim", ValueError, ndim=bad) for bad in (0, -2, 1.5, "2", None, True)),
    dense("ndim beyond the scores", "scores", ValueError, ndim=3),
    dense("ndim beyond coarse", "coarse", ValueError, scores=DENSE[None], ndim=3),
    segmented("ndim beyond the segments", "segments", ValueError, ndim=3),
    *(dense(f"mass {bad!r}", "mass", ValueError, mass=bad) for bad in ("sum", "Total", None, 1, ["total"])),
    dense("mass an array", "mass", ValueError, mass=COARSE),
    *(
        dense(f"potential {bad!r}", "potential", ValueError, potential=bad)
        for bad in ("softmax", "", "Tensor")
    ),
    *(dense(f"potential {bad!r}", "potential", TypeError, potential=bad) for bad in (None, 2.0, ["tensor"])),
    dense("potential of another shape", "potential", ValueError, potential=lambda s: s[..., :1]),
    dense("potential of one number", "potential", ValueError, potential=lambda s: s.sum()),
    dense("potential of NumPy", "potential", ValueError, potential=lambda s: s.numpy()),
    dense("potential of nothing", "potential", ValueError, potential=lambda s: None),
    dense("potential negative", "potential", ValueError, potential=lambda s: s - 1),
    dense("potential zero", "potential", ValueError, potential=lambda s: s * 0),
    dense("potential NaN", "potential", ValueError, potential=lambda s: s * NAN),
    dense("potential infinite", "potential", ValueError, potential=lambda s: (s * 1e4).exp()),
    dense("potential complex", "potential", ValueError, potential=lambda s: s * 1j),
    segmented("potential of another shape", "potential", ValueError, potential=lambda s: s[:1]),
    segmented(
        "potential zero somewhere", "potential", ValueError, potential=lambda s: (s - 0.5).clamp(min=0)
    ),
]


@pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS)
@pytest.mark.parametrize(("start", "error", "arguments"), [*ARRAYS, *LABEL_MAPS, *BATCHES, *OPTIONS])
def test_both_operators_refuse(operator, start, error, arguments):
    refused(lambda: operator(**arguments), error, start)


@pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS)
@pytest.mark.parametrize(("start", "error", "arguments"), [*ARRAYS, *LABEL_MAPS, *BATCHES])
def test_tensors_are_refused_as_arrays_are(device, operator, start, error, arguments):
    def to_tensor(value):
        readable = isinstance(value, np.ndarray) and value.dtype.kind in "fiub"
        return torch.from_numpy(value.copy()).to(device) if readable else value

    refused(lambda: operator(**{name: to_tensor(value) for name, value in arguments.items()}), error, start)


@pytest.mark.parametrize("bad", ["flip", "Same", None, True, 0, ["same"], COARSE], ids=repr)
def test_negative_is_refused(bad):
    refused(lambda: usu.redistribute(COARSE, DENSE, negative=bad), ValueError, "negative")


@pytest.mark.parametrize("bad", ["uniform", "Area", None, True, 0, ["area"], COARSE], ids=repr)
def test_prior_is_refused(bad):
    refused(lambda: usu.iwmr(COARSE, DENSE, prior=bad), ValueError, "prior")


@pytest.mark.parametrize(
    ("bad", "error"),
    [(0, ValueError), (-0.1, ValueError), (NAN, ValueError), (INF, ValueError), ("1", TypeError)],
)
def test_the_importance_temperature_is_refused(bad, error):
    refused(lambda: usu.iwmr(COARSE, DENSE, importance_temperature=bad), error, "importance_temperature")


@pytest.mark.parametrize("temperature", [1, np.float32(0.5), np.int64(2), Fraction(1, 10), 5e-324])
def test_every_kind_of_positive_real_number_is_a_temperature(temperature):
    result = usu.redistribute(COARSE, DENSE, temperature=temperature)
    np.testing.assert_allclose(result, usu.redistribute(COARSE, DENSE, temperature=float(temperature)))


def test_a_message_tells_what_was_wrong_and_what_to_do():
    with pytest.raises(ValueError, match=r"label 7, but scores are given for labels 0\.\.2"):
        usu.redistribute(COARSE, SCORES, changed(SEGMENTS, 7))
    with pytest.raises(ValueError, match=r"\[0, 4\]; clip raw scores at 0 and divide"):
        usu.redistribute(COARSE, changed(changed(DENSE, 4), 0, (1, 1)))
    with pytest.raises(ValueError, match=r"1 of 6 values"):
        usu.redistribute(changed(COARSE, NAN), DENSE)
    with pytest.raises(
        ValueError, match=r"grid of \(9, 3\) cells but the lattice has \(8, 9\) pixels.*finer lattice"
    ):
        usu.redistribute(np.ones((9, 3)), DENSE)
    with pytest.raises(ValueError, match=r"no pixel for label 2: .*renumber"):
        usu.redistribute(flat, DENSE, neighbourhoods=np.where(REGIONS == 2, 3, REGIONS))
    with pytest.raises(ValueError, match=r"coarse \(2,\), scores \(3,\)"):
        usu.redistribute(np.ones((2, 2, 3)), np.ones((3, 8, 9)))
    with pytest.raises(ValueError, match=r"'exponential', 'power', 'log-odds'.*'softmax'"):
        usu.redistribute(COARSE, DENSE, potential="softmax")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_arguments_on_two_devices_are_refused():
    coarse, scores = torch.from_numpy(COARSE).cuda(), torch.from_numpy(DENSE)
    refused(lambda: usu.redistribute(coarse, scores), ValueError, "scores")
    assert usu.redistribute(coarse, DENSE).is_cuda
