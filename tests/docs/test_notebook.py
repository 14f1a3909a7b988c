"""The notebooks: each runs from its first cell to its last, and prints what it was saved with."""

import contextlib
import io
import json
import re
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "docs" / "notebooks").glob("*.ipynb"))
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
TOLERANCE = 0.02  # another version of a library segments or rounds a little otherwise


def code_cells(path):
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]


def printed(cell):
    return "".join("".join(output["text"]) for output in cell["outputs"] if "text" in output)


def assert_alike(found, kept):
    """Compare words exactly, and numbers within the tolerance."""
    assert NUMBER.sub("#", found) == NUMBER.sub("#", kept)
    numbers = [[float(number) for number in NUMBER.findall(text)] for text in (found, kept)]
    assert numbers[0] == pytest.approx(numbers[1], rel=TOLERANCE, abs=0.15)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_cells_run_and_print_what_was_saved(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plt.switch_backend("agg")
    namespace = {"__name__": path.stem}
    for number, cell in enumerate(code_cells(path)):
        with contextlib.redirect_stdout(io.StringIO()) as said:
            exec(compile("".join(cell["source"]), f"{path.name}, code cell {number}", "exec"), namespace)
        assert_alike(said.getvalue(), printed(cell))
    plt.close("all")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_was_saved_after_one_run_from_the_top(path):
    cells = code_cells(path)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    kinds = {output["output_type"] for cell in cells for output in cell["outputs"]}
    assert kinds <= {"stream", "display_data", "execute_result"}
    streams = {output["name"] for cell in cells for output in cell["outputs"] if "name" in output}
    assert streams <= {"stdout"}
    assert any("image/png" in output.get("data", {}) for cell in cells for output in cell["outputs"])
    assert path.stat().st_size < 1_000_000


def test_there_is_a_notebook():
    assert NOTEBOOKS


def test_comparison_sees_another_word_and_another_number():
    assert_alike("moved 12.0 %", "moved 12.1 %")
    for other in ("moved 14.0 %", "lost 12.0 %", "moved 12.0 % 1"):
        with pytest.raises(AssertionError):
            assert_alike("moved 12.0 %", other)
