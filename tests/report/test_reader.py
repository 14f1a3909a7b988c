"""The report as its reader uses it: first sight, comparing, taking away, links, gallery, at three sizes.

Screenshots go to the folder that USU_SCREENSHOTS names, or to a temporary one.
"""

from __future__ import annotations

import csv
import io
import os
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

import usu
from tests.helpers import reports
from tests.helpers.browser import needs_chromium
from tests.helpers.networks import small_cnn
from tests.report.pages import SETTLED, assert_same, choose, compare, map_of, slide
from usu.report import Entry

pytestmark = needs_chromium

SIZES = {"laptop": (1366, 768), "desktop": (1280, 900), "phone": (390, 844)}
IN_VIEW = """(ids) => ids.map((id) => {
    const box = document.getElementById(id).getBoundingClientRect();
    return box.top >= -1 && box.left >= -1 && box.bottom <= innerHeight + 1 && box.right <= innerWidth + 1;
})"""


def entries() -> list[Entry]:
    return [
        Entry(reports.positive(), name="hybrid", class_name="lynx", model="small", verdicts=False),
        Entry(reports.signed(), name="both signs", class_name="tabby", verdicts=False),
        Entry(reports.superpixels(), name="superpixels", class_name="tiger", verdicts=False),
    ]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_picture_and_sliders_are_in_one_view(opened, size, scheme, tmp_path):
    width, height = SIZES[size]
    settings = {"viewport": {"width": width, "height": height}, "color_scheme": scheme}
    page = opened(entries()[0], layout="", unfolded=False, **settings)
    assert page.evaluate(IN_VIEW, ["sentence", "canvas", "method", "temperature"]) == [True] * 4
    folder = Path(os.environ.get("USU_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=folder / f"first-{size}-{scheme}.png")
    for layout in ("split", "beside"):
        compare(page, layout)
        for control in ("temperature", "importance", "depth"):
            page.locator(f"#{control}").scroll_into_view_if_needed()
            assert page.evaluate(IN_VIEW, ["canvas", control]) == [True, True], (layout, control)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.screenshot(path=folder / f"{layout}-{size}-{scheme}.png")


@pytest.mark.parametrize("size", SIZES)
def test_picture_and_sliders_are_in_one_view_of_a_gallery(opened, size, tmp_path):
    width, height = SIZES[size]
    page = opened(*entries(), layout="", unfolded=False, viewport={"width": width, "height": height})
    folder = Path(os.environ.get("USU_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=folder / f"gallery-{size}.png")
    for layout in ("one", "split", "beside"):
        compare(page, layout)
        for control in ("temperature", "depth"):
            page.locator(f"#{control}").scroll_into_view_if_needed()
            assert page.evaluate(IN_VIEW, ["canvas", control]) == [True, True], (layout, control)
    page.locator("details").evaluate_all("all => all.forEach((one) => { one.open = true; })")
    page.check("#spread")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_panels_are_folded_until_asked_for(opened):
    page = opened(entries()[0], layout="", unfolded=False)
    assert page.locator("details[open]").count() == 0
    assert not page.is_visible("#pixel")
    page.locator("#pixel-panel summary").press("Enter")
    assert page.is_visible("#pixel")
    page.click("#reading-panel summary")
    assert page.locator("#reading-panel .right").count() == 1
    assert page.locator("#reading-panel .wrong").count() == 2


def test_sentence_says_what_the_outline_holds(opened):
    record = replace(reports.positive(), probability=0.875)
    page = opened(Entry(record, class_name="lynx", verdicts=False), layout="")
    for method in ("hybrid", "bilinear"):
        choose(page, "method", method)
        text = page.inner_text("#sentence")
        assert text.startswith("The network gives lynx a probability of 87.5 %.")
        share, area = re.search(
            r"(Half|\S+ %) of what speaks for it lies on (\S+) % of the picture", text
        ).groups()
        share = 0.5 if share == "Half" else float(share.split()[0]) / 100
        area = float(area) / 100
        brightest = np.sort(map_of(page, (48, 64)).ravel())[::-1]
        assert 0.5 <= share <= 0.75
        assert "of the picture, inside the blue line." in text
        assert brightest[: round(area * brightest.size) + 1].sum() >= (share - 0.01) * brightest.sum()
    most = max(float(np.abs(np.asarray(raw)).max()) for raw in record.raw_scores)
    parts = sum(len(raw) for raw in record.raw_scores)
    assert f"Hiding any one of {parts} parts of the picture changes the probability by at most" in text
    assert float(text.split("at most ")[1].split()[0]) == pytest.approx(100 * most, rel=0.06)


def test_caution_says_how_coarse_the_numbers_are_and_what_made_the_detail(opened):
    page = opened(*entries(), layout="one", unfolded=False)
    page.locator("#cards button", has_text="lynx").click()
    details = {
        "hybrid": "comes from what hiding parts of the picture changes",
        "bilinear": "is filled in between them",
        "nearest": "Nothing finer is shown",
    }
    for method, detail in details.items():
        choose(page, "method", method)
        text = page.inner_text("#caution")
        assert "one number for each of 12\u00a0×\u00a016\u00a0cells." in text
        assert [words for words in details.values() if words in text] == [detail]
        assert text.endswith("The map does not show where the network is wrong.")
    record = reports.positive()
    kept = replace(record, settings={**record.settings, "scoring": "keep"})
    page = opened(Entry(kept, verdicts=False), layout="one")
    assert "comes from the scores of the picture's parts" in page.inner_text("#caution")
    assert "Hiding" not in page.inner_text("#sentence")


def test_comparison_says_which_map_the_sentence_is_of_and_whose_scale_holds(opened):
    page = opened(entries()[0], layout="split")
    assert ", inside the blue line of the Hybrid map." in page.inner_text("#sentence")
    script = "tag => getComputedStyle(tag, '::after').content"
    for scaling, words in (("own", "colour scale of its own"), ("shared", "one colour scale for both")):
        choose(page, "scaling", scaling)
        for tag in ("other", "method"):
            assert page.locator(f"#tag-{tag}").evaluate(script) == f'"{words}"'
    page.uncheck("#lines-half")
    page.evaluate(SETTLED)
    assert ", in the brightest places of the Hybrid map." in page.inner_text("#sentence")


@pytest.mark.parametrize("size", SIZES)
def test_knob_of_the_split_is_under_its_divider(opened, size):
    width, height = SIZES[size]
    page = opened(entries()[0], layout="split", unfolded=False, viewport={"width": width, "height": height})
    picture, slider = (page.locator(f"#{name}").bounding_box() for name in ("canvas", "split"))
    knob = 16  # of Chromium, whose middle starts half of it from the slider's edge
    assert slider["x"] + knob / 2 == pytest.approx(picture["x"], abs=1)
    assert slider["width"] - knob == pytest.approx(picture["width"], abs=1)


def test_colour_bar_says_in_words_what_its_ends_mean(opened):
    page = opened(*entries(), layout="one", unfolded=False)
    ends = lambda: [page.inner_text(f"#scale-method .{end}") for end in ("little", "much")]  # noqa: E731
    page.locator("#cards button", has_text="lynx").click()
    page.evaluate(SETTLED)
    assert ends() == ["little (grey)", "much"]
    largest = map_of(page, (48, 64)).max()
    (told,) = re.findall(r"the last colour goes up to (\S+)", page.inner_text("#scale-method .words"))
    assert float(told.replace("−", "-")) == pytest.approx(largest, rel=5e-3)
    page.locator("#cards button", has_text="tabby").click()
    page.evaluate(SETTLED)
    assert ends() == ["against", "for"]


def test_each_map_has_a_scale_of_its_own_or_both_share_one(opened):
    page = opened(entries()[0])
    assert page.is_visible("#scale-other")
    own = [page.inner_text(f"#scale-{side} .high") for side in ("other", "method")]
    assert own[0] != own[1]
    assert page.inner_text("#scale-other .words").startswith("Bilinear: ")
    choose(page, "scaling", "shared")
    assert not page.is_visible("#scale-other")
    maps = [map_of(page, (48, 64), side) for side in ("other", "method")]
    joint = float(np.quantile(np.abs(maps), 0.98))
    assert float(page.inner_text("#scale-method .high").replace("−", "-")) == pytest.approx(joint, rel=0.05)


def test_scale_of_a_map_that_one_pixel_holds_is_of_the_rest_and_says_so(opened):
    coarse = np.full((12, 16), 1e-3, np.float32)
    coarse[3, 4] = 50
    scores = np.asarray(reports.signed().score_map).copy()
    scores[12:16, 16:20], scores[13, 17] = 0, 1
    record = replace(reports.signed(), coarse=coarse, score_map=scores, mass="total", refinements=())
    page = opened(Entry(record, verdicts=False), layout="one")
    slide(page, "temperature", -2)
    values = np.sort(map_of(page, (48, 64)).ravel())
    assert values[-1] > 0.99 * values.sum()
    words = page.inner_text("#scale-method .words")
    assert "one pixel holds" in words
    assert "colours are for the rest" in words
    assert float(page.inner_text("#scale-method .high").replace("−", "-")) <= 1.05 * values[-2]


@pytest.mark.parametrize("way", ["mouse", "keyboard", "touch"])
def test_controls_work_by(opened, way):
    page = opened(*entries(), layout="", unfolded=False, has_touch=way == "touch")

    def press(selector: str, key: str = "Space") -> None:
        found = page.locator(selector)
        {"mouse": found.click, "touch": found.tap, "keyboard": lambda: found.press(key)}[way]()
        page.evaluate(SETTLED)

    state = lambda name: page.evaluate(f"usu.state().{name}")  # noqa: E731
    press("input[name=layout][value=beside]")
    assert state("layout") == "beside"
    before = state("temperature")
    if way == "keyboard":
        page.locator("#temperature").press("ArrowRight")
    else:
        box = page.locator("#temperature").bounding_box()
        place = box["x"] + 0.9 * box["width"], box["y"] + box["height"] / 2
        (page.mouse.click if way == "mouse" else page.touchscreen.tap)(*place)
    page.evaluate(SETTLED)
    assert state("temperature") > before
    press("#loupe")
    assert state("loupe") is True
    press("#zoom-in")
    assert state("zoom") == 1.5
    press("#look-panel summary", "Enter")
    press("#in-colour")
    assert state("inColour") is True
    press("#reset")
    assert state("temperature") == before
    press("#cards li:nth-child(2) button", "Enter")
    assert page.locator("#cards li:nth-child(2) button").get_attribute("aria-current") == "true"


def taken(page, button: str) -> bytes:
    page.locator("#take-panel").evaluate("panel => { panel.open = true; }")
    with page.expect_download() as download:
        page.click(button)
    return Path(download.value.path()).read_bytes()


def pixels_of(page, address: str) -> np.ndarray:
    import base64

    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))))


@pytest.mark.parametrize("layout", ["one", "split", "beside"])
def test_exported_picture_equals_the_canvas(opened, layout):
    page = opened(entries()[0], layout=layout, unfolded=False)
    page.mouse.move(2, 2)
    page.evaluate(SETTLED)
    canvas = pixels_of(page, page.locator("#canvas").evaluate("canvas => canvas.toDataURL()"))
    page.locator("#take-panel").evaluate("panel => { panel.open = true; }")
    page.fill("#width", str(canvas.shape[1]))
    found = np.asarray(Image.open(io.BytesIO(taken(page, "#save-png"))))
    assert found.shape == canvas.shape
    assert np.array_equal(found, canvas)
    page.fill("#width", "2000")
    assert Image.open(io.BytesIO(taken(page, "#save-png"))).size[0] == 2000


def test_svg_has_picture_scale_and_caption_as_text(opened):
    bad = '<script>&"lynx'
    page = opened(Entry(reports.positive(), class_name=bad, verdicts=False), layout="beside")
    root = ElementTree.fromstring(taken(page, "#save-svg"))
    space = "{http://www.w3.org/2000/svg}"
    texts = [one.text for one in root.iter(f"{space}text")]
    assert texts[0] == "Bilinear"
    assert texts[1] == "Hybrid"
    assert texts[-1].startswith(bad)
    assert "ε = 0.2" in texts[-1]
    assert [one.tag for one in root].count(f"{space}image") == 1
    assert len(list(root.iter(f"{space}linearGradient"))) == 2


def test_numbers_as_csv(opened):
    record = reports.positive()
    page = opened(Entry(record, verdicts=False), layout="split")
    rows = list(csv.reader(io.StringIO(taken(page, "#save-csv").decode())))
    assert rows[0] == ["row", "column", "score", "Hybrid", "compared: Bilinear"]
    values = np.array(rows[1:], float)
    assert values.shape == (48 * 64, 5)
    assert values[70, :2].tolist() == [1, 6]
    assert_same(values[:, 3].reshape(48, 64), np.asarray(record.attribution))
    assert np.abs(values[:, 2] - np.asarray(record.score_map).ravel()).max() < 1e-6


def test_a_link_opens_the_same_view(opened):
    page = opened(*entries())
    page.locator("#cards button", has_text="tabby").click()
    compare(page, "beside")
    choose(page, "method", "iwmr-continuous")
    choose(page, "other", "nearest")
    slide(page, "temperature", -1.2)
    page.uncheck("#lines-half")
    page.check("#lines-cells")
    page.locator("#frame").focus()
    page.keyboard.press("+")
    page.wait_for_timeout(700)  # an address is written when the reader rests
    assert "zoom=1.5" in page.evaluate("location.hash")
    address, before = page.evaluate("location.hash"), page.evaluate("usu.state()")
    again = opened(*entries(), layout="", address=address)
    assert again.evaluate("usu.state()") == before
    assert np.array_equal(map_of(again, (48, 64)), map_of(page, (48, 64)))


@pytest.mark.parametrize(
    "address",
    [
        "#explanation=7&map=<script>&epsilon=-1&depth=99&layout=__proto__&zoom=1e9&pixel=-3&left=nan",
        "#map=constructor&with=&of=-1&scale=&lines=constructor&show=toString&epsilon=Infinity",
        "#%E0%A4%A",
    ],
)
def test_nonsense_in_the_address_does_nothing(opened, address):
    page = opened(entries()[0], layout="", address=address)
    state = page.evaluate("usu.state()")
    assert (state["method"], state["temperature"], state["layout"], state["zoom"]) == (
        "hybrid",
        0.2,
        "one",
        1,
    )
    assert_same(map_of(page, (48, 64)), np.asarray(reports.positive().attribution))


def test_two_explanations_side_by_side(opened):
    page = opened(*entries(), layout="beside")
    page.locator("#cards button", has_text="lynx").click()
    choose(page, "beside", "1")
    choose(page, "other", "usu")
    assert_same(map_of(page, (48, 64)), np.asarray(reports.positive().attribution))
    assert_same(map_of(page, (48, 64), "other"), np.asarray(reports.signed().attribution))
    assert page.inner_text("#tag-other") == "tabby, USU"
    assert page.inner_text("#tag-method") == "Hybrid"


def test_pictures_of_two_sizes_stand_side_by_side(opened):

    small = usu.explain(small_cnn(), reports.picture(32, 32), 1, segmentation={"quadtree": (4,)})
    page = opened(entries()[0], Entry(small, name="small", verdicts=False))
    page.locator("#cards button", has_text="lynx").click()
    choose(page, "beside", "1")
    assert page.is_checked("input[name=layout][value=beside]")
    assert page.evaluate("usu.map('other').length") == 32 * 32
    assert "difference" not in page.locator("#shown option").evaluate_all(
        "all => all.map((one) => one.value)"
    )


def test_keys_go_from_one_explanation_to_the_next(opened):
    page = opened(*entries(), layout="")
    order = page.locator("#cards strong").all_inner_texts()
    page.locator("#cards button").first.click()
    for key, expected in (("n", 1), ("N", 2), ("n", 2), ("p", 1)):
        page.locator("#frame").press(key)
        page.evaluate(SETTLED)
        assert page.inner_text("#title") == order[expected]
    page.fill("#search", "n")
    assert page.inner_text("#title") == order[1]
    page.fill("#search", "")
    page.locator("#cards button").first.focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.innerText").startswith(order[1])


def test_complete_bears_its_own_name(opened):

    record = usu.explain(small_cnn(), reports.picture(), 1, mode="complete", segmentation={"quadtree": (16,)})
    page = opened(Entry(record, verdicts=False))
    assert page.locator("#method option:checked").inner_text() == "Complete"
    assert page.inner_text("#tag-method") == "Complete"
    assert page.inner_text("#tag-other") == "Nearest"  # its cells are segments


def test_signed_maps_diverge_about_zero_whatever_is_shown(opened):
    page = opened(entries()[1], layout="one")
    for method in ("usu", "bilinear", "iwmr"):
        choose(page, "method", method)
        low, high = (page.inner_text(f"#scale-method .{end}") for end in ("low", "high"))
        assert low == f"−{high}"


def in_a_photograph() -> Entry:
    """Return the middle 48 × 64 pixels of 60 × 96, whose photograph has ten times as many a side."""
    placement = usu.Placement.whole((600, 960)).resize((60, 96)).center_crop((48, 64))
    photograph = Image.fromarray((255 * reports.picture(600, 960)).byte().permute(1, 2, 0).numpy())
    return Entry(replace(reports.positive(), placement=placement), photograph=photograph, verdicts=False)


def test_whole_photograph_frames_what_the_network_saw(opened):
    page = opened(in_a_photograph(), layout="one", unfolded=False)
    page.check("#whole")
    page.evaluate(SETTLED)
    box = page.locator("#canvas").bounding_box()
    assert box["width"] / box["height"] == pytest.approx(96 / 60, rel=0.01)
    row, column = 20, 33
    place = (column + 16 + 0.5) / 96, (row + 6 + 0.5) / 60
    page.mouse.move(box["x"] + place[0] * box["width"], box["y"] + place[1] * box["height"])
    page.evaluate(SETTLED)
    assert page.evaluate("usu.state().pixel") == row * 64 + column
    page.mouse.move(box["x"] + 0.05 * box["width"], box["y"] + 0.5 * box["height"])
    page.evaluate(SETTLED)
    assert page.evaluate("usu.state().pixel") == row * 64 + column  # there is no map outside
    canvas = pixels_of(page, page.locator("#canvas").evaluate("canvas => canvas.toDataURL()"))[..., :3]
    colourful = np.ptp(canvas.astype(int), axis=2) > 8
    inside = np.zeros_like(colourful)
    height, width = inside.shape
    inside[int(0.095 * height) : int(0.905 * height), int(0.16 * width) : int(0.84 * width)] = True
    assert colourful[inside].any()
    assert not colourful[~inside].any()


def test_photograph_of_another_size_is_refused():
    entry = in_a_photograph()
    for wrong in (
        replace(entry, photograph=Image.new("RGB", (96, 60))),
        replace(entry, explanation=reports.positive()),
    ):
        with pytest.raises(ValueError, match=r"photograph must be (960 × 600|None)"):
            wrong.plain()


def test_loupe_enlarges_what_is_under_the_cursor(opened):
    page = opened(entries()[0], layout="one", unfolded=False)
    page.click("#look-panel summary")
    page.uncheck("#lines-half")
    script = "canvas => canvas.toDataURL()"
    page.locator("#frame").press("Shift+ArrowUp")
    page.evaluate(SETTLED)
    before = pixels_of(page, page.locator("#canvas").evaluate(script)).astype(int)
    page.locator("#frame").press("l")
    page.evaluate(SETTLED)
    after = pixels_of(page, page.locator("#canvas").evaluate(script)).astype(int)
    height, width = after.shape[:2]
    pixel = page.evaluate("usu.state().pixel")
    y, x = (pixel // 64 + 0.5) * height / 48, (pixel % 64 + 0.5) * width / 64
    rows, columns = np.mgrid[:height, :width]
    glass = (rows - y) ** 2 + (columns - x) ** 2 < (0.2 * min(height, width) + 5) ** 2
    changed = np.abs(after - before).max(2) > 0
    assert changed[glass].mean() > 0.5
    assert not changed[~glass].any()
