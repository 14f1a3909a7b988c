"""Sparseness (Chalasani et al., 2020): the Gini index of the absolute values."""

from __future__ import annotations

import numpy as np

from usu.metrics.faithfulness.examiner import Examiner, Floats

# Quantus adds this to the values, whose largest is 1.
_OFFSET = 1e-7


def sparseness(examiner: Examiner, maps: Floats) -> Floats:
    """Return the Gini index of |a|, from 0 (all pixels alike) to nearly 1 (all in one pixel).

    Returns:
        (M,); higher is better; 0 for a constant map and for the zero map.
    """
    sizes = np.abs(maps).reshape(len(maps), -1)
    largest = sizes.max(1, keepdims=True)
    values = np.sort(sizes / np.where(largest > 0, largest, 1), axis=1) + _OFFSET
    count = values.shape[1]
    places = 2 * np.arange(1, count + 1) - count - 1
    gini: Floats = (places * values).sum(1) / (count * values.sum(1))
    return gini
