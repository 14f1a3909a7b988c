"""Files agree on version, date and addresses. What the first page says of other libraries holds."""

import re
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest
import torch
import torchvision

import usu

yaml = pytest.importorskip("yaml", reason="comes with mkdocs: pip install '.[docs]'")

ROOT = Path(__file__).parents[2]
SIZE = (64, 64)
CLASS = 6  # one of its four cells is negative


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


CITATION = yaml.safe_load(read("CITATION.cff"))


def test_citation_changelog_first_page_and_package_are_of_one_version():
    version, date = re.search(
        r"^## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)$", read("CHANGELOG.md"), re.M
    ).groups()
    assert version == usu.__version__ == CITATION["version"]
    assert date == CITATION["date-released"].isoformat()
    assert f"version = {{{version}}}" in read("docs/index.md")
    assert re.search(rf"^\[{re.escape(version)}\]: https://", read("CHANGELOG.md"), re.M)


def test_the_paper_is_cited_with_the_same_names_everywhere():
    paper = CITATION["preferred-citation"]
    listed = " and ".join(f"{one['family-names']}, {one['given-names']}" for one in paper["authors"])
    first_page = " ".join(read("docs/index.md").split())
    assert f"author = {{{listed}}}" in first_page
    for page in (first_page, " ".join(read("README.md").split())):
        assert paper["title"] in page
        assert paper["url"].rsplit("/", 1)[1] in page


def test_addresses_are_those_of_the_package():
    given = dict(re.findall(r'^(\w+) = "(https://.*)"$', read("pyproject.toml"), re.M))
    site = re.search(r"^site_url: (.*)$", read("mkdocs.yml"), re.M)[1]
    assert given["Repository"] == CITATION["repository-code"]
    assert given["Documentation"] == site
    for name in ("README.md", "CONTRIBUTING.md", "docs/index.md", "CHANGELOG.md", "SECURITY.md"):
        found = set(re.findall(r"https://github\.com/[\w-]+/[\w-]+", read(name)))
        assert found == {given["Repository"]}, name


def test_the_house_of_contributing_is_the_one_that_stands():
    text = read("CONTRIBUTING.md")
    (picture,) = re.findall(r"holds that\.\n\n(.*?)\n\nOperators", text, re.DOTALL)
    rooms = {room.strip() for line in picture.splitlines() for room in line.split("#")[0].split(",")}
    there = {path.stem for path in (ROOT / "src" / "usu").iterdir() if not path.name.startswith("__")}
    assert rooms == there - {"py"}
    for path in re.findall(r"`([\w./]+/[\w./]*)`", text):
        assert (ROOT / path).exists() or (ROOT / "src" / "usu" / path).exists(), path


@pytest.mark.parametrize("path", sorted((ROOT / ".github").rglob("*.yml")), ids=lambda path: path.stem)
def test_workflows_and_forms_are_yaml(path):
    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    if path.parent.name == "workflows":
        assert all(job["runs-on"] and job["steps"] for job in found["jobs"].values())
    elif path.stem != "config":
        identifiers = [part["id"] for part in found["body"]]
        assert {"name", "description"} <= found.keys()
        assert len(set(identifiers)) == len(identifiers)


@pytest.mark.parametrize("change", ["nothing", "no page", "tests", "no licence"])
def test_the_check_of_the_wheel_sees_what_is_missing_and_what_is_too_much(tmp_path, change):
    files = [path for path in (ROOT / "src" / "usu").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    names = {path.relative_to(ROOT / "src").as_posix() for path in files} | {"usu.dist-info/licenses/LICENSE"}
    gone = {"no page": "usu/report/web/page.html", "no licence": "usu.dist-info/licenses/LICENSE"}.get(change)
    with ZipFile(tmp_path / "a.whl", "w") as wheel:
        for name in sorted(names - {gone}) + ["tests/test_imports.py"] * (change == "tests"):
            wheel.writestr(name, "")
    command = [sys.executable, ROOT / ".ci" / "check_wheel.py", tmp_path / "a.whl"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode == 0) == (change == "nothing"), done.stderr


@pytest.fixture
def network():
    """A network, an input, and how often it is called."""
    torch.manual_seed(0)
    model = torchvision.models.resnet18(num_classes=10).eval()
    calls = []
    model.register_forward_pre_hook(lambda module, given: calls.append(len(given[0])))
    return model, torch.randn(1, 3, *SIZE), calls


def test_grad_cam_returns_pixels_scaled_and_cut(network):
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    model, inputs, calls = network
    (found,) = GradCAM(model, [model.layer4])(inputs, [ClassifierOutputTarget(CLASS)])
    assert found.shape == SIZE
    assert (found.min(), calls) == (0, [1])
    assert found.max() == pytest.approx(1, abs=1e-5)


def test_captum_returns_raw_cells_and_upsamples_to_the_nearest(network):
    from captum.attr import LayerAttribution, LayerGradCam

    model, inputs, calls = network
    found = LayerGradCam(model, model.layer4).attribute(inputs, CLASS).detach()
    assert (found.shape, calls) == ((1, 1, 2, 2), [1])
    ours = usu.explain(model, inputs[0], CLASS, layer="layer4", segmentation={"quadtree": (4,)}).coarse
    assert float(found.min()) < 0
    torch.testing.assert_close(found[0, 0] / found.abs().sum(), ours / ours.abs().sum())
    pixels = LayerAttribution.interpolate(found, SIZE)[0, 0]
    torch.testing.assert_close(pixels.reshape(2, 32, 2, 32).sum((1, 3)), found[0, 0] * 32**2)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="torch-cam 0.5 needs Python 3.11")
def test_torch_cam_returns_cells_cut_and_scaled_if_not_told_otherwise(network):
    from torchcam.methods import GradCAM

    model, inputs, calls = network
    with GradCAM(model, "layer4") as extractor:
        (scaled,) = extractor(CLASS, model(inputs))
        (unscaled,) = extractor(CLASS, model(inputs), normalized=False)
    assert (scaled.shape, calls) == ((1, 2, 2), [1, 1])
    assert (float(scaled.min()), float(scaled.max())) == (0, pytest.approx(1, abs=1e-4))
    assert float(unscaled.min()) >= 0
    assert float(unscaled.max()) != pytest.approx(1, abs=1e-2)
