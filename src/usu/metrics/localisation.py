"""How well an attribution map finds a known truth: one number per map, with ties and empty maps defined.

Every measure takes an attribution (H, W), NumPy or torch, and a truth (H, W): a mask, or a map that is not
negative and whose positive pixels are the foreground. None depends on the attribution's unit or scale,
except `alpha_total` and `beta_total`, which compare it with a truth in its own unit.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from usu.arrays.checks import check_count
from usu.arrays.convert import Array, as_floats, check_finite
from usu.metrics.errors import error_maps
from usu.runtime.renames import tell

Values: TypeAlias = "np.ndarray[Any, np.dtype[np.floating[Any]]]"
Mask: TypeAlias = "np.ndarray[Any, np.dtype[np.bool_]]"


def iou_area(attribution: Array, truth: Array) -> float:
    """Return the IoU of the truth and as many of the highest pixels as the truth has, in [0, 1].

    Pixels that tie at the threshold share the places that are left, each counting in part: the expected
    intersection under random tie-breaking. So a constant or all-zero map gets what chance would get. With r
    the share of these pixels on the foreground (relevance rank accuracy), the IoU is r / (2 - r).

    Args:
        attribution: (H, W), signed.
        truth: (H, W), with at least one pixel of foreground.

    Raises:
        ValueError: shapes that do not fit, values that are not finite, a truth without foreground.
        TypeError: an argument that is not an array of real numbers.

    >>> iou_area([[3.0, 2.0], [1.0, 0.0]], [[1, 0], [1, 0]])
    0.3333333333333333
    >>> iou_area([[2.0, 1.0], [1.0, 0.0]], [[1, 1], [0, 0]])  # half of a tied pair is inside
    0.6
    """
    values, inside = _flat(attribution, truth)
    area = int(inside.sum())
    threshold = np.partition(values, -area)[-area]
    above, tied = values > threshold, values == threshold
    places = area - int(above.sum())
    hits = float((above & inside).sum()) + places * float((tied & inside).sum()) / float(tied.sum())
    return hits / (2 * area - hits)


def iou_half(attribution: Array, truth: Array) -> float:
    """Return the IoU of the truth and the pixels of at least half the map's maximum, in [0, 1].

    A map without a positive value selects nothing: 0. Takes and raises what `iou_area` does.

    >>> iou_half([[4.0, 2.0], [1.0, 0.0]], [[1, 0], [1, 0]])
    0.3333333333333333
    """
    values, inside = _flat(attribution, truth)
    highest = values.max()
    if highest <= 0:
        return 0.0
    selected = values >= highest / 2
    return float((selected & inside).sum() / (selected | inside).sum())


def iou_best(attribution: Array, truth: Array) -> float:
    """Return the best IoU with the truth over all thresholds, in [0, 1]: the truth itself chooses.

    A threshold takes all pixels of one value or none. A constant or all-zero map can only select the whole
    image, whose IoU, the foreground's share, is the least. Takes and raises what `iou_area` does.

    >>> iou_best([[3.0, 2.0], [1.0, 0.0]], [[1, 0], [1, 0]])
    0.6666666666666666
    """
    values, inside = _flat(attribution, truth)
    # A threshold between two values of the foreground only adds background: it cannot be the best.
    thresholds = np.sort(values[inside])
    hits = len(thresholds) - np.searchsorted(thresholds, thresholds)
    selected = len(values) - np.searchsorted(np.sort(values), thresholds)
    return float((hits / (selected + len(thresholds) - hits)).max())


def relevance_mass_accuracy(attribution: Array, truth: Array) -> float:
    """Return the share, in [0, 1], of the map's absolute mass that is on the foreground (Arras et al., 2022).

    An all-zero map has none there: 0. Takes and raises what `iou_area` does.

    >>> relevance_mass_accuracy([[3.0, -1.0], [0.0, 0.0]], [[1, 0], [0, 0]])
    0.75
    """
    values, inside = _flat(attribution, truth)
    shares = _shares(values)
    hits, misses = float(shares[inside].sum()), float(shares[~inside].sum())
    return hits / (hits + misses) if hits else 0.0


def pointing_game(attribution: Array, truth: Array) -> float:
    """Return whether the highest pixel lies on the foreground, 0 or 1 (Zhang et al., 2018).

    Where several pixels are highest, the share of them that does; in an all-zero map these are all pixels.
    Takes and raises what `iou_area` does.

    >>> pointing_game([[3.0, 3.0], [1.0, 0.0]], [[1, 0], [1, 1]])
    0.5
    """
    values, inside = _flat(attribution, truth)
    return float(inside[values == values.max()].mean())


def band_error(attribution: Array, truth: Array, width: int = 4) -> float:
    """Return how much of the mass is at the wrong pixel of a band along the true boundary, in [0, 2].

    The sum over the band of abs(|Ã| / Σ|Ã| - A* / ΣA*), both maps having a mass of 1 over the image. The
    band is made of the pixels with foreground and background among those at most `width` rows and columns
    away: `width` pixels deep on either side. An all-zero map lacks all of the band's true mass. The error is
    0 where the foreground fills the image, which then has no boundary.

    Args:
        attribution: as for `iou_area`.
        truth: as for `iou_area`; its values are compared, so that a mask stands for even mass.
        width: of the band on each side, in pixels.

    Raises:
        ValueError: as `iou_area`; a width that is not positive.
        TypeError: as `iou_area`; a width that is not an integer.

    >>> band_error([[4.0, 2.0, 2.0, 0.0]], [[1, 1, 0, 0]], width=1)
    0.5
    """
    check_count(width, "width", 1)
    values, wanted = _pair(attribution, truth)
    near = boundary_band(wanted > 0, width)
    return float(np.abs(_shares(values) - _shares(wanted))[near].sum())


def boundary_band(mask: Mask, width: int) -> Mask:
    """Return the pixels within `width` rows and columns of both the mask (H, W) and its complement."""
    from scipy.ndimage import maximum_filter

    size = 2 * width + 1
    near: Mask = maximum_filter(mask, size, mode="nearest") & maximum_filter(~mask, size, mode="nearest")
    return near


def alpha_total(attribution: Array, truth: Array) -> float:
    """Return the sum of α over all pixels, spurious attribution, over the truth's mass (paper eq. 3).

    At least 0, and 0 for an all-zero map. Takes and raises what `iou_area` does; the attribution is in the
    unit of the truth, A*.

    >>> alpha_total([[3.0, 1.0]], [[2.0, 2.0]])
    0.25
    """
    values, wanted = _pair(attribution, truth)
    return float(error_maps(values, wanted).alpha.sum() / wanted.sum())


def beta_total(attribution: Array, truth: Array) -> float:
    """Return the sum of β over all pixels, lost attribution, over the truth's mass (paper eq. 3).

    In [0, 1], and 1 for an all-zero map. Takes and raises what `iou_area` does; the attribution is in the
    unit of the truth, A*.

    >>> beta_total([[3.0, 1.0]], [[2.0, 2.0]])
    0.25
    """
    values, wanted = _pair(attribution, truth)
    return float(error_maps(values, wanted).beta.sum() / wanted.sum())


def _shares(values: Values) -> Values:
    """Return each pixel's share of the absolute mass; all 0 if there is none."""
    magnitudes = np.abs(values)
    largest = magnitudes.max()
    if largest == 0:
        return magnitudes
    magnitudes = magnitudes / largest  # so that the sum of tiny or huge values stays in range
    shares: Values = magnitudes / magnitudes.sum()
    return shares


def _flat(attribution: Array, truth: Array) -> tuple[Values, Mask]:
    values, wanted = _pair(attribution, truth)
    return values.ravel(), (wanted > 0).ravel()


def _pair(attribution: Array, truth: Array) -> tuple[Values, Values]:
    """Return both maps in float64, checked."""
    given, wanted = (
        check_finite(as_floats(array, name), name).detach().cpu().double().numpy()
        for array, name in ((attribution, "attribution"), (truth, "truth"))
    )
    if given.ndim != 2 or wanted.shape != given.shape:
        raise ValueError(
            f"attribution and truth must be maps (H, W) of one size, got {given.shape} and {wanted.shape}"
        )
    if wanted.min() < 0 or wanted.max() == 0:
        raise ValueError("truth must not be negative and must be positive somewhere: the foreground")
    return given, wanted


_RENAMED = {"concentration": relevance_mass_accuracy, "pointing": pointing_game}


def __getattr__(name: str) -> Any:
    if name not in _RENAMED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    tell(f"{__name__}.{name}", _RENAMED[name].__name__)
    return _RENAMED[name]
