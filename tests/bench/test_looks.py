"""The study of looks: its areas, the choice of ε by hand, and its page, byte for byte."""

from pathlib import Path

import pandas as pd
import pytest
import torch

REPOSITORY = Path(__file__).parents[2]

looks = pytest.importorskip(
    "benchmarks.studies.looks", reason="needs the repository and openvino", exc_type=ImportError
)
tables = pytest.importorskip("benchmarks.studies.look_tables", exc_type=ImportError)


def test_ranks_are_by_direction_of_the_choosing_half():
    rows = pd.DataFrame(
        {
            "half": half,
            "scene": 0,
            "map": "usu",
            "filtered": False,
            "epsilon": epsilon,
            "deletion, blur": sign * epsilon,
            "IoU": -sign * epsilon,
        }
        for half, sign in (("choosing", 1), ("reporting", -1))
        for epsilon in tables.EPSILONS
    ).set_index(["half", "scene", *tables.KEYS])
    assert tables.ranks([rows], "usu", False) == [1, 2, 3, 4, 5]


def test_scores_along_edges_stay_scores():
    scores = torch.rand(32, 32, generator=torch.Generator().manual_seed(0)).round()
    filtered = looks.along_edges(scores, torch.full((3, 32, 32), 0.5))
    assert filtered.min() >= 0
    assert filtered.max() <= 1
    assert filtered.std() < scores.std() / 2  # a picture without edges leaves none


def test_the_page_is_made_of_its_rows():
    found = tables.page({name: REPOSITORY / f"results/looks/{name}.parquet" for name in looks.WORLDS})
    assert (REPOSITORY / "docs/looks-measurements.md").read_text() == found, (
        "out of date: the page names the command that makes it"
    )
