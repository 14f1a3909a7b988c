"""Universal Semantic-Aware Upsampling: a coarse attribution map's mass, redistributed to pixels."""

from usu.interpolate import interpolate
from usu.redistribute import iwmr, redistribute

__all__ = ["interpolate", "iwmr", "redistribute"]
