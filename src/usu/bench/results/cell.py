"""Which rows of results are the same measurement."""

from __future__ import annotations

from typing import NamedTuple

# What stands for the source of a map that needs no coarse map.
NO_SOURCE = "none"


class Cell(NamedTuple):
    """One measurement of a results folder, whose protocol says how it was made.

    Attributes:
        image: name in the data set.
        model: name of the network.
        source: of the coarse map, a name of `usu.sources.SOURCES`.
        upsampler: name of `usu.bench.methods.registry.CONTESTANTS`.
        metric: name of `usu.metrics.faithfulness.METRICS`.
    """

    image: str
    model: str
    source: str
    upsampler: str
    metric: str
