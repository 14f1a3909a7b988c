"""`usu check`: table 2 on a photograph, for readers and for machines, and its exit codes."""

import json
import re

import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

import usu
from usu import cli, pipeline
from usu.desiderata.report import DESIDERATA
from usu.metrics.errors import mass_errors

NAMES = (
    *("usu", "usu-continuous", "iwmr", "hybrid", "total-conserving"),
    *("nearest", "bilinear", "bicubic", "lanczos", "conserving"),
)


@pytest.fixture(scope="module")
def explained():
    """Let every check of this module share one run of the network per photograph, by 16 segments."""
    explain, known = pipeline.explain, {}

    def once(model, inputs, **options):
        key = tuple(inputs.shape)
        if key not in known:
            known[key] = explain(model, inputs, segmentation={"quadtree": (16,)}, **options)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "explain", once)
        yield known


@pytest.fixture
def check(explained, capsys):
    """Return a function from arguments to the exit code, standard output and standard error."""

    def run(*arguments):
        try:
            code = cli.main(["check", *map(str, arguments)])
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return run


def rows(output):
    """Return the columns of each upsampler's row by its name."""
    found = re.findall(rf"^({'|'.join(NAMES)}) +(\S+e\S+) +(\S+e\S+) +(.*)$", output, re.MULTILINE)
    return {name: (float(error), float(relative), *rest.split()) for name, error, relative, rest in found}


def test_table_2_on_the_photograph_of_the_demo(check):
    code, output, errors = check()
    assert (code, errors) == (0, "")
    table = rows(output)
    assert tuple(table) == NAMES
    assert table["usu"][1] <= 1e-6
    assert table["usu"][2:] == (*["yes"] * 4, "no", *["yes"] * 3, "|", *["yes"] * 4, "4.95e-07")
    assert table["usu-continuous"][2:] == ("yes", "no", "no", "no", "yes", "yes", "no", "yes")
    assert table["conserving"][2:7] == ("yes", "no", "-", "no", "yes")
    assert table["total-conserving"][2:] == ("no", "no", "yes", "no", "yes", "yes", "no", "yes")
    assert table["nearest"][2:7] == ("yes", "yes", "-", "yes", "no")
    for name in ("bilinear", "bicubic", "lanczos"):
        assert table[name][1] > 1e-2
        assert table[name][2:7] == ("no", "no", "-", "no", "yes")
        assert table[name][11:15] == ("no",) * 4
        witnesses = output.split(f"\n{name}\n")[1].splitlines()
        assert [line.split()[0] for line in witnesses[:3]] == ["D1", "D2", "D4"]
        assert re.search(r"the pixels of cell \(\d+, \d+\) sum to \S+ instead of", witnesses[0])
    assert table["iwmr"][2:10] == ("no", "yes", "yes", "no", "no", "yes", "yes", "yes")
    assert table["hybrid"][2:6] == ("no", "yes", "yes", "no")


def test_errors_are_those_of_the_real_maps(check, explained):
    _, output, _ = check()
    table = rows(output)
    (explanation,) = (found for found in explained.values() if found.attribution.shape == (224, 320))
    setting = {name: explanation.settings[name] for name in ("temperature", "importance_temperature")}
    for name in NAMES:
        pixels = usu.find_upsampler(name, mass="total", **setting)(explanation.coarse, explanation.score_map)
        wanted = usu.find_upsampler("nearest", mass="total")(explanation.coarse, explanation.score_map)
        errors = mass_errors(pixels.double(), wanted.double(), (7, 10))
        error = float((errors.deficit + errors.excess).mean())
        assert table[name][0] == pytest.approx(error, rel=0.01, abs=1e-8)


def test_json_is_one_document_and_nothing_else(check):
    code, output, errors = check("--json", "--upsampler", "bicubic", "--upsampler", "usu")
    assert (code, errors) == (0, "")
    record = json.loads(output, parse_constant=pytest.fail)
    assert record["image"] == "the demo's photograph"
    assert (record["cells"], record["pixels"], record["source"]) == ([7, 10], [224, 320], "gradcam")
    assert list(record["upsamplers"]) == ["usu", "bicubic"]
    report = record["upsamplers"]["bicubic"]
    assert tuple(report["findings"]) == DESIDERATA
    finding = report["findings"]["D1"]
    assert finding["verdict"] == "violated"
    assert finding["residual"] > finding["tolerance"]
    assert finding["witness"]["numbers"]["sum"] != finding["witness"]["numbers"]["mass"]
    assert record["paper"]["usu"] == {"D1": "yes", "D2": "yes", "D3": "yes", "D4": "yes", "d1_error": 4.95e-7}
    assert record["violations"] == {}


@pytest.mark.parametrize(
    ("required", "code", "violations"),
    [
        (["usu"], 0, {}),
        (["usu", "nearest"], 0, {}),
        (["iwmr"], 1, {"iwmr": ["D1", "D4"]}),
        (["usu", "bilinear", "lanczos"], 1, {name: ["D1", "D2", "D4"] for name in ("bilinear", "lanczos")}),
    ],
)
def test_exit_code_1_where_a_required_upsampler_violates(check, required, code, violations):
    """What does not apply is no violation: nearest has no D3. A required one is checked, named or not."""
    arguments = [part for name in required for part in ("--require", name)]
    found, output, errors = check("--upsampler", "usu", "--json", *arguments)
    record = json.loads(output)
    assert (found, errors) == (code, "")
    assert record["violations"] == violations
    assert set(record["upsamplers"]) == {"usu", *required}
    found, output, _ = check("--upsampler", "usu", *arguments)
    assert found == code
    for name, broken in violations.items():
        assert f"{name} is required to keep D1 to D4, and violates {', '.join(broken)}\n" in output


def test_a_photograph_of_ones_own(check, tmp_path):
    path = tmp_path / "astronaut.png"
    Image.fromarray(np.asarray(astronaut())).save(path)
    code, output, errors = check(path, "--upsampler", "usu", "--require", "usu")
    assert (code, errors) == (0, "")
    assert output.startswith(f"{path}: gradcam, 7 × 7 cells to 224 × 224 pixels\n")
    assert list(rows(output)) == ["usu"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.jpg"], "usu: error: absent.jpg: No such file"),
        (["--upsampler", "fsr"], "usu check: error: .*--upsampler: invalid choice: 'fsr'"),
        (["--require", "fsr"], "usu check: error: .*--require: invalid choice: 'fsr'"),
        (["one.jpg", "two.jpg"], "usu: error: unrecognized arguments: two.jpg"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(check, arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, output, errors = check(*arguments)
    assert (code, output) == (2, "")
    assert re.match(message, errors)
    assert errors.count("\n") == 1


def test_infinite_residuals_stay_valid_json(check, explained, monkeypatch):
    """A coarse map of zeros, from which an upsampler makes mass, has no finite relative error."""
    import usu.desiderata.check as desiderata

    check_desiderata = desiderata.check_desiderata
    monkeypatch.setattr(
        desiderata,
        "check_desiderata",
        lambda _, coarse, *rest, **options: check_desiderata(
            lambda coarse, scores: scores + 1, 0 * coarse, *rest, **options
        ),
    )
    code, output, _ = check("--json", "--upsampler", "usu")
    assert code == 0
    (report,) = json.loads(output, parse_constant=pytest.fail)["upsamplers"].values()
    assert report["d1_relative"] == "inf"


def test_words_agree_with_the_library(check):
    assert tuple(usu.UPSAMPLERS) == NAMES
    code, text, _ = check("--help")
    assert code == 0
    for name in DESIDERATA:
        assert re.search(rf"^  {name} ", text, re.MULTILINE)
    assert "exit code is 1" in text
