"""The paper's desiderata (D1)-(D4), and continuity (D5), measured on any upsampler as a black box.

Each verdict compares one residual with one tolerance. All are relative, measured in float64:

| name   | residual                                                                                         |
|--------|--------------------------------------------------------------------------------------------------|
| D1     | mean over cells of abs(Σ Ã - M_k), over the mean of abs(M_k)                                      |
| D2     | largest Ã(y) - Ã(x) in one cell with s(x) >= s(y) and M_k >= 0; of any sign with "opposite"       |
| D3     | largest difference of log(Ã(x) / Ã(y)) between base scores, for one fixed s(x) - s(y)             |
| D4     | largest change of a pixel's value when only data outside its cell changes                        |
| D5     | largest step over a cell's border beyond twice the steps inside, where scores are equal           |
| D1-G   | as D1, with the mass M̃_k that the operator promises instead of M_k (eq. 13 for Soft IWMR)         |
| D4'    | as D4, after the cell's values are rescaled by one common factor                                 |
| global | abs(Σ Ã - Σ M_k), over Σ abs(M_k)                                                                 |

D2, D4, D4' and D5 are relative to the largest magnitude in the cell, or the map's mean density if larger.
Tolerances follow the least precise of the dtypes of map and result: 1e-12 for float64, 1e-6 for float32,
2e-3 for float16 and 1.6e-2 for bfloat16; twice as much for D3 and D4, which compare two rounded numbers.

D1, D2, D1-G and global are measured on the given map with the given, the reversed and random scores, and on a
random positive map; D4 and D4' in up to five cells, by new values and by new scores everywhere outside. D5 is
ours, not the paper's: on both maps, with equal scores and with scores that differ inside cells only.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from usu.arrays.convert import Array, as_floats, as_labels, check_finite
from usu.desiderata.continuity import continuity
from usu.desiderata.probe import Subject
from usu.desiderata.properties import (
    completeness,
    conditioning,
    generalised_completeness,
    global_conservation,
    locality,
    mass_gap,
    monotonicity,
)
from usu.desiderata.report import DESIDERATA, DesiderataReport
from usu.operators.arguments import gather
from usu.operators.lattice import lattice_size
from usu.operators.redistribution import Negative
from usu.operators.registry import UPSAMPLERS
from usu.operators.setting import Setting, Upsampler
from usu.operators.upsamplers import find_upsampler


def check_desiderata(
    upsampler: str | Upsampler,
    coarse: Array,
    scores: Array | None = None,
    segments: Array | None = None,
    *,
    size: tuple[int, ...] | None = None,
    seed: int = 0,
    **setting: Any,
) -> DesiderataReport:
    """Measure which of the paper's desiderata an upsampler meets (table 2), and whether it is continuous.

    Args:
        upsampler: a name of `usu.UPSAMPLERS`; or any callable from a coarse map of densities and a
            dense score map (H, W) to a pixel map (H, W) of densities, which may ignore the scores. It gets
            copies, of the kind, device and dtype of `coarse` and `scores`, and is called about fifty times.
        coarse: one map (gh, gw), or (K,) with `neighbourhoods`.
        scores: (P,) with `segments`, or dense (H, W), in [0, 1]; random ones over `size` if None.
        segments: (H, W) integer labels 0..P-1.
        size: (H, W), if `scores` is None.
        seed: of the probes.
        **setting: neighbourhoods, temperature, importance_temperature, potential, mass and negative, as for
            `usu.find_upsampler`. With negative="opposite", which keeps the order of pixels in cells of
            negative mass, D2 includes those cells, for "usu" and a callable.

    Returns:
        A mapping from each name in `DESIDERATA` to a `Finding`. Not applicable are D3 if the result does not
        depend on the scores, D4 and D4' if there is one cell, D5 if no two cells of 4 × 4 pixels meet, and
        D1-G if no mass is promised.

    Raises:
        ValueError: data that do not fit, an unknown name, a result that is not finite or of another size.
        TypeError: an argument or a result of the wrong kind.

    >>> report = check_desiderata("bilinear", [[1.0, 3.0], [0.0, 2.0]], size=(8, 8))
    >>> report["D1"].verdict, report["D3"].verdict
    ('violated', 'not applicable')
    >>> print(report["D1"].witness.text)
    the pixels of cell (0, 1) sum to 42 instead of 48 (the given map, the given scores)
    """
    bound, given = find_upsampler(upsampler, **setting), Setting(**setting)
    values = check_finite(as_floats(coarse, "coarse").detach(), "coarse")
    if given.neighbourhoods is not None:
        size = tuple(as_labels(given.neighbourhoods, "neighbourhoods").shape)
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise TypeError(f"seed must be an integer, got {type(seed).__name__}")
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed must lie in 0..2**32-1, got {seed!r}")
    levels = _dense_scores(scores, segments, size, seed)
    if not isinstance(coarse, Tensor) and levels.dtype == torch.bfloat16:
        levels = levels.to(torch.float32)  # NumPy has no such type
    if isinstance(upsampler, str):
        name, budget = upsampler, UPSAMPLERS[upsampler].budget
    else:
        name, budget = getattr(upsampler, "__name__", repr(upsampler)), None
    # The other built-in upsamplers have no other order of pixels in cells of negative mass.
    ordered = upsampler in ("usu", "usu-continuous", "total-conserving") or not isinstance(upsampler, str)
    negative: Negative = given.negative if ordered else "same"
    subject = Subject(bound, coarse, values, levels, given.neighbourhoods, given.mass, seed)
    with _threads_for(levels.numel()):
        runs = subject.probe(budget, given)
        findings = {
            "D1": completeness(subject, runs, [run.masses for run in runs]),
            "D2": monotonicity(subject, runs, negative),
            "D3": conditioning(subject, runs),
            **locality(subject, runs),
            "D5": continuity(subject),
            "D1-G": generalised_completeness(subject, runs),
            "global": global_conservation(subject, runs),
        }
    absolute, relative = mass_gap(subject, runs[0])
    return DesiderataReport(
        upsampler=name,
        findings=MappingProxyType({name: findings[name] for name in DESIDERATA}),
        d1_error=absolute,
        d1_relative=relative,
        calls=subject.calls,
    )


@contextmanager
def _threads_for(pixels: int) -> Iterator[None]:
    """Give torch one thread per million pixels: on small maps, more threads only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(min(threads, 1 + pixels // 2**20))
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _dense_scores(
    scores: Array | None, segments: Array | None, size: tuple[int, ...] | None, seed: int
) -> Tensor:
    """Return the score map (H, W) on the CPU, random if none is given."""
    if size is not None:
        size = _check_size(size)
    if scores is None:
        if size is None:
            raise ValueError("size must be given if scores are None")
        return torch.rand(size, generator=torch.Generator().manual_seed(seed + 1), device="cpu")
    levels = check_finite(as_floats(scores, "scores").detach().cpu(), "scores")
    lowest, highest = (float(bound) for bound in levels.aminmax())
    if lowest < 0 or highest > 1:
        raise ValueError(f"scores must lie in [0, 1], got [{lowest:g}, {highest:g}]")
    if segments is not None:
        if levels.dim() != 1:
            raise ValueError(f"scores must be (P,) with segments, got shape {tuple(levels.shape)}")
        labels = as_labels(segments, "segments").cpu()
        lattice_size(labels, 2, "segments")
        levels = gather(levels, labels, 2)
    if levels.dim() != 2 or size not in (None, tuple(levels.shape)):
        wanted = "one map (H, W)" if size is None else f"one map over {size} pixels"
        raise ValueError(f"scores must give {wanted}, got {tuple(levels.shape)}; check one map at a time")
    return levels


def _check_size(size: tuple[int, ...]) -> tuple[int, ...]:
    try:
        shape = tuple(operator.index(length) for length in size)
    except TypeError:
        raise TypeError(f"size must be two integers (H, W), got {size!r}") from None
    if len(shape) != 2 or min(shape) < 1:
        raise ValueError(f"size must be two positive integers (H, W), got {shape}")
    return shape
