"""Small versions of the long runs of malformed and of right calls, and checks of the checks themselves."""

import json
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from benchmarks.robustness import blocks, calls, command_lines, malformed, record_subjects, right
from benchmarks.robustness.problems import draw

import usu
import usu.metrics
import usu.plot
import usu.report

SLOW = ("explain_dataset",)  # starts processes


@pytest.mark.parametrize("name", [name for name in malformed.SUBJECTS if name not in SLOW])
def test_malformed_calls_start_from_arguments_that_work(name):
    subject = malformed.SUBJECTS[name]
    subject.function(**subject.good)


def test_malformed_calls_are_refused_by_name():
    outcomes = list(malformed.malformed_calls(700, seed=26))
    assert [outcome for outcome in outcomes if outcome.fault] == []
    assert sum(outcome.exact for outcome in outcomes) >= 0.9 * len(outcomes)
    assert len({outcome.function for outcome in outcomes}) > 100


def complain(coarse):
    warnings.warn("odd", RuntimeWarning, stacklevel=1)
    return usu.h_map(np.full(3, np.nan))


def without_gradients(coarse):
    torch.set_grad_enabled(False)
    return usu.h_map(np.full(3, np.nan))


def hook(coarse, model):
    model.register_forward_hook(lambda *_: None)
    return usu.h_map(np.full(3, np.nan))


@pytest.mark.parametrize(
    ("function", "bad", "fault"),
    [
        (lambda coarse: coarse, float("nan"), "accepted"),
        (lambda coarse: 1 / coarse, 0, "a ZeroDivisionError"),
        (lambda coarse: np.zeros(2) + coarse, np.zeros(3), "not by usu"),
        (lambda coarse: usu.h_map(coarse), [[np.nan]], "names no argument"),
        (complain, 1, "warns of a RuntimeWarning"),
        (without_gradients, 1, "left something changed"),
    ],
)
def test_a_malformed_call_that_passes_or_fails_elsewhere_is_told_apart(function, bad, fault):
    subject = calls.Subject(function, {"coarse": 1.0}, {"coarse": lambda random, good: bad}, ("scores",))
    try:
        if "names" in fault:
            subject = calls.Subject(function, subject.good, subject.bad)
        assert fault in calls.attempt("h_map", subject, Random(0)).fault
    finally:
        torch.set_grad_enabled(True)


def test_what_a_call_leaves_behind_is_a_fault():
    model = torch.nn.Linear(2, 2).eval()
    changing = calls.Subject(hook, {"model": model}, {"coarse": lambda random, good: 1}, ("scores",))
    assert calls.attempt("h_map", changing, Random(0)).fault == "left something changed"


HANGING = """
from random import Random
from benchmarks.robustness import calls

def wait(coarse):
    while True:
        pass

calls.PATIENCE = 0.05
print(calls.attempt("h_map", calls.Subject(wait, {}, {"coarse": lambda random, good: 1}), Random(0)).fault)
"""


def test_a_hang_is_a_fault():
    """In a process of its own, as a measurement is: the alarm is that of a whole process."""
    root = Path(__file__).parents[1]
    found = subprocess.run([sys.executable, "-c", HANGING], cwd=root, capture_output=True, text=True)
    assert (found.stdout, found.returncode) == ("a Hang\n", 0), found.stderr


@pytest.mark.parametrize(
    ("code", "text", "fault"),
    [
        (0, "", "exits with 0"),
        (2, "usu: error: argument --seed: odd\nmore\n", "says 2 lines"),
        (2, "Error: --seed\n", "says something else"),
        (2, "usu: error: odd\n", "names no argument"),
        (2, "usu: error: argument --seed: odd\n", None),
    ],
)
def test_exits_of_the_command_line_are_told_apart(monkeypatch, capsys, code, text, fault):
    monkeypatch.setitem(command_lines.COMMANDS, "usu bench", (("bench",), {"--seed": ("x",)}))

    def main(argv):
        import sys

        sys.stderr.write(text)
        return code

    monkeypatch.setattr(command_lines, "main", main)
    assert command_lines.attempt("usu bench", Random(0)).fault == fault


def test_right_calls_are_within_the_tolerance():
    row = right.play(0, 400, seed=27)
    assert row["failed"] == []
    assert set(row["worst"]) == set(right.GUARANTEES)


WRONG = {
    "D1": ("usu", lambda pixels, problem: pixels * 1.01),
    "D1-G": ("hybrid", lambda pixels, problem: pixels * 1.01),
    "total": ("total-conserving", lambda pixels, problem: pixels * 1.01),
    "D2": ("usu", lambda pixels, problem: pixels.flip(-1) if torch.is_tensor(pixels) else pixels[..., ::-1]),
    "D3": ("usu", lambda pixels, problem: abs(pixels) ** 0.9),
    "value": ("bilinear", lambda pixels, problem: pixels * 1.01),
    "form": (
        "usu-continuous",
        lambda pixels, problem: pixels * (1 + 0.1 * plain_like(problem.scores, pixels)),
    ),
}


def plain_like(scores, pixels):
    table = right.plain(scores)
    return torch.as_tensor(table).to(pixels) if torch.is_tensor(pixels) else table.astype(pixels.dtype)


@pytest.mark.parametrize("guarantee", WRONG)
def test_a_map_that_breaks_a_guarantee_is_found(guarantee, monkeypatch):
    """Each residual is beyond its tolerance for some map that is spoiled on purpose."""
    name, spoil = WRONG[guarantee]
    solve = right.Problem.solve
    monkeypatch.setattr(right.Problem, "solve", lambda problem: spoil(solve(problem), problem))
    found = []
    for number in range(300):
        problem = draw(np.random.default_rng([5, number]))
        if problem.name != name or problem.narrow != "float64" or problem.segments is not None:
            continue
        monkeypatch.setattr(right, "draw", lambda random, problem=problem: problem)
        monkeypatch.setattr(right, "draw_even", lambda random, problem=problem: problem)
        try:
            with np.errstate(all="ignore"):
                found.append(right.residuals(number, 0)[1].get(guarantee, 0.0))
        except AssertionError:
            continue
    assert max(found) > 1e3 * right.tolerance(guarantee, "float64")


def test_a_jump_and_a_dependence_on_other_cells_are_found():
    random = np.random.default_rng(3)
    problem = next(one for one in iter(lambda: right.draw_even(random), None) if one.count > 3)
    cells = np.arange(problem.count, dtype=float)[problem.owner]
    assert right.jump(problem, cells) > 0.1  # one value for each cell
    assert right.jump(problem, np.ones(len(cells))) == 0
    blur = replace(problem, name="conserving")
    maps = blur.maps()
    assert right.locality(blur, maps, right.plain(blur.solve()).reshape(1, -1), random) > 1e-3


def test_a_run_continues_where_it_was_cut_off(tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK", 10)
    out, made = tmp_path / "run.jsonl", []

    def play(first, count):
        made.append(first)
        return {"sum": first + count}

    rows = blocks.blocks(25, 7, out, play)
    assert [(row["first"], row["calls"], row["sum"]) for row in rows] == [
        (0, 10, 10),
        (10, 10, 20),
        (20, 5, 25),
    ]
    out.write_text("\n".join(out.read_text().splitlines()[:2])[:-9])  # the second line is torn
    assert [row["sum"] for row in blocks.blocks(25, 7, out, play)] == [10, 20, 25]
    assert made == [0, 10, 20, 10, 20]
    assert [json.loads(line)["first"] for line in out.read_text().splitlines() if line.endswith("}")] == [
        0,
        10,
        20,
    ]
    assert blocks.blocks(25, 7, out, play) == blocks.blocks(25, 7, out, play)
    assert len(made) == 5
    with pytest.raises(ValueError, match="--seed 7"):
        blocks.blocks(25, 8, out, play)


RECORD = record_subjects.RECORD
KINDS = {
    "a map that is not finite": (
        lambda: usu.plot.colour_limits([np.full((2, 2), np.nan)]),
        "maps must be finite",
    ),
    "no map at all": (lambda: usu.plot.colour_limits([]), "maps is empty"),
    "a map of another size": (
        lambda: usu.plot.comparison(RECORD, {"usu": np.ones((2, 2))}),
        r"maps\['usu'\] must be",
    ),
    "a cell that is no number": (lambda: usu.plot.figure5(RECORD, cell="1"), "cell must be an integer"),
    "an option of another figure": (
        lambda: RECORD.save_image("map.png", slices=3),
        "slices is not an option",
    ),
    "a format unknown to matplotlib": (lambda: RECORD.save_image("map.doc"), "path must end as"),
    "a resolution": (lambda: RECORD.save_image("map.png", dpi=0), "dpi must be positive"),
    "a path": (lambda: usu.Explanation.load(3), "path must be a path"),
    "a name that is no text": (lambda: usu.report.Entry(RECORD, model=3), "model must be text"),
    "an entry of a report": (lambda: usu.report.html([None]), "entries must be"),
    "what a callable upsampler returns": (
        lambda: RECORD.upsampled_by(lambda *_: None),
        "result of upsampler",
    ),
    "and of another size": (
        lambda: RECORD.upsampled_by(lambda *_: np.ones(3)),
        "upsampler must return a map",
    ),
    "a setting of upsamplers": (
        lambda: usu.find_upsampler("usu", temprature=1.0),
        "temprature is not a setting",
    ),
    "True as a number of pixels": (lambda: usu.Placement.whole((9, 9)).center_crop(True), "size must be"),
    "half a pixel of padding": (lambda: usu.Placement.whole((9, 9)).pad(0.5, 0, 0, 0), "left must be"),
    "True as a seed": (lambda: usu.metrics.bootstrap_interval([1.0, 2.0], seed=True), "seed must be"),
    "p-values that are text": (lambda: usu.metrics.correct(["a"]), "p_values must be"),
    "a width": (lambda: usu.metrics.band_error(np.ones((4, 4)), np.eye(4), width=1.5), "width must be"),
    "a scale": (lambda: usu.Similarity([1.0], scale=float("inf")), "scale must be finite"),
    "an order of tokens": (lambda: usu.Tokens((2, 2), order=None), "order must be"),
    "masks": (lambda: usu.Hierarchy.from_masks(3), "masks must be"),
    "a class as a target": (
        lambda: usu.explain(torch.nn.Conv2d(3, 2, 2).eval(), torch.ones(3, 4, 4), int),
        "target must be .* call it first",
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_faults_that_were_found(kind):
    call, words = KINDS[kind]
    with pytest.raises((ValueError, TypeError), match=words):
        call()
