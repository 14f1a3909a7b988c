"""A small version of benchmarks/robustness/robustness.py, and overflow as an error that says so."""

import numpy as np
import pytest
import torch
from benchmarks.robustness import robustness

import usu


@pytest.mark.parametrize(
    "rows",
    [
        robustness.by_temperature(56),
        robustness.by_size(256),
        robustness.by_count(320),
        robustness.by_magnitude(112),
    ],
    ids=["temperature", "size", "count", "magnitude"],
)
def test_completeness_holds(rows):
    """Residuals above the tolerance stand in bold."""
    rows = list(rows)
    assert rows
    assert [row for row in rows if "**" in row] == []


def test_the_ends_of_the_range():
    """What docs/robustness.md says of them; on small maps float16 has room enough."""
    rows = list(robustness.by_extreme(largest=1024))
    assert [row for row in rows if "not finite" in row] == []
    assert [row.split(" | ")[0] for row in rows if "**" in row] == ["| float32, coarse 1e-38 as total"]
    assert sum("refused: coarse has values too large" in row for row in rows) == 5


TOO_LARGE = {
    "the mass of a cell": lambda: usu.redistribute(
        np.full((2, 2), 1e37, np.float32), np.ones((32, 32), np.float32)
    ),
    "the sum of all": lambda: usu.iwmr(np.full((2, 2), 2e38, np.float32), np.eye(2, dtype=np.float32)),
    "the sum of a sign": lambda: usu.share_total(
        np.full((2, 2), 2e38, np.float32), np.ones((4, 4), np.float32), mass="total"
    ),
    "a narrower result": lambda: usu.redistribute(
        np.full((1, 1), 1e38, np.float32), np.eye(8), temperature=0.01
    ),
    "a half's result": lambda: usu.redistribute(torch.full((1, 1), 6e4).half(), torch.eye(4)),
    "an overshoot": lambda: usu.interpolate(np.array([[-3e38, 3e38]] * 2, np.float32), (8, 8), "bicubic"),
    "a half's overshoot": lambda: usu.interpolate(torch.tensor([[-6e4, 6e4]]).half(), (1, 8), "lanczos"),
}


@pytest.mark.parametrize("call", TOO_LARGE.values(), ids=TOO_LARGE)
def test_overflow_names_the_coarse_map(call):
    with pytest.raises(ValueError, match=r"^coarse has values too large for a result in float"):
        call()


def test_overflow_of_other_arguments():
    large = np.full((2, 2), 3e38, np.float32)
    with pytest.raises(ValueError, match=r"^attribution or truth has values too large"):
        usu.mass_errors(large, -large, (1, 1))
    with pytest.raises(ValueError, match=r"^scores has values too large"):
        usu.h_map(large * np.array([[1, -1], [-1, 1]], np.float32))


def test_values_within_the_range_do_not_overflow():
    scores = np.linspace(0, 1, 1024, dtype=np.float32).reshape(32, 32)
    for value in (1e30, -1e30, 1e-30):
        pixels = usu.redistribute(np.full((2, 2), value, np.float32), scores, temperature=0.1)
        assert np.isfinite(pixels).all()
        assert pixels.astype(float).sum() == pytest.approx(1024 * value, rel=1e-6)
