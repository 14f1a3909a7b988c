"""The command line: the demo for real, and every kind of bad input as one line and exit code 2."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
import torchvision.models as zoo
from PIL import Image
from skimage.data import chelsea

import usu
from usu import cli, dataset, pipeline
from usu.cli.explain import output_names
from usu.models.classifier import imagenet_class_names
from usu.plot import TITLES

FILES = {"overlay.png", "comparison.png", "report.html", "explanation.npz"}


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    """Run the demo once, as a user does, and return the finished process and its folder."""
    folder = tmp_path_factory.mktemp("demo") / "results"
    command = [sys.executable, "-W", "error", "-m", "usu", "demo", "--out", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, timeout=600), folder


@pytest.fixture
def quick(monkeypatch):
    """Mask four segments: what is written and printed does not depend on it."""
    few = partial(pipeline.explain, scoring="mask", segmentation={"quadtree": (4,)})
    for module in (pipeline, dataset):
        monkeypatch.setattr(module, "explain", few)


@pytest.fixture
def photograph(tmp_path):
    path = tmp_path / "cat.jpg"
    Image.fromarray(chelsea()).save(path)
    return path


@pytest.fixture(scope="session")
def resnet_file(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(zoo.resnet18(weights=None).state_dict(), path)
    return path


def run(*arguments: object) -> int:
    try:
        return cli.main([str(argument) for argument in arguments])
    except SystemExit as stop:
        return stop.code


def facts(output: str) -> dict[str, str]:
    return dict(re.findall(r"^(\w[\w ]*?)  +(\S.*)$", output, re.MULTILINE))


def masses(output: str) -> dict[str, tuple[float, float, float]]:
    rows = re.findall(r"^([\w-]+) +(\S+e\S+) +(\S+e\S+) +(\S+)$", output, re.MULTILINE)
    return {name: tuple(map(float, values)) for name, *values in rows}


def test_demo_succeeds_and_says_nothing_on_standard_error(demo):
    finished, _ = demo
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr == ""


def test_demo_writes_four_files_and_no_other(demo):
    _, folder = demo
    assert {path.name for path in folder.iterdir()} == FILES
    for name in ("overlay.png", "comparison.png"):
        with Image.open(folder / name) as image:
            assert image.width > 800
            assert np.asarray(image.convert("L")).std() > 20


def test_demo_prints_the_facts_of_its_explanation(demo):
    finished, folder = demo
    explanation = usu.Explanation.load(folder / "explanation.npz")
    printed = facts(finished.stdout)
    name = imagenet_class_names()[explanation.target]
    assert name in ("Egyptian cat", "tiger cat", "tabby")
    assert printed["class"] == f"{name} ({explanation.target})"
    assert printed["probability"] == f"{100 * explanation.probability:.1f} %"
    assert explanation.probability > 0.3
    assert printed["passes"] == str(explanation.forward_passes)
    assert 64 < explanation.forward_passes <= 160
    assert float(printed["seconds"]) > 0


def test_demo_table_shows_who_keeps_the_mass(demo):
    finished, folder = demo
    explanation = usu.Explanation.load(folder / "explanation.npz")
    table = masses(finished.stdout)
    assert list(table) == list(TITLES)
    total = float(explanation.coarse.sum())
    assert explanation.mass == "total"
    for name in ("nearest", "usu", "usu-continuous", "conserving"):
        assert table[name][1] < 1e-6
    for name in ("bilinear", "bicubic", "lanczos", "iwmr", "hybrid", "total-conserving"):
        assert table[name][1] > 1e-3
    for name in ("nearest", "usu", "usu-continuous", "iwmr", "hybrid", "total-conserving"):
        assert table[name][2] == pytest.approx(total, rel=1e-5)
    scale = np.abs(explanation.coarse).mean()
    for error, relative, _ in table.values():
        assert error == pytest.approx(relative * scale, rel=0.1)


def test_demo_map_follows_the_animal(demo):
    _, folder = demo
    explanation = usu.Explanation.load(folder / "explanation.npz")
    attribution = explanation.attribution
    # The cat fills the photograph but for its right end.
    assert attribution.shape == (224, 320)
    background = attribution[:, 288:].sum() / attribution.sum()
    assert background < 0.5 * 32 / 320


def test_explanation_of_ones_own_photograph(photograph, tmp_path, quick, capsys):
    code = run(
        "explain", photograph, "--out", tmp_path / "out", "--target", "Persian cat", "--mode", "hybrid"
    )
    captured = capsys.readouterr()
    assert (code, captured.err) == (0, "")
    folder = tmp_path / "out" / "cat"
    assert {path.name for path in folder.iterdir()} == FILES
    explanation = usu.Explanation.load(folder / "explanation.npz")
    assert facts(captured.out)["class"] == "Persian cat (283)"
    assert (explanation.target, explanation.mode) == (283, "hybrid")
    assert explanation.image.shape == (3, 224, 224)


def test_settings_reach_the_explanation(photograph, tmp_path, quick, resnet_file):
    code = run(
        *("explain", photograph, "--model", "resnet18", "--weights", resnet_file, "--layer", "layer3"),
        *("--temperature", "0.3", "--importance-temperature", "0.7", "--batch-size", "2", "--out", tmp_path),
        "--double",
    )
    assert code == 0
    explanation = usu.Explanation.load(tmp_path / "cat" / "explanation.npz")
    assert explanation.attribution.dtype == np.float64
    assert explanation.layer == "layer3"
    assert explanation.coarse.shape == (14, 14)
    assert explanation.settings["temperature"] == 0.3
    assert explanation.settings["importance_temperature"] == 0.7


def test_the_network_computes_on_the_device(photograph, tmp_path, quick, resnet_file, device):
    options = ("--model", "resnet18", "--weights", resnet_file, "--device", device, "--out")
    assert run("explain", photograph, *options, tmp_path / "one") == 0
    assert {path.name for path in (tmp_path / "one" / "cat").iterdir()} == FILES
    (tmp_path / "photographs").mkdir()
    photograph.rename(tmp_path / "photographs" / "cat.jpg")
    assert run("explain", tmp_path / "photographs", *options, tmp_path / "two") == 0
    assert usu.Explanation.load(tmp_path / "two" / "cat.jpg.npz").attribution.shape == (224, 224)


def test_network_without_class_names(photograph, tmp_path, quick, capsys):
    weights = tmp_path / "five.pth"
    torch.save(zoo.squeezenet1_1(weights=None, num_classes=5).state_dict(), weights)
    arguments = ["explain", photograph, "--model", "squeezenet1_1", "--weights", weights, "--out", tmp_path]
    assert run(*arguments, "--target", "4") == 0
    assert facts(capsys.readouterr().out)["class"] == "4"
    assert run(*arguments, "--target", "5") == 2
    assert "cat.jpg" in capsys.readouterr().err


def test_table_compares_what_the_explanation_was_made_with(photograph, tmp_path, quick, monkeypatch):
    import usu.plot

    seen = {}
    comparison = usu.plot.comparison

    def spy(explanation, maps, **names):
        seen.update(maps, explanation=explanation)
        return comparison(explanation, maps, **names)

    monkeypatch.setattr(usu.plot, "comparison", spy)
    options = ("--temperature", "0.4", "--importance-temperature", "0.2", "--mode", "iwmr")
    assert run("explain", photograph, "--out", tmp_path, *options) == 0
    assert np.allclose(seen["iwmr"], seen["explanation"].attribution, rtol=1e-5)


def test_scoring_and_output_reach_the_pipeline(photograph, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "usu.cli.explain.explain_picture", lambda *given, **options: seen.append((given[-1], options))
    )
    assert run("explain", photograph, "--out", tmp_path, "--scoring", "order", "--output", "logit") == 0
    ((size, options),) = seen
    assert (size, options["scoring"], options["output"]) == ("network", "order", "logit")


def test_run_and_tokens_reach_the_pipeline(photograph, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("usu.cli.explain.explain_picture", lambda *given, **options: seen.append(options))
    layout = "14x12, prefix=1, suffix=2, order=columns, axis=0"
    assert run("explain", photograph, "--out", tmp_path, "--run", "0", "--tokens", layout) == 0
    expected = usu.Tokens((14, 12), prefix=1, suffix=2, order="columns", axis=0)
    assert (seen[0]["run"], seen[0]["tokens"]) == (0, expected)
    assert run("explain", photograph, "--out", tmp_path, "--tokens", "7×7") == 0
    assert seen[1]["tokens"] == usu.Tokens((7, 7))
    assert "run" not in seen[1]


def test_tokens_and_run_are_those_of_the_library(photograph, tmp_path, quick, resnet_file):
    """Columns for rows: the cells of the coarse map are turned over."""
    given = ("explain", photograph, "--target", "1", "--model", "resnet18", "--weights", resnet_file)
    found = []
    for name, options in (
        ("rows", ("--run", "0")),
        ("turned", ("--tokens", "7x7,order=columns,axis=2")),
    ):
        assert run(*given, "--layer", "layer4", "--out", tmp_path / name, *options) == 0
        found.append(usu.Explanation.load(tmp_path / name / "cat" / "explanation.npz").coarse)
    np.testing.assert_allclose(found[0], found[1].T, rtol=1e-5, atol=1e-7)
    assert np.abs(found[0] - found[0].T).max() > 1e-6


def test_one_bad_picture_does_not_stop_the_others(photograph, tmp_path, quick, capsys):
    (tmp_path / "other").mkdir()
    twin = tmp_path / "other" / "cat.png"
    Image.fromarray(chelsea()[:, ::-1]).save(twin)
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(photograph.read_bytes()[:2000])
    out = tmp_path / "out"
    assert run("explain", photograph, broken, tmp_path / "absent.jpg", twin, "--out", out) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2
    assert re.match(r"usu: error: .*broken\.jpg is damaged", errors[0])
    assert re.match(r"usu: error: .*absent\.jpg: No such file", errors[1])
    assert {path.name for path in out.iterdir()} == {"cat", "cat-2"}
    first, second = (usu.Explanation.load(out / name / "explanation.npz").image for name in ("cat", "cat-2"))
    assert np.abs(first - second[:, :, ::-1]).mean() < 0.02 < np.abs(first - second).mean()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "usu: error: the following arguments are required: COMMAND"),
        (["dance"], "usu: error: .*invalid choice: 'dance'"),
        (["explain"], "usu explain: error: .*required: IMAGE"),
        (["explain", "CAT", "--mode", "magic"], "argument --mode: invalid choice: 'magic'"),
        (["explain", "CAT", "--temperature", "0"], "--temperature: must be a positive number, got '0'"),
        (["explain", "CAT", "--temperature=--"], "--temperature: expected one argument, got '--'"),
        (["explain", "CAT", "--temperature", "warm"], "must be a positive number, got 'warm'"),
        (["explain", "CAT", "--importance-temperature", "nan"], "must be a positive number, got 'nan'"),
        (["explain", "CAT", "--batch-size", "0"], "must be a whole number from 1 up, got '0'"),
        (["explain", "CAT", "--model", "resnet5"], "there is no model 'resnet5'; did you mean"),
        (["explain", "CAT", "--model", "resnet18"], "resnet18 needs its trained weights.*--weights FILE"),
        (["explain", "CAT", "--weights", "absent.pth"], r"absent\.pth: No such file"),
        (["explain", "CAT", "--weights", "CAT"], r"cat\.jpg is not a file of weights"),
        (["explain", "CAT", "--target", "cat"], "'cat' fits several classes: .*282 tiger cat"),
        (["explain", "CAT", "--target", "tabbby"], "no class is named 'tabbby'; did you mean 'tabby'"),
        (["explain", "CAT", "--target", "1000"], "class 1000 is out of range: indices go from 0 to 999"),
        (["explain", "CAT", "--layer", "attic"], "layer 'attic' is not in the model"),
        (["explain", "CAT", "--source", "oracle"], "argument --source: invalid choice: 'oracle'"),
        (["explain", "CAT", "--scoring", "orders"], "scoring must be .*'order'.*, got 'orders'"),
        (["explain", "CAT", "--run", "-1"], "--run: (must be|expected one)"),
        (["explain", "CAT", "--run", "two"], "--run: must be a whole number from 0 up, got 'two'"),
        (["explain", "CAT", "--tokens", "14"], "--tokens: must be rows x columns .*, got '14'"),
        (["explain", "CAT", "--tokens", "14x14,prefix=-1"], "--tokens: must be rows x columns"),
        (["explain", "CAT", "--tokens", "0x14"], "grid must be .*both at least 1"),
        (["explain", "CAT", "--tokens", "7x7,axis=5"], "axis must be 0, 1 or 2, got 5"),
        (["explain", "CAT", "--source", "rise", "--run", "1"], "run= is for sources that describe a layer"),
        (["explain", "CAT", "--device", "abacus"], "--device must be one of PyTorch's .* got 'abacus'"),
        (["explain", "CAT", "--device", "meta"], "--device must be one of PyTorch's .* got 'meta'"),
        (["explain", "CAT", "--output", "odds"], "output must be .*, got 'odds'"),
        (["explain", "CAT", "--mode", "complete", "--scoring", "order"], "needs scoring='owen', not 'order'"),
        (["explain", "CAT", "--out", "CAT"], r"--out .*cat\.jpg is a file, not a folder"),
        (["demo", "--out", "CAT/deeper"], r"cat\.jpg"),
        (["explain", ".", "--out", "CAT"], r"out .*cat\.jpg"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, message, photograph, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(*(argument.replace("CAT", str(photograph)) for argument in arguments)) == 2
    captured = capsys.readouterr()
    assert re.search(message, captured.err)
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_missing_demo_package_names_the_extra(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    assert run("demo", "--out", tmp_path) == 2
    assert "pip install 'usu-xai[demo]'" in capsys.readouterr().err


def test_an_error_of_the_program_itself_is_not_taken_for_bad_input(photograph, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise AssertionError("a bug")

    monkeypatch.setattr(pipeline, "explain", fail)
    with pytest.raises(AssertionError, match="a bug"):
        run("explain", photograph, "--out", tmp_path)


def test_interrupt(photograph, tmp_path, monkeypatch, capsys):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "explain", interrupt)
    assert run("explain", photograph, "--out", tmp_path / "out") == 130
    assert capsys.readouterr().err == "usu: interrupted\n"
    assert list((tmp_path / "out").rglob("*.*")) == []


def test_reader_that_goes_away(tmp_path):
    program = """if True:
        import sys
        from types import SimpleNamespace
        from usu import cli

        def chatter(options):
            print("line\\n" * 1_000_000)
            return 0

        options = SimpleNamespace(run=chatter)
        cli.build_parser = lambda: SimpleNamespace(parse_args=lambda argv: options)
        sys.exit(cli.main())
    """
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(timeout=60) == cli.PIPE_CLOSED
    process.stderr.close()


def test_no_picture_is_explained_for_a_reader_who_has_gone(photograph, tmp_path):
    program = """if True:
        import sys
        from functools import partial
        from usu import cli, dataset, pipeline

        pipeline.explain = partial(pipeline.explain, scoring="mask", segmentation={"quadtree": (4,)})
        sys.exit(cli.main(sys.argv[1:]))
    """
    out = tmp_path / "out"
    command = [sys.executable, "-c", program, "explain", *[str(photograph)] * 3, "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(timeout=60) == cli.PIPE_CLOSED
    process.stderr.close()
    assert [path.name for path in out.iterdir()] == ["cat"]


def test_help_teaches(capsys):
    assert run("--help") == 0
    overall = capsys.readouterr().out
    assert "usu explain cat.jpg" in overall
    assert "usu demo" in overall
    assert run("explain", "--help") == 0
    text = capsys.readouterr().out
    for word in ("--weights FILE", '--target "Persian cat"', "exit code is 2", "overlay.png"):
        assert word in text


def test_version(capsys):
    assert run("--version") == 0
    assert re.fullmatch(r"usu \d+\.\d+\.\d+\n", capsys.readouterr().out)


COMMANDS = ["demo", "explain", "check", "report", "reproduce", "bench"]
COMMANDS += ["bench run", "bench status", "bench table"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_a_page(command, capsys):
    assert run(*command.split(), "--help") == 0
    text = capsys.readouterr().out
    assert f"usu {command}" in text
    assert all(len(line) <= 110 for line in text.splitlines())


def test_words_agree_with_the_library(capsys):
    assert run("explain", "--help") == 0
    text = " ".join(capsys.readouterr().out.split())
    within, complete = usu.Settings().temperature, pipeline.settings_of("complete", {}).temperature
    assert f"(default: {within}); for complete the default is {complete:g}" in text


def test_names_never_clash():
    names = output_names(["a/x.jpg", "b/X.png", "x-2.jpg", "x.tif", "c/x.jpg", "y.tar.gz", "a/x.jpg"])
    assert names == ["x", "X-2", "x-2-2", "x-3", "x-4", "y.tar", "x-5"]
    assert len({name.casefold() for name in names}) == len(names)


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_bars_only_on_a_terminal(photograph, tmp_path, monkeypatch, capsys, terminal):
    def see(*_, show_progress, **__):
        raise ValueError(f"bars: {show_progress}")

    monkeypatch.setattr(pipeline, "explain", see)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    assert run("explain", photograph, photograph, "--out", tmp_path) == 2
    errors = capsys.readouterr().err
    assert errors.count(f"bars: {terminal}") == 2
    assert ("2/2" in errors) == terminal


def test_a_deep_picture_is_explained_with_a_line_or_by_its_range(tmp_path, quick, capsys):
    from usu.cli import main

    values = np.random.default_rng(0).integers(0, 4096, (64, 64)).astype(np.uint16)
    path = str(tmp_path / "deep.png")
    Image.fromarray(values).save(path)
    assert main(["explain", path, "--out", str(tmp_path / "a")]) == 0
    assert "usu: note: " in (told := capsys.readouterr().err)
    assert "taken as 12 bits" in told
    assert main(["explain", path, "--range", "-10", "4095", "--out", str(tmp_path / "b")]) == 0
    assert "usu: note" not in capsys.readouterr().err
