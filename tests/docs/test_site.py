"""The documentation's site: it builds strictly, shows every public name, and is read without a network.

Screenshots go to the folder that USU_SCREENSHOTS names, or to a temporary one.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import usu
from tests.docs import test_links
from tests.helpers.browser import needs_chromium
from usu.cli import main

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
pytest.importorskip("material", reason="needs mkdocs-material: pip install '.[docs]'")
pytest.importorskip("mkdocstrings_handlers.python", reason="needs mkdocstrings: pip install '.[docs]'")

# What a browser loads by itself, by tag; `a` and the like wait for a click.
LOADS = {
    "audio": ("src",),
    "embed": ("src",),
    "iframe": ("src",),
    "img": ("src", "srcset"),
    "link": ("href",),
    "object": ("data",),
    "script": ("src",),
    "source": ("src", "srcset"),
    "use": ("href",),
    "video": ("src", "poster"),
}
NOT_LOADED = {"canonical", "next", "prev", "alternate", "author"}
PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 900}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Build the site once, where a single warning is an error."""
    folder = tmp_path_factory.mktemp("site")
    finished = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stderr
    return folder


class Loads(HTMLParser):
    """Gather the addresses that a page loads."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        if tag == "link" and set((values.get("rel") or "").split()) & NOT_LOADED:
            return
        self.found += [values[name] for name in LOADS.get(tag, ()) if values.get(name)]


def is_foreign(address):
    return re.match(r"\s*(?:https?:)?//", address, re.IGNORECASE) is not None


def test_foreign_addresses_are_told_from_own():
    page = """<link rel="stylesheet" href="https://fonts.example/css"><link rel="canonical" href="https://a.b/">
    <script src="//cdn.example/x.js"></script><img src="images/a.png"><a href="https://c.d">c</a>"""
    addresses = Loads(page).found
    foreign = [one for one in addresses if is_foreign(one)]
    assert foreign == ["https://fonts.example/css", "//cdn.example/x.js"]
    assert len(addresses) == 3


def test_pages_and_styles_load_nothing_foreign(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        addresses = Loads(page.read_text(encoding="utf-8")).found
        assert [one for one in addresses if is_foreign(one)] == [], page
    for style in site.rglob("*.css"):
        text = style.read_text(encoding="utf-8")
        assert re.findall(r"(?:@import\s*|url\(\s*)[\"']?(?:https?:)?//[^)\"']*", text) == [], style


def test_every_page_of_the_documentation_is_built(site):
    pages = [page.relative_to(DOCS) for page in DOCS.rglob("*.md")]
    pages += [notebook.relative_to(DOCS) for notebook in DOCS.rglob("*.ipynb")]
    missing = [page for page in pages if not (site / page.with_suffix(".html")).is_file()]
    assert missing == []
    assert not (site / "hooks").exists()


def test_every_public_name_has_its_entry(site):
    text = "".join(page.read_text(encoding="utf-8") for page in (site / "reference").glob("*.html"))
    missing = [name for name in usu.__all__ if f'id="usu.{name}"' not in text]
    assert missing == ["SCORINGS", "UPSAMPLERS"]  # registries: described in words
    assert "usu.UPSAMPLERS" in text
    assert "usu.SCORINGS" in text


def test_doctests_are_shown_as_code(site):
    for page in (site / "reference").glob("*.html"):
        assert "<blockquote>" not in page.read_text(encoding="utf-8"), page


def test_the_demo_report_is_made_by_this_version():
    """Data may be of an older run; script, style and page are the library's."""
    from usu.report import Entry, html

    one_cell = np.zeros((2, 2))
    fresh = html([Entry(record(one_cell), verdicts=False)])
    kept = (DOCS / "demo" / "report.html").read_text(encoding="utf-8")
    for part in ("script", "style"):
        found = [re.findall(rf"<{part}>(.*?)</{part}>", text, re.DOTALL) for text in (kept, fresh)]
        assert len(found[1]) == 1
        assert found[0] == found[1], "renew it: usu demo && cp usu-demo/report.html docs/demo/"


def record(pixels):
    return usu.Explanation(
        attribution=pixels,
        coarse=np.zeros((1, 1)),
        image=np.zeros((3, *pixels.shape)),
        refinements=(),
        h_map=pixels,
        score_map=pixels,
        target=0,
        probability=None,
        mode="usu",
        mass="total",
        settings=usu.Settings().plain(),
        forward_passes=0,
    )


def test_commands_of_the_tutorial_run(tmp_path, monkeypatch, capsys):
    """All but the demo, which tests/test_cli.py runs; before the last one comes the Python of the page."""
    text = (DOCS / "tutorial.md").read_text(encoding="utf-8")
    lines = "\n".join(re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)).splitlines()
    commands = [shlex.split(line)[1:] for line in lines if line.startswith("usu ")]
    assert [command[0] for command in commands] == ["demo", "explain", "explain", "report"]
    monkeypatch.chdir(tmp_path)
    exec(compile(test_links.blocks(DOCS / "tutorial.md")[0], "tutorial.md", "exec"), {})
    for command in commands[1:3]:
        assert main(command) == 0, capsys.readouterr()
    wanted = {"overlay.png", "comparison.png", "report.html", "explanation.npz"}
    assert {path.name for path in Path("usu-out/cup").iterdir()} == wanted
    assert "espresso" in capsys.readouterr().out
    hybrid = usu.Explanation.load("mug/cup/explanation.npz")
    assert (hybrid.mode, hybrid.target) == ("hybrid", 504)
    shutil.copy("usu-out/cup/explanation.npz", "cup.npz")
    assert main(commands[3]) == 0
    assert Path("report.html").stat().st_size > 10_000


SHOWN = ("index", "tutorial", "guide", "theory", "demo", "howto/index", "howto/pytorch-grad-cam")
SHOWN += ("notebooks/first-look", "reference/operators", "reference/explaining", "scores")


@pytest.fixture
def opened(browser, site):
    """Give a function that opens a page of the site from disk; nothing may go wrong or leave it."""
    contexts, troubles, requests = [], [], []

    def open_page(name, **settings):
        context = browser.new_context(**{"viewport": DESKTOP, **settings})
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: troubles.append(message.text))
        page.on("pageerror", lambda problem: troubles.append(str(problem)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto((site / f"{name}.html").as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert troubles == []
    assert [url for url in requests if not url.startswith(("file://", "data:", "blob:"))] == []


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("device", ["phone", "desktop"])
def test_pages_fit_the_screen(opened, tmp_path, device, scheme):
    folder = Path(os.environ.get("USU_SCREENSHOTS", tmp_path))
    viewport = {"phone": PHONE, "desktop": DESKTOP}[device]
    for name in SHOWN:
        page = opened(name, viewport=viewport, color_scheme=scheme)
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"], name
        dark = page.evaluate("document.body.dataset.mdColorScheme") == "slate"
        assert dark == (scheme == "dark"), name
        broken = "[...document.images].filter(image => image.complete && !image.naturalWidth).length"
        assert page.evaluate(broken) == 0, name
        page.screenshot(path=folder / f"site-{name.replace('/', '-')}-{device}-{scheme}.png")
        page.close()


@needs_chromium
def test_search_works_from_disk(opened):
    page = opened("index")
    field = page.locator("input[name=query]")
    field.focus()  # the theme loads its index now, and calls a query invalid that comes before it
    ready = page.locator(".md-search-result__meta", has_text="Type to start searching")
    ready.wait_for(state="attached", timeout=60_000)
    # The theme reads the field when a key is released, which `fill` does not do, and warns of single letters.
    field.fill("redistribut")
    field.press("e")
    found = page.locator(".md-search-result__link").first
    found.wait_for(state="attached", timeout=60_000)
    assert "redistribute" in found.inner_text()


@needs_chromium
def test_the_demo_report_lives_in_its_frame(opened):
    page = opened("demo")
    page.locator("iframe.report").scroll_into_view_if_needed()
    frame = page.frame_locator("iframe.report")
    frame.locator("#canvas").wait_for(timeout=60_000)
    frame.locator("#method").select_option("hybrid")
    assert frame.locator("#method").input_value() == "hybrid"
