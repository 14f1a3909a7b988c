"""Benchmark runs on real photographs by the trained network, through the command line."""

import json
import math
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
import skimage.data
import torch
from PIL import Image

from tests.helpers.networks import small_cnn
from usu.bench.engines.base import Outcome
from usu.bench.engines.local import LocalEngine
from usu.bench.methods.peers import LIBRARIES
from usu.bench.methods.registry import CONTESTANTS, PEERS, Contestant
from usu.bench.networks import Network
from usu.bench.results.folder import read_protocol, read_rows
from usu.bench.results.schema import Cell
from usu.bench.run import Plan, read_problems, run
from usu.bench.tables.registry import LAYOUTS
from usu.bench.worker import Job, Spec, Worker, combinations, missing
from usu.cli import main
from usu.metrics import METRICS, Judge
from usu.models.classifier import Classifier, Preparation
from usu.models.loading import load_classifier
from usu.operators.interpolation import interpolate
from usu.sources.coarse_map import CoarseMap
from usu.sources.registry import find_source

UPSAMPLERS = ["nearest", "bilinear", "zero"]
METRICS_RUN = ["sparseness", "pixel-flipping"]


@pytest.fixture(scope="module", autouse=True)
def on_the_processor():
    """Rows of a GPU have a test of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        yield


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    for name in ("chelsea", "coffee"):
        Image.fromarray(getattr(skimage.data, name)()).save(folder / f"{name}.png")
    return folder


def bench(photographs, out, *more):
    return main(
        [
            *("bench", "run", "--data", str(photographs), "--out", str(out)),
            *("--upsampler", *UPSAMPLERS, "--metric", *METRICS_RUN, *more),
        ]
    )


@pytest.fixture(scope="module")
def results(photographs, tmp_path_factory):
    out = tmp_path_factory.mktemp("results") / "all"
    assert bench(photographs, out) == 0
    return out


def test_rows_hold_what_was_measured(results, photographs):
    rows = read_rows(results).to_pylist()
    assert len(rows) == 2 * 3 * 2
    classifier = load_classifier("efficientnet-lite0")
    inputs, picture = classifier.prepare(Image.open(photographs / "chelsea.png"))
    with torch.no_grad():
        probability, target = classifier.model(inputs[None]).softmax(1)[0].max(0)
    own = [row for row in rows if row["image"] == "chelsea.png"]
    assert {row["target"] for row in own} == {int(target)}
    assert own[0]["probability"] == pytest.approx(float(probability), abs=1e-5)
    zero = {row["metric"]: row for row in own if row["upsampler"] == "zero"}
    assert zero["sparseness"]["source"] == "none"
    assert zero["sparseness"]["total_mass"] == 0
    assert zero["sparseness"]["forward_passes"] == 0
    assert math.isnan(zero["pixel-flipping"]["value"])  # nothing comes first on a zero map
    judge = Judge(classifier.model, inputs, int(target), image=picture)
    bilinear = {row["metric"]: row for row in own if row["upsampler"] == "bilinear"}
    coarse = find_source("gradcam")(classifier.model, inputs[None], [int(target)], None)
    pixels = interpolate(coarse.values, inputs.shape[-2:], "bilinear").double() / 32**2  # masses to densities
    for metric, row in bilinear.items():
        expected = float(METRICS[metric].measure(judge, pixels)[0])
        assert row["value"] == pytest.approx(expected, rel=1e-4)
    nearest = next(row for row in own if row["upsampler"] == "nearest")
    assert nearest["d1_relative"] < 1e-6
    assert nearest["source"] == "gradcam"
    assert {"torch", "openvino"} <= json.loads(nearest["versions"]).keys()


def as_measured(rows):
    """Return rows as text, which compares NaN with NaN, without the time that they took."""
    return [str({**row, "seconds": None}) for row in rows.to_pylist()]


def test_a_second_run_measures_only_what_is_missing(results, photographs, tmp_path, capsys):
    out = tmp_path / "grown"
    assert bench(photographs, out, "--images", "1") == 0
    first = read_rows(out)
    assert bench(photographs, out) == 0
    assert "6 new rows" in capsys.readouterr().out
    grown = read_rows(out)
    assert len(grown) == 12
    assert as_measured(grown) == as_measured(read_rows(results))
    assert first.num_rows == 6
    assert bench(photographs, out) == 0
    assert "0 new rows" in capsys.readouterr().out


def test_other_settings_belong_in_another_folder(results, photographs, capsys):
    assert bench(photographs, results, "--temperature", "0.7") == 2
    assert "temperature was 0.2, is 0.7" in capsys.readouterr().err
    assert bench(photographs, results, "--seed", "1") == 2
    assert "seed was 0, is 1" in capsys.readouterr().err


def test_a_bad_file_is_told_counted_and_left_out(photographs, tmp_path, capsys):
    folder = tmp_path / "mixed"
    folder.mkdir()
    (folder / "good.png").write_bytes((photographs / "chelsea.png").read_bytes())
    (folder / "torn.png").write_bytes((photographs / "coffee.png").read_bytes()[:5000])
    assert bench(folder, tmp_path / "out") == 2
    told = capsys.readouterr()
    assert "torn.png" in told.err
    assert "1 images left out" in told.err
    assert {row["image"] for row in read_rows(tmp_path / "out").to_pylist()} == {"good.png"}
    assert main(["bench", "status", str(tmp_path / "out")]) == 0
    status = capsys.readouterr().out
    assert "1 images left out by the last run" in status
    assert "torn.png" in status


def test_a_method_that_fails_on_an_image_costs_the_others_nothing(photographs, monkeypatch):
    broken = Contestant(lambda subject, _: subject.inputs[0].double() * math.nan, ())
    monkeypatch.setattr("usu.bench.worker.CONTESTANTS", {**CONTESTANTS, "constant": broken})
    wanted = combinations(["gradcam"], ["nearest", "constant"], METRICS_RUN)
    spec = Spec("folder", str(photographs))
    rows = Worker(spec).work(Job("chelsea.png", "efficientnet-lite0", tuple(wanted)))
    values = {(row["upsampler"], row["metric"]): row["value"] for row in rows}
    assert values.keys() == {(upsampler, metric) for _, upsampler, metric in wanted}
    for (upsampler, _), value in values.items():
        assert math.isnan(value) == (upsampler == "constant")
    alone = Worker(spec).work(Job("chelsea.png", "efficientnet-lite0", tuple(wanted[:2])))
    assert [row["value"] for row in alone] == [values["nearest", metric] for metric in METRICS_RUN]


def test_a_source_that_fails_on_an_image_costs_the_others_nothing(measured, tmp_path, monkeypatch):
    def broken(model, inputs, targets, layer):
        return CoarseMap(torch.full((1, 4, 4), math.nan), forward_passes=(3,))

    monkeypatch.setattr(
        "usu.bench.methods.image.find_source",
        lambda name: broken if name == "gradcam++" else find_source(name),
    )
    summary = measured(sources=["gradcam", "gradcam++"], upsamplers=["usu", "bilinear", "constant"])
    assert summary.problems == {}
    rows = read_rows(tmp_path / "out").to_pylist()
    assert {(row["source"], math.isnan(row["value"])) for row in rows} == {
        ("gradcam", False),
        ("gradcam++", True),
        ("none", False),
    }
    assert all(math.isnan(row["d1_error"]) for row in rows if row["source"] == "gradcam++")


def test_status_counts(results, capsys):
    assert main(["bench", "status", str(results)]) == 0
    told = capsys.readouterr().out
    assert told.startswith("12 rows")
    assert "folder, efficientnet-lite0, source gradcam: 2 images, 2 upsamplers, 2 metrics" in told
    assert "folder, efficientnet-lite0, source none: 2 images, 1 upsamplers, 2 metrics" in told


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_printed(results, layout, capsys):
    assert main(["bench", "table", str(results), "--layout", layout]) == 0
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("--upsampler", "bilinaer", "did you mean 'bilinear'"),
        ("--metric", "rode", "did you mean 'road'"),
        ("--source", "grdcam", "did you mean"),
        ("--model", "efficientnet-lite9", "efficientnet-lite"),
        ("--weights", "resnet50", "NAME=FILE"),
        ("--images", "7", "from 1 to 2"),
        ("--address", "auto", "ray"),
    ],
)
def test_a_bad_argument_is_named(photographs, tmp_path, capsys, flag, value, message):
    assert bench(photographs, tmp_path / "out", flag, value) == 2
    assert message in capsys.readouterr().err


def test_only_correctly_classified_images(photographs, tmp_path, capsys):
    classifier = load_classifier("efficientnet-lite0")
    folder = tmp_path / "labelled"
    folder.mkdir()
    lines = ["file,class_index"]
    for name in ("chelsea", "coffee"):
        (folder / f"{name}.png").write_bytes((photographs / f"{name}.png").read_bytes())
        inputs, _ = classifier.prepare(Image.open(folder / f"{name}.png"))
        with torch.no_grad():
            predicted = int(classifier.model(inputs[None]).argmax())
        lines.append(f"{name}.png,{predicted if name == 'coffee' else (predicted + 1) % 1000}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    assert bench(folder, tmp_path / "out", "--only-correct") == 0
    assert {row["image"] for row in read_rows(tmp_path / "out").to_pylist()} == {"coffee.png"}
    assert bench(folder, tmp_path / "more", "--only-correct", "--images", "2") == 2
    assert (
        "images must be at most 1, as many as efficientnet-lite0 classifies correctly, got 2"
        in capsys.readouterr().err
    )


def test_jobs_are_what_is_missing():
    rows = combinations(["gradcam", "hirescam"], ["nearest", "zero"], ["road", "irof"])
    assert rows == [
        *(("gradcam", "nearest", "road"), ("gradcam", "nearest", "irof")),
        *(("hirescam", "nearest", "road"), ("hirescam", "nearest", "irof")),
        *(("none", "zero", "road"), ("none", "zero", "irof")),
    ]
    done = [Cell("a", "m", *row) for row in rows] + [Cell("b", "m", *rows[0]), Cell("b", "n", *rows[1])]
    assert missing(["a", "b"], ["m"], rows, done) == [Job("b", "m", tuple(rows[1:]))]
    assert missing(["a"], ["n"], rows, done) == [Job("a", "n", tuple(rows))]


def test_metrics_that_are_asked_for_later_see_the_same_maps(photographs, tmp_path, results):
    worker = Worker(Spec("folder", str(photographs)))
    job = Job("chelsea.png", "efficientnet-lite0", (("gradcam", "bilinear", "sparseness"),))
    (row,) = worker.work(job)
    before = [
        one
        for one in read_rows(results).to_pylist()
        if (one["image"], one["upsampler"], one["metric"]) == ("chelsea.png", "bilinear", "sparseness")
    ]
    assert row["value"] == pytest.approx(before[0]["value"], rel=1e-9)
    assert row["total_mass"] == pytest.approx(before[0]["total_mass"], rel=1e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_rows_of_a_gpu_are_those_of_the_processor(photographs):
    wanted = combinations(["gradcam"], ["nearest", "bilinear", "bicubic", "usu"], list(METRICS))
    job = Job("chelsea.png", "efficientnet-lite0", tuple(wanted))
    ours, expected = Worker(Spec("folder", str(photographs))), Worker(Spec("folder", str(photographs)))
    ours.device = "cuda"
    # Last digits decide between steps of equal answers, and whether the class still comes first.
    close = {"monotonicity": 0.1, "road": 0.12}
    before = torch.backends.cudnn.allow_tf32
    for row, other in zip(ours.work(job), expected.work(job), strict=True):
        assert "cuda" in json.loads(row["versions"])
        assert row["d1_relative"] == pytest.approx(other["d1_relative"], rel=1e-3, abs=1e-6)
        tolerance = close.get(row["metric"], 1e-4)
        assert row["value"] == pytest.approx(other["value"], rel=0.01, abs=tolerance), row["metric"]
    assert torch.backends.cudnn.allow_tf32 == before


# --- In Python, with a network that takes no time ----------------------------------------------------------


def small_network(name, weights=None, device="cpu"):
    prepare = Preparation(32, (32, 32), (0.5,) * 3, (0.5,) * 3)
    return Network(name, Classifier(name, small_cnn(), prepare, None), f"hash of {weights}", 5)


@pytest.fixture
def measured(photographs, tmp_path, monkeypatch):
    """Return a function that runs a plan, whose parts can be replaced, in a folder of this test."""
    monkeypatch.setattr("usu.bench.worker.load_network", small_network)

    def run_plan(out="out", engine=None, data=photographs, weights=(), seed=0, **parts):
        common = {"models": ["small"], "sources": ["gradcam"], "upsamplers": ["nearest"]}
        spec = Spec("folder", str(data), dict(weights), seed=seed)
        plan = Plan(spec, **{**common, "metrics": ["sparseness"], **parts})
        return run(plan, engine or LocalEngine(), tmp_path / out, show_progress=False)

    return run_plan


def test_other_weights_belong_in_another_folder(measured, tmp_path):
    other = {"small": "other"}
    assert measured().new == 2
    assert measured(models=["small", "second"]).new == 2
    assert read_protocol(tmp_path / "out")["weights"] == {
        "small": "hash of None",
        "second": "hash of None",
    }
    with pytest.raises(ValueError, match=r'weights.small was "hash of None", is "hash of other"'):
        measured(weights=other)
    assert measured(models=["third"], weights={"third": "other"}).new == 2


def test_a_folder_whose_protocol_has_no_weights_continues_with_those_of_its_rows(measured, tmp_path):
    measured()
    path = tmp_path / "out" / "protocol.json"
    protocol = json.loads(path.read_bytes())
    del protocol["weights"]
    path.write_text(json.dumps(protocol))
    with pytest.raises(ValueError, match=r"weights.small was"):
        measured(weights={"small": "other"}, metrics=["pixel-flipping"])
    assert measured().new == 0
    assert read_protocol(tmp_path / "out") == {**protocol, "weights": {"small": "hash of None"}}
    assert measured(metrics=["pixel-flipping"]).new == 2


def test_weights_that_are_mixed_already_are_told(measured, tmp_path):
    measured()
    measured("others", weights={"small": "other"})
    (part,) = (tmp_path / "others" / "parts").glob("*.parquet")
    part.rename(tmp_path / "out" / "parts" / part.name)
    with pytest.raises(
        ValueError, match="mixes weights of small, by their hashes hash of None, hash of other"
    ):
        measured()


def test_another_photograph_of_the_same_name_belongs_in_another_folder(measured, photographs, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    for name, found in (("one", "chelsea"), ("two", "coffee")):
        (data / f"{name}.png").write_bytes((photographs / f"{found}.png").read_bytes())
    assert measured(data=data).new == 2
    assert measured(data=data).new == 0
    (data / "three.png").write_bytes((data / "one.png").read_bytes())
    assert measured(data=data).new == 1
    before = read_rows(tmp_path / "out")
    (data / "two.png").write_bytes((data / "one.png").read_bytes())
    for metrics in (["sparseness"], ["pixel-flipping"]):  # no job is left for the image, or one
        with pytest.raises(ValueError, match=r"another image by the name of two.png: its hash was .*, is "):
            measured(data=data, metrics=metrics)
    assert read_rows(tmp_path / "out").equals(before)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (
            {"upsamplers": ["nearest", "bilinaer"]},
            r"upsamplers must be one of \('nearest', .*, got 'bilinaer'",
        ),
        ({"metrics": ["rode"]}, r"metrics must be one of \(.*'road'.*, got 'rode'"),
        ({"sources": ["grdcam"]}, r"sources must be one of \('gradcam', .*, got 'grdcam'"),
        ({"images": 0}, "images must be at least 1, got 0"),
        ({"images": 0, "correct": True}, "images must be at least 1, got 0"),
        ({"images": 1.5}, r"images must be an integer, got 1\.5"),
        (
            {"weights": {"smal": "a.pth"}},
            r"for 'smal', .* not one of the models \(small\); did you mean 'small'",
        ),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"seed": 2**32}, "seed must be at most 4294967295, got 4294967296"),
    ],
)
def test_a_bad_plan_is_refused_before_anything_is_loaded(measured, monkeypatch, tmp_path, part, message):
    monkeypatch.setattr("usu.bench.worker.load_network", None)
    with pytest.raises(TypeError if part.get("images") == 1.5 else ValueError, match=message):
        measured(**part)
    assert not (tmp_path / "out").exists()


def test_weights_of_no_model_or_of_one_twice_are_refused(photographs, tmp_path, capsys):
    out = tmp_path / "out"
    assert bench(photographs, out, "--weights", "efficientnet-lite-0=none.pth") == 2
    assert (
        "not one of the models (efficientnet-lite0); did you mean 'efficientnet-lite0'"
        in capsys.readouterr().err
    )
    twice = ("efficientnet-lite0=a.pth", "efficientnet-lite0=b.pth")
    assert bench(photographs, out, "--weights", *twice) == 2
    assert "--weights names efficientnet-lite0 twice: a.pth and b.pth" in capsys.readouterr().err
    assert bench(photographs, out, "--seed", "9" * 20) == 2
    assert f"seed must be at most 4294967295, got {'9' * 20}" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(
    ("missing", "part", "extra"),
    [
        ("kornia.filters", {"upsamplers": ["nearest", "guided"]}, "bench"),
        ("pytorch_grad_cam", {"upsamplers": ["refinecam"]}, "bench"),
        ("usu.sources.captum", {"sources": ["occlusion"]}, "captum"),
    ],
)
def test_a_missing_library_ends_the_run_at_once(measured, monkeypatch, tmp_path, missing, part, extra):
    monkeypatch.setattr("usu.bench.worker.load_network", None)
    if missing == "usu.sources.captum":  # which the extra is asked for in
        monkeypatch.delitem(sys.modules, missing, raising=False)
        missing = "captum.attr"
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=rf"pip install 'usu-xai\[{extra}\]'"):
        measured(**part)
    assert not (tmp_path / "out").exists()


def test_what_nothing_needs_may_be_missing(measured, monkeypatch):
    for module in ("kornia.filters", "captum.attr", "pytorch_grad_cam"):
        monkeypatch.setitem(sys.modules, module, None)
    assert measured(upsamplers=["zero"]).new == 2


class Stopped:
    """An engine that is stopped after the first job, which has a problem."""

    def run(self, make_worker, jobs):
        yield Outcome(jobs[0], problem="OSError: größer als erlaubt")
        raise KeyboardInterrupt


def test_problems_of_a_run_that_is_stopped_are_kept(measured, tmp_path, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        measured(engine=Stopped())
    monkeypatch.setattr("io.text_encoding", lambda *_: "ascii")  # of a system that reads no UTF-8 by itself
    (problem,) = read_problems(tmp_path / "out").items()
    assert problem[0] in ("small: chelsea.png", "small: coffee.png")
    assert problem[1] == "OSError: größer als erlaubt"


def test_a_run_on_a_part_of_a_data_set_says_how_much_is_missing(photographs, tmp_path, capsys):
    for folder, suffix in (("images", ".jpg"), ("masks", ".png")):
        (tmp_path / "data" / folder).mkdir(parents=True)
        for name in ("chelsea", "coffee")[: 1 if folder == "masks" else 2]:
            Image.open(photographs / f"{name}.png").save(tmp_path / "data" / folder / f"{name}{suffix}")
    options = ("--dataset", "ecssd", "--workers", "1")
    data, out = (str(tmp_path / name) for name in ("data", "out"))
    wanted = ("--upsampler", "zero", "--metric", "sparseness")
    code = main(["bench", "run", "--data", data, "--out", out, *options, *wanted])
    assert code == 0
    assert "ecssd: 1 images are listed, but their files are not there" in capsys.readouterr().out
    assert {row["image"] for row in read_rows(tmp_path / "out").to_pylist()} == {"chelsea.jpg"}


def test_libraries_are_those_of_contestants():
    assert LIBRARIES.keys() < PEERS.keys()


def test_parts_can_be_read_by_anyone(results):
    (part,) = sorted((results / "parts").glob("*.parquet"))
    assert np.isfinite(pq.read_table(part)["total_mass"].to_numpy()).all()
