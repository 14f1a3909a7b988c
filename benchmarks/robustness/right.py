"""Random right calls of the operators against a float64 reference, and the worst residual of each guarantee.

    python -m benchmarks.robustness.right --calls 1000000 --seed 0 --out right.jsonl

Shapes, dtypes, kinds (NumPy, torch), batches, potentials, temperatures from 1e-4 to 1e4 and masses from 1e-30
to 1e30 are drawn (`problems`); the reference is `references`. Residuals are relative and summed in float64:

| name  | residual                                                                                         |
|-------|--------------------------------------------------------------------------------------------------|
| D1    | largest abs(Σ Ã - M_k) of a cell, over abs(M_k), where each cell's mass is promised               |
| D1-G  | the same with the mass M̃_k that soft IWMR promises, in parts of what it is summed from            |
| total | abs(Σ Ã - Σ M_k) over Σ abs(M_k)                                                                  |
| D2    | by how much a pixel is below one of no better score in its cell, in parts of the cell's largest   |
| D3    | error of log(Ã(x) / Ã(y)) against (u(x) - u(y)) / ε; of pixels within e^-10 of the cell's largest |
| D4    | change of a pixel's value when all other cells change, in parts of the cell's largest             |
| D5    | largest step over a cell's border beyond twice those inside; equal scores, masses of one decade   |
| value | distance from the reference, in parts of the cell's largest                                       |
| form  | distance of a continuous map from φ times a factor of the promised form, in parts of the same     |

What a pixel can lose because its type has no smaller numbers is not counted.

* "value" of interpolation, and of total-conserving maps before φ, is in parts of the largest of the map.
* With "power" and "log-odds" the residuals of D2, D3, value and form are divided by
  max(1, max abs(u) / (1000 ε)), since a rounding of the logarithm u is magnified by 1 / ε; that of form with
  all potentials, since its factor is sought in the logarithm.
* In total-conserving maps "value" is divided by a third of the nats below the best weight, beyond 3 nats, and
  by how much φ magnifies a rounding of the bilinear map's largest value.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from typing import Any

import numpy as np
import torch

from benchmarks.robustness.blocks import blocks, options_of
from benchmarks.robustness.problems import DTYPES, INTERPOLATIONS, Problem, Random, draw, draw_even, plain
from benchmarks.robustness.references import (
    Maps,
    Values,
    interpolated,
    kernel,
    misfit,
    reassigned,
    shared,
    taper,
    total,
)

TOLERANCES = {"float16": 2e-3, "bfloat16": 1.6e-2, "float32": 1e-6, "float64": 1e-12}
GUARANTEES = ("D1", "D1-G", "total", "D2", "D3", "D4", "D5", "value", "form")
# D3 and D4 compare two rounded numbers; the search for a factor ends a little before its type does.
TIMES = {"D3": 2, "D4": 2, "form": 5}
_STEEPER = 2.0
Found = dict[str, float]


def tolerance(guarantee: str, dtype: str) -> float:
    """Return the largest residual that a guarantee allows."""
    return TOLERANCES[dtype] * TIMES.get(guarantee, 1)


def residuals(number: int, seed: int) -> tuple[Problem, Found, bool]:
    """Make one right call; return its problem, its residuals, and whether usu warned of no factor."""
    random = np.random.default_rng([seed, number])
    even = random.random() < 0.1
    problem = draw_even(random) if even else draw(random)
    before = [plain(part).copy() for part in (problem.coarse, problem.scores)]
    pixels, told = _solved(problem)
    for name, part, kept in zip(("coarse", "scores"), (problem.coarse, problem.scores), before, strict=True):
        if not np.array_equal(plain(part), kept):
            raise AssertionError(f"{name} was changed")
    _check_kind(problem, pixels)
    found: Found = {}
    maps = problem.maps()
    flat = plain(pixels).reshape(len(maps), -1)
    for (coarse, scores), values in zip(maps, flat, strict=True):
        for name, residual in _of_map(problem, coarse, scores, values, told).items():
            if math.isnan(residual):
                raise AssertionError(f"{name} cannot be measured")
            found[name] = max(found.get(name, 0.0), residual)
    if even and not told:
        found["D5"] = jump(problem, flat[0])
    if problem.name in ("usu", "nearest") and not problem.continuous and problem.count > 1:
        found["D4"] = locality(problem, maps, flat, random)
    return problem, found, told


def _solved(problem: Problem) -> tuple[Any, bool]:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        pixels = problem.solve()
    told = ["no continuous factor was found" in str(one.message) for one in seen]
    if not all(told):
        raise AssertionError(f"it warned: {seen[told.index(False)].message}")
    return pixels, any(told)


def _check_kind(problem: Problem, pixels: Any) -> None:
    """Raise AssertionError unless a result is of the kind, dtype and shape that are promised."""
    ndim = len(problem.size)
    batches = problem.coarse.shape[: -len(problem.shape)], problem.scores.shape[: problem.scores.ndim - ndim]
    if problem.segments is not None:
        batches = batches[0], problem.scores.shape[:-1]
    if problem.name in INTERPOLATIONS:
        batches = batches[:1]  # scores give the size alone
    wanted = (*np.broadcast_shapes(*map(tuple, batches)), *problem.size)
    if type(pixels) is not type(problem.coarse) or pixels.dtype != problem.coarse.dtype:
        raise AssertionError(f"the result is {type(pixels).__name__} of {pixels.dtype}")
    if tuple(pixels.shape) != wanted:
        raise AssertionError(f"the result has shape {tuple(pixels.shape)}, not {wanted}")
    if not np.isfinite(plain(pixels)).all():
        raise AssertionError("the result is not finite")


def _of_map(problem: Problem, coarse: Values, scores: Values, pixels: Values, told: bool) -> Found:
    """Return the residuals of one map of a batch."""
    owner, count, setting = problem.owner, problem.count, problem.setting
    masses = problem.masses(coarse)
    promised, unit = masses, abs(masses)
    soft = problem.name in ("iwmr", "hybrid")
    if soft:
        between = setting["importance_temperature"] or setting["temperature"]
        prior = "area" if problem.name == "iwmr" else "mass"
        promised, unit = reassigned(masses, scores, between, owner, prior)
    flipped = setting["negative"] == "opposite" and not soft and problem.name != "nearest"
    levels, divisor = _levels(problem, scores, (promised < 0)[owner] if flipped else None)
    least = _least(problem)
    sums, areas = np.bincount(owner, pixels, count), np.bincount(owner, minlength=count)
    found: Found = {}
    if problem.name in ("usu", "usu-continuous", "nearest", "conserving", "iwmr", "hybrid"):
        gaps = abs(sums - promised) / np.maximum(unit, areas * least)
        found["D1-G" if soft else "D1"] = float(gaps.max())
    if soft or problem.name == "total-conserving":
        whole = max(abs(masses).sum(), len(pixels) * least)
        found["total"] = float(abs(pixels.sum() - masses.sum()) / whole)
    magnified = _magnified(problem, levels, divisor)
    if problem.continuous and not told:
        ramp = taper(np.sign(promised), problem.shape, problem.size)
        hats = kernel("bilinear", problem.shape, problem.size)
        counted = np.where(abs(pixels) > least, pixels, 0.0)
        found["form"] = misfit(counted, promised, levels, divisor, owner, hats, ramp) / magnified
        return found
    promising = problem.name != "total-conserving"  # of single cells
    expected, terms = _expected(problem, coarse, promised, unit, levels, divisor, scores)
    found["value"] = _farthest(pixels, expected, terms, owner, count, least, not promising) / magnified
    if problem.name in ("usu", "iwmr", "hybrid"):
        if isinstance(setting["potential"], str):
            found["D2"] = disorder(pixels, scores, promised, problem, least) / magnified
        found["D3"] = conditioning(pixels, levels, divisor, problem) / magnified
    return found


def _levels(problem: Problem, scores: Values, flipped: Any) -> tuple[Values, float]:
    return problem.levels(scores if flipped is None else np.where(flipped, 1 - scores, scores))


def _magnified(problem: Problem, levels: Values, divisor: float) -> float:
    """Return by how much more a rounding of u counts than one of the weights, for logarithms."""
    if problem.setting["potential"] not in ("power", "log-odds") and not problem.continuous:
        return 1.0
    return max(1.0, float(abs(levels).max()) / (1000 * divisor))


def _least(problem: Problem) -> float:
    """Return what a pixel can lose because the types of map and working have no smaller numbers, in parts."""
    smallest = {"float16": 6e-8, "float64": 2.3e-308}.get(problem.dtype, 1.2e-38)
    return smallest / TOLERANCES[problem.narrow]


def _expected(
    problem: Problem,
    coarse: Values,
    promised: Values,
    unit: Values,
    levels: Values,
    divisor: float,
    scores: Values,
) -> Maps:
    owner = problem.owner
    if problem.name in INTERPOLATIONS and problem.name != "conserving":
        densities = promised / np.bincount(owner, minlength=problem.count)
        if problem.regions:
            return densities[owner], abs(densities)[owner]
        return interpolated(densities, kernel(problem.name, problem.shape, problem.size))
    if problem.name == "total-conserving":
        opposite = problem.setting["negative"] == "opposite"
        plain_levels, _ = problem.levels(scores)
        turned, _ = problem.levels(1 - scores if opposite else scores)
        smooth = kernel("bilinear", problem.shape, problem.size)
        return total(promised, (plain_levels, turned), divisor, owner, smooth)
    pixels, _ = shared(promised, levels, divisor, owner)
    return pixels, shared(unit, levels, divisor, owner)[0]


def _farthest(
    pixels: Values, expected: Values, terms: Values, owner: Any, count: int, least: float, whole: bool
) -> float:
    """Return the largest distance from the reference, in parts of the largest of the cell's terms."""
    top = np.zeros(count)
    np.maximum.at(top, owner, terms)
    floor = max(least, least * abs(expected).max() if whole else 0.0)
    return float((abs(pixels - expected) / np.maximum(top, floor)[owner]).max())


def disorder(pixels: Values, scores: Values, masses: Values, problem: Problem, least: float) -> float:
    """Return by how much a pixel lies below one of no better score in its cell, in parts of the largest."""
    both = problem.setting["negative"] == "opposite" and problem.name == "usu"
    worst = 0.0
    for cell in range(problem.count):
        if masses[cell] < 0 and not both:
            continue
        inside = np.flatnonzero(problem.owner == cell)
        values = pixels[inside][np.lexsort((-pixels[inside], scores[inside]))]
        drop = (np.maximum.accumulate(values) - values).max()
        worst = max(worst, float(drop / max(abs(values).max(), least)))
    return worst


def conditioning(pixels: Values, levels: Values, divisor: float, problem: Problem) -> float:
    """Return the largest error of a log-ratio in a cell, among pixels that are large enough to have one."""
    owner, count = problem.owner, problem.count
    top, best = np.zeros(count), np.full(count, -np.inf)
    np.maximum.at(top, owner, abs(pixels))
    np.maximum.at(best, owner, levels)
    ideal = (levels - best[owner]) / divisor
    normal = max(float(torch.finfo(DTYPES[problem.dtype]).tiny), 1.2e-38 * 1e8)
    large = (ideal > -10) & (abs(pixels) > (normal if problem.dtype != "float64" else 1e-290))
    if not large.any():
        return 0.0
    first = np.full(count, 0.0)
    np.maximum.at(first, owner[large], abs(pixels[large]))
    return float(abs(np.log(abs(pixels[large]) / first[owner[large]]) - ideal[large]).max())


def locality(problem: Problem, maps: Any, before: Values, random: Random) -> float:
    """Return the largest change of a pixel in one cell when all others change, in parts of its largest."""
    cell = int(random.integers(problem.count))
    inside = problem.owner == cell
    after = plain(_solved(problem.elsewhere(cell, random))[0]).reshape(len(before), -1)
    unit = abs(before[:, inside]).max(1, keepdims=True).clip(min=_least(problem))
    return float((abs(after[:, inside] - before[:, inside]) / unit).max())


def jump(problem: Problem, pixels: Values) -> float:
    """Return by how much a step over a border exceeds twice the steps inside its two cells, in parts."""
    values, owner = pixels.reshape(problem.size), problem.owner.reshape(problem.size)
    inside, top = np.zeros(problem.count), np.zeros(problem.count)
    np.maximum.at(top, problem.owner, abs(pixels))
    steps = []
    for axis in range(values.ndim):
        step = abs(np.diff(values, axis=axis))
        ends = [np.take(owner, np.arange(1 - at, values.shape[axis] - at), axis) for at in (1, 0)]
        same = ends[0] == ends[1]
        np.maximum.at(inside, ends[0][same], step[same])
        steps.append((step[~same], ends[0][~same], ends[1][~same]))
    worst = 0.0
    for step, one, other in steps:
        if step.size:
            unit = np.maximum(np.maximum(top[one], top[other]), _least(problem))
            excess = (step - _STEEPER * np.maximum(inside[one], inside[other])) / unit
            worst = max(worst, float(excess.max()))
    return worst


def play(first: int, calls: int, seed: int) -> dict[str, Any]:
    """Make the calls of one block; return what failed, and the worst residual of each guarantee by dtype."""
    worst: dict[str, dict[str, tuple[float, int]]] = {}
    failed: list[tuple[int, str]] = []
    told = 0
    for number in range(first, first + calls):
        try:
            problem, found, warned = residuals(number, seed)
        except Exception as error:
            failed.append((number, f"{type(error).__name__}: {error}"[:300]))
            continue
        told += warned
        over = [
            f"{name} {problem.name} {problem.narrow} {residual:.1e}"
            for name, residual in found.items()
            if not residual <= tolerance(name, problem.narrow)
        ]
        if over:
            failed.append((number, "; ".join(over)))
        for name, residual in found.items():
            own = worst.setdefault(name, {})
            if residual > own.get(problem.narrow, (-1.0, 0))[0]:
                own[problem.narrow] = (residual, number)
    return {"failed": failed, "no factor": told, "worst": worst}


def summary(rows: list[dict[str, Any]]) -> list[str]:
    """Return the table of worst residuals, with the calls that they are of, and how many were right."""
    heads = [f"{dtype} (≤ {TOLERANCES[dtype]:g})" for dtype in DTYPES]
    lines = [f"| guarantee | {' | '.join(heads)} |", "|---|" + "--:|" * len(heads)]
    for name in GUARANTEES:
        cells = []
        for dtype in DTYPES:
            known = [tuple(row["worst"][name][dtype]) for row in rows if dtype in row["worst"].get(name, {})]
            residual, number = max(known, default=(math.nan, 0))
            cells.append(f"{residual:.1e} ({number})" if known else "-")
        lines.append(
            f"| {name}{f' (≤ {TIMES[name]} times that)' if name in TIMES else ''} | {' | '.join(cells)} |"
        )
    calls, failed = sum(row["calls"] for row in rows), sum(len(row["failed"]) for row in rows)
    told, seconds = sum(row["no factor"] for row in rows), sum(row.get("seconds", 0.0) for row in rows)
    lines += ["", f"No continuous factor was found, and said so, in {told} calls."]
    lines += [f"{calls} calls in {seconds:.0f} s.", f"{calls - failed} of {calls} within the tolerance"]
    return lines


def main() -> None:
    """Make the calls, and print the table; first what failed, at most three of a kind."""
    parser = options_of(__doc__, 20_000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.call is not None:
        problem, found, _ = residuals(options.call, options.seed)
        print(problem, found, sep="\n")
        return
    rows = blocks(
        options.calls, options.seed, options.out, lambda first, count: play(first, count, options.seed)
    )
    shown: Counter[str] = Counter()
    for number, text in (failure for row in rows for failure in row["failed"]):
        kind = " ".join(text.split()[:3])
        shown[kind] += 1
        if shown[kind] <= 3:
            print(f"call {number}: {text}")
    print("\n".join(summary(rows)))


if __name__ == "__main__":
    main()
