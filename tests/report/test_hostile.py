"""Names and settings that mean harm, in real Chromium: nothing of theirs runs, nothing is asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.bench.test_tables import rows_of, table
from tests.helpers import reports
from tests.helpers.browser import needs_chromium
from tests.report.pages import SETTLED
from usu import Explanation, cli
from usu.bench.tables.layouts import layout
from usu.bench.tables.registry import FORMATS
from usu.report import Entry, frame

pytestmark = needs_chromium

HOSTILE = {
    "script": "</script><script>window.hacked = 1; fetch('http://hostile.test/a')</script>",
    "image": "<img src='http://hostile.test/b' onerror='window.hacked = 1'>",
    "link": "javascript:window.hacked=1",
    "attribute": '" onmouseover="window.hacked = 1" style="background:url(http://hostile.test/c)',
    "quote": "' autofocus onfocus='window.hacked = 1",
    "frame": "</iframe><iframe src='http://hostile.test/d'></iframe>",
    "style": "</style><style>@import url(http://hostile.test/e);</style>",
    "comment": "<!--<script>",
    "separators": "a\u2028window.hacked = 1\u2029b\u0000c",
    "bidi": "\u202egnp.exe\u2066 \u200b\ufeff",
    "template": "{{policy}} ${window.hacked = 1} {{data}}",
    "surrogate": "\ud800 lone",
    "long": "<b>" + "W" * 20_000,
    "prototype": "__proto__",
}


def settings_of(name: str) -> dict:
    return {
        **reports.signed().settings,
        name: name,
        "__proto__": name,
        "constructor": [name],
        "sourced": {name: name},
    }


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_names_and_settings_in_a_gallery(opened, name):
    bad = replace(
        reports.signed(),
        target=name,
        layer=name,
        source=name,
        unit=name,
        model=name,
        class_name=name,
        backend=name,
        answer_unit=name,
        versions={name: name},
        settings=settings_of(name),
    )
    page = opened(
        Entry(bad, name=name, verdicts=False),
        Entry(reports.positive(), name=name, class_name=name, verdicts=False),
    )
    for card in page.locator("#cards button").all():
        card.click()
        page.evaluate(SETTLED)
    assert page.evaluate("window.hacked") is None
    assert page.locator("script").count() == 2
    assert page.locator("img, iframe, object, embed, base, form").count() == 0
    assert page.locator("style").count() == 1
    links = page.locator("a, [href], [src]").evaluate_all(
        "all => all.map((one) => one.getAttribute('href') ?? one.getAttribute('src') ?? '')"
    )
    assert [link for link in links if link and not link.startswith(("data:", "#"))] == []


def test_a_record_from_elsewhere_by_the_command(browser, folder, capsys):
    """The file itself is called by markup, too; the picture of it is 1 bit above its range."""
    name = HOSTILE["image"].replace("/", ":")
    path = folder / f"{name}.npz"
    image = np.asarray(reports.signed().image) * 7 - 3
    replace(reports.signed(), image=image, class_name=HOSTILE["script"]).save(path)
    assert Explanation.load(path).class_name == HOSTILE["script"]
    assert cli.main(["report", str(path), "-o", str(folder / "hostile.html"), "--quick"]) == 0
    assert asked_for(browser, folder / "hostile.html") == []


def test_a_notebook_frame_stays_in_its_sandbox(browser, folder):
    outer = folder / "outer.html"
    bad = Entry(
        replace(reports.signed(), target=HOSTILE["frame"]), class_name=HOSTILE["quote"], verdicts=False
    )
    outer.write_text(f"<p id=mine>mine</p>{frame(bad)}", encoding="utf-8")
    assert asked_for(browser, outer) == []


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_tables_of_results(browser, folder, name):
    name = name.encode(errors="replace").decode()  # a table of results holds valid text alone
    values = {("usu", "road"): [0.1, 0.5, 0.3], ("bilinear", "road"): [0.2, 0.1, 0.4]}
    rows = table(rows_of(values, dataset=name, model=name, source=name))
    path = folder / "table.html"
    path.write_text(FORMATS["html"](layout("honest", rows)), encoding="utf-8")
    assert asked_for(browser, path) == []


def asked_for(browser, path) -> list[str]:
    """Open a page; return what it asked the network for, and whether it ran what it should not."""
    page, asked = browser.new_page(), []
    page.on("request", lambda request: asked.append(request.url))
    page.on("dialog", lambda dialog: asked.append(dialog.message))
    page.goto(path.as_uri())
    page.wait_for_load_state("networkidle")
    ran = [inner.evaluate("window.hacked") for inner in page.frames]
    count = len(page.frames)
    page.close()
    assert ran == [None] * count
    return [url for url in asked if not url.startswith(("file://", "data:", "about:"))]
