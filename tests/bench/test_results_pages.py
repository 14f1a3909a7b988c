"""The committed pages under docs/results are what the committed rows make, byte for byte."""

import io
import re
from pathlib import Path

import pandas as pd
import pytest

REPOSITORY = Path(__file__).parents[2]
RESULTS = REPOSITORY / "results"

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


def test_pages_are_of_a_size_to_read_and_say_nothing_of_what_was_not_measured(pages):
    texts = {name: text for name, text in pages.items() if name.endswith(".md")}
    assert set(texts) == {"nine.md", "honest.md", "untouched.md", "paper-tables.md"}
    for name, text in texts.items():
        assert len(text.encode()) < (60_000 if name in ("honest.md", "untouched.md") else 80_000), name
        assert not re.search(r"\bn 0\b|– n \d", text), name


@pytest.mark.parametrize("name", ["nine", "honest", "untouched"])
def test_a_page_shows_each_tested_difference_on_grad_cams_maps(pages, name):
    tests = pd.read_csv(io.StringIO(pages[f"{name}-tests.csv"]))
    page = pages[f"{name}.md"]
    shown = tests[(tests.holm < 0.05) & (tests.source == "gradcam")]
    assert len(shown) > 20
    assert tests.holm.notna().sum() == int(re.search(r"Of ([\d,]+) two-sided", page)[1].replace(",", ""))
    bold = [cell for line in page.splitlines() for cell in line.split(" | ") if cell.startswith("**")]
    found = sorted(float(cell.split("**")[1]) for cell in bold if "[" in cell)
    assert found == pytest.approx(sorted(shown.difference), abs=6e-4)


def test_a_map_of_no_source_stands_once_in_the_means(pages):
    means = pd.read_csv(io.StringIO(pages["honest-means.csv"]), keep_default_na=False)
    complete = means[(means.contestant == "complete") & (means.measure == "road")]
    assert [*complete.source] == ["none"] * 3
    assert not means.duplicated(["dataset", "model", "source", "contestant", "measure"]).any()


def test_the_papers_tables_have_its_figures_beside_ours(pages):
    page = pages["paper-tables.md"]
    parts = {part.split(":")[0]: part for part in re.split(r"^## ", page, flags=re.M)[1:]}
    assert {f"Table {number}" for number in (2, 3, 7, 8, 9, 10)} <= set(parts)
    for name, datasets in (("Table 9", ("ImageNet", "CIFAR-10")), ("Table 10", ("CUB-200",))):
        for dataset in datasets:
            block = parts[name].split(f"### {dataset}")[1].split("### ")[0]
            assert "paper " in block, (name, dataset)
            assert set(re.findall(r"^\| ([^|]*\S) \|", block, re.M)) >= {"Model", "ViT-Tiny-16"}
            # Of each row in a column, or, where they differ in it, of each figure.
            column, beside = r"^\| [^|]*\| [^|]*\| (\d+) \|", r"\(n (\d+)"
            counts = re.findall(column, block, re.M) or re.findall(beside, block)
            assert min(map(int, counts)) >= 1


def test_the_table_of_processor_and_gpu_is_made_of_the_rows(pages):
    from benchmarks.performance import processors

    lines = processors.table(*map(processors.values_of, (RESULTS / "rows", RESULTS / "h100")))
    assert "\n".join(lines) in (REPOSITORY / "docs/metrics.md").read_text(), (
        "docs/metrics.md is out of date: python -m benchmarks.performance.processors"
    )
