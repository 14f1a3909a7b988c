"""The operators once more, slowly and in float64, on flat arrays of NumPy; nothing here is shared with usu.

`owner[x]` is the cell of pixel x, `levels[x]` its u(s) of φ = exp(u / ε). Each function returns the pixel map
(X,) and, beside it, the same sum with all its terms positive: the unit in which rounding is to be judged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache, reduce
from itertools import product
from typing import Any, TypeAlias

import numpy as np

Values: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"
Labels: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"
Maps: TypeAlias = "tuple[Values, Values]"

_LEAST = 1e-300  # a score at which φ would be 0


@lru_cache(maxsize=4096)
def grid_labels(shape: tuple[int, ...], size: tuple[int, ...]) -> Labels:
    """Return the cell that contains the centre of each pixel, (X,), cells counted in row-major order."""
    axes = [
        (2 * np.arange(length) + 1) * cells // (2 * length) for cells, length in zip(shape, size, strict=True)
    ]
    found: Labels = np.ravel_multi_index(np.meshgrid(*axes, indexing="ij"), shape).ravel()
    return found


def utility(potential: Any, scores: Values, temperature: float) -> tuple[Values, float]:
    """Return u(s) and what divides it."""
    if potential == "exponential":
        return scores, temperature
    if potential == "power":
        return np.log(np.maximum(scores, _LEAST)), temperature
    if potential == "log-odds":
        return np.log(np.maximum(scores, _LEAST)) - np.log(np.maximum(1 - scores, _LEAST)), temperature
    return np.log(potential(scores)), 1.0


def shares(levels: Values, divisor: float, owner: Labels, count: int) -> Values:
    """Return φ(x) / Σ φ over the pixel's cell, (X,)."""
    top = np.full(count, -np.inf)
    np.maximum.at(top, owner, levels)
    weights = np.exp((levels - top[owner]) / divisor)
    found: Values = weights / np.bincount(owner, weights, count)[owner]
    return found


def shared(masses: Values, levels: Values, divisor: float, owner: Labels) -> Maps:
    """Return M_ν(x) φ(x) / Σ φ (paper, eq. 11)."""
    parts = shares(levels, divisor, owner, len(masses))
    return masses[owner] * parts, abs(masses)[owner] * parts


def reassigned(masses: Values, scores: Values, temperature: float, owner: Labels, prior: str) -> Maps:
    """Return the masses M̃_k of Soft IWMR (eq. 13), for prior "mass" sign by sign, and their unit."""
    importance = np.full(len(masses), -np.inf)
    np.maximum.at(importance, owner, scores)
    if prior == "area":
        areas = np.bincount(owner, minlength=len(masses)).astype(float)
        portions = _portions(areas, importance, temperature)
        return masses.sum() * portions, abs(masses).sum() * portions
    found = np.zeros(len(masses))
    for part in (masses.clip(min=0), masses.clip(max=0)):
        if part.any():
            found += part.sum() * _portions(abs(part), importance, temperature)
    return found, abs(found)


def _portions(prior: Values, importance: Values, temperature: float) -> Values:
    levels = np.where(prior > 0, importance, -np.inf)
    weights = prior * np.exp((levels - levels.max()) / temperature)
    found: Values = weights / weights.sum()
    return found


def total(masses: Values, levels: Sequence[Values], divisor: float, owner: Labels, smooth: Values) -> Maps:
    """Return M_total · B φ / Σ B φ, each sign apart; `levels` of the positive and of the negative masses.

    Args:
        masses: (K,).
        levels: two maps (X,).
        divisor: of the levels.
        owner: (X,).
        smooth: the bilinear kernel (X, K).
    """
    areas = np.bincount(owner, minlength=len(masses))
    found, unit = np.zeros(len(owner)), np.zeros(len(owner))
    for part, own in zip((masses.clip(min=0), masses.clip(max=0)), levels, strict=True):
        if not part.any():
            continue
        densities = abs(part / areas)
        smoothed = smooth @ densities
        inside = smoothed > 0
        # Subtracted before the division, which magnifies each rounding.
        exponents = (own - own[inside].max()) / divisor
        with np.errstate(divide="ignore"):
            logs = np.log(smoothed) + exponents
        most = np.log(densities.max()) + exponents  # as the kernel is rounded
        top = logs[inside].max()
        whole = np.exp(logs - top).sum()
        found += part.sum() * np.exp(logs - top) / whole
        # Far below the best, an exponent is no more exact than its type.
        nats = np.maximum(1, (top - most) / 3)
        magnified = max(1.0, np.exp(min(most.max() - top, 300)) / whole)  # a rounding of B, by φ
        unit += abs(part.sum()) * np.exp((most - top).clip(max=300)) / whole * nats * magnified
    return found, unit


@lru_cache(maxsize=4096)
def kernel(mode: str, shape: tuple[int, ...], size: tuple[int, ...]) -> Values:
    """Return the weights (X, K) of an interpolation: products of those along each axis."""
    axes = [_KERNELS[mode](cells, length) for cells, length in zip(shape, size, strict=True)]
    columns = [
        reduce(np.multiply.outer, [axis[:, k] for axis, k in zip(axes, cell, strict=True)]).ravel()
        for cell in product(*map(range, shape))
    ]
    return np.stack(columns, axis=1)


def _centres(cells: int, length: int) -> Values:
    found: Values = (np.arange(length) + 0.5) * cells / length - 0.5
    return found


def _nearest(cells: int, length: int) -> Values:
    return np.eye(cells)[grid_labels((cells,), (length,))]


def _linear(cells: int, length: int) -> Values:
    """Hats on the cells' centres, constant beyond the outermost ones."""
    places = _centres(cells, length)
    return np.stack([np.interp(places, np.arange(cells), unit) for unit in np.eye(cells)], axis=1)


def _cubic(cells: int, length: int) -> Values:
    """Keys' kernel with a = -0.75; cells beyond the border repeat the last one."""
    weights = np.zeros((length, cells))
    for pixel, centre in enumerate(_centres(cells, length)):
        first = math.floor(centre)
        for cell in range(first - 1, first + 3):
            t = abs(centre - cell)
            near = 1.25 * t**3 - 2.25 * t**2 + 1
            far = -0.75 * (t**3 - 5 * t**2 + 8 * t - 4)
            weights[pixel, min(max(cell, 0), cells - 1)] += near if t <= 1 else far
    return weights


def _lanczos(cells: int, length: int) -> Values:
    """sinc(t) sinc(t/3), wider where the row shrinks; rows are normalised."""
    t = (np.arange(cells) - _centres(cells, length)[:, None]) / max(cells / length, 1.0)
    weights = np.where(abs(t) < 3, np.sinc(t) * np.sinc(t / 3), 0.0)
    found: Values = weights / weights.sum(1, keepdims=True)
    return found


_KERNELS = {"nearest": _nearest, "bilinear": _linear, "bicubic": _cubic, "lanczos": _lanczos}


def interpolated(densities: Values, weights: Values) -> Maps:
    """Return Σ_k w_k(x) a_k; its unit is the map's largest value, as the weights are rounded."""
    return weights @ densities, abs(densities).max() * abs(weights).sum(1)


def taper(signs: Values, shape: tuple[int, ...], size: tuple[int, ...]) -> Values:
    """Return what is 1 at cells' centres and falls to 0 towards cells of another sign, or of none, (X,).

    It is linear between the cells' centres, the middles of their sides and their corners; each of these is
    at 1 if all cells that touch it have one sign.
    """
    least = np.full([2 * cells + 1 for cells in shape], 2.0)
    most, own = -least, signs.reshape(shape)
    for start in product(range(3), repeat=len(shape)):
        place = tuple(slice(at, at + 2 * cells, 2) for at, cells in zip(start, shape, strict=True))
        least[place] = np.minimum(least[place], own)
        most[place] = np.maximum(most[place], own)
    nodes = np.where((least == most) & (least != 0), 1.0, 0.0)
    for axis, (cells, length) in enumerate(zip(shape, size, strict=True)):
        nodes = np.moveaxis(np.tensordot(_nodes(cells, length), nodes, (1, axis)), 0, axis)
    return nodes.ravel()


@lru_cache(maxsize=512)
def _nodes(cells: int, length: int) -> Values:
    places = (np.arange(length) + 0.5) * 2 * cells / length
    numbers = np.arange(2 * cells + 1)
    return np.stack([np.interp(places, numbers, unit) for unit in np.eye(2 * cells + 1)], axis=1)


def misfit(
    pixels: Values, masses: Values, levels: Values, divisor: float, owner: Labels, hats: Values, ramp: Values
) -> float:
    """Return by how much a map is not φ · taper · exp(Σ c_j b_j), with c of each sign, in parts of its cell.

    The heights c are those that fit best; that the cells' sums are right is another question (D1).

    Args:
        pixels: the map (X,).
        masses: (K,), of which the signs count.
        levels: u(s), (X,).
        divisor: of the levels.
        owner: (X,).
        hats: (X, K).
        ramp: the taper (X,).
    """
    top = np.zeros(len(masses))
    np.maximum.at(top, owner, abs(pixels))
    worst = 0.0
    for sign in (1.0, -1.0):
        inside = (masses[owner] * sign > 0) & (abs(pixels) > 0) & (ramp > 0)
        if not inside.any():
            continue
        part = abs(pixels[inside]) / top[owner[inside]]
        exponents = (levels[inside] - levels[inside].max()) / divisor
        logs = np.log(abs(pixels[inside])) - np.log(ramp[inside]) - exponents
        middle = logs.mean()
        heights = np.linalg.lstsq(part[:, None] * hats[inside], part * (logs - middle), rcond=None)[0]
        worst = max(worst, float(abs(part * (logs - middle - hats[inside] @ heights)).max()))
    return worst
