"""All tables of scores by order, made of the committed rows: docs/scores-by-order-measurements.md.

    python -m benchmarks.pages.scores_by_order

No model is loaded. The rows come from `benchmarks.scores.order`, `.objects` and `.stability`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.scores import objects, stability
from benchmarks.scores.fits import FITS
from benchmarks.scores.order import MAPS
from benchmarks.scores.order_tables import SURE, read, table, tables
from benchmarks.scores.score_tables import HALVES

ROWS = Path(__file__).parents[2] / "results" / "scores-by-order"
PAGE = Path(__file__).parents[2] / "docs" / "scores-by-order-measurements.md"
HEAD = """# Measurements of scores by order

Every table is made of the rows in `results/scores-by-order` by `python -m benchmarks.pages.scores_by_order`.
What the maps are, how they were measured and what follows is told on [the page on scores by
order](scores-by-order.md).

* Curves, IROF, ROAD, monotonicity: mean differences ± standard errors, photograph by photograph. **Bold**: p
  below 0.05 after Holm over all tests of the table. *Italic*: only after Holm over the measures of this map.
* Things: means with 95 % intervals (BCa), not corrected; **bold**: 0 lies outside.
* "choice" is a variant among which was chosen; its ridge is the one in its name, else 1.
"""
EXPENSIVE = ("SHAP partition 1000", "RISE 1600", "XRAI", "guided filter, conserving")
FILES = {
    "lite0": "EfficientNet-Lite0",
    "lite1": "EfficientNet-Lite1",
    "vit": "ViT-Tiny, attention relevance",
    "choosing": "EfficientNet-Lite0, choosing",
    "vit-choosing": "ViT-Tiny, sources",
}


def parts() -> Iterator[str]:
    """Yield the page's sections."""
    yield HEAD
    plain = [name for name in MAPS if not name.startswith("choice")]
    for name, title in FILES.items():
        yield f"## {title}"
        yield lowered(tables(ROWS / f"{name}.jsonl", list(MAPS) if "choosing" in name else plain))
    yield "## Less the expensive peers (EfficientNet-Lite0, reporting half)"
    known = read(ROWS / "lite0.jsonl")
    for peer in EXPENSIVE:
        yield "\n".join(table(known, peer, "reporting", ["default", "strict, order"]))
    yield "## Variants of the fit (EfficientNet-Lite0)"
    yield "On the choosing half, less the map with the fit that was taken:"
    names = (*(f"choice total, {name}" for name in FITS), "choice hybrid, order")
    variants = [
        name for name in MAPS if name in names or name.startswith(("choice total, from", "choice total, ε"))
    ]
    yield "\n".join(table(read(ROWS / "choosing.jsonl"), "total, order", "choosing", variants))
    yield "## By how sure the network is (EfficientNet-Lite0)"
    for title, sure in ((f"p at least {SURE}", True), (f"p below {SURE}", False)):
        first = tables(ROWS / "lite0.jsonl", plain, sure).split("\n\n## ")[0]
        yield lowered(first).replace("half", f"half, {title}", 1)
    yield "## Things (EfficientNet-Lite0)"
    rows = list(read(ROWS / "objects.jsonl").values())
    for half in reversed(HALVES):
        yield f"### {half.capitalize()} half"
        yield "\n".join(objects.table(rows, half))
    yield "## Stability (EfficientNet-Lite0, choosing half)"
    yield stability.table(ROWS / "stability.jsonl")


def lowered(text: str) -> str:
    """Return a text whose headings are one level lower."""
    return text.replace("## ", "### ")


def page() -> str:
    """Return the page."""
    return "\n\n".join(part.strip() for part in parts()) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
