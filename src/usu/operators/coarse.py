"""One image's coarse map as one value: its cells, the mass that it puts into each, and its pixel maps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from usu.arrays.convert import Array, as_floats, as_tensor, check_finite
from usu.operators.lattice import Mass, Neighbourhoods, neighbourhoods_of
from usu.operators.setting import Upsampler
from usu.operators.upsamplers import find_upsampler

_RESULT = "the result of upsampler"


@dataclass(frozen=True, eq=False)
class Coarse:
    """The coarse map of one image, as its source computed it.

    Attributes:
        values: (gh, gw), or (K,) with `neighbourhoods`; signed and unscaled.
        mass: "density": M_k = a_k·|N_k|; "total": M_k = a_k.
        neighbourhoods: (H, W) labels 0..K-1, where the cells are not a grid.
        further: maps (h, w) on grids of their own, which are redistributed too and added (FullGrad has some).
    """

    values: Array
    mass: Mass = "density"
    neighbourhoods: Array | None = None
    further: tuple[Array, ...] = ()

    def cells(self, size: tuple[int, ...]) -> Neighbourhoods:
        """Return the cells over `size` pixels.

        Raises:
            ValueError: labels of another size, or not one for each value; a grid finer than the pixels.
            TypeError: labels that are no integers.
        """
        return neighbourhoods_of(as_tensor(self.values, "coarse"), size, self.neighbourhoods)

    def masses(self, size: tuple[int, ...]) -> Tensor:
        """Return M_k over `size` pixels, in float64 and the shape of `values`.

        The mass of further maps is added where it lies, spread evenly over their cells.
        """
        wide = as_tensor(self.values, "coarse").detach().to(torch.float64)
        cells = self.cells(size)
        masses = wide * cells.areas(wide) if self.mass == "density" else wide
        for grid in self.grids:
            own, sums = grid.cells(size), grid.masses(size)
            masses = masses + cells.sum(own.spread(sums / own.areas(sums)))
        return masses

    @property
    def grids(self) -> tuple[Coarse, ...]:
        """The further maps, each as a coarse map of its own."""
        return tuple(Coarse(grid, self.mass) for grid in self.further)

    def map(self, change: Callable[[Any], Any]) -> Coarse:
        """Return the map with all its values changed, cell by cell or in kind."""
        return Coarse(
            change(self.values), self.mass, self.neighbourhoods, tuple(change(grid) for grid in self.further)
        )

    def upsample(self, upsampler: str | Upsampler, scores: Array, **setting: Any) -> Any:
        """Return the pixel map (H, W) in the kind of `values`; those of further maps are added.

        Args:
            upsampler: a name or a callable, as for `usu.find_upsampler`.
            scores: (H, W); of a signal (L,), of a volume (D, H, W), and the pixel map is as they are.
            **setting: temperature and the like, as for `usu.find_upsampler`.

        Raises:
            ValueError: interpolation, which is defined on grids only, with `neighbourhoods`; a callable whose
                map is of another size or not finite; as `usu.find_upsampler`.

        >>> Coarse([[2.0]], further=([[1.0, 3.0]],)).upsample("nearest", [[0.5] * 4])
        array([[3., 3., 5., 5.]])
        """
        ndim = as_tensor(scores, "scores").dim()
        bound = find_upsampler(
            upsampler, neighbourhoods=self.neighbourhoods, mass=self.mass, ndim=ndim, **setting
        )
        pixels = bound(self.values, scores)
        if not isinstance(upsampler, str):
            found, size = check_finite(as_floats(pixels, _RESULT), _RESULT).shape, np.shape(scores)
            if found != size:
                raise ValueError(f"upsampler must return a map {tuple(size)}, got {tuple(found)}")
        return sum((grid.upsample(upsampler, scores, **setting) for grid in self.grids), start=pixels)

    def mass_error(self, pixels: Array) -> tuple[float, float]:
        """Return the D1 error of a pixel map (H, W), and what it is relative to; see `mass_error`."""
        values = as_tensor(pixels, "pixels")
        size = tuple(values.shape)
        return mass_error(values, self.cells(size), self.masses(size))


def mass_error(pixels: Tensor, cells: Neighbourhoods, masses: Tensor) -> tuple[float, float]:
    """Return the mean over cells of |Σ Ã - M_k|, and what it is relative to, the mean of |M_k|."""
    sums = cells.sum(pixels.to(masses))
    return float((sums - masses).abs().mean()), float(masses.abs().mean())
