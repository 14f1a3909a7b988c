"""What a row of results holds, and which rows are the same measurement."""

from __future__ import annotations

from typing import Any, NamedTuple

import pyarrow as pa

from usu.bench.results import NO_SOURCE as NO_SOURCE


class Cell(NamedTuple):
    """One measurement of a results folder, whose protocol says how it was made."""

    image: str  # name in the data set
    model: str  # name of the network
    source: str  # of the coarse map, a name of `usu.sources.SOURCES`
    upsampler: str  # name of `usu.bench.methods.registry.CONTESTANTS`
    metric: str  # name of `usu.metrics.faithfulness.METRICS`


# The values of one measurement; settings of upsampler and metric, and the versions, are JSON texts.
SCHEMA = pa.schema(
    [
        pa.field("dataset", pa.string(), nullable=False),
        pa.field("image", pa.string(), nullable=False),
        pa.field("image_hash", pa.string(), nullable=False),
        pa.field("label", pa.int64()),  # null if the data set has none
        pa.field("target", pa.int64(), nullable=False),  # the class that is explained
        pa.field("probability", pa.float64(), nullable=False),  # of the target
        pa.field("model", pa.string(), nullable=False),
        pa.field("weights_hash", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("upsampler", pa.string(), nullable=False),
        pa.field("upsampler_settings", pa.string(), nullable=False),
        pa.field("metric", pa.string(), nullable=False),
        pa.field("metric_settings", pa.string(), nullable=False),
        pa.field("value", pa.float64(), nullable=False),  # NaN if the metric has none for this map
        pa.field("total_mass", pa.float64(), nullable=False),
        pa.field("d1_error", pa.float64(), nullable=False),  # mean over cells of |Σ Ã - M_k|
        pa.field("d1_relative", pa.float64(), nullable=False),  # the same over the mean of |M_k|
        pa.field("forward_passes", pa.int64(), nullable=False),  # that made the map, with the source's
        pa.field("seconds", pa.float64(), nullable=False),  # of processor time that the map took
        pa.field("seed", pa.int64(), nullable=False),
        pa.field("versions", pa.string(), nullable=False),
    ]
)


def cell_of(row: dict[str, Any]) -> Cell:
    """Return which measurement a row is."""
    return Cell(*(row[name] for name in Cell._fields))
