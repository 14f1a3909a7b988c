"""Figures 5 and 6 of the paper, drawn from real records at the width of a page's text.

The smallest text is of 7 points at the figures' own size: do not scale them down.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import FuncFormatter, MaxNLocator

from usu.arrays.convert import Array, as_numpy
from usu.plot.panels import (
    cell_pixels,
    cell_weights,
    changes,
    coarse_cells,
    h_map,
    heat,
    hierarchy,
    mark_cell,
    overlay,
    partition,
    photograph,
    picture,
    raw_scores,
    score_map,
    scores,
    segment_borders,
)
from usu.plot.scales import (
    Pixels,
    bare,
    borders,
    clipped,
    colour_limits,
    colours,
    full_limits,
    is_signed,
    pixels_of,
    power_of_ten,
    top,
)
from usu.record import Record, unit_of
from usu.scoring.refinement import Refinement, merge

_WIDTH = 4.8  # inches, of the text on a page of the paper's format
_LEFT, _GAP, _TITLE, _BAR, _LEGEND = 0.2, 0.05, 0.17, 0.42, 0.2  # inches: beside, between, above, below
_SMALL, _BOLD = 7, 8  # points
_MOST = 3  # depths that fit side by side
_SPLIT = "#E69F00"  # orange of Okabe and Ito
RAW_TITLES = {
    "mask": "drop of the {} when masked",
    "keep": "rise of the {} when kept",
    "both": "mean change of the {}",
    "owen": "Owen value of the {}",
    "regression": "coefficient of the {}",
    "order": "part of a pixel's place in the order",
    "mask+order": "drop of the {} when masked, then parts of the order",
}


def figure5(explanation: Record, *, cell: int | None = None) -> Figure:
    """Return the pipeline stage by stage, each with its own data (paper, figure 5).

    Args:
        explanation: of one hierarchy of at most three depths.
        cell: whose weights are shown, by number or label; by default the one of most mass.

    Raises:
        ValueError: too many partitions, or partitions that are not nested; an unknown cell, or one without
            mass.
    """
    depths = _check_depths(explanation)
    if cell is None:
        cell = _heaviest(explanation)
    cell_pixels(explanation, cell)  # which refuses a wrong one before anything is drawn
    columns = max(4, depths + 2)
    below = _LEGEND if depths > 1 else 0.04
    figure, rows = _panels(columns, as_numpy(explanation.score_map).shape, (below, _BAR, _BAR))
    _segmentation(explanation, rows[0], depths)
    _scoring(explanation, rows[1], depths)
    _redistribution(explanation, rows[2], cell)
    for row, name in zip(rows, ("Segmentation", "Scoring", "Redistribution"), strict=True):
        row[0].set_ylabel(name, fontsize=_SMALL)
    for axis in (axis for row in rows for axis in row if not axis.has_data()):
        axis.set_axis_off()
    return figure


def _heaviest(explanation: Record) -> int:
    """Return the cell of most mass."""
    return int(explanation.coarse_map.masses(tuple(explanation.attribution.shape)).argmax())


def _segmentation(explanation: Record, row: Sequence[Axes], depths: int) -> None:
    photograph(explanation, row[0])
    _title(row[0], "Photograph")
    for depth, axis in enumerate(row[1 : 1 + depths]):
        count = segment_borders(explanation, axis, depth)
        # Titles in full would touch.
        _title(axis, f"Depth {depth}: {count}{' segments' if depth == 0 else ''}")
    if depths > 1:
        axis = row[1 + depths]
        lines = hierarchy(explanation, axis)
        _title(axis, "Borders by depth")
        axis.legend(
            lines,
            [str(depth) for depth in range(depths)],
            loc="upper center",
            bbox_to_anchor=(0.5, -0.02),
            ncols=depths,
            fontsize=_SMALL,
            handlelength=1.6,
            handletextpad=0.4,
            columnspacing=0.9,
            borderpad=0.15,
            borderaxespad=0,
            facecolor="0.6",  # both ends of the colours stand out against it
            framealpha=1,
        )


def _scoring(explanation: Record, row: Sequence[Axes], depths: int) -> None:
    norm = full_limits(explanation.raw_scores)
    for depth, axis in enumerate(row[:depths]):
        image = raw_scores(explanation, axis, depth, norm=norm)
        _title(axis, f"Raw scores, depth {depth}")
    _bar(image, row[:depths], _raw_words(explanation))
    merged, heterogeneity = row[depths : depths + 2]
    _bar(score_map(explanation, merged), [merged], "score, 0 to 1")
    _title(merged, "Merged scores Φ")
    _bar(
        h_map(explanation, heterogeneity, norm=_faint([explanation.h_map])),
        [heterogeneity],
        "change of score",
        "both",
    )
    _title(heterogeneity, "H-map of Φ")


def _raw_words(explanation: Record) -> str:
    """Return what the raw scores are, by the record."""
    settings = explanation.settings
    scored = explanation.answer_unit or settings.get("output", "probability")
    named = {"probability": "probability", "logits": "logit", "logit": "logit"}
    output = named.get(scored, "answer") if isinstance(explanation.target, int) else "answer"
    return RAW_TITLES[settings.get("scoring", "mask")].format(output)


def _redistribution(explanation: Record, row: Sequence[Axes], cell: int) -> None:
    weights, coarse, pixels, over = row[:4]
    _bar(cell_weights(explanation, weights, cell), [weights], "even share = 1")
    _title(weights, "Weights in the frame")
    norm = colour_limits([explanation.attribution], signed=is_signed(explanation))
    coarse_cells(explanation, coarse, norm=norm)
    mark_cell(explanation, coarse, cell)
    _title(coarse, f"Coarse map, {' × '.join(map(str, explanation.coarse.shape))}")
    heat(explanation.attribution, pixels, norm=norm)
    _title(pixels, "Pixel map")
    overlay(explanation, over, norm=norm)
    _title(over, "Over the photograph")
    power, factor = power_of_ten(norm)
    scaled = Normalize((norm.vmin or 0.0) / 10**power, top(norm) / 10**power)
    label = f"attribution per pixel, {factor}{unit_of(explanation)}"
    extend = clipped(norm, [explanation.attribution])
    _bar(ScalarMappable(scaled, colours(norm)), [coarse, pixels, over], label, extend)


def figure6(refinement: Refinement, image: Array) -> Figure:
    """Return the refinement depth by depth: scores, merge, H-map, what is split (paper, figure 6).

    Each row merges the scores of its depth with the row above, by the α from the H-map of the row above; the
    H-map of the merge decides which segments are split in the next row.

    Args:
        refinement: of two to four depths.
        image: (3, H, W), RGB in [0, 1], whose segments were refined.

    Raises:
        ValueError: a refinement of one depth only or of more than four, or whose depths were not merged; an
            image of another size.
    """
    labels = [as_numpy(one) for one in refinement.partitions]
    if not 2 <= len(labels) <= _MOST + 1:
        raise ValueError(f"refinement must have 2 to {_MOST + 1} depths, got {len(labels)}")
    ground = pixels_of(image, "image", None)
    if ground.shape != (3, *labels[0].shape):
        raise ValueError(f"image must be (3, H, W) over {labels[0].shape} pixels, got {ground.shape}")
    if len(refinement.mixings) != len(labels) - 1:
        raise ValueError("refinement must be merged depth by depth; scoring='order' fits all depths together")
    figure, rows = _panels(5, labels[0].shape, (*[0.04] * (len(labels) - 1), _BAR))
    norm = _faint(refinement.h_maps)
    heterogeneity: list[AxesImage] = []
    for depth, (row, matrix) in enumerate(zip(rows, merged_scores(refinement), strict=True)):
        alpha, own, merged, change, chosen = row
        row[0].set_ylabel(f"Depth {depth}", fontsize=_BOLD)
        count = int(labels[depth].max()) + 1
        _title(own, f"Φ, {count} segments")
        scored = scores(as_numpy(refinement.scores[depth])[labels[depth]], own)
        scores(matrix, merged)
        _title(merged, "Merged Φ" if depth else "Φ: no merge yet")
        if depth:
            kept = _shares(refinement.mixings[depth - 1], alpha)
            _title(alpha, "Kept share α")
        else:
            picture(ground, alpha)
            _title(alpha, "Photograph")
        if depth < len(refinement.h_maps):
            heterogeneity.append(changes(refinement.h_maps[depth], change, norm=norm))
            _title(change, "H-map")
            split = _split(ground, labels[depth], labels[depth + 1], chosen)
            _title(chosen, f"{split} of {count} split")
    _close(rows[-1][3], rows[-1][4], labels)
    columns = list(zip(*rows, strict=True))
    _bar(kept, columns[0][-1:], "share of above")
    _bar(scored, [columns[1][-1], columns[2][-1]], "score, 0 to 1")
    _bar(heterogeneity[-1], columns[3][-1:], "change of score", "both")
    return figure


def merged_scores(refinement: Refinement) -> list[Pixels]:
    """Return the score matrix (H, W) after each depth, from the recorded scores and α (eq. 18)."""
    own = [
        as_numpy(values)[as_numpy(labels)]
        for values, labels in zip(refinement.scores, refinement.partitions, strict=True)
    ]
    matrices: list[Pixels] = [own[0]]
    for alpha, fine in zip(refinement.mixings, own[1:], strict=True):
        merged: Pixels = merge(matrices[-1], fine, as_numpy(alpha))  # type: ignore[arg-type, assignment]
        matrices.append(merged)
    return matrices


def _faint(maps: Sequence[Array]) -> Normalize:
    """Return a scale up to half of the extreme: lines one pixel wide would be too pale in print."""
    limit = top(full_limits(maps)) / 2
    return Normalize(-limit, limit)


def _shares(alpha: Array, axis: Axes) -> AxesImage:
    bare(axis)
    return axis.imshow(as_numpy(alpha), cmap="gray", vmin=0, vmax=1)


def _split(ground: Pixels, labels: Pixels, finer: Pixels, axis: Axes) -> int:
    """Tint the segments that the next partition cuts, with its borders in them; return their number."""
    parts = np.bincount(_overlaps(labels, finer)[0])
    picture(ground, axis, grey=True)
    tint = np.ma.masked_less(parts[labels], 2)
    axis.imshow(tint, cmap=ListedColormap([_SPLIT]), alpha=0.6)
    axis.add_collection(borders(finer, color="black", linewidth=0.5))
    axis.add_collection(borders(labels, color="white", linewidth=0.7))
    return int((parts > 1).sum())


def _close(note: Axes, unused: Axes, labels: Sequence[Pixels]) -> None:
    """Sum up the refinement in place of the last H-map."""
    for axis in (note, unused):
        axis.set_axis_off()
    counts = " → ".join(str(int(one.max()) + 1) for one in labels)
    legend = "Above, orange is split\nand black its new borders."
    lines = ("The last depth: nothing is split.", f"Segments: {counts}", legend)
    text = "\n\n".join(lines)
    note.text(0.06, 0.98, text, transform=note.transAxes, va="top", fontsize=_SMALL, linespacing=1.25)


def _check_depths(explanation: Record) -> int:
    """Return the number of depths, if the partitions are one hierarchy that fits the page."""
    depths = len(explanation.partitions)
    if depths > _MOST:
        raise ValueError(
            f"explanation has {depths} partitions, at most {_MOST} fit the page: explain with one "
            "hierarchy of few depths, segmentation={'watershed': (16, 48)}"
        )
    for depth in range(1, depths):
        above, below = partition(explanation, depth - 1), partition(explanation, depth)
        if _overlaps(above, below).shape[1] != int(below.max()) + 1:
            raise ValueError(
                f"partition {depth} is not nested in the one before: explain with one hierarchy, "
                "segmentation={'watershed': (16, 48)}"
            )
    return depths


def _overlaps(coarse: Pixels, fine: Pixels) -> Pixels:
    """Return the pairs (2, n) of segments of two partitions that share a pixel."""
    return np.unique(np.stack([coarse.ravel(), fine.ravel()]), axis=1)


def _panels(columns: int, size: tuple[int, ...], bars: Sequence[float]) -> tuple[Figure, list[list[Axes]]]:
    """Return a figure as wide as the page; each row has a title above it and one of `bars` inches below."""
    panel = (_WIDTH - _LEFT) / columns - _GAP
    tall = panel * size[0] / size[1]
    height = sum(_TITLE + tall + bar for bar in bars)
    figure = Figure(figsize=(_WIDTH, height))
    rows, bottom = [], height
    for bar in bars:
        bottom -= _TITLE + tall
        places = [(_LEFT + column * (panel + _GAP), bottom, panel, tall) for column in range(columns)]
        rows.append([figure.add_axes(_share(figure, place)) for place in places])
        bottom -= bar
    return figure, rows


def _share(figure: Figure, inches: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    width, height = figure.get_size_inches()
    left, bottom, wide, tall = inches
    return left / width, bottom / height, wide / width, tall / height


def _title(axis: Axes, text: str) -> None:
    axis.set_title(text, fontsize=_SMALL, pad=2.5)


def _bar(image: ScalarMappable, axes: Sequence[Axes], label: str, extend: str = "neither") -> None:
    """Draw a colour bar below the panels that it serves."""
    figure: Any = axes[0].figure
    width, height = figure.get_size_inches()
    first, last = axes[0].get_position(original=True), axes[-1].get_position(original=True)
    place = (first.x0 * width + 0.06, first.y0 * height - 0.12, (last.x1 - first.x0) * width - 0.12, 0.07)
    below = figure.add_axes(_share(figure, place))
    bar = figure.colorbar(
        image,
        cax=below,
        orientation="horizontal",
        extend=extend,
        extendfrac=0.04,
        ticks=MaxNLocator(2 * len(axes), symmetric=True),
        format=FuncFormatter(lambda value, _: f"{value:.3g}"),
    )
    bar.set_label(label, fontsize=_SMALL, labelpad=1)
    below.tick_params(labelsize=_SMALL, pad=1, length=2)
