"""The report's file: what it holds, what it lets the browser do, and what it recomputes of a record."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from dataclasses import replace
from importlib.resources import files

import numpy as np
import pytest
import torch

import usu
from tests.helpers import reports
from tests.helpers.networks import small_cnn
from usu import cli
from usu.cli.report import names_of
from usu.report import Entry, frame, html, write
from usu.report.merging import merged, partitions
from usu.report.packing import pack
from usu.sources.rise import Rise

RECORDS = ("signed", "positive", "several_grids", "superpixels")
WEB = files("usu.report") / "web"


def unpack(packed: dict[str, str]) -> np.ndarray:
    return np.frombuffer(zlib.decompress(base64.b64decode(packed["zlib"])), np.dtype(packed["kind"]))


def data_of(page: str) -> list[dict]:
    return json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])


def arrays_of(record: usu.Explanation) -> tuple[list[np.ndarray], list[np.ndarray]]:
    return [np.asarray(part) for part in record.partitions], [np.asarray(part) for part in record.scores]


@pytest.mark.parametrize(
    "array",
    [
        np.arange(256),
        np.arange(257),
        np.array([70_000, 0]),
        np.array([0.1, -2.5]),
        np.array([0.1, -2.5], np.float32),
        np.array([], np.int64),
    ],
    ids=lambda array: f"{array.dtype}-{array.size}",
)
def test_packing_is_exact(array):
    assert np.array_equal(unpack(pack(array)), array)


def test_packing_takes_the_smallest_kind():
    kinds = [
        pack(array)["kind"] for array in (np.arange(256), np.arange(257), np.array([0.5]), np.array([0.1]))
    ]
    assert kinds == ["uint8", "uint16", "float32", "float64"]


@pytest.fixture(scope="module")
def page():
    return html([Entry(reports.signed(), name="cat", class_name="tabby", model="small", verdicts=False)])


def test_policy_names_what_the_file_holds_and_nothing_else(page):
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    for name, pattern in {
        "script-src": r"<script>(.*?)</script>",
        "style-src": r"<style>(.*?)</style>",
    }.items():
        (source,) = re.findall(pattern, page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
        assert rules[name] == f"'sha256-{digest}'"


def test_page_names_no_address(page):
    assert re.findall(r"(?:https?:|//)[\w.-]+\.\w{2,}", re.sub(r"data:image[^\"]*", "", page)) == []
    assert "{{" not in page


def test_all_sources_are_in_the_page(page):
    scripts = [source for source in WEB.iterdir() if source.name.endswith(".js")]
    assert len(scripts) > 5
    assert all(source.read_text(encoding="utf-8") in page for source in scripts)


def test_elements_are_typed_as_the_page_has_them(page):
    """The scripts are checked by `tsc` against these types, and the page against them here."""
    found = re.findall(r"<(\w+)\b[^>]*\bid=\"([\w-]+)\"", page.split('<script type="application/json"')[0])
    block = re.search(r"interface Elements \{(.*?)\n\}", (WEB / "types.d.ts").read_text(), re.DOTALL)[1]
    typed = {name.strip('"'): kind for name, kind in re.findall(r"^  (\S+): (\w+);$", block, re.MULTILINE)}
    plain = {"main", "section", "figure"}  # have no interface of their own
    short = {"p": "Paragraph", "ul": "UList", "dl": "DList", "h1": "Heading", "h3": "Heading"}
    short |= {"tr": "TableRow", "tbody": "TableSection", "summary": "", "textarea": "TextArea"}
    for tag, name in found:
        kind = "" if tag in plain else short.get(tag, tag.capitalize())
        wanted = "SVGSVGElement" if tag == "svg" else f"HTML{kind}Element"
        assert typed.pop(name).lower() == wanted.lower(), name
    assert typed == {"data": "HTMLScriptElement"}


def test_names_stay_data():
    bad = "</script><script>alert(1)</script><!-- & {{script}}"
    page = html([Entry(reports.signed(), name=bad, class_name=bad, model=bad, verdicts=False)])
    assert page.count("<script") == 2
    assert "alert(1)</script>" not in page
    (entry,) = data_of(page)
    assert entry["name"] == entry["title"] == entry["model"] == bad


def test_name_of_bytes_that_are_no_text_is_written(tmp_path):
    write([Entry(reports.signed(), name="cat\udcff", verdicts=False)], tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8")


def test_photograph_of_224_pixels_stays_under_two_megabytes():
    settings = {"segmentation": {"slic": (16, 32), "quadtree": (16, 32), "watershed": (16, 32)}}
    record = usu.explain(small_cnn(), reports.picture(224, 224), **settings)
    assert len(html([Entry(record, verdicts=False)]).encode()) < 2_000_000


def test_frame_holds_the_whole_page_in_one_attribute():
    from html.parser import HTMLParser

    entry = Entry(reports.signed(), class_name='"><script>', verdicts=False)
    found = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: found.append((tag, dict(attributes)))
    parser.feed(frame(entry))
    ((tag, attributes),) = found
    assert tag == "iframe"
    assert attributes["srcdoc"] == html([entry])
    assert attributes["sandbox"] == "allow-scripts allow-downloads"


@pytest.mark.parametrize("name", RECORDS)
def test_record_is_whole(name):
    record = getattr(reports, name)()
    (entry,) = data_of(html([Entry(record, verdicts=False)]))
    scores, index = unpack(entry["scoreMap"]["values"]), unpack(entry["scoreMap"]["index"])
    assert np.array_equal(scores[index].reshape(entry["size"]), np.asarray(record.score_map))
    assert np.array_equal(unpack(entry["coarse"]["values"]), np.asarray(record.coarse).ravel())
    for kept, labels in zip(entry["partitions"], record.partitions, strict=True):
        assert np.array_equal(unpack(kept["labels"]), np.asarray(labels).ravel())


def test_verdicts_are_those_of_check_desiderata():
    record = reports.positive()
    (entry,) = data_of(html([Entry(record)]))
    assert list(entry["verdicts"]) == list(usu.UPSAMPLERS)
    for name, verdicts in entry["verdicts"].items():
        found = usu.check_desiderata(
            name, record.coarse, record.score_map, temperature=0.2, potential="power"
        )
        assert {key: verdict["verdict"] for key, verdict in verdicts.items()} == {
            key: found[key].verdict for key in ("D1", "D2", "D3", "D4", "D5")
        }
    assert entry["verdicts"]["usu"]["D1"]["verdict"] == "satisfied"
    assert entry["verdicts"]["bilinear"]["D1"]["verdict"] == "violated"


def test_verdicts_are_of_the_recorded_order_in_negative_cells():
    record = reports.signed()
    assert float(record.coarse.min()) < 0
    for negative in ("same", "opposite"):
        found = Entry(replace(record, settings={**record.settings, "negative": negative})).plain()["verdicts"]
        assert found["usu"]["D2"]["verdict"] == "satisfied"
        assert found["hybrid"]["D2"]["verdict"] == "satisfied"  # which has no other order to keep


def test_superpixels_have_no_verdict_on_interpolation():
    assert set(Entry(reports.superpixels()).plain()["verdicts"]) == {"usu", "iwmr", "hybrid", "nearest"}


@pytest.mark.parametrize("mixing", ["mean", "segment", "pixel"])
def test_merging_is_done_again(mixing):
    record = usu.explain(
        small_cnn(),
        reports.picture(),
        mode="usu",
        segmentation=reports.HIERARCHIES,
        mixing=mixing,
        threshold=0.2,
    )
    found = [(each["tree"], each["number"], each["depth"]) for each in partitions(record)]
    assert found == [("slic", 0, 0), ("slic", 0, 1), ("quadtree", 1, 0), ("quadtree", 1, 1)]
    assert np.abs(merged(record) - np.asarray(record.score_map)).max() < 1e-6


def test_depths_that_were_fitted_together_have_no_merge():
    record = usu.explain(
        small_cnn(), reports.picture(), scoring="order", passes=14, segmentation={"slic": (4, 9)}
    )
    assert merged(record) is None
    assert "as it was recorded" in Entry(record, verdicts=False).plain()["depthReason"]


def test_steps_say_what_was_split_and_why():
    record = reports.superpixels()
    labels, scores = arrays_of(record)
    told = {index: each for index, each in enumerate(partitions(record)) if "parts" in each}
    assert told
    for index, step in told.items():
        coarse, fine = labels[index], labels[index + 1]
        h = np.abs(usu.h_map(scores[index][coarse], "gradient"))
        for segment in range(coarse.max() + 1):
            inside = coarse == segment
            assert unpack(step["parts"])[segment] == len(np.unique(fine[inside]))
            assert unpack(step["strongest"])[segment] == pytest.approx(h[inside].max(), abs=1e-6)
        split = unpack(step["parts"]) > 1
        assert (unpack(step["strongest"])[split] > 0.3).all()


def test_score_map_of_another_making_is_said_to_be_recorded():
    record = replace(reports.signed(), score_map=torch.rand(48, 64))
    assert "as it was recorded" in Entry(record, verdicts=False).plain()["depthReason"]
    assert Entry(reports.signed(), verdicts=False).plain()["depthReason"] is None
    assert 'mixing="segment"' in Entry(reports.superpixels(), verdicts=False).plain()["depthReason"]


def test_potential_of_ones_own_shows_the_recorded_map():
    settings = {**reports.signed().settings, "potential": "mine"}
    told = Entry(replace(reports.signed(), settings=settings)).plain()
    assert "mine" in told["redistribution"]["reason"]
    assert unpack(told["redistribution"]["recorded"]) == pytest.approx(reports.signed().attribution.ravel())
    assert told["verdicts"] == {}


def made_again(record, **names):
    """Return what the report's call makes, with the mode and the temperature that the page puts into it."""
    call = Entry(record, verdicts=False).plain()["call"]
    shown = {"mode": repr(record.mode), "temperature": record.settings["temperature"]}
    arguments = ", ".join(f"{name}={value}" for name, value in (call["arguments"] | shown).items())
    return eval(f"{call['head']}, {arguments})", {"usu": usu, "images": None, **names})


def test_call_makes_the_map_again():
    record = reports.superpixels()
    names = {
        "coarse": record.coarse,
        "inputs": reports.picture(),
        "forward_func": small_cnn(),
        "neighbourhoods": record.neighbourhoods,
    }
    assert torch.equal(made_again(record, **names).attribution, record.attribution)
    again = made_again(reports.signed(), model=small_cnn(), inputs=reports.picture())
    assert torch.equal(again.attribution, reports.signed().attribution)


@pytest.mark.parametrize("source", [None, "gradcam", Rise(cells=4, masks=8)])
def test_call_makes_a_complete_map_again(source):
    model, inputs = small_cnn(), reports.picture()
    segmentation = {"quadtree": (16,)}
    record = usu.explain(
        model, inputs, 1, source=source, mode="complete", segmentation=segmentation, passes=9, output="logit"
    )
    told = Entry(record, verdicts=False).plain()
    coarse = {None: "gradients", "gradcam": "Grad-CAM"}.get(source, "RISE")
    assert (told["source"], told["unit"]) == (f"Owen values, shared by {coarse}", "logits")
    assert told["layer"] == (record.layer if source == "gradcam" else None)
    again = made_again(record, model=model, inputs=inputs, source=source)
    assert torch.equal(again.attribution, record.attribution)


def test_call_makes_a_complete_map_of_a_given_one_again():
    given = {"coarse": torch.rand(4), "neighbourhoods": torch.arange(64).expand(48, 64) // 16}
    common = {"mode": "complete", "mass": "total", "segmentation": {"quadtree": (16,)}, "passes": 9}
    record = usu.upsample(inputs=reports.picture(), forward_func=small_cnn(), target=1, **given, **common)
    again = made_again(record, inputs=reports.picture(), forward_func=small_cnn(), mass="total", **given)
    assert torch.equal(again.attribution, record.attribution)


def squared(scores):
    return 0.1 + scores**2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("images", reports.picture()),
        ("segmentation", usu.Hierarchy([np.arange(48 * 64).reshape(48, 64) // 256])),
        ("segmentation", [usu.segment(reports.picture(), (8,), "slic")]),
        ("output", lambda outputs: outputs.log_softmax(1)),
        ("baselines", torch.full((3, 48, 64), 0.5)),
        ("baselines", torch.Tensor.abs),
        ("potential", squared),
        ("target", lambda outputs: outputs[:, 1] * 100),
        ("source", Rise(cells=4, masks=8)),
        ("source", lambda *_: usu.CoarseMap(torch.ones(1, 4, 4), source="own")),
    ],
)
def test_call_names_what_a_record_does_not_hold(name, value):
    inputs = (reports.picture() - 0.45) / torch.tensor([0.1, 0.2, 0.4])[:, None, None]
    common = {"target": 1, "segmentation": {"slic": (8, 16)}, "images": reports.picture()}
    record = usu.explain(small_cnn(), inputs, **{**common, name: value})
    names = {"model": small_cnn(), "inputs": inputs, "images": reports.picture(), name: value}
    given = {"coarse": record.coarse, "forward_func": small_cnn()}  # where a source has a name of its own
    assert torch.equal(made_again(record, **names, **given).attribution, record.attribution)


@pytest.mark.parametrize("name", ["inferno", "cividis", "viridis", "berlin", "RdBu"])
def test_colours_are_matplotlibs(name):
    from matplotlib import colormaps

    matplotlib_name = {"RdBu": "RdBu_r"}.get(name, name)
    if matplotlib_name not in colormaps:
        pytest.skip("berlin came with matplotlib 3.10")
    text = re.search(rf'{name}: "(\w+)"', (WEB / "colours.js").read_text())[1]
    found = np.frombuffer(bytes.fromhex(text), np.uint8).reshape(-1, 3)
    expected = colormaps[matplotlib_name](np.linspace(0, 1, len(found)))[:, :3] * 255
    assert np.abs(found - expected).max() <= 0.51


def test_image_of_another_size_is_refused():
    record = replace(reports.signed(), image=reports.picture(24, 32))
    with pytest.raises(ValueError, match=r"image must be .* size of the score map \(48, 64\)"):
        html([Entry(record)])


def test_no_explanation_is_refused():
    with pytest.raises(ValueError, match="entries is empty"):
        html([])


def test_command_writes_a_gallery(tmp_path, capsys):
    paths = [tmp_path / "cat" / "explanation.npz", tmp_path / "dog.npz"]
    paths[0].parent.mkdir()
    for path in paths:
        reports.signed().save(path)
    (tmp_path / "names.txt").write_text("\n".join(f"kind {number}" for number in range(5)))
    out = tmp_path / "report.html"
    arguments = ["report", *map(str, paths), "-o", str(out), "--quick", "--model", "small"]
    assert cli.main([*arguments, "--classes", str(tmp_path / "names.txt")]) == 0
    entries = data_of(out.read_text(encoding="utf-8"))
    assert [entry["name"] for entry in entries] == ["cat", "dog"]
    assert {entry["title"] for entry in entries} == {f"kind {reports.signed().target}"}
    assert {entry["model"] for entry in entries} == {"small"}
    assert "2 explanation(s)" in capsys.readouterr().out


def test_command_refuses_bad_input(tmp_path, capsys):
    reports.signed().save(tmp_path / "one.npz")
    (tmp_path / "names.txt").write_text("")
    one = str(tmp_path / "one.npz")
    assert cli.main(["report", one, "-o", str(tmp_path / "no" / "report.html")]) == 2
    assert (
        cli.main(["report", one, "-o", str(tmp_path / "a.html"), "--classes", str(tmp_path / "names.txt")])
        == 2
    )
    assert cli.main(["report", str(tmp_path / "names.txt"), "-o", str(tmp_path / "a.html")]) == 2
    for out in (one, str(tmp_path), str(tmp_path / "cat.png")):
        assert cli.main(["report", one, "-o", out]) == 2
    page = str(tmp_path / "page.html")
    (tmp_path / "page.html").write_bytes((tmp_path / "one.npz").read_bytes())  # any name may be an input's
    assert cli.main(["report", page, "-o", page]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 7
    assert f"--out {one} must end in .html" in lines[3]
    assert f"is a folder: name the page, such as {tmp_path / 'report.html'}" in lines[4]
    assert "cat.png must end in .html" in lines[5]
    assert "would replace an explanation by its page" in lines[6]
    assert usu.Explanation.load(one).target == usu.Explanation.load(page).target == reports.signed().target
    assert "there is no folder" in lines[0]
    assert "has 0 lines" in lines[1]
    assert "cannot be read as an explanation: it is not a .npz file" in lines[2]
    assert not (tmp_path / "a.html").exists()


def test_classes_are_utf_8_with_or_without_a_mark(tmp_path, capsys):
    reports.signed().save(tmp_path / "one.npz")
    names, out = tmp_path / "names.txt", tmp_path / "report.html"
    text = "\n".join(["café"] * 5)
    arguments = ["report", str(tmp_path / "one.npz"), "-o", str(out), "--quick", "--classes", str(names)]
    for encoding in ("utf-8", "utf-8-sig"):
        names.write_text(text, encoding=encoding)
        assert cli.main(arguments) == 0
        assert data_of(out.read_text(encoding="utf-8"))[0]["title"] == "café"
    names.write_text(text, encoding="latin-1")
    assert cli.main(arguments) == 2
    assert f"--classes {names} must be text in UTF-8" in capsys.readouterr().err


def test_names_of_files():
    assert names_of(["out/cat/explanation.npz", "explanation.npz", "b.npz"]) == ["cat", "explanation", "b"]
