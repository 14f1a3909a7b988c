"""Pictures of records: panels that draw one on an axis, and whole figures.

Nothing here computes an attribution, a score or a statistic: panels take a record and an axis, and draw what
the record holds.
"""

from usu.runtime.lazy import needed

with needed("figures need matplotlib", "plot"):
    import matplotlib as matplotlib

from usu.plot.distributions import distributions
from usu.plot.error_maps import error_figure, error_limits, error_map
from usu.plot.figures import TITLES, comparison, overlay_figure, save_figure, show_figure
from usu.plot.lattices import figure_of, signal_figure, volume_figure
from usu.plot.panels import (
    cell_weights,
    changes,
    coarse_cells,
    frame_seen,
    h_map,
    heat,
    hierarchy,
    mark_cell,
    overlay,
    photograph,
    raw_scores,
    score_map,
    scores,
    segment_borders,
)
from usu.plot.scales import QUANTILE, colour_limits, full_limits, is_signed
from usu.plot.stages import figure5, figure6
from usu.plot.style import publication

__all__ = [
    "QUANTILE",
    "TITLES",
    "cell_weights",
    "changes",
    "coarse_cells",
    "colour_limits",
    "comparison",
    "distributions",
    "error_figure",
    "error_limits",
    "error_map",
    "figure5",
    "figure6",
    "figure_of",
    "frame_seen",
    "full_limits",
    "h_map",
    "heat",
    "hierarchy",
    "is_signed",
    "mark_cell",
    "overlay",
    "overlay_figure",
    "photograph",
    "publication",
    "raw_scores",
    "save_figure",
    "score_map",
    "scores",
    "segment_borders",
    "show_figure",
    "signal_figure",
    "volume_figure",
]
