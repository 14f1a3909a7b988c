"""Upsamplers by name, and the one protocol under which all of them are compared, a user's own among them.

An upsampler is any callable `(coarse, scores) -> pixels`: a coarse map of densities and a dense score map
(H, W) in, a pixel map (H, W) of densities out. It may ignore the scores. OpenCV fits as it is:

    lambda coarse, scores: cv2.resize(coarse, scores.shape[::-1], interpolation=cv2.INTER_CUBIC)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from usu.arrays.checks import check_choice
from usu.arrays.convert import Array, as_floats, check_finite, like, working_dtype
from usu.operators.arguments import check_temperature
from usu.operators.interpolation import Mode, interpolate
from usu.operators.lattice import Mass, lattice_size, neighbourhoods_of
from usu.operators.potentials import Potential, check_potential
from usu.operators.redistribution import Negative, Prior, iwmr, redistribute
from usu.operators.registry import UPSAMPLERS
from usu.runtime.renames import renamed

Upsampler: TypeAlias = Callable[[Any, Any], Any]
Budget: TypeAlias = Callable[[Tensor, Tensor, Tensor, float], Tensor]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What built-in upsamplers are told beside the data; each takes what concerns it.

    Attributes:
        neighbourhoods: (H, W) integer labels 0..K-1 of a coarse map (K,); by default the grid of the map.
        temperature: ε > 0, for "usu", "iwmr" and "hybrid".
        importance_temperature: ε_Λ > 0, for "iwmr" and "hybrid"; `temperature` by default.
        potential: φ, for "usu", "iwmr" and "hybrid".
        mass: "density": M_k = a_k·|N_k|; "total": M_k = a_k. Interpolation is defined on densities, so that
            totals are divided by |N_k| before it.
        negative: "same" or "opposite", for "usu"; see `redistribute`.

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

    def __post_init__(self) -> None:
        check_temperature(self.temperature, "temperature")
        if self.importance_temperature is not None:
            check_temperature(self.importance_temperature, "importance_temperature")
        object.__setattr__(self, "potential", check_potential(self.potential))
        check_choice(self.mass, ("density", "total"), "mass")
        check_choice(self.negative, ("same", "opposite"), "negative")

    def densities(self, coarse: Array, scores: Array) -> Any:
        """Return the coarse map as densities, a_k / |N_k| where its values are totals."""
        if self.mass == "density":
            return coarse
        values = as_floats(coarse, "coarse")
        size = lattice_size(as_floats(scores, "scores"), 2, "scores")
        wide = values.to(working_dtype(values))
        areas = neighbourhoods_of(values, size, self.neighbourhoods).areas(wide)
        return like(wide / areas, coarse, values.dtype)


@dataclass(frozen=True)
class BuiltIn:
    """An upsampler of this library.

    Attributes:
        upsample: from (coarse, scores, setting) to the pixel map.
        budget: the mass M̃_k that it promises each neighbourhood, in float64, from masses M_k, areas |N_k|,
            importances λ_k, each of one shape, and ε_Λ (paper eq. 13); None if it promises none.
    """

    upsample: Callable[[Array, Array, Setting], Any]
    budget: Budget | None = None


@renamed(method="upsampler")
def find_upsampler(upsampler: str | Upsampler, **setting: Any) -> Upsampler:
    """Return a callable `(coarse, scores) -> pixels` for a built-in name or a callable of one's own.

    Args:
        upsampler: a name of `UPSAMPLERS`, or a callable, which always gets densities.
        **setting: the fields of `Setting`: temperature, importance_temperature, potential, mass, negative and
            neighbourhoods.

    Raises:
        ValueError: an unknown name, mass or negative, a temperature that is not positive.
        TypeError: `upsampler` is neither a name nor a callable; a setting of the wrong kind, or unknown.

    >>> find_upsampler("bilinear", mass="total")([[0.0, 8.0]], [[0.5] * 4])
    array([[0., 1., 3., 4.]])
    """
    told = Setting(**setting)
    if isinstance(upsampler, str):
        check_choice(upsampler, tuple(UPSAMPLERS), "upsampler")
        built_in = UPSAMPLERS[upsampler].upsample
        return lambda coarse, scores: built_in(coarse, scores, told)
    if not callable(upsampler):
        raise TypeError(f"upsampler must be a name or a callable, got {type(upsampler).__name__}")
    return lambda coarse, scores: upsampler(told.densities(coarse, scores), scores)


def _usu(coarse: Array, scores: Array, setting: Setting) -> Any:
    return redistribute(
        coarse,
        scores,
        neighbourhoods=setting.neighbourhoods,
        temperature=setting.temperature,
        potential=setting.potential,
        mass=setting.mass,
        negative=setting.negative,
    )


def _soft(prior: Prior) -> Callable[[Array, Array, Setting], Any]:
    def upsample(coarse: Array, scores: Array, setting: Setting) -> Any:
        return iwmr(
            coarse,
            scores,
            neighbourhoods=setting.neighbourhoods,
            temperature=setting.temperature,
            importance_temperature=setting.importance_temperature,
            prior=prior,
            potential=setting.potential,
            mass=setting.mass,
        )

    return upsample


def _nearest(coarse: Array, scores: Array, setting: Setting) -> Any:
    values = check_finite(as_floats(setting.densities(coarse, scores), "coarse"), "coarse")
    size = lattice_size(as_floats(scores, "scores"), 2, "scores")
    return like(neighbourhoods_of(values, size, setting.neighbourhoods).spread(values), coarse)


def _kernel(mode: Mode) -> Callable[[Array, Array, Setting], Any]:
    def upsample(coarse: Array, scores: Array, setting: Setting) -> Any:
        if setting.neighbourhoods is not None:
            raise ValueError(f"neighbourhoods must be None for {mode!r}, which is defined on a grid only")
        size = lattice_size(as_floats(scores, "scores"), 2, "scores")
        return interpolate(setting.densities(coarse, scores), size, mode)

    return upsample


def _own_mass(masses: Tensor, areas: Tensor, importances: Tensor, temperature: float) -> Tensor:
    return masses


def _by_importance(masses: Tensor, areas: Tensor, importances: Tensor, temperature: float) -> Tensor:
    return masses.sum() * _portions(areas, importances, temperature)


def _by_importance_and_mass(masses: Tensor, areas: Tensor, importances: Tensor, temperature: float) -> Tensor:
    parts = (masses.clamp(min=0), masses.clamp(max=0))
    return sum(
        (part.sum() * _portions(part.abs(), importances, temperature) for part in parts),
        torch.zeros_like(masses),
    )


def _portions(prior: Tensor, importances: Tensor, temperature: float) -> Tensor:
    """Return ρ_k ∝ prior_k · exp(λ_k / ε_Λ), by a softmax that shares no line with the operator it checks."""
    if not bool(prior.any()):
        return torch.zeros_like(prior)
    levels = prior.log() + (importances - importances[prior > 0].max()) / temperature
    return levels.flatten().softmax(0).reshape(prior.shape)


# The values of `usu.operators.registry.UPSAMPLERS`.
USU = BuiltIn(_usu, _own_mass)
IWMR = BuiltIn(_soft("area"), _by_importance)
HYBRID = BuiltIn(_soft("mass"), _by_importance_and_mass)
NEAREST = BuiltIn(_nearest)
BILINEAR, BICUBIC, LANCZOS = (BuiltIn(_kernel(mode)) for mode in ("bilinear", "bicubic", "lanczos"))
