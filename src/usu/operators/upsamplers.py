"""Upsamplers by name, and the one protocol under which all of them are compared, a user's own among them.

An upsampler is any callable `(coarse, scores) -> pixels`: a coarse map of densities and a dense score map
(H, W) in, a pixel map (H, W) of densities out. It may ignore the scores. OpenCV fits as it is:

    lambda coarse, scores: cv2.resize(coarse, scores.shape[::-1], interpolation=cv2.INTER_CUBIC)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from usu.arrays.checks import check_choice, suggestion
from usu.arrays.convert import Array, as_floats, check_finite, like
from usu.operators.interpolation import Mode, interpolate
from usu.operators.lattice import Neighbourhoods, lattice_size, neighbourhoods_of
from usu.operators.potentials import utility
from usu.operators.redistribution import Prior, iwmr, redistribute, share_total
from usu.operators.registry import UPSAMPLERS
from usu.operators.setting import BuiltIn, Setting, Upsampler
from usu.runtime.renames import renamed

_SETTINGS = tuple(item.name for item in fields(Setting))


@renamed(method="upsampler")
def find_upsampler(upsampler: str | Upsampler, **setting: Any) -> Upsampler:
    """Return a callable `(coarse, scores) -> pixels` for a built-in name or a callable of one's own.

    Args:
        upsampler: a name of `UPSAMPLERS`, or a callable, which always gets densities.
        **setting: the fields of `Setting`: temperature, importance_temperature, potential, mass, negative,
            continuous, neighbourhoods and ndim.

    Raises:
        ValueError: an unknown name, mass or negative, a temperature that is not positive.
        TypeError: `upsampler` is neither a name nor a callable; a setting of the wrong kind, or unknown.

    >>> find_upsampler("bilinear", mass="total")([[0.0, 8.0]], [[0.5] * 4])
    array([[0., 1., 3., 4.]])
    """
    for name in setting.keys() - set(_SETTINGS):
        raise TypeError(f"{name} is not a setting of upsamplers{suggestion(name, _SETTINGS)}")
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
        continuous=setting.continuous,
        ndim=setting.ndim,
    )


def _continuous(coarse: Array, scores: Array, setting: Setting) -> Any:
    return _usu(coarse, scores, replace(setting, continuous=True))


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
            continuous=setting.continuous,
            ndim=setting.ndim,
        )

    return upsample


def _total(coarse: Array, scores: Array, setting: Setting) -> Any:
    _check_grid(setting, "total-conserving")
    return share_total(
        coarse,
        scores,
        temperature=setting.temperature,
        potential=setting.potential,
        mass=setting.mass,
        negative=setting.negative,
        ndim=setting.ndim,
    )


def _nearest(coarse: Array, scores: Array, setting: Setting) -> Any:
    values = check_finite(as_floats(setting.densities(coarse, scores), "coarse"), "coarse")
    size = lattice_size(as_floats(scores, "scores"), setting.ndim, "scores")
    return like(neighbourhoods_of(values, size, setting.neighbourhoods).spread(values), coarse)


def _kernel(mode: Mode) -> Callable[[Array, Array, Setting], Any]:
    def upsample(coarse: Array, scores: Array, setting: Setting) -> Any:
        _check_grid(setting, mode)
        size = lattice_size(as_floats(scores, "scores"), setting.ndim, "scores")
        return interpolate(setting.densities(coarse, scores), size, mode)

    return upsample


def _check_grid(setting: Setting, name: str) -> None:
    if setting.neighbourhoods is not None:
        raise ValueError(f"neighbourhoods must be None for {name!r}, which is defined on a grid only")


# Budgets share no line with the operators that they check.


def _own_mass(masses: Tensor, scores: Tensor, cells: Neighbourhoods, setting: Setting) -> Tensor:
    return masses


def _by_importance(masses: Tensor, scores: Tensor, cells: Neighbourhoods, setting: Setting) -> Tensor:
    return masses.sum() * _portions(cells.areas(masses), scores, cells, setting)


def _by_importance_and_mass(
    masses: Tensor, scores: Tensor, cells: Neighbourhoods, setting: Setting
) -> Tensor:
    return sum(
        (part.sum() * _portions(part.abs(), scores, cells, setting) for part in _signs(masses)),
        torch.zeros_like(masses),
    )


def _portions(prior: Tensor, scores: Tensor, cells: Neighbourhoods, setting: Setting) -> Tensor:
    """Return ρ_k ∝ prior_k · exp(λ_k / ε_Λ) (eq. 13)."""
    if not bool(prior.any()):
        return torch.zeros_like(prior)
    importances = cells.amax(scores)
    temperature = setting.importance_temperature or setting.temperature
    levels = prior.log() + (importances - importances[prior > 0].max()) / temperature
    return levels.flatten().softmax(0).reshape(prior.shape)


def _of_the_total(masses: Tensor, scores: Tensor, cells: Neighbourhoods, setting: Setting) -> Tensor:
    """Return, for each sign, Σ_{x ∈ N_k} of M_total · softmax(log B + u/ε)(x)."""
    found = torch.zeros_like(masses)
    for part, opposite in zip(_signs(masses), (False, setting.negative == "opposite"), strict=True):
        if bool(part.any()):
            levels, temperature = utility(
                setting.potential, 1 - scores if opposite else scores, setting.temperature
            )
            smooth = interpolate((part / cells.areas(part)).abs(), cells.size, "bilinear")
            share = (smooth.log() + (levels - levels[smooth > 0].max()) / temperature).flatten().softmax(0)
            found = found + part.sum() * cells.sum(share.reshape(cells.size))
    return found


def _signs(masses: Tensor) -> tuple[Tensor, Tensor]:
    return masses.clamp(min=0), masses.clamp(max=0)


# The values of `usu.operators.registry.UPSAMPLERS`.
USU, USU_CONTINUOUS = BuiltIn(_usu, _own_mass), BuiltIn(_continuous, _own_mass)
IWMR = BuiltIn(_soft("area"), _by_importance)
HYBRID = BuiltIn(_soft("mass"), _by_importance_and_mass)
TOTAL_CONSERVING = BuiltIn(_total, _of_the_total)
NEAREST, CONSERVING = BuiltIn(_nearest), BuiltIn(_kernel("conserving"), _own_mass)
BILINEAR, BICUBIC, LANCZOS = (BuiltIn(_kernel(mode)) for mode in ("bilinear", "bicubic", "lanczos"))
