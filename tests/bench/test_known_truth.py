"""The study of known truths: its measures by hand, its runs that go on, and its page, byte for byte."""

from pathlib import Path

import pytest
import torch

REPOSITORY = Path(__file__).parents[2]

known_truth = pytest.importorskip(
    "benchmarks.studies.known_truth", reason="needs the repository and openvino", exc_type=ImportError
)


def test_a_map_is_judged_over_the_image_and_over_the_cells_that_the_border_cuts():
    truth = torch.tensor([[1.0, 1.0, 1.0, 0.0]] * 2)  # the border runs through the right one of two cells
    pixels = torch.tensor([[1.0, 1.0, 3.0, 1.0], [1.0, 1.0, 3.0, -2.0]])
    hits = 2 + 4 * 4 / 5  # four of the five ones fit in, four of the five are inside
    assert known_truth.found(pixels, truth, (1, 2)) == pytest.approx(
        {
            "localisation": 10 / 11,
            "IoU": hits / (12 - hits),
            "pointing": 1,
            "localisation, cut cells": 6 / 7,
            "IoU, cut cells": 1,
        }
    )


def test_misplaced_mass_is_of_the_positive_part_at_the_truths_scale():
    truth = torch.tensor([[4.0, 0.0, 4.0]])
    assert known_truth.misplaced(torch.tensor([[1.0, 1.0, 2.0]]), truth) == pytest.approx(0.25)
    assert known_truth.misplaced(torch.tensor([[8.0, -5.0, 8.0]]), truth) == pytest.approx(0)
    assert known_truth.misplaced(torch.zeros(1, 3), truth) == 1


def test_a_run_continues_with_what_is_missing(tmp_path):
    asked = []

    def world(maps, fail_at=None):
        def judged(scene, names):
            if scene == fail_at:
                raise KeyboardInterrupt
            asked.append((scene, *names))
            return {name: {"value": scene} for name in names}

        def tasks(data, count):
            return [lambda names, scene=scene: judged(scene, names) for scene in range(min(count, 3))]

        return known_truth.World(tasks, maps, [])

    path = tmp_path / "world.jsonl"
    with pytest.raises(KeyboardInterrupt):
        known_truth.judge(world(["a"], fail_at=1), tmp_path, 4, path)
    known_truth.judge(world(["a"]), tmp_path, 4, path)
    known_truth.judge(world(["a", "b"]), tmp_path, 2, path)
    assert asked == [(0, "a"), (1, "a"), (2, "a"), (0, "b"), (1, "b")]
    both = [{"a": {"value": scene}, "b": {"value": scene}} for scene in range(2)]
    assert known_truth.read_records(path) == [*both, {"a": {"value": 2}}]


def test_the_page_is_made_of_its_rows():
    found = known_truth.page(REPOSITORY / "results/known-truth")
    assert (REPOSITORY / "docs/known-truth-measurements.md").read_text() == found, (
        "out of date: the page names the command that makes it"
    )
