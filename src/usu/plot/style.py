"""The size of figures and of their text: for the screen, or for a paper's column or page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

from usu.arrays.checks import check_choice

_POINTS = 72  # per inch
_PAPER: Any = {
    "pdf.fonttype": 42,  # letters as letters
    "svg.fonttype": "none",
    "font.size": 7,
    "axes.linewidth": 0.5,
    "xtick.major.width": 0.5,
    "ytick.major.width": 0.5,
}
_SIZES = {"column": 3.35, "page": 6.9}  # inches


@dataclass(frozen=True)
class Style:
    """Sizes of a figure.

    Attributes:
        width: of the whole figure, in inches; None for panels of their own size.
        small: points of titles, labels and ticks.
        large: points of the headline.
    """

    width: float | None = None
    small: float = 11
    large: float = 12


_SCREEN = Style()
_STYLE: ContextVar[Style] = ContextVar("style")


def style() -> Style:
    """Return the sizes that figures take now."""
    return _STYLE.get(_SCREEN)


@contextmanager
def publication(size: str = "column") -> Iterator[None]:
    """Make figures of a paper's size inside the block: text of 7 points, and as text in PDF and SVG.

    Args:
        size: "column" (3.35 inches wide, for `overlay_figure`) or "page" (6.9 inches).

    Raises:
        ValueError: another size.

    >>> with publication("page"):
    ...     style().width
    6.9
    """
    check_choice(size, tuple(_SIZES), "size")
    token = _STYLE.set(Style(_SIZES[size], small=7, large=7.5))
    try:
        with mpl.rc_context(_PAPER):
            yield
    finally:
        _STYLE.reset(token)


def fitted(text: str, width: float, points: float) -> float:
    """Return the points, at most these, in which a line of text fits into so many inches."""
    extent = points * _extent(text or " ", str(mpl.rcParams["font.family"]))
    return points * min(1.0, width / max(extent, 1e-9))


@lru_cache(maxsize=256)
def _extent(text: str, family: str) -> float:
    """Return the inches that a line of text takes for each point of its size; outlines are slow to make."""
    size = 12
    path = TextPath((0, 0), text, size=size, prop=FontProperties())
    return float(path.get_extents().width) / _POINTS / size


def titles(named: Sequence[tuple[Axes, str]], width: float) -> None:
    """Write panels' titles, all in one size, so that each fits its panel of so many inches.

    Colour bars may take a little of the width yet.
    """
    size = min(fitted(text, 0.9 * width, style().small) for _, text in named)
    for axis, text in named:
        axis.set_title(text, fontsize=size)
