"""The report in a real Chromium, opened from disk: maps, figures, mouse, keyboard; and nothing leaves it.

Screenshots go to the folder that USU_SCREENSHOTS names, or to a temporary one.
"""

from __future__ import annotations

import os
import re
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import usu
from tests.helpers import reports
from tests.helpers.browser import needs_chromium
from tests.helpers.networks import small_cnn
from tests.report.pages import SETTLED, assert_same, choose, compare, map_of, slide
from usu.cli.explain import mass_table
from usu.operators.continuous import continuous_total
from usu.operators.potentials import utility
from usu.report import Entry, frame

pytestmark = needs_chromium

BAD = "</script><script>window.hacked=1</script><img src=x onerror='window.hacked=1'>"


def python_map(record: usu.Explanation, method: str, **settings) -> np.ndarray:
    return np.asarray(replace(record, settings={**record.settings, **settings}).upsampled_by(method))


@pytest.mark.parametrize("name", ["signed", "positive", "several_grids", "superpixels"])
def test_maps_equal_pythons(opened, name):
    record = getattr(reports, name)()
    page = opened(Entry(record, verdicts=False))
    size = tuple(record.score_map.shape)
    assert_same(map_of(page, size), np.asarray(record.attribution))
    for method in ("usu", "iwmr", "hybrid"):
        choose(page, "method", method)
        for position in (-2, -0.7, 0.5):
            epsilon = round(10 ** slide(page, "temperature", position), 6)
            assert page.evaluate("usu.state().temperature") == pytest.approx(epsilon, rel=1e-5)
            found = page.evaluate("usu.state().temperature")
            assert_same(map_of(page, size), python_map(record, method, temperature=found))
    page.uncheck("#tied")
    slide(page, "importance", -1)
    state = page.evaluate("usu.state()")
    assert state["importanceTemperature"] == pytest.approx(0.1)
    both = {"temperature": state["temperature"], "importance_temperature": state["importanceTemperature"]}
    assert_same(map_of(page, size), python_map(record, "hybrid", **both))


def smooth_map(record: usu.Explanation, method: str, temperature: float) -> np.ndarray:
    """Return what Python's operators make of a record for the names that its modes do not have."""
    settings, size = record.settings, tuple(record.score_map.shape)
    if method.endswith("-continuous"):
        mode = method.removesuffix("-continuous")
        return python_map(record, mode, continuous=True, temperature=temperature)
    maps = []
    for grid in (replace(record.coarse_map, further=()), *record.coarse_map.grids):
        cells, masses = grid.cells(size), torch.as_tensor(np.asarray(grid.masses(size))).double()
        if method == "conserving":
            maps.append(usu.interpolate(masses / cells.areas(masses), size, "conserving"))
            continue
        scores = torch.as_tensor(np.asarray(record.score_map)).double()
        levels, unit = utility(settings["potential"], scores, temperature)
        opposite = utility(settings["potential"], 1 - scores, temperature)[0]
        turned = opposite if settings["negative"] == "opposite" else None
        maps.append(continuous_total(levels, unit, masses, cells, turned))
    return np.asarray(sum(maps))


def with_gaps() -> usu.Explanation:
    """Return a record whose cells are of no whole number of pixels, some of either sign and some empty."""
    coarse = torch.randn(5, 7, generator=torch.Generator().manual_seed(6))
    coarse[::2, 1::3] = 0
    coarse[3, 4] = 1e-4
    return replace(reports.signed(), coarse=coarse, mass="density")


def one_row() -> usu.Explanation:
    return replace(reports.signed(), coarse=torch.tensor([[3.0, 0.2, 1.0, 5.0, 1e-3]]), mass="total")


SMOOTH = ("usu-continuous", "iwmr-continuous", "hybrid-continuous", "total-conserving", "conserving")


@pytest.mark.parametrize(
    "make",
    [reports.signed, reports.positive, reports.several_grids, with_gaps, one_row],
    ids=lambda m: m.__name__,
)
def test_continuous_maps_equal_pythons(opened, make):
    record = make()
    page = opened(Entry(record, verdicts=False))
    size = tuple(record.score_map.shape)
    compare(page, "one")
    for method in SMOOTH:
        choose(page, "method", method)
        for position in (-2, -0.7, 1):
            slide(page, "temperature", position)
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                expected = smooth_map(record, method, page.evaluate("usu.state().temperature"))
            assert_same(map_of(page, size), expected)
            assert ("no continuous factor" in page.inner_text("#sharing-note")) == bool(told)
            if method != "total-conserving":
                assert page.evaluate("usu.figures('method')")["total"] == pytest.approx(
                    expected.sum(), rel=1e-5
                )
            if method in ("usu-continuous", "conserving"):
                assert page.evaluate("usu.figures('method')")["relative"] < 1e-12 or len(record.further)


def test_map_without_a_continuous_factor_has_one_per_cell_and_says_so(opened):
    record = reports.positive()
    page = opened(Entry(replace(record, settings={**record.settings, "temperature": 1e-6}), verdicts=False))
    choose(page, "method", "usu-continuous")
    with pytest.warns(RuntimeWarning, match="no continuous factor"):
        expected = python_map(record, "usu", continuous=True, temperature=1e-6)
    assert_same(map_of(page, (48, 64)), expected)
    assert "USU, continuous: no continuous factor was found" in page.inner_text("#sharing-note")


def test_continuous_record_is_recomputed(opened):
    settings = {**reports.signed().settings, "continuous": True}
    record = replace(reports.signed(), settings=settings)
    record = replace(record, attribution=record.upsampled_by("usu"))
    page = opened(Entry(record, verdicts=False))
    assert page.input_value("#method") == "usu-continuous"
    assert_same(map_of(page, (48, 64)), np.asarray(record.attribution))
    assert not page.is_disabled("#temperature")
    choose(page, "other", "usu")
    assert_same(map_of(page, (48, 64), "other"), np.asarray(reports.signed().attribution))


@pytest.mark.parametrize("name", ["signed", "several_grids"])
def test_baselines_and_figures_equal_pythons(opened, name):
    record = getattr(reports, name)()
    page = opened(Entry(record, verdicts=False))
    size = tuple(record.score_map.shape)
    for method in ("nearest", "bilinear", "bicubic", "lanczos"):
        choose(page, "other", method)
        expected = python_map(record, method)
        assert_same(map_of(page, size, "other"), expected)
        figures = page.evaluate("usu.figures('other')")
        error, relative, total = map(float, mass_table(record, {method: expected})[1].split()[1:])
        if method != "nearest":  # whose error is rounding alone
            assert figures["error"] == pytest.approx(error, rel=0.06)
            assert figures["relative"] == pytest.approx(relative, rel=0.06)
        assert figures["total"] == pytest.approx(total, rel=1e-4)
        assert f"{figures['total']:.4g}".replace("-", "−") in page.inner_text("#figures")


def test_fewer_depths_share_by_fewer_partitions(opened):
    record = reports.positive()
    page = opened(Entry(record, verdicts=False))
    assert slide(page, "depth", 1) == 1
    coarsest = [
        part for part, scores in zip(record.partitions, record.scores, strict=True) if len(scores) <= 8
    ]
    maps = [
        torch.as_tensor(scores)[torch.as_tensor(labels)]
        for labels, scores in zip(record.partitions, record.scores, strict=True)
        if any(labels is part for part in coarsest)
    ]
    assert 0 < len(maps) < len(record.partitions)
    expected = replace(record, score_map=torch.stack(maps).mean(0)).upsampled_by("hybrid")
    assert_same(map_of(page, (48, 64)), np.asarray(expected))


def test_depths_mixed_otherwise_are_shown_as_recorded(opened):
    page = opened(Entry(reports.superpixels(), verdicts=False))
    assert page.is_disabled("#depth")
    assert not page.is_visible("#depth-row")
    assert 'mixing="segment"' in page.inner_text("#depth-note")
    assert "bilinear" not in page.locator("#method option").evaluate_all("all => all.map((one) => one.value)")
    choose(page, "partition", "0")
    assert "θ = 0.3" in page.inner_text("#partition-note")
    choose(page, "shown", "alpha")
    assert page.input_value("#shown") == "alpha"


def test_potential_of_ones_own_is_shown_as_recorded(opened):
    settings = {**reports.signed().settings, "potential": "mine"}
    record = replace(reports.signed(), settings=settings)
    page = opened(Entry(record))
    assert_same(map_of(page, (48, 64)), np.asarray(record.attribution))
    assert page.is_disabled("#temperature")
    assert "mine" in page.inner_text("#sharing-note")


def colours_at(page, row: int, column: int) -> list[int]:
    """Return what the canvas shows at a pixel of a map of 48 × 64."""
    script = """([row, column]) => {
        const canvas = document.getElementById("canvas");
        const [x, y] = [(column + 0.5) * canvas.width / 64, (row + 0.5) * canvas.height / 48];
        const probe = new OffscreenCanvas(1, 1).getContext("2d");
        probe.drawImage(canvas, x, y, 1, 1, 0, 0, 1, 1);
        return Array.from(probe.getImageData(0, 0, 1, 1).data);
    }"""
    return page.evaluate(script, [row, column])


def test_split_by_mouse_and_by_keyboard(opened):
    page = opened(Entry(reports.signed(), verdicts=False))
    difference = np.abs(map_of(page, (48, 64)) - map_of(page, (48, 64), "other"))[:, 36:44]
    row, column = np.unravel_index(difference.argmax(), difference.shape)
    place = int(row), int(column) + 36
    page.locator("#frame").press("Shift+ArrowUp")
    right = colours_at(page, *place)
    box = page.locator("#canvas").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 20, steps=3)
    page.mouse.up()
    page.evaluate(SETTLED)
    assert page.evaluate("usu.state().split") == pytest.approx(80, abs=1)
    left = colours_at(page, *place)
    assert left != right
    page.locator("#split").focus()
    page.keyboard.press("Home")
    page.evaluate(SETTLED)
    assert page.evaluate("usu.state().split") == 0
    assert colours_at(page, *place) == right
    page.locator("#frame").focus()
    for _ in range(3):
        page.keyboard.press("]")
    page.evaluate(SETTLED)
    assert page.evaluate("usu.state().split") == 6
    compare(page, "one")
    assert page.is_disabled("#split")
    assert not page.is_visible("#split")
    assert not page.is_visible("#tag-other")


def test_pixel_panel_by_mouse_and_by_keyboard(opened):
    record = reports.signed()
    page = opened(Entry(record, verdicts=False))
    box = page.locator("#canvas").bounding_box()
    row, column = 10, 52
    page.mouse.move(
        box["x"] + (column + 0.5) / 64 * box["width"], box["y"] + (row + 0.5) / 48 * box["height"]
    )
    page.evaluate(SETTLED)
    for moves in ((), ("ArrowDown", "ArrowDown", "ArrowLeft"), ("Shift+ArrowDown",)):
        for move in moves:
            page.locator("#frame").press(move)
            down, right = {"ArrowDown": (1, 0), "ArrowLeft": (0, -1), "Shift+ArrowDown": (10, 0)}[move]
            row, column = row + down, column + right
        page.evaluate(SETTLED)
        text = page.inner_text("#pixel").replace("−", "-")
        assert f"row {row}, column {column}" in text
        cell = row // 4, column // 4  # 12 × 16 cells over 48 × 64 pixels
        mass = float(record.coarse[cell])  # Grad-CAM's map holds totals
        shown_cell, shown_mass = re.search(r"(cell \(.*\)), mass (\S+);", text).groups()
        assert shown_cell == f"cell ({cell[0]}, {cell[1]})"
        assert float(shown_mass) == pytest.approx(mass, rel=6e-3)
        value = float(record.attribution[row, column])
        (weight,) = re.findall(r"its weight\s+(\S+) % of the cell", text)
        assert float(weight) == pytest.approx(100 * value / mass, rel=6e-3)
        assert f"segment {int(record.partitions[0][row, column])} of " in text
    assert f"row {row}, column {column}" in page.inner_text("#spoken")
    shares = page.inner_text("#shares")
    finest = np.asarray(record.partitions[1])
    inside = np.zeros_like(finest, dtype=bool)
    inside[4 * cell[0] : 4 * cell[0] + 4, 4 * cell[1] : 4 * cell[1] + 4] = True
    segment = finest[row, column]
    share = float(np.asarray(record.attribution)[inside & (finest == segment)].sum()) / mass
    (told,) = re.findall(rf"segment {segment}, score \S+ (\S+) % of the mass", shares)
    assert float(told) == pytest.approx(100 * share, rel=6e-3)


def test_zoom_keeps_the_cursor_in_sight(opened):
    page = opened(Entry(reports.signed(), verdicts=False))
    page.locator("#frame").focus()
    for key in ("+", "+", "+"):
        page.keyboard.press(key)
    assert page.evaluate("usu.state().zoom") == pytest.approx(1.5**3)
    box = page.locator("#canvas").bounding_box()
    page.mouse.move(box["x"] + 3, box["y"] + 3)
    page.evaluate(SETTLED)
    before = page.evaluate("usu.state().pixel")
    page.keyboard.press("Shift+ArrowLeft")
    page.keyboard.press("0")
    page.evaluate(SETTLED)
    assert page.evaluate("usu.state().zoom") == 1
    assert page.evaluate("usu.state().pixel") == max(before % 64 - 10, 0) + before // 64 * 64


def test_every_layer_and_the_call_follow_the_controls(opened):
    page = opened(Entry(reports.positive(), verdicts=False))
    seen = set()
    for shown in ("map", "difference", "score", "h"):
        choose(page, "shown", shown)
        seen.add(page.locator("#canvas").evaluate("canvas => canvas.toDataURL()"))
    for line in ("cells", "segments", "split"):
        page.check(f"#lines-{line}")
        choose(page, "partition", "0")
        seen.add(page.locator("#canvas").evaluate("canvas => canvas.toDataURL()"))
    assert len(seen) == 7
    choose(page, "method", "iwmr")
    slide(page, "temperature", 0)
    assert "mode='iwmr', temperature=1)" in page.inner_text("#call")
    page.click("#reset")
    page.evaluate(SETTLED)
    assert "mode='hybrid', temperature=0.2)" in page.inner_text("#call")


@pytest.mark.parametrize(("mode", "method"), [("complete", "usu"), ("complete", "iwmr"), ("usu", "bilinear")])
def test_call_makes_what_is_shown(opened, mode, method):
    model, inputs = small_cnn(), reports.picture()
    record = usu.explain(model, inputs, 1, mode=mode, segmentation={"quadtree": (16,)})
    page = opened(Entry(record, verdicts=False))
    choose(page, "method", method)
    found = eval(page.inner_text("#call"), {"usu": usu, "model": model, "inputs": inputs, "images": None})
    assert_same(map_of(page, (48, 64)), np.asarray(getattr(found, "attribution", found)))


@pytest.mark.parametrize(
    "own",
    [None, lambda tree: tree, lambda tree: replace(tree, method="own"), lambda tree: [tree]],
    ids=["counts", "segmented", "own", "several"],
)
def test_call_of_the_first_depths_makes_what_is_shown(opened, own):
    model, inputs = small_cnn(), reports.picture()
    counts = (4, 16, 64)
    segmentation = own(usu.segment(inputs, counts, "quadtree")) if own else {"quadtree": counts}
    record = usu.explain(model, inputs, 1, mode="usu", segmentation=segmentation, scoring="mask")
    page = opened(Entry(record, verdicts=False))
    slide(page, "depth", 2)
    names = {"usu": usu, "model": model, "inputs": inputs, "images": None, "segmentation": segmentation}
    again = eval(page.inner_text("#call"), names)
    assert len(again.partitions) == 2 < len(record.partitions)
    assert_same(map_of(page, (48, 64)), again.attribution.numpy())


def test_the_picture_is_called_what_it_shows(opened):
    page = opened(Entry(reports.positive(), class_name="cat", verdicts=False))
    for layout, shown, words in (
        ("one", "map", "Hybrid map"),
        ("split", "map", "Hybrid map beside Bilinear"),
        ("split", "difference", "map minus compared map"),
        ("split", "score", "score map Φ"),
    ):
        compare(page, layout)
        choose(page, "shown", shown)
        label = page.get_attribute("#frame", "aria-label")
        assert label.startswith(f"cat: {words} over the photograph. row ")


def test_brackets_that_need_alt_gr_move_the_split_and_shortcuts_do_not(opened):
    page = opened(Entry(reports.positive(), verdicts=False))
    before = page.evaluate("usu.state().split")
    for alt_graph, expected in (("true", before + 2), ("false", before + 2)):
        page.evaluate(
            f"""() => document.getElementById("frame").dispatchEvent(new KeyboardEvent("keydown",
            {{ key: "]", ctrlKey: true, altKey: true, modifierAltGraph: {alt_graph} }}))"""
        )
        page.evaluate(SETTLED)
        assert page.evaluate("usu.state().split") == expected


def test_verdicts_of_what_is_shown_stand_out(opened):
    page = opened(Entry(reports.signed()))
    shown = page.locator("#verdicts tr.shown th").all_inner_texts()
    assert set(shown) == {"USU", "Bilinear"}
    row = page.locator("#verdicts tr", has_text="USU").first
    assert row.locator("td.satisfied").count() == 4
    assert "Bilinear, D1: the pixels of cell" in page.inner_text("#witnesses")
    promises = page.inner_text("#promise")
    assert "USU promises the mass of each cell" in promises
    assert "Bilinear promises none of these" in promises
    assert "default" not in promises
    choose(page, "method", "total-conserving")
    assert "Total-conserving promises the total of the coarse map, of each sign" in page.inner_text(
        "#promise"
    )
    assert "Total-conserving is the default because" in page.inner_text("#promise")
    shown = page.locator("#verdicts tr.shown th").first
    assert "▸" in shown.evaluate("head => getComputedStyle(head, '::before').content")


def test_markup_in_names_does_nothing(opened):
    page = opened(
        Entry(reports.signed(), name=BAD, class_name=BAD, model=BAD, verdicts=False),
        Entry(replace(reports.signed(), target=BAD, layer=BAD), name=BAD, verdicts=False),
    )
    for card in page.locator("#cards button").all():
        card.click()
        page.evaluate(SETTLED)
        assert page.inner_text("#title") == BAD
        assert BAD in page.inner_text("#facts")
    assert page.evaluate("window.hacked") is None
    assert page.locator("script").count() == 2
    assert page.locator("img").count() == 0


def test_gallery_is_searched_and_sorted(opened):
    entries = [
        Entry(reports.signed(), name="b", class_name="tabby", verdicts=False),
        Entry(replace(reports.positive(), probability=0.9), name="a", class_name="lynx", verdicts=False),
        Entry(replace(reports.superpixels(), probability=None), name="c", model="ResNet", verdicts=False),
    ]
    page = opened(*entries)
    names = page.locator("#cards strong + span")
    assert names.all_inner_texts() == ["a", "b", "c"]
    page.select_option("#sort", "probability")
    assert names.all_inner_texts() == ["a", "b", "c"]
    page.select_option("#sort", "cells")
    assert names.all_inner_texts()[-1] == "c"
    page.fill("#search", "resnet")
    assert names.all_inner_texts() == ["c"]
    assert page.inner_text("#found") == "1 of 3"
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.evaluate(SETTLED)
    assert page.locator("#cards button").get_attribute("aria-current") == "true"
    assert_same(map_of(page, (48, 64)), np.asarray(reports.superpixels().attribution))


def test_notebook_frame_shows_itself(browser, folder):
    outer = folder / "notebook.html"
    outer.write_text(frame(Entry(reports.signed(), class_name="tabby", verdicts=False)), encoding="utf-8")
    page = browser.new_page()
    page.goto(outer.as_uri())
    title = page.frame_locator("iframe").locator("#title")
    title.filter(has_text="tabby").wait_for()  # the script fills it in, and may be late
    assert title.inner_text() == "tabby"
    page.close()


CONTRAST = """(pairs) => {
    const channel = (value) => (value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
    const luminance = (name) => {
        const probe = document.createElement("i");
        probe.style.color = `var(--${name})`;
        document.body.append(probe);
        const parts = getComputedStyle(probe).color.match(/[\\d.]+/g);
        const [r, g, b] = parts.map((value) => channel(value / 255));
        probe.remove();
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    return pairs.map(([one, two]) => {
        const [low, high] = [luminance(one), luminance(two)].sort((a, b) => a - b);
        return (high + 0.05) / (low + 0.05);
    });
}"""


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_readable_at_every_width_and_in_both_schemes(opened, scheme, width, tmp_path):
    entries = [
        Entry(reports.positive(), name="hybrid", class_name="tabby"),
        Entry(reports.superpixels(), "cells"),
    ]
    page = opened(*entries, color_scheme=scheme, viewport={"width": width, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    names = ("text", "soft", "good", "bad", "accent")
    pairs = [[name, ground] for name in names for ground in ("page", "panel", "shown")]
    assert min(page.evaluate(CONTRAST, pairs)) >= 4.5
    unnamed = (
        "all => all.filter((one) => !one.labels?.length && !one.ariaLabel && !one.textContent.trim()).length"
    )
    assert page.locator("input, select, button").evaluate_all(unnamed) == 0
    target = Path(os.environ.get("USU_SCREENSHOTS") or tmp_path)
    target.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=target / f"report-{width}-{scheme}.png", full_page=True)


def test_paper_shows_the_picture_and_leaves_the_controls_out(opened):
    page = opened(Entry(reports.positive(), class_name="tabby"), color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.is_visible("#canvas")
    assert page.is_visible("#verdicts")
    assert not page.is_visible("#temperature")
    assert page.is_visible("#call")
    page.locator("#take-panel").evaluate("panel => { panel.open = false; }")
    assert not page.is_visible("#take-panel summary")  # nothing is left but a title
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.pdf().startswith(b"%PDF")
