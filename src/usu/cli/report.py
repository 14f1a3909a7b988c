"""What the commands print: facts and tables on standard output, one line per problem on standard error."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from usu.arrays import Array
    from usu.explanation import Explanation


def fact_table(explanation: Explanation, category: str | None, model: str, seconds: float) -> list[str]:
    """Return what was explained and what it took, a line each."""
    cells = " × ".join(map(str, explanation.coarse.shape))
    layer = f" of layer {explanation.layer}" if explanation.layer else ""
    facts = {
        "class": f"{category} ({explanation.target})" if category else str(explanation.target),
        "probability": f"{100 * explanation.probability:.1f} %",
        "model": model,
        "coarse map": f"{explanation.source}, {cells} cells{layer}",
        "forward passes": str(explanation.forward_passes),
        "seconds": f"{seconds:.1f}",
    }
    return [f"{name:<16}{value}" for name, value in facts.items()]


def mass_table(explanation: Explanation, maps: Mapping[str, Array]) -> list[str]:
    """Return how well each map (H, W) keeps the coarse map's mass, a line each under a heading.

    The D1 error is the mean over cells of |Σ Ã - M_k|: absolute, and relative to the mean |M_k|.
    """
    import torch

    from usu.redistribute import neighbourhoods_of

    masses = torch.as_tensor(explanation.coarse).to(torch.float64)
    cells = neighbourhoods_of(masses, tuple(explanation.attribution.shape), explanation.neighbourhoods)
    masses = masses * cells.areas(masses) if explanation.mass == "density" else masses
    scale = float(masses.abs().mean())
    lines = [f"{'upsampler':<12}{'D1 error':>12}{'relative':>12}{'total mass':>12}"]
    for name, values in maps.items():
        pixels = torch.as_tensor(values).to(torch.float64)
        error = float((cells.sum(pixels) - masses).abs().mean())
        relative = f"{error / scale:.1e}" if scale else "-"
        lines.append(f"{name:<12}{error:>12.1e}{relative:>12}{float(pixels.sum()):>12.6g}")
    lines.append(f"{'(coarse map)':<36}{float(masses.sum()):>12.6g}")
    return [
        *lines,
        "D1 error: mean over cells of |sum of pixels - mass of the cell|; relative to the mean |mass|",
    ]


def complain(problem: Exception, subject: str = "") -> None:
    """Print a problem on standard error as one line that names the file or argument it is about."""
    from tqdm import tqdm

    text = str(problem)
    if isinstance(problem, OSError) and problem.strerror and problem.filename:
        text = f"{problem.filename}: {problem.strerror}"
    text = " ".join(text.split()) or type(problem).__name__
    if subject not in text:
        text = f"{subject}: {text}"
    tqdm.write(f"usu: error: {text}", file=sys.stderr)  # above a progress bar, if there is one
