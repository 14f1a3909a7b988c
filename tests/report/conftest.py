"""Reports opened in Chromium from disk."""

from __future__ import annotations

import pytest

from tests.report.pages import compare
from usu.report import Entry, write


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("reports")


@pytest.fixture
def opened(browser, folder):
    """Give a function that opens a report of entries; at the end nothing must have gone wrong in it."""
    contexts, troubles, requests = [], [], []

    def open_report(
        *entries: Entry, layout: str = "split", unfolded: bool = True, address: str = "", **settings
    ):
        path = folder / f"report-{len(list(folder.iterdir()))}.html"
        write(entries, path)
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **settings})
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: troubles.append(message.text))
        page.on("pageerror", lambda problem: troubles.append(str(problem)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(path.as_uri() + address)
        page.evaluate("usu.ready")
        if unfolded:
            page.locator("details").evaluate_all("all => all.forEach((one) => { one.open = true; })")
        if layout:
            compare(page, layout)
        return page

    yield open_report
    for context in contexts:
        context.close()
    assert troubles == []
    assert [url for url in requests if not url.startswith(("file://", "data:"))] == []
    assert len([url for url in requests if url.startswith("file://")]) == len(contexts)
