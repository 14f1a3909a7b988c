"""D5: jumps at borders are found with their size; slopes and edges of the scores are not taken for jumps."""

import numpy as np
import pytest

from usu.desiderata.check import check_desiderata
from usu.operators.upsamplers import UPSAMPLERS, find_upsampler

CONTINUOUS = ("usu-continuous", "total-conserving", "bilinear", "bicubic", "lanczos", "conserving")


def bilinear(coarse, scores):
    return find_upsampler("bilinear")(coarse, scores)


def test_a_jump_at_one_border_is_found_with_its_size():
    """A linear map from 0 to 30 in steps of 1, raised by 5 from column 16 on: 6 there, less twice 1."""
    coarse = np.tile([4.0, 12.0, 20.0, 28.0], (2, 1))

    def ramp(values, scores):
        columns = np.arange(32.0)
        return np.tile((columns + 5 * (columns >= 16)) * values.mean() / 16, (16, 1))

    finding = check_desiderata(ramp, coarse, np.full((16, 32), 0.5))["D5"]
    assert finding.residual == pytest.approx((6 - 2) / 28)  # the cell (0, 2) ends with 23 + 5
    assert finding.witness.cell == (0, 1)
    assert finding.witness.pixels == ((0, 15), (0, 16))
    assert list(finding.witness.numbers.values()) == pytest.approx([15.0, 21.0, 1.0])


def test_jumps_down_a_column_count_too():
    def raised(coarse, scores):
        return bilinear(coarse, scores) + (np.arange(len(scores)) >= 16)[:, None]

    finding = check_desiderata(raised, np.ones((4, 1)), np.full((32, 6), 0.5))["D5"]
    assert (finding.verdict, finding.witness.cell) == ("violated", (1, 0))


def test_an_edge_of_the_scores_is_not_a_jump():
    """A factor that follows the scores may jump where they do: D5 asks where they are equal only."""

    def edged(coarse, scores):
        return bilinear(coarse, scores) * np.exp(3 * scores)

    scores = (np.arange(32) >= 16)[None].repeat(32, 0) * 1.0  # an edge along the border of cells
    assert (
        check_desiderata(edged, np.random.default_rng(0).random((4, 4)), scores)["D5"].verdict == "satisfied"
    )


def test_a_factor_per_cell_is_a_jump_even_if_equal_scores_give_a_flat_map():
    report = check_desiderata("iwmr", np.ones((4, 4)), np.random.default_rng(0).random((32, 32)))
    assert report["D5"].verdict == "violated"
    assert "scores equal near borders" in report["D5"].witness.text


@pytest.mark.parametrize("size", [(28, 28), (29, 31), (45, 60), (112, 112)])
@pytest.mark.parametrize("name", UPSAMPLERS)
def test_continuity_does_not_depend_on_the_size(name, size):
    coarse = np.random.default_rng(7).random((7, 7))
    coarse[2, 3:5] = 0.0
    expected = "satisfied" if name in CONTINUOUS else "violated"
    assert check_desiderata(name, coarse, size=size)["D5"].verdict == expected


@pytest.mark.parametrize(("grid", "size"), [((1, 1), (20, 20)), ((5, 5), (15, 15)), ((1, 5), (3, 40))])
def test_continuity_needs_two_cells_of_four_pixels(grid, size):
    finding = check_desiderata("nearest", np.random.default_rng(0).random(grid), size=size)["D5"]
    assert (finding.verdict, finding.residual) == ("not applicable", None)
    assert "no two cells of 4 × 4 pixels meet" in finding.witness.text
