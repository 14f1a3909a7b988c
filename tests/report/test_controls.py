"""Every control of the page and of the gallery, by mouse, touch and keyboard, with what each changes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

import usu
from tests.helpers import reports
from tests.helpers.browser import needs_chromium
from tests.report.pages import SETTLED
from usu.report import Entry

pytestmark = needs_chromium

FOCUSABLE = "input, select, textarea, button, summary, a[href], [tabindex]"
NAMES = """(all) => all.map((one) => {
    if (one.tagName === "SUMMARY") return `#${one.parentElement.id} summary`;
    if (one.type === "radio") return `input[value=${one.value}]`;
    return one.id ? `#${one.id}` : `#${one.closest("[id]").id} ${one.tagName.toLowerCase()}`;
})"""
SEEN = """() => ({
    ...usu.state(),
    open: [...document.querySelectorAll("details[open]")].map((one) => one.id),
    cards: [...document.querySelectorAll("#cards strong")].map((one) => one.textContent),
    rows: document.getElementById("cards").className,
    width: document.getElementById("width").value,
    told: document.getElementById("copied").textContent,
    segments: document.getElementById("partition-note").textContent,
})"""

PANELS = ("reading", "look", "pixel", "take", "figures", "facts", "verdicts")
AREAS = {"#frame", "#call", "#verdicts-table"}  # are scrolled, or have keys of their own
# In the order of use, with the names in SEEN that change.
CONTROLS: dict[str, set[str]] = {f"#{name}-panel summary": {"open"} for name in PANELS}
CONTROLS |= {
    "#spread": {"rows"},
    "#sort": {"cards"},
    "input[value=beside]": {"layout"},
    "input[value=one]": {"layout"},
    "input[value=split]": {"layout"},
    "#method": {"method"},
    "#other": {"other"},
    "#beside": set(),
    "#scaling": {"scaling"},
    "#temperature": {"temperature"},
    "#tied": {"importanceTemperature"},
    "#importance": {"importanceTemperature"},
    "#depth": {"depth"},
    "#split": {"split"},
    "#zoom-in": {"zoom"},
    "#zoom-out": {"zoom"},
    "#zoom-reset": {"zoom"},
    "#loupe": {"loupe"},
    "#whole": {"whole"},
    "#colours": {"colours"},
    "#opacity": {"opacity"},
    "#by-magnitude": {"byMagnitude"},
    "#in-colour": {"inColour"},
    "#lines-half": {"lines"},
    "#lines-cells": {"lines"},
    "#lines-segments": {"lines"},
    "#lines-split": {"lines"},
    "#partition": {"segments"},
    "#shown": {"shown"},
    "#width": {"width"},
    "#save-png": {".png"},
    "#save-svg": {".svg"},
    "#save-csv": {".csv"},
    "#copy": {"told"},
    "#copy-link": {"told"},
    "#reset": set(),
    "#search": {"cards"},
    "#cards button": {"explanation", "method", "segments"},
}


def entries() -> list[Entry]:
    placement = usu.Placement.whole((60, 96)).center_crop((48, 64))
    photograph = Image.fromarray((255 * reports.picture(60, 96)).byte().permute(1, 2, 0).numpy())
    framed = replace(reports.positive(), placement=placement)
    return [
        Entry(framed, name="a", class_name="tiger", photograph=photograph),
        Entry(reports.signed(), name="b", class_name="lynx", verdicts=False),
    ]


class Hand:
    """Works a page as its user does, in one way."""

    def __init__(self, page, way: str):
        self.page, self.way = page, way

    def press(self, control, key: str = "Space") -> None:
        if self.way == "keyboard":
            control.focus()
            self.page.keyboard.press(key)
        else:
            (control.click if self.way == "mouse" else control.tap)()

    def slide(self, control) -> None:
        if self.way == "keyboard":
            control.press("ArrowLeft")
            return
        control.scroll_into_view_if_needed()
        box = control.bounding_box()
        high = control.evaluate("slider => 2 * slider.value > Number(slider.min) + Number(slider.max)")
        place = box["x"] + (0.15 if high else 0.85) * box["width"], box["y"] + box["height"] / 2
        (self.page.mouse.click if self.way == "mouse" else self.page.touchscreen.tap)(*place)

    def choose(self, control) -> None:
        """Take the next entry of a list, or the one before the last."""
        last = control.evaluate("list => list.selectedIndex === list.options.length - 1")
        if self.way == "keyboard":
            control.press("ArrowUp" if last else "ArrowDown")
        else:
            self.press(control)
            self.page.keyboard.press("ArrowUp" if last else "ArrowDown")
            self.page.keyboard.press("Enter")

    def write(self, control, text: str) -> None:
        self.press(control, "ControlOrMeta+a")
        control.select_text()
        self.page.keyboard.type(text)

    def work(self, name: str) -> None:
        control = self.page.locator(name).first
        tag, kind = control.evaluate("one => [one.tagName, one.type]")
        if kind == "range":
            self.slide(control)
        elif tag == "SELECT":
            self.choose(control)
        elif kind in ("number", "search"):
            self.write(control, {"number": "640", "search": "lyn"}[kind])
        else:
            self.press(control, "Enter" if tag == "SUMMARY" or name.startswith("#cards") else "Space")
        self.page.evaluate(SETTLED)


def changes(hand: Hand, name: str) -> set[str]:
    before = hand.page.evaluate(SEEN)
    if name.startswith("#save"):
        with hand.page.expect_download() as download:
            hand.work(name)
        return {Path(download.value.suggested_filename).suffix}
    hand.work(name)
    after = hand.page.evaluate(SEEN)
    return {key for key in after if json.dumps(after[key]) != json.dumps(before[key])}


@pytest.mark.parametrize("way", ["mouse", "touch", "keyboard"])
def test_every_control_works_by(opened, way):
    page = opened(*entries(), layout="", unfolded=False, has_touch=way == "touch")
    page.locator("#cards button", has_text="tiger").click()
    found = set(page.locator(FOCUSABLE).evaluate_all(NAMES))
    assert found == {*CONTROLS, *AREAS}
    hand = Hand(page, way)
    first = page.evaluate("usu.state()")
    wrong = {}
    for name, expected in CONTROLS.items():
        if name == "#zoom-reset":
            hand.work("#zoom-in")
        changed = changes(hand, name)
        if name == "#beside":
            assert page.inner_text("#tag-other").startswith("lynx, ")
        elif name == "#reset":
            state = page.evaluate("usu.state()")
            again = ("method", "temperature", "importanceTemperature", "depth")
            assert [state[key] for key in again] == [first[key] for key in again]
        elif not expected <= changed <= {*expected, "pixel", "split"}:
            wrong[name] = changed
    assert wrong == {}
    page.fill("#search", "")
    page.locator("#cards button", has_text="tiger").click()
    page.evaluate(SETTLED)
    for area in AREAS:
        page.locator(area).focus()
        assert page.evaluate("document.activeElement.id") == area.removeprefix("#")
