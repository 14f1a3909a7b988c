"""Sheets of pictures and maps, drawn from records: nothing here computes an attribution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from usu.plot import colour_limits, heat, save_figure
from usu.plot.panels import changes
from usu.plot.scales import CHANGES, bare, colours
from usu.reproduce.methods import Values

PICTURE, MAP, ERROR, BLANK = "picture", "map", "error", "blank"

# In inches: panels are small beside the text, which a page shows at half its size.
_WIDTH, _WIDE, _BAR = 1.15, 1.7, 1.2  # of a panel, of one of few, of a colour bar
_FEW = 4  # columns, of which titles need wide panels
_SMALL, _LARGE = 10, 12


@dataclass(frozen=True, eq=False)
class Panel:
    """One panel."""

    values: Values  # (H, W): grey levels in [0, 1], or mass per pixel relative to the image's mean
    # "picture", "map", "error" |Ã| - |A*| (spurious mass positive, lost mass negative), or "blank".
    kind: str = MAP
    outline: Values | None = None  # (H, W) truth, whose border is drawn


@dataclass(frozen=True, eq=False)
class Sheet:
    """Panels in rows; all maps share one colour scale, all errors another."""

    title: str  # of the whole figure
    columns: Sequence[str]  # titles above the first row
    rows: Sequence[str]  # labels at the left
    panels: Sequence[Sequence[Panel]]  # row by row
    notes: Sequence[str] = ()  # lines to print beside the figure: in numbers, what it shows


def draw(sheet: Sheet) -> Figure:
    """Return the figure of a sheet."""
    rows, columns = len(sheet.panels), len(sheet.panels[0])
    panels = [panel for row in sheet.panels for panel in row]
    scale = colour_limits([panel.values for panel in panels if panel.kind == MAP])
    errors = [panel.values for panel in panels if panel.kind == ERROR]
    width = _WIDE if columns <= _FEW else _WIDTH
    size = columns * width + _BAR * (1 + bool(errors)), rows * (width + 0.08) + 0.7
    figure = Figure(figsize=size, layout="compressed")
    axes = figure.subplots(rows, columns, squeeze=False)
    error_scale = _symmetric(errors) if errors else None
    for axis, panel in zip(axes.flat, panels, strict=True):
        _draw_panel(panel, axis, scale, error_scale)
    for axis, title in zip(axes[0], sheet.columns, strict=True):
        axis.set_title(title, fontsize=_SMALL)
    for axis, label in zip(axes[:, 0], sheet.rows, strict=True):
        axis.set_ylabel(label, fontsize=_SMALL)
    label = "mass per pixel\n(the image's mean = 1)"
    _colour_bar(figure, axes, ScalarMappable(scale, colours(scale)), label)
    if error_scale is not None:
        label = "error per pixel\nα (spurious) above 0, β (lost) below"
        _colour_bar(figure, axes, ScalarMappable(error_scale, CHANGES), label)
    figure.suptitle(sheet.title, fontsize=_LARGE)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # the layout is settled: it need not be found again for each file
    return figure


def save(sheet: Sheet, folder: Path, name: str) -> list[Path]:
    """Write a sheet as PNG and PDF; return the two paths."""
    figure = draw(sheet)
    paths = [folder / f"{name}.{kind}" for kind in ("png", "pdf")]
    for path in paths:
        save_figure(figure, path, dpi=160)
    return paths


def _draw_panel(panel: Panel, axis: Any, scale: Normalize, error_scale: Normalize | None) -> None:
    if panel.kind == BLANK:
        axis.set_axis_off()
    elif panel.kind == PICTURE:
        bare(axis)
        axis.imshow(panel.values, cmap="gray", vmin=0, vmax=1)
    elif panel.kind == MAP:
        heat(panel.values, axis, norm=scale)
    else:
        changes(panel.values, axis, norm=error_scale)
    if panel.outline is not None:
        colour = "black" if panel.kind == ERROR else "cyan"
        axis.contour(panel.outline, levels=[0.5 * panel.outline.max()], colors=colour, linewidths=0.5)


def _colour_bar(figure: Figure, axes: Any, mapped: ScalarMappable, label: str) -> None:
    extend = "max" if mapped.norm.vmin == 0 else "both"
    bar = figure.colorbar(mapped, ax=axes, extend=extend, shrink=0.6, pad=0.015, aspect=25)
    bar.set_label(label, fontsize=_SMALL, labelpad=8)
    bar.ax.tick_params(labelsize=_SMALL)


def _symmetric(maps: Sequence[Values]) -> Normalize:
    limit = max(float(np.quantile(np.abs(values), 0.98)) for values in maps) or 1.0
    return Normalize(-limit, limit)
