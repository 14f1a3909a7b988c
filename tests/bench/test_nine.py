"""The study of nine configurations: its networks, the order of its run, and maps on objects."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

REASON = {"reason": "needs the repository and the extra bench", "exc_type": ImportError}
nine = pytest.importorskip("benchmarks.studies.nine", **REASON)
objects = pytest.importorskip("benchmarks.studies.objects", **REASON)
trunks = pytest.importorskip("benchmarks.studies.trunks", **REASON)

from usu.bench.datasets.files import Dataset, Item  # noqa: E402
from usu.bench.methods.image import Subject  # noqa: E402
from usu.bench.methods.registry import CONTESTANTS  # noqa: E402
from usu.bench.results.schema import Cell  # noqa: E402
from usu.metrics.faithfulness import METRICS  # noqa: E402

ROOT = Path(__file__).parents[2]


def test_a_residual_block_adds_a_subsampled_shortcut_padded_with_zeros():
    block = trunks.Residual(2, 4, 2).eval()
    for weights in (block.conv1.weight, block.conv2.weight):
        nn.init.zeros_(weights)
    maps = torch.arange(32.0).reshape(1, 2, 4, 4) - 10
    expected = torch.zeros(1, 4, 2, 2)
    for row in range(2):
        for column in range(2):
            expected[0, 1:3, row, column] = maps[0, :, 2 * row, 2 * column].clamp(min=0)
    torch.testing.assert_close(block(maps), expected)


@pytest.mark.parametrize(("depth", "thousands"), [(20, 270), (56, 853)])  # He et al., table 6: 0.27, 0.85 M
def test_cifars_networks_have_the_published_size_and_8_by_8_cells(depth, thousands):
    network = trunks.cifar_resnet(depth).eval()
    assert round(sum(each.numel() for each in network.parameters()) / 1000) == thousands
    assert sum(isinstance(each, nn.Conv2d | nn.Linear) for each in network.modules()) == depth
    seen = []
    network.layer3.register_forward_hook(lambda *given: seen.append(given[-1].shape))
    assert network(torch.zeros(1, 3, 32, 32)).shape == (1, 10)
    assert seen == [(1, 64, 8, 8)]


def test_vgg16_without_its_last_pooling_has_cells_of_16_pixels():
    with torch.device("meta"):  # shapes alone
        network = trunks.vgg16(10).eval()
        assert network.features(torch.zeros(1, 3, 64, 96)).shape == (1, 512, 4, 6)
        assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_each_stage_names_what_there_is_and_no_row_twice():
    for stage in nine.STAGES:
        assert len(set(stage.rows)) == len(stage.rows)
        assert {row[1] for row in stage.rows} <= CONTESTANTS.keys()
        assert {row[2] for row in stage.rows} <= METRICS.keys()
    metrics = {row[2] for stage in nine.STAGES for row in stage.rows if row[1] == "total-conserving"}
    paper = {name for name, metric in METRICS.items() if metric.block == "A"}
    assert metrics >= paper | {*nine.CURVES, *nine.OTHER_FILL}


def test_configurations_take_turns_image_by_image_and_a_second_run_does_the_rest(capsys):
    done, jobs = {"first": set(), "second": set()}, []

    def run(name, images):
        def work(job):
            if job.image == "bad":
                raise ValueError("damaged")
            jobs.append((name, job.image))
            return [(job.image, job.model, *row) for row in job.wanted]

        spec = SimpleNamespace(dataset=name)
        return SimpleNamespace(spec=spec, model="m", images=images, worker=SimpleNamespace(work=work))

    def folder(name):
        def add(rows):
            done[name] |= {Cell(*row) for row in rows}

        return SimpleNamespace(done=done[name], add=add)

    folders = {name: folder(name) for name in done}
    runs = [run("first", ["a", "b", "c"]), run("second", ["x", "bad"])]
    nine.measure(nine.Stage(2, [("gradcam", "usu", "road")]), runs, folders, 1)
    assert jobs == [("first", "a"), ("second", "x"), ("first", "b")]
    assert "left out: second, m, bad: damaged" in capsys.readouterr().out
    nine.measure(nine.Stage(3, [("gradcam", "usu", "road")]), runs, folders, 2)
    assert jobs[3:] == [("first", "c")]


class Bright(nn.Module):
    """Answers class 1 by how bright the picture's left half is."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 2, 8, 8)
        nn.init.zeros_(self.features.bias)
        with torch.no_grad():
            self.features.weight[0] = 0
            self.features.weight[1] = 1 / 64

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        cells = self.features(batch)
        return cells[..., : cells.shape[-1] // 2].mean((2, 3)) * 4


def test_an_image_counts_where_its_class_is_the_objects():
    picture = torch.zeros(3, 32, 32)
    picture[:, :, :16] = 1.0
    truth = torch.zeros(32, 32, dtype=torch.bool)
    truth[:, :16] = True
    network = Bright().eval()
    names = ("constant", "nearest", "bilinear", objects.SQUARED)
    for mask, right in ((truth, True), (~truth, False)):
        line = objects.judged(Subject(network, picture, picture, 1), mask, names)
        assert (line["on_object"] > line["on_rest"]) is right
        bilinear, squared = line["maps"]["bilinear"], line["maps"][objects.SQUARED]
        # What is squared is more peaked, on the bright half or off it.
        assert (squared["localisation"] > bilinear["localisation"]) is right
        assert line["maps"]["nearest"]["pointing"] == float(right)
        assert line["maps"]["constant"]["localisation"] == 0.5
        for label, counted in ((None, right), (1, right), (0, False)):
            assert objects.counts({**line, "label": label, "target": 1}) is counted
    assert not objects.counts({"label": None, "target": 1})


def test_the_mask_is_cropped_as_the_photograph():
    from PIL import Image
    from torchvision.transforms import InterpolationMode

    from usu.models.classifier import Classifier, Preparation

    mask = Image.new("L", (64, 32))
    mask.paste(255, (24, 0, 64, 32))

    class Photographs(Dataset):
        def truth(self, item):
            return mask if item.name == "a" else None

    prepare = Preparation(16, (16, 16), (0.5,) * 3, (0.5,) * 3, InterpolationMode.BILINEAR)
    classifier = Classifier("m", Bright(), prepare)
    data = Photographs("d", None, (), None)
    found = objects.object_in_crop(classifier, data, Item("a"))
    expected = torch.zeros(16, 16, dtype=torch.bool)
    expected[:, 4:] = True  # 24 / 2 pixels from the left, of which the crop drops 8
    assert torch.equal(found, expected)
    with pytest.raises(ValueError, match="does not say where the object of b is"):
        objects.object_in_crop(classifier, data, Item("b"))


def test_the_page_of_objects_is_made_of_the_rows():
    lines = objects.read_lines(ROOT / "results/objects/maps.jsonl")
    assert (ROOT / "docs/objects-measurements.md").read_text(encoding="utf-8") == objects.page(lines), (
        f"out of date: {objects.MADE}"
    )
