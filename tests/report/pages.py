"""What tests do with a page in Chromium, as its user would."""

from __future__ import annotations

import numpy as np

EXACT = 1e-5
SETTLED = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done())))"


def compare(page, layout: str) -> None:
    page.check(f"input[name=layout][value={layout}]")
    page.evaluate(SETTLED)


def slide(page, name: str, value: float) -> float:
    """Move a slider as its user does; return the value that it took."""
    script = "(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input')); }"
    page.locator(f"#{name}").evaluate(script, value)
    page.evaluate(SETTLED)
    return float(page.locator(f"#{name}").input_value())


def choose(page, name: str, value: str) -> None:
    page.select_option(f"#{name}", value)
    page.evaluate(SETTLED)


def map_of(page, size: tuple[int, int], side: str = "method") -> np.ndarray:
    return np.array(page.evaluate("(side) => Array.from(usu.map(side))", side)).reshape(size)


def assert_same(found: np.ndarray, expected: np.ndarray) -> None:
    assert np.abs(found - expected).max() <= EXACT * np.abs(expected).max()
