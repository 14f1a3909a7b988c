"""The slow version: each formula as a plain loop over pixels and cells, in Python's float64.

Everything is a flat list in row-major order: `labels[x]` is the cell of pixel x, `scores[x]` its score, and
`masses[k]` the mass of cell k. That makes one loop serve signals, images, volumes and superpixels alike.
"""

import math
from fractions import Fraction
from itertools import product


def cell(pixel, cells, size):
    """Give the cell that contains the centre of `pixel`, when `cells` cells cover `size` pixels."""
    return math.floor((pixel + Fraction(1, 2)) * Fraction(cells, size))


def grid_labels(shape, size):
    """Give the cell of every pixel, for a grid of `shape` cells over `size` pixels of any dimension."""
    along = [
        [cell(pixel, cells, length) for pixel in range(length)]
        for cells, length in zip(shape, size, strict=True)
    ]
    labels = []
    for places in product(*along):
        label = 0
        for place, cells in zip(places, shape, strict=True):
            label = label * cells + place
        labels.append(label)
    return labels


def pixel_scores(scores, segments):
    """Φ(x) = s(σ(x)), equation 15."""
    return [scores[segment] for segment in segments]


def log_potential(score, temperature, potential):
    """Give log φ(s) as a pair (u, ε) with φ = exp(u / ε); a score for which φ = 0 is taken as 1e-300."""
    if potential == "exponential":
        return score - 0.5, temperature
    if potential == "power":
        return math.log(max(score, 1e-300)), temperature
    if potential == "log-odds":
        return math.log(max(score, 1e-300)) - math.log(max(1 - score, 1e-300)), temperature
    return math.log(potential(score)), 1.0


def members(labels, cells):
    """Give N_k for every cell: the list of its pixels."""
    neighbourhoods = [[] for _ in range(cells)]
    for pixel, label in enumerate(labels):
        neighbourhoods[label].append(pixel)
    return neighbourhoods


def cell_masses(coarse, labels, mass="density"):
    """M_k = a_k · |N_k| for a density (equation 1), a_k for totals."""
    areas = [len(pixels) for pixels in members(labels, len(coarse))]
    return [value * area if mass == "density" else value for value, area in zip(coarse, areas, strict=True)]


def share(masses, scores, labels, temperature, potential, flipped=()):
    """Ã(x) = M_ν(x) φ(s(x)) / Σ_{y ∈ N_ν(x)} φ(s(y)), equation 11; cells in `flipped` take φ(1 - s)."""
    result = [math.nan] * len(labels)
    for k, pixels in enumerate(members(labels, len(masses))):
        levels = {}
        for pixel in pixels:
            score = 1 - scores[pixel] if k in flipped else scores[pixel]
            levels[pixel], divisor = log_potential(score, temperature, potential)
        best = max(levels.values())
        weights = {pixel: math.exp((level - best) / divisor) for pixel, level in levels.items()}
        total = math.fsum(weights.values())
        for pixel in pixels:
            result[pixel] = masses[k] * (weights[pixel] / total)
    return result


def redistribute(
    coarse, scores, labels, *, temperature=0.1, potential="exponential", mass="density", negative="same"
):
    """USU, equations 8 to 11."""
    masses = cell_masses(coarse, labels, mass)
    flipped = {k for k, value in enumerate(masses) if value < 0} if negative == "opposite" else ()
    return share(masses, scores, labels, temperature, potential, flipped)


def importance_masses(masses, scores, labels, temperature, prior="area"):
    """M̃_k = (Σ M_j) Λ(λ_k) prior_k / Σ Λ(λ_j) prior_j, equation 13; for prior "mass" sign by sign."""
    cells = members(labels, len(masses))
    importances = [max(scores[pixel] for pixel in pixels) for pixels in cells]
    result = [0.0] * len(masses)
    for sign in (1, -1) if prior == "mass" else (0,):
        chosen = [k for k, value in enumerate(masses) if value * sign > 0 or sign == 0]
        if not chosen:
            continue
        best = max(importances[k] for k in chosen)
        weights = {}
        for k in chosen:
            evidence = abs(masses[k]) if prior == "mass" else len(cells[k])
            weights[k] = evidence * math.exp((importances[k] - best) / temperature)
        total = math.fsum(masses[k] for k in chosen)
        for k in chosen:
            result[k] = total * weights[k] / math.fsum(weights.values())
    return result


def iwmr(
    coarse,
    scores,
    labels,
    *,
    temperature=0.1,
    importance_temperature=None,
    prior="area",
    potential="exponential",
    mass="density",
):
    """Soft IWMR, equations 13 and 14."""
    masses = cell_masses(coarse, labels, mass)
    reassigned = importance_masses(masses, scores, labels, importance_temperature or temperature, prior)
    return share(reassigned, scores, labels, temperature, potential)


def nearest(coarse, shape, size):
    """Every pixel takes the value of the cell that contains its centre."""
    return [coarse[label] for label in grid_labels(shape, size)]


def lanczos_kernel(offset):
    """sinc(t) sinc(t / 3) for |t| < 3, with sinc(t) = sin(πt) / (πt)."""
    if offset == 0:
        return 1.0
    if abs(offset) >= 3:
        return 0.0
    return 3 * math.sin(math.pi * offset) * math.sin(math.pi * offset / 3) / (math.pi * offset) ** 2


def lanczos(row, length):
    """Resample one row with Lanczos-3; the kernel widens where the row shrinks, edges renormalise."""
    step = len(row) / length
    stretch = max(step, 1.0)
    result = []
    for pixel in range(length):
        centre = (pixel + 0.5) * step - 0.5
        weights = [lanczos_kernel((position - centre) / stretch) for position in range(len(row))]
        products = [weight * value for weight, value in zip(weights, row, strict=True)]
        result.append(math.fsum(products) / math.fsum(weights))
    return result
