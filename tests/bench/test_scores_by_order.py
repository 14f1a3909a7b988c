"""The tables of scores by order, and the variants of the fit."""

import json
from pathlib import Path

import pytest
import torch

import usu

REPOSITORY = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(
    not (REPOSITORY / "results/scores-by-order").exists(),
    reason="needs the repository, not an installed package",
)


@pytest.fixture(scope="module")
def order_tables():
    from benchmarks.scores import order_tables

    return order_tables


def test_the_page_of_measurements_is_made_of_the_rows():
    from benchmarks.pages import scores_by_order

    assert scores_by_order.PAGE.read_text() == scores_by_order.page(), (
        "out of date: python -m benchmarks.pages.scores_by_order"
    )


def row(photograph, name, **scores):
    return {"half": "reporting", "photograph": photograph, "probability": 0.5, "map": name, "scores": scores}


def test_lines_of_one_map_are_one_row_and_a_cut_line_is_none(order_tables, tmp_path):
    path = tmp_path / "rows.jsonl"
    lines = [row("a", "one", road=0.5), row("b", "one", road=0.25), row("a", "one", monotonicity=0.75)]
    path.write_text("\n".join(map(json.dumps, lines)) + '\n{"half": "repor')
    rows = order_tables.read(path)
    assert rows["a", "one"]["scores"] == {"road": 0.5, "monotonicity": 0.75}
    assert rows["b", "one"]["scores"] == {"road": 0.25}
    assert len(rows) == 2


def test_differences_are_paired_by_photograph_and_marked_by_what_they_are_corrected_for(order_tables):
    rows = {}
    for number in range(9):
        name = f"photograph {number}"
        base = {"road": number / 10, "irof-grid": 5.0}
        better = {"road": number / 10 - 0.2 - number / 100, "irof-grid": 5.0 + (-1) ** number}
        rows[name, "bilinear"] = row(name, "bilinear", **base)
        rows[name, "one"] = row(name, "one", **better)
        for other in ("two", "three", "four", "five", "six", "seven"):
            rows[name, other] = row(name, other, **{"road": number / 10 + (-1) ** number / (number + 1)})
    lines = order_tables.table(rows, "bilinear", "reporting", ["one"])
    assert lines[0] == "| less bilinear | n | IROF, grid of 28 px ↑ | ROAD ↓ |"
    # Nine differences of one sign: p = 2 / 2**9 = 0.004, 0.008 of two tests; their mean is -0.24, and the
    # error that of nine steps of 0.01, 0.0274 / 3.
    assert lines[2] == "| one | 9 | +0.111 ± 0.351 | **-0.240 ± 0.009** |"
    names = ["one", "two", "three", "four", "five", "six", "seven"]
    # p = 2 / 2**8, of eight tests 0.06.
    few = {key: each for key, each in rows.items() if key[0] != "photograph 8"}
    assert "| *-0.235 ± 0.009* |" in order_tables.table(few, "bilinear", "reporting", names)[2]


def test_variants_of_the_fit_change_the_scores_only_while_they_last():
    from benchmarks.scores.fits import FITS, fit

    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(3, 3 * 16 * 16, generator=generator) / 16
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 16 * 16, 3)).eval()
    model[1].weight.data, model[1].bias.data = weights, torch.zeros(3)
    inputs = torch.rand(3, 16, 16, generator=generator)
    segments = usu.Hierarchy((torch.arange(256).reshape(16, 16) // 32,))

    def scores():
        record = usu.upsample(
            torch.eye(4), inputs, model, 0, scoring=usu.Order(passes=50), segmentation=segments, mode="usu"
        )
        return record.score_map

    plain = scores()
    for name in FITS:
        with fit(name):
            assert not torch.equal(scores(), plain), name
        assert torch.equal(scores(), plain), name
    with fit(None, lambda: torch.zeros(16, 16, dtype=torch.float64)):
        assert not torch.equal(scores(), plain)
    assert torch.equal(scores(), plain)
