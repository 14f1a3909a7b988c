"""Figures of signals and volumes: curves over bands of importance, rows of slices with the map over them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from inspect import signature
from numbers import Integral
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from usu.arrays.convert import Array, as_numpy
from usu.plot.figures import colour_bar, map_title, overlay_figure, words
from usu.plot.panels import lay_over, picture
from usu.plot.scales import DIVERGING, Pixels, colour_limits, is_signed
from usu.plot.style import style, titles
from usu.record import Record

_BAND = "Reds"  # the upper half of the diverging scale: white is nothing, as behind a curve it must be
_CURVE, _OTHER = "0.15", "0.55"
_WIDE, _PANEL, _PROFILE = 9.0, 1.5, 1.1  # inches: the figure, a panel of curves, the panel below
_MOST = 12  # channels that are drawn
_SLICE = 1.9  # inches of a slice's longer side
_NAMES = ("axial", "coronal", "sagittal")


def figure_of(explanation: Record, **options: Any) -> Figure:
    """Return the figure of a signal, a picture or a volume, whichever it is.

    Args:
        explanation: what is drawn.
        **options: as `signal_figure`, `overlay_figure` or `volume_figure` takes them.

    Raises:
        ValueError: as these do.
    """
    figures: dict[int, Callable[..., Figure]] = {1: signal_figure, 2: overlay_figure, 3: volume_figure}
    figure = figures[np.ndim(explanation.attribution)]
    for name in options.keys() - signature(figure).parameters.keys():
        raise TypeError(f"{name} is not an option of {figure.__name__}, which draws this explanation")
    return figure(explanation, **options)


def signal_figure(
    explanation: Record,
    *,
    channels: Sequence[int] | None = None,
    class_name: str | None = None,
    model: str | None = None,
) -> Figure:
    """Return a figure of a signal's curves over bands coloured by the map and by linear interpolation.

    Below them stand both maps as curves, with the coarse map's even share of each cell as steps.

    Args:
        explanation: of a signal (C, L).
        channels: numbers of the channels that are drawn, from top to bottom; by default the first 12.
        class_name: name of the explained class; by default the record's.
        model: name of the model; by default the record's.

    Raises:
        ValueError: an explanation of something else, or a channel that does not exist.
    """
    signal = as_numpy(explanation.image)
    _check(explanation, 1)
    numbers = list(range(min(len(signal), _MOST))) if channels is None else _numbers(channels, "channels")
    if not numbers or not set(numbers) <= set(range(len(signal))):
        raise ValueError(
            f"channels must be among the signal's {len(signal)}, counted from 0, got {channels!r}"
        )
    maps = _maps(explanation)
    signed = is_signed(explanation)
    norm = colour_limits([explanation.attribution], signed=signed)
    high = _PANEL + 0.25 * len(numbers)
    width = style().width or _WIDE
    figure = Figure(figsize=(width, 2 * high + _PROFILE + 0.9), layout="compressed")
    panels = figure.subplots(3, 1, sharex=True, height_ratios=[high, high, _PROFILE])
    for axis, values in zip(panels, maps.values(), strict=False):
        _curves(axis, signal[numbers], numbers)
        _band(axis, values, norm, signed)
    titles([*zip(panels, (_title(name, 1) for name in maps), strict=False)], width)
    _profiles(panels[2], explanation, maps)
    shades = DIVERGING if signed else _BAND
    colour_bar(figure, norm, list(panels), explanation, maps.values(), cmap=shades)
    words(figure, explanation, class_name, model)
    return figure


def volume_figure(
    explanation: Record,
    *,
    axis: int = 0,
    slices: int | Sequence[int] = 4,
    class_name: str | None = None,
    model: str | None = None,
) -> Figure:
    """Return a figure of a volume's slices: the input, the map over it and the trilinear one over it.

    Args:
        explanation: of a volume (C, D, H, W); of several channels the mean is shown.
        axis: across which it is sliced: 0 axial, 1 coronal, 2 sagittal, if D runs from feet to head.
        slices: how many, those with the most mass that are not next to each other, or which.
        class_name: name of the explained class; by default the record's.
        model: name of the model; by default the record's.

    Raises:
        ValueError: an explanation of something else, an axis or a slice that does not exist.
    """
    _check(explanation, 3)
    if axis not in (0, 1, 2):
        raise ValueError(f"axis must be 0 (axial), 1 (coronal) or 2 (sagittal), got {axis!r}")
    maps = {name: np.moveaxis(values, axis, 0) for name, values in _maps(explanation).items()}
    found = maps[explanation.mode]
    chosen = _chosen(found, slices)
    grey = np.moveaxis(as_numpy(explanation.image).astype(np.float64).mean(0), axis, 0)
    grey = (grey - grey.min()) / (np.ptp(grey) or 1.0)
    rows = {"Input": None, **maps}
    tall, wide = (side * _SLICE / max(grey.shape[1:]) for side in grey.shape[1:])
    size = len(chosen) * (wide + 0.1) + 1.4, len(rows) * (tall + 0.1) + 1.3
    if (whole := style().width) is not None:
        size = whole, size[1] * whole / size[0]
    figure = Figure(figsize=size, layout="compressed")
    panels = figure.subplots(len(rows), len(chosen), squeeze=False)
    norm = colour_limits([found[chosen]], signed=is_signed(explanation))
    for row, (name, values) in zip(panels, rows.items(), strict=True):
        for panel, number in zip(row, chosen, strict=True):
            picture(np.repeat(grey[number][None], 3, 0), panel, grey=values is not None)
            if values is not None:
                lay_over(values[number], panel, norm)
        row[0].set_ylabel("Input" if values is None else _title(name, 3), fontsize=style().small - 1)
    titles([*zip(panels[0], (f"{_NAMES[axis]} {number}" for number in chosen), strict=True)], wide)
    colour_bar(figure, norm, list(panels[1:].ravel()), explanation, maps.values())
    words(figure, explanation, class_name, model)
    return figure


def _check(explanation: Record, ndim: int) -> None:
    found = np.ndim(explanation.attribution)
    if found != ndim:
        kinds = {1: "a signal", 2: "a picture", 3: "a volume"}
        raise ValueError(
            f"explanation must be of {kinds[ndim]}, and is of {kinds[found]}: usu.plot.figure_of"
        )


def _maps(explanation: Record) -> dict[str, Pixels]:
    """Return the map and, for comparison, interpolation of the coarse map on the same scale."""
    plain = "bilinear" if explanation.neighbourhoods is None else "nearest"
    pixels: Array = explanation.coarse_map.upsample(plain, explanation.score_map)
    return {explanation.mode: as_numpy(explanation.attribution), plain: as_numpy(pixels)}


def _title(upsampler: str, ndim: int) -> str:
    """Return a map's title; interpolation has another name in each number of dimensions."""
    return {1: "Linear", 3: "Trilinear"}[ndim] if upsampler == "bilinear" else map_title(upsampler)


def _curves(axis: Axes, signal: Pixels, numbers: Sequence[int]) -> None:
    """Draw channels (n, L) one below the other, on one scale."""
    spread = float(max(np.ptp(signal, axis=1).max(), 1e-12))
    for place, values in enumerate(signal):
        middle = (float(values.max()) + float(values.min())) / 2
        axis.plot((values - middle) / spread - 1.1 * place, color=_CURVE, linewidth=1.0, zorder=3)
    axis.set_ylim(-1.1 * len(numbers) + 0.5, 0.6)
    names = [f"channel {number}" for number in numbers]
    axis.set_yticks([-1.1 * place for place in range(len(numbers))], names, fontsize=style().small - 2)
    axis.tick_params(labelbottom=False)


def _band(axis: Axes, values: Pixels, norm: Normalize, signed: bool) -> None:
    """Colour the ground behind the curves by a map (L,)."""
    low, high = axis.get_ylim()
    edges = (-0.5, len(values) - 0.5, low, high)
    cmap = DIVERGING if signed else _BAND
    axis.imshow(values[None], cmap=cmap, norm=norm, aspect="auto", extent=edges, interpolation="nearest")


def _profiles(axis: Axes, explanation: Record, maps: dict[str, Pixels]) -> None:
    """Draw the maps (L,) themselves, over the even shares of the cells."""
    scores = np.zeros_like(as_numpy(explanation.score_map))
    even = as_numpy(explanation.coarse_map.upsample("nearest", scores))
    axis.fill_between(np.arange(len(even)), even, step="mid", color="0.88", label="cells")
    for (name, values), colour in zip(maps.items(), ("firebrick", _OTHER), strict=True):
        axis.plot(values, color=colour, linewidth=1.2, label=_title(name, 1))
    axis.axhline(0, color="0.7", linewidth=0.5)
    axis.set_yticks([])
    axis.set_xlabel("sample", fontsize=style().small - 1)
    axis.tick_params(labelsize=style().small - 2)
    axis.margins(x=0)
    axis.legend(fontsize=style().small - 3, ncols=3, frameon=False, loc="best")


def _numbers(given: Any, name: str) -> list[int]:
    """Return numbers of channels or slices; raise TypeError for anything else."""
    if not isinstance(given, Sequence | np.ndarray) or not all(isinstance(one, Integral) for one in given):
        raise TypeError(f"{name} must be integers, got {given!r}")
    return [operator.index(one) for one in given]


def _chosen(values: Pixels, slices: int | Sequence[int]) -> list[int]:
    """Return which slices of a map (n, a, b) are drawn."""
    count = len(values)
    if isinstance(slices, int | np.integer):
        wanted = operator.index(slices)
        if not 1 <= wanted <= count:
            raise ValueError(
                f"slices must be from 1 to the volume's {count}, or a list of them, got {slices}"
            )
        masses, gap = np.abs(values).sum((1, 2), dtype=np.float64), max(1, count // (3 * wanted))
        found: list[int] = []
        for number in np.argsort(-masses, kind="stable"):
            if len(found) < wanted and all(abs(number - other) >= gap for other in found):
                found.append(int(number))
        return sorted(found)
    chosen = _numbers(slices, "slices")
    if not chosen or min(chosen) < 0 or max(chosen) >= count:
        raise ValueError(f"slices must be numbers from 0 to {count - 1}, got {list(slices)}")
    return chosen
