"""The committed tables under docs/results are what the committed rows make, byte for byte."""

from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
RESULTS = REPOSITORY / "results/rows"

pytestmark = pytest.mark.skipif(not RESULTS.exists(), reason="needs the repository, not an installed package")


@pytest.fixture(scope="module")
def pages():
    from benchmarks.pages import results_pages

    return results_pages.pages(RESULTS)


def test_every_page_is_made_of_the_rows(pages):
    assert pages
    for name, text in pages.items():
        assert (REPOSITORY / "docs/results" / name).read_text() == text, (
            f"{name} is out of date: python -m benchmarks.pages.results_pages"
        )


def test_the_table_of_processor_and_gpu_is_made_of_the_rows(pages):
    from benchmarks.performance import processors

    lines = processors.table(*map(processors.values_of, (RESULTS, REPOSITORY / "results/h100")))
    assert "\n".join(lines) in (REPOSITORY / "docs/metrics.md").read_text(), (
        "docs/metrics.md is out of date: python -m benchmarks.performance.processors"
    )
