"""An upsampler as a black box: what the desiderata call it with and read from its results."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from usu.arrays.convert import Array, as_floats, as_labels, check_finite, like
from usu.operators.lattice import Mass, Neighbourhoods, neighbourhoods_of
from usu.operators.setting import Budget, Setting, Upsampler

Data: TypeAlias = Literal["coarse", "scores"]

TOLERANCES = {torch.float16: 2e-3, torch.bfloat16: 1.6e-2, torch.float32: 1e-6, torch.float64: 1e-12}


@dataclass(frozen=True)
class Run:
    """One call: its arguments and its result, in float64."""

    label: str
    coarse: Tensor
    scores: Tensor
    masses: Tensor
    pixels: Tensor
    promised: Tensor | None = None


class Subject:
    """An upsampler with the data to probe it with, everything on the CPU between calls."""

    def __init__(
        self,
        upsample: Upsampler,
        caller: Array,
        coarse: Tensor,
        scores: Tensor,
        neighbourhoods: Array | None,
        mass: Mass,
        seed: int,
    ) -> None:
        self._upsample, self._caller, self._device, self._mass = upsample, caller, coarse.device, mass
        self.coarse, self.scores = coarse.cpu(), scores
        labels = None if neighbourhoods is None else as_labels(neighbourhoods, "neighbourhoods").cpu()
        self.cells: Neighbourhoods = neighbourhoods_of(self.coarse, tuple(scores.shape), labels)
        if self.coarse.dim() != len(self.cells.shape):
            raise ValueError(f"coarse must be one map without batch, got shape {tuple(coarse.shape)}")
        self.areas = self.cells.areas(torch.empty((), dtype=torch.float64, device="cpu"))
        self.count = self.areas.numel()
        self.owner = self.cells.spread(torch.arange(self.count, device="cpu").reshape(self.cells.shape))
        self._generator = torch.Generator().manual_seed(seed)
        self._precision = self.coarse.dtype
        self.calls = 0

    @property
    def tolerance(self) -> float:
        """The tolerance of the least precise dtype so far."""
        return TOLERANCES[self._precision]

    @property
    def smallest(self) -> float:
        """The smallest value that the results hold in full precision."""
        return float(torch.finfo(self._precision).tiny)

    def random_coarse(self) -> Tensor:
        """Draw a positive map with the magnitude of the given one."""
        magnitude = float(self.coarse.abs().to(torch.float64).mean()) or 1.0
        return (2 * magnitude * self._draw(self.coarse.shape)).to(self.coarse.dtype)

    def random_scores(self) -> Tensor:
        """Draw scores in [0, 1]."""
        return self._draw(self.scores.shape).to(self.scores.dtype)

    def _draw(self, shape: torch.Size) -> Tensor:
        return torch.rand(shape, generator=self._generator, dtype=torch.float64, device="cpu")

    def masses(self, coarse: Tensor) -> Tensor:
        """Return M_k (*cells.shape), in float64."""
        wide = coarse.to(torch.float64)
        return wide * self.areas if self._mass == "density" else wide

    def run(self, coarse: Tensor, scores: Tensor, label: str = "") -> Run:
        """Call the upsampler on copies.

        Raises:
            ValueError: the result is not a finite map of the right size.
            TypeError: the result is not an array of real numbers.
        """
        given = (values.clone().to(self._device) for values in (coarse, scores))
        result = as_floats(
            self._upsample(*(like(values, self._caller) for values in given)), "upsampler's result"
        )
        if tuple(result.shape) != self.cells.size:
            raise ValueError(
                f"upsampler must return one map over {self.cells.size} pixels, got {tuple(result.shape)}"
            )
        self.calls += 1
        self._precision = max(self._precision, result.dtype, key=lambda dtype: TOLERANCES[dtype])
        pixels = check_finite(result.detach().cpu().to(torch.float64, copy=True), "upsampler's result")
        return Run(label, coarse, scores, self.masses(coarse), pixels)

    def probe(self, budget: Budget | None, setting: Setting) -> list[Run]:
        """Return the runs on the given data, and on the probes."""
        coarse = {"the given map": self.coarse, "a random positive map": self.random_coarse()}
        scores = {
            "the given scores": self.scores,
            "reversed scores": 1 - self.scores,
            "random scores": self.random_scores(),
        }
        runs = []
        for map_label, values in coarse.items():
            for score_label, levels in scores.items():
                run = self.run(values, levels, f"{map_label}, {score_label}")
                if budget is not None:
                    promised = budget(run.masses, levels.to(torch.float64), self.cells, setting)
                    run = replace(run, promised=promised)
                runs.append(run)
        return runs

    def scale(self, run: Run) -> Tensor:
        """Return the unit of differences in each cell, (*cells.shape)."""
        density = float(run.masses.abs().sum() / self.areas.sum())
        return self.cells.amax(run.pixels.abs()).clamp(min=max(density, torch.finfo(torch.float64).tiny))

    def members(self, cell: int) -> Tensor:
        """Return the numbers of a cell's pixels, ascending."""
        return (self.owner.flatten() == cell).nonzero().flatten()

    def cell(self, number: int) -> tuple[int, ...]:
        """Return the place of a cell on its grid."""
        return tuple(int(index) for index in np.unravel_index(number, self.cells.shape))

    def pixel(self, number: int) -> tuple[int, ...]:
        """Return the place of a pixel on the lattice."""
        return tuple(int(index) for index in np.unravel_index(number, self.cells.size))

    def change(self, base: Run, where: Tensor, data: Data, new: Tensor) -> Run:
        """Call with `new` data in the cells where `where`, (K,), is true, and the base's data elsewhere."""
        where = where.reshape(self.cells.shape)
        if data == "coarse":
            return self.run(torch.where(where, new, base.coarse), base.scores)
        return self.run(base.coarse, torch.where(self.cells.spread(where), new, base.scores))

    def telling_cells(self, run: Run) -> list[int]:
        """Choose a corner cell, one in the middle, a random one, and the heaviest before and after."""
        middle = np.ravel_multi_index(tuple(length // 2 for length in self.cells.shape), self.cells.shape)
        drawn = torch.randint(self.count, (), generator=self._generator, device="cpu")
        heaviest = run.masses.abs().argmax(), self.cells.sum(run.pixels.abs()).argmax()
        return sorted({0, int(middle), int(drawn), *map(int, heaviest)})
