"""D5, continuity: with equal scores a map has no jump at a cell's border beyond its steps inside cells."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from usu.desiderata.probe import Run, Subject
from usu.desiderata.report import Finding, Witness, finding, not_applicable

# The sides of cells, in pixels, from which on steps tell a slope from a jump, and how much steeper than
# inside a border may be, since cubic kernels are steepest there.
_WIDE, _STEEPER = 4, 2.0


@dataclass(frozen=True)
class _Jump:
    """Two neighbouring pixels of two cells, and by how much their step exceeds those inside the cells."""

    run: Run
    pixels: tuple[int, int]
    inside: float
    residual: float


def continuity(subject: Subject) -> Finding:
    """Compare steps over cells' borders with the steps inside the two cells, where all scores are equal (D5).

    Scores are 0.5; in half of the runs random ones stand in the middle of cells, two pixels from any border,
    and steps inside are those near the borders.
    """
    wide = _wide(subject)
    borders = [
        pair[:, wide[subject.owner.flatten()[pair]].all(0)] for pair in _neighbours(subject.owner, False)
    ]
    pairs = torch.cat(borders, dim=1)
    if not pairs.numel():
        return not_applicable(subject.tolerance, f"no two cells of {_WIDE} × {_WIDE} pixels meet")
    even = torch.full_like(subject.scores, 0.5)
    levels = {
        "equal scores": even,
        "scores equal near borders": torch.where(_inner(subject.owner), subject.random_scores(), even),
    }
    maps = {"the given map": subject.coarse, "a random positive map": subject.random_coarse()}
    jumps = [
        _largest_jump(subject, subject.run(coarse, scores, f"{map_label}, {score_label}"), pairs)
        for map_label, coarse in maps.items()
        for score_label, scores in levels.items()
    ]
    worst = max(jumps, key=lambda jump: jump.residual)

    def witness() -> Witness:
        values = [float(worst.run.pixels.flatten()[pixel]) for pixel in worst.pixels]
        pixels = tuple(subject.pixel(pixel) for pixel in worst.pixels)
        cells = [subject.cell(int(subject.owner[pixel])) for pixel in pixels]
        text = (
            f"from {values[0]:.6g} at pixel {pixels[0]} of cell {cells[0]} to {values[1]:.6g} at pixel "
            f"{pixels[1]} of cell {cells[1]}, where steps inside are {worst.inside:.2g} at most "
            f"({worst.run.label})"
        )
        names = ("before", "after", "largest_step_inside")
        return Witness(text, cells[0], pixels, dict(zip(names, [*values, worst.inside], strict=True)))

    return finding(worst.residual, subject.tolerance, witness)


def _neighbours(owner: Tensor, same: bool) -> list[Tensor]:
    """Return the numbers of neighbouring pixels (2, n), along each axis, of one cell or of two."""
    numbers = torch.arange(owner.numel(), device="cpu").reshape(owner.shape)
    found = []
    for axis, length in enumerate(owner.shape):
        first, second = (torch.arange(start, length + start - 1, device="cpu") for start in (0, 1))
        alike = owner.index_select(axis, first) == owner.index_select(axis, second)
        pair = torch.stack([numbers.index_select(axis, first), numbers.index_select(axis, second)])
        found.append(pair[:, alike if same else ~alike])
    return found


def _wide(subject: Subject) -> Tensor:
    """Return which cells (K,) hold a square of pixels whose steps tell how steep they are."""
    if min(subject.owner.shape) < _WIDE:
        return torch.zeros(subject.count, dtype=torch.bool, device="cpu")
    squares = subject.owner.unfold(0, _WIDE, 1).unfold(1, _WIDE, 1).flatten(2)
    whole = (squares == squares[..., :1]).all(-1)
    return torch.zeros(subject.count, dtype=torch.bool, device="cpu").index_fill(
        0, squares[whole][:, 0], True
    )


def _inner(owner: Tensor) -> Tensor:
    """Return which pixels (H, W) have no pixel of another cell among the two rows and columns around them."""
    cells = owner[None].to(torch.float64)
    largest, smallest = F.max_pool2d(cells, 5, 1, 2), -F.max_pool2d(-cells, 5, 1, 2)
    return (largest == smallest)[0]


def _largest_jump(subject: Subject, run: Run, pairs: Tensor) -> _Jump:
    """Return the step over a border that exceeds twice the largest inside its two cells by most."""
    values, owner = run.pixels.flatten(), subject.owner.flatten()
    even = (run.scores == 0.5).flatten()
    inside = torch.zeros(subject.count, dtype=torch.float64, device="cpu")
    for pair in _neighbours(subject.owner, True):
        pair = pair[:, even[pair].all(0)]
        inside.scatter_reduce_(0, owner[pair[0]], values[pair].diff(dim=0)[0].abs(), "amax")
    limit = inside[owner[pairs]].amax(0)
    unit = subject.scale(run).flatten()[owner[pairs]].amax(0)
    excess = (values[pairs].diff(dim=0)[0].abs() - _STEEPER * limit).clamp(min=0) / unit
    most = int(excess.argmax())
    return _Jump(run, (int(pairs[0, most]), int(pairs[1, most])), float(limit[most]), float(excess[most]))
