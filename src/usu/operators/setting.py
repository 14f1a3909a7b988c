"""What an upsampler is, and what the built-in ones are told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch import Tensor

from usu.arrays.checks import check_choice, check_flag
from usu.arrays.convert import Array, as_floats, like, working_dtype
from usu.operators.arguments import check_temperature
from usu.operators.lattice import Mass, Neighbourhoods, lattice_size, neighbourhoods_of
from usu.operators.potentials import Potential, check_potential
from usu.operators.redistribution import Negative

Upsampler: TypeAlias = Callable[[Any, Any], Any]
Budget: TypeAlias = "Callable[[Tensor, Tensor, Neighbourhoods, Setting], Tensor]"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What built-in upsamplers are told beside the data; each takes what concerns it.

    Attributes:
        neighbourhoods: (H, W) integer labels 0..K-1 of a coarse map (K,); by default the grid of the map.
        temperature: ε > 0, for all that redistribute.
        importance_temperature: ε_Λ > 0, for "iwmr" and "hybrid"; `temperature` by default.
        potential: φ, for all that redistribute.
        mass: "density": M_k = a_k·|N_k|; "total": M_k = a_k. Interpolation is defined on densities, so that
            totals are divided by |N_k| before it.
        negative: "same" or "opposite", for all that redistribute but "iwmr" and "hybrid"; see `redistribute`.
        continuous: for "usu", "iwmr" and "hybrid"; see `redistribute`.
        ndim: of the lattice: 1 for signals, 2 for pictures, 3 for volumes.

    Raises:
        ValueError: a temperature that is not positive, an unknown mass, negative or potential.
        TypeError: a setting of the wrong kind.
    """

    neighbourhoods: Array | None = None
    temperature: float = 0.1
    importance_temperature: float | None = None
    potential: Potential = "exponential"
    mass: Mass = "density"
    negative: Negative = "same"
    continuous: bool = False
    ndim: int = 2

    def __post_init__(self) -> None:
        check_temperature(self.temperature, "temperature")
        if self.importance_temperature is not None:
            check_temperature(self.importance_temperature, "importance_temperature")
        object.__setattr__(self, "potential", check_potential(self.potential))
        check_choice(self.mass, ("density", "total"), "mass")
        check_choice(self.negative, ("same", "opposite"), "negative")
        check_flag(self.continuous, "continuous")

    def densities(self, coarse: Array, scores: Array) -> Any:
        """Return the coarse map as densities, a_k / |N_k| where its values are totals."""
        if self.mass == "density":
            return coarse
        values = as_floats(coarse, "coarse")
        size = lattice_size(as_floats(scores, "scores"), self.ndim, "scores")
        wide = values.to(working_dtype(values))
        areas = neighbourhoods_of(values, size, self.neighbourhoods).areas(wide)
        return like(wide / areas, coarse, values.dtype)


@dataclass(frozen=True)
class BuiltIn:
    """An upsampler of this library.

    Attributes:
        upsample: from (coarse, scores, setting) to the pixel map.
        budget: the mass M̃_k that it promises each neighbourhood, in float64, from masses M_k, dense scores
            (H, W), both float64, the neighbourhoods and the setting; None if it promises none.
    """

    upsample: Callable[[Array, Array, Setting], Any]
    budget: Budget | None = None
