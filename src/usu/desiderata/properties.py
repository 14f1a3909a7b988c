"""One function for each desideratum: from runs of an upsampler to a verdict and its witness."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from usu.desiderata.probe import Data, Run, Subject
from usu.desiderata.report import Finding, Indices, Witness, finding, not_applicable
from usu.operators.coarse import mass_error
from usu.operators.redistribution import Negative

# D3 and D4 compare two rounded numbers, each with the error that D1's tolerance allows for.
_TWICE_ROUNDED = 2
# Base scores of D3, exact in every dtype, and unevenly spaced so that no periodic effect is missed.
_BASES = tuple(count / 64 for count in (2, 9, 15, 24, 31, 38, 45, 54))
_STEPS = tuple(2.0**-power for power in range(3, 50, 3))
_STEEPEST = 8.0
_NOUNS: dict[Data, str] = {"coarse": "coarse values", "scores": "scores"}


def _ratio(value: float, unit: float) -> float:
    return value / unit if unit else (math.inf if value else 0.0)


def mass_gap(subject: Subject, run: Run) -> tuple[float, float]:
    """Return the mean over cells of abs(Σ Ã - M_k), and the same over the mean of abs(M_k)."""
    gap, scale = mass_error(run.pixels, subject.cells, run.masses)
    return gap, _ratio(gap, scale)


def completeness(subject: Subject, runs: Sequence[Run], promised: Sequence[Tensor]) -> Finding:
    """Compare the sum of each cell with the mass that it should have."""
    gaps = [subject.cells.sum(run.pixels) - masses for run, masses in zip(runs, promised, strict=True)]
    residuals = [
        _ratio(float(gap.abs().mean()), float(run.masses.abs().mean()))
        for run, gap in zip(runs, gaps, strict=True)
    ]
    worst = int(np.argmax(residuals))

    def witness() -> Witness:
        number = int(gaps[worst].abs().argmax())
        mass = float(promised[worst].flatten()[number])
        total = mass + float(gaps[worst].flatten()[number])
        cell = subject.cell(number)
        text = f"the pixels of cell {cell} sum to {total:.6g} instead of {mass:.6g} ({runs[worst].label})"
        return Witness(text, cell, (), {"sum": total, "mass": mass})

    return finding(residuals[worst], subject.tolerance, witness)


def generalised_completeness(subject: Subject, runs: Sequence[Run]) -> Finding:
    """Compare the sum of each cell with the mass that the operator promises to it."""
    promised = [run.promised for run in runs if run.promised is not None]
    if not promised:
        return not_applicable(subject.tolerance, "no mass is promised to cells instead of their own")
    return completeness(subject, runs, promised)


def global_conservation(subject: Subject, runs: Sequence[Run]) -> Finding:
    """Compare the sum of all pixels with the sum of all masses."""
    sums = [(float(run.pixels.sum()), float(run.masses.sum())) for run in runs]
    units = [float(run.masses.abs().sum()) for run in runs]
    residuals = [_ratio(abs(got - mass), unit) for (got, mass), unit in zip(sums, units, strict=True)]
    worst = int(np.argmax(residuals))

    def witness() -> Witness:
        got, mass = sums[worst]
        text = f"all pixels sum to {got:.6g} instead of {mass:.6g} ({runs[worst].label})"
        return Witness(text, None, (), {"sum": got, "mass": mass})

    return finding(residuals[worst], subject.tolerance, witness)


def monotonicity(subject: Subject, runs: Sequence[Run], negative: Negative = "same") -> Finding:
    """Look in each cell for a pixel that is exceeded by one of no better score.

    Cells of negative mass count only if `negative` is "opposite", which keeps their order.
    """
    # Sorting is expensive, and the runs share few score maps.
    distinct = {id(run.scores): run.scores for run in runs}
    orders = {key: _ordered(subject, scores) for key, scores in distinct.items()}
    inversions = [_worst_inversion(subject, run, orders[id(run.scores)], negative) for run in runs]
    worst = max(range(len(runs)), key=lambda index: inversions[index][0])
    residual, group = inversions[worst]

    def witness() -> Witness:
        run = runs[worst]
        better, worse = _inverted_pair(subject, run, orders[id(run.scores)].first[group])
        pixels = subject.pixel(better), subject.pixel(worse)
        cell = subject.cell(int(subject.owner.flatten()[better]))
        scores = [float(run.scores.flatten()[index]) for index in (better, worse)]
        values = [float(run.pixels.flatten()[index]) for index in (better, worse)]
        text = (
            f"in cell {cell} pixel {pixels[0]} with score {scores[0]:.4g} gets {values[0]:.6g}, but pixel "
            f"{pixels[1]} with score {scores[1]:.4g} gets {values[1]:.6g} ({run.label})"
        )
        names = ("score_better", "score_worse", "value_better", "value_worse")
        return Witness(text, cell, pixels, dict(zip(names, scores + values, strict=True)))

    return finding(residual, subject.tolerance, witness)


@dataclass(frozen=True, eq=False)
class _Order:
    """The pixels sorted by cell, then by score; pixels of one cell and one score form a group.

    Attributes:
        pixels: (H·W,), pixel numbers.
        starts: (G,), where the groups start among them.
        first: (G,), a pixel of each group.
        cells: (G,), the cell of each group, ascending.
        bounds: (K + 1,), where the cells start among the groups.
    """

    pixels: Indices
    starts: Indices
    first: Indices
    cells: Indices
    bounds: Indices


def _ordered(subject: Subject, scores: Tensor) -> _Order:
    levels = scores.flatten().to(torch.float64).numpy()
    # NumPy sorts short integers by counting, which is far cheaper than a second sort of floats.
    owner = subject.owner.flatten().numpy().astype(np.min_scalar_type(subject.count))
    by_score = levels.argsort()
    pixels = by_score[owner[by_score].argsort(kind="stable")]
    cells, levels = owner[pixels], levels[pixels]
    starts = np.flatnonzero(np.r_[True, (cells[1:] != cells[:-1]) | (levels[1:] != levels[:-1])])
    groups = cells[starts].astype(np.int64)
    bounds = np.searchsorted(groups, np.arange(subject.count + 1))
    return _Order(pixels, starts, pixels[starts], groups, bounds)


def _worst_inversion(subject: Subject, run: Run, order: _Order, negative: Negative) -> tuple[float, int]:
    """Return the largest relative inversion, and the group whose smallest value it is."""
    values = run.pixels.flatten().numpy()[order.pixels]
    smallest = np.minimum.reduceat(values, order.starts)
    # A value that exceeds one in the same or a later group of its cell contradicts the scores.
    leader = np.maximum.reduceat(values, order.starts)
    for start, end in itertools.pairwise(order.bounds.tolist()):
        np.maximum.accumulate(leader[start:end], out=leader[start:end])
    masses = run.masses if run.promised is None else run.promised
    counted = masses >= (0 if negative == "same" else -math.inf)
    unit = torch.where(counted, subject.scale(run), math.inf).flatten().numpy()
    relative = (leader - smallest) / unit[order.cells]
    worst = int(relative.argmax())
    return float(relative[worst]), worst


def _inverted_pair(subject: Subject, run: Run, member: int) -> tuple[int, int]:
    """Return the pixel with too little in the group of `member`, and the one with too much."""
    cells, scores, values = (
        tensor.flatten().to(torch.float64).numpy() for tensor in (subject.owner, run.scores, run.pixels)
    )
    mates = cells == cells[member]
    better = np.where(mates & (scores == scores[member]), values, math.inf).argmin()
    worse = np.where(mates & (scores <= scores[member]), values, -math.inf).argmax()
    return int(better), int(worse)


def conditioning(subject: Subject, runs: Sequence[Run]) -> Finding:
    """Compare the ratio of two pixels' values, with scores a fixed step apart, at several base scores.

    Half of one cell is at the base score, the other half a step above it; scores outside it are always 0. The
    step is the largest one that keeps every ratio below e^8, so that neither value is lost to rounding.
    """
    tolerance = _TWICE_ROUNDED * subject.tolerance
    scale = subject.cells.spread(subject.scale(runs[0]))
    if all(float(((run.pixels - runs[0].pixels).abs() / scale).max()) <= tolerance for run in runs[1:3]):
        return not_applicable(tolerance, "the result does not depend on the scores")
    shared = subject.areas.flatten() > 1
    if not bool(shared.any()):
        return not_applicable(tolerance, "no cell has two pixels to compare")
    coarse = subject.random_coarse()
    cell = int(torch.where(shared, subject.masses(coarse).flatten(), -math.inf).argmax())
    finest = torch.finfo(subject.scores.dtype).eps
    for step in (step for step in _STEPS if step >= finest):
        values = _step_values(subject, coarse, cell, step)
        if values is not None:
            return _constancy(subject, cell, step, values, tolerance)
    return not_applicable(tolerance, "no step of the score leaves two positive values to compare")


def _step_values(subject: Subject, coarse: Tensor, cell: int, step: float) -> Tensor | None:
    """Return the values of the upper and the lower pixel at each base score; None if a ratio is too steep."""
    members = subject.members(cell)
    upper = members[: len(members) // 2]
    pair = torch.stack([upper[len(upper) // 2], members[-1]])
    values = []
    for base in _BASES:
        scores = torch.zeros_like(subject.scores).flatten()
        scores[members] = base
        scores[upper] = base + step
        found = subject.run(coarse, scores.reshape(subject.scores.shape)).pixels.flatten()[pair]
        if float(found.min()) < subject.smallest or abs(float(found.log().diff())) > _STEEPEST:
            return None
        values.append(found)
    return torch.stack(values)


def _constancy(subject: Subject, cell: int, step: float, values: Tensor, tolerance: float) -> Finding:
    strengths = values[:, 0].log() - values[:, 1].log()
    weakest, strongest = int(strengths.argmin()), int(strengths.argmax())

    def witness() -> Witness:
        ratios = [float(strengths[index].exp()) for index in (weakest, strongest)]
        bases = [_BASES[index] for index in (weakest, strongest)]
        text = (
            f"in cell {subject.cell(cell)} a score higher by {step:g} means {ratios[0]:.6g} times the value "
            f"at score {bases[0]:.4g}, but {ratios[1]:.6g} times at {bases[1]:.4g}"
        )
        names = ("ratio_weakest", "ratio_strongest", "score_weakest", "score_strongest")
        numbers = {"step": step, **dict(zip(names, ratios + bases, strict=True))}
        return Witness(text, subject.cell(cell), (), numbers)

    return finding(float(strengths.max() - strengths.min()), tolerance, witness)


@dataclass(frozen=True)
class _Change:
    """New data everywhere outside one cell, and its effect on the cell's pixel that changed most."""

    base: Run
    after: Run
    cell: int
    data: Data
    new: Tensor
    pixel: int
    residual: float


def locality(subject: Subject, runs: Sequence[Run]) -> dict[str, Finding]:
    """Change data outside a cell and look inside: values must not change (D4), or keep their ratios (D4')."""
    tolerance = _TWICE_ROUNDED * subject.tolerance
    if subject.count == 1:
        alone = not_applicable(tolerance, "there is one cell only")
        return {"D4": alone, "D4'": alone}
    base = next((run for run in runs if bool(run.masses.any())), runs[0])
    new: dict[Data, Tensor] = {"coarse": 2 * subject.random_coarse(), "scores": subject.random_scores()}
    strict: list[_Change] = []
    semi: list[_Change] = []
    units = subject.scale(base).flatten()
    for cell in subject.telling_cells(base):
        others = torch.arange(subject.count, device="cpu") != cell
        members = subject.members(cell)
        before = base.pixels.flatten()[members]
        for data, values in new.items():
            after = subject.change(base, others, data, values)
            inside = after.pixels.flatten()[members]
            measures = (inside - before).abs() / units[cell], _distortions(subject, base, before, inside)
            for changes, moves in zip((strict, semi), measures, strict=True):
                most = int(moves.argmax())
                pixel = int(members[most])
                changes.append(_Change(base, after, cell, data, values, pixel, float(moves[most])))
    worst, worst_semi = (max(changes, key=lambda change: change.residual) for changes in (strict, semi))
    return {
        "D4": finding(worst.residual, tolerance, lambda: _intruder(subject, worst, tolerance)),
        "D4'": finding(worst_semi.residual, tolerance, lambda: _distorted_pair(subject, worst_semi)),
    }


def _distortions(subject: Subject, base: Run, before: Tensor, after: Tensor) -> Tensor:
    """Return what remains of a cell's change after its larger values are scaled to fit its smaller ones."""
    small, large = sorted((before, after), key=lambda values: float(values.norm()))
    square = float(large.square().sum())
    factor = float((small * large).sum()) / square if square else 0.0
    density = float(base.masses.abs().sum() / subject.areas.sum())
    unit = max(float(small.abs().max()), density, float(torch.finfo(torch.float64).tiny))
    return (small - factor * large).abs() / unit


def _intruder(subject: Subject, change: _Change, tolerance: float) -> Witness:
    """Halve the set of changed cells as long as one half alone changes the pixel."""
    suspects = [cell for cell in range(subject.count) if cell != change.cell]
    before = float(change.base.pixels.flatten()[change.pixel])
    least = tolerance * float(subject.scale(change.base).flatten()[change.cell])
    run = change.after
    while len(suspects) > 1:
        halves = suspects[: len(suspects) // 2], suspects[len(suspects) // 2 :]
        trials = []
        for half in halves:
            where = torch.zeros(subject.count, dtype=torch.bool, device="cpu")
            where[half] = True
            trials.append(subject.change(change.base, where, change.data, change.new))
        moves = [abs(float(trial.pixels.flatten()[change.pixel]) - before) for trial in trials]
        best = int(np.argmax(moves))
        if moves[best] <= least:
            break
        suspects, run = halves[best], trials[best]
    return _describe(subject, change, suspects, run)


def _describe(subject: Subject, change: _Change, suspects: Sequence[int], run: Run) -> Witness:
    cell, pixel = subject.cell(change.cell), subject.pixel(change.pixel)
    before, after = (float(item.pixels.flatten()[change.pixel]) for item in (change.base, run))
    numbers = {"before": before, "after": after}
    if len(suspects) > 1:
        cause = f"the {_NOUNS[change.data]} of {len(suspects)} other cells change"
    elif change.data == "scores":
        cause = f"only the scores in cell {subject.cell(suspects[0])} change"
    else:
        values = [float(item.coarse.flatten()[suspects[0]]) for item in (change.base, run)]
        numbers |= {"coarse_before": values[0], "coarse_after": values[1]}
        outside = subject.cell(suspects[0])
        cause = f"only the coarse value of cell {outside} goes from {values[0]:.6g} to {values[1]:.6g}"
    text = f"pixel {pixel} of cell {cell} goes from {before:.6g} to {after:.6g} when {cause}"
    return Witness(text, cell, (pixel,), numbers)


def _distorted_pair(subject: Subject, change: _Change) -> Witness:
    inside = (subject.owner == change.cell).flatten()
    before, after = (run.pixels.flatten() for run in (change.base, change.after))
    reference = int(torch.where(inside, before.abs(), -1.0).argmax())
    pixels = subject.pixel(change.pixel), subject.pixel(reference)
    values = [float(run[index]) for index in (change.pixel, reference) for run in (before, after)]
    text = (
        f"when the {_NOUNS[change.data]} outside cell {subject.cell(change.cell)} change, its pixel "
        f"{pixels[0]} goes from {values[0]:.6g} to {values[1]:.6g}, but pixel {pixels[1]} "
        f"from {values[2]:.6g} to {values[3]:.6g}"
    )
    names = ("before", "after", "reference_before", "reference_after")
    return Witness(text, subject.cell(change.cell), pixels, dict(zip(names, values, strict=True)))
