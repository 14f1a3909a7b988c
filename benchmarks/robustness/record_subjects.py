"""What takes a record: its methods, figures and the report."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.figure import Figure

import usu
import usu.plot
import usu.report
from benchmarks.robustness.calls import Subject
from benchmarks.robustness.samples import COARSE, DENSE, IMAGE, INPUTS, MODEL, TRUTH
from benchmarks.robustness.wrong_values import (
    BYTES_OR_NUMBER,
    FLOATS,
    INF,
    NAMES,
    NAN,
    NOT_FLOATS,
    PIXELS,
    Opaque,
    either,
    given,
    one_of,
    spoiled,
)
from usu.metrics import bootstrap_interval

mpl.use("agg")
_FOLDER = Path(tempfile.mkdtemp(prefix="usu-malformed-"))
_OPTIONS: dict[str, Any] = {"segmentation": {"quadtree": (4, 8)}, "mode": "usu"}
RECORD = usu.upsample(
    COARSE,
    torch.from_numpy(INPUTS),
    MODEL,
    1,
    images=IMAGE,
    scoring="mask",
    placement=usu.Placement.whole((12, 16)),
    **_OPTIONS,
)
_NOWHERE = replace(RECORD, placement=None)
RECORD.save(_FOLDER / "record.npz")
_SIGNAL = usu.upsample(
    np.ones(4),
    np.ones((2, 16), np.float32),
    lambda batch: 9 * batch.mean(2),
    1,
    ndim=1,
    segmentation={"changepoints": (4,)},
)
_VOLUME = usu.upsample(
    np.ones((2, 2, 2)),
    np.ones((2, 4, 4, 4), np.float32),
    lambda batch: 9 * batch.mean((2, 3, 4)),
    1,
    ndim=3,
    segmentation=usu.Hierarchy([np.arange(64).reshape(4, 4, 4) // 16]),
)
_FIGURE = Figure(figsize=(1, 1))
_AXIS = _FIGURE.subplots()
_MAP = either(FLOATS, one_of(DENSE[:5], DENSE.T))
_NUMBER = one_of(-1, 99, 1.5, "1", [], NAN, 1j, Opaque, True)
_ERRORS = usu.error_maps(DENSE, TRUTH)
_INTERVAL = {"usu": bootstrap_interval(DENSE[0], resamples=20)}


def on_axis(panel: Any, **given: Any) -> Any:
    """Draw a panel on the one axis, which is empty again afterwards."""
    try:
        return panel(axis=_AXIS, **given)
    finally:
        _AXIS.cla()


def panel(name: str) -> Any:
    """Return a panel that draws on the one axis."""
    return partial(on_axis, getattr(usu.plot, name))


def publication(size: Any) -> None:
    """Enter the style of a paper."""
    with usu.plot.publication(size):
        pass


def entry(**fields: Any) -> Any:
    """Return the page of one entry."""
    return usu.report.html([usu.report.Entry(RECORD, verdicts=False, **fields)])


_TEXT = one_of(3, 1.5, [], {}, b"name", Opaque, NAN, ("a",))
SUBJECTS: dict[str, Subject] = {
    "Explanation.load": Subject(
        usu.Explanation.load,
        {"path": _FOLDER / "record.npz"},
        {"path": either(BYTES_OR_NUMBER, one_of(__file__))},
    ),
    "Explanation.save": Subject(
        RECORD.save,
        {"path": _FOLDER / "one.npz"},
        {"path": either(BYTES_OR_NUMBER, one_of("record", "record.png", ""))},
    ),
    "Explanation.upsampled_by": Subject(
        RECORD.upsampled_by, {"upsampler": "usu"}, {"upsampler": either(NAMES, PIXELS, one_of("complete"))}
    ),
    "Explanation.to_original_size": Subject(RECORD.to_original_size, {}, {"padding": NAMES}, ("placement",)),
    "Explanation.save_image": Subject(
        RECORD.save_image,
        {"path": _FOLDER / "one.png"},
        {
            "path": either(BYTES_OR_NUMBER, one_of("map.doc", "map.npz")),
            "dpi": one_of(0, -1, "a", None, NAN, INF, [], 1j, Opaque),
            "slices": one_of(3),
        },
    ),
    "Explanation.to_html": Subject(RECORD.to_html, {}, {"class_name": _TEXT, "model": _TEXT}),
    "Entry": Subject(
        entry,
        {},
        {
            "name": _TEXT,
            "class_name": _TEXT,
            "model": _TEXT,
            "photograph": one_of(3, "a.jpg", IMAGE, [], Opaque),
        },
    ),
    "plot.heat": Subject(
        panel("heat"), {"values": DENSE}, {"values": either(FLOATS, one_of(DENSE[0], IMAGE))}
    ),
    "plot.colour_limits": Subject(
        usu.plot.colour_limits,
        {"maps": [DENSE]},
        {
            "maps": one_of(
                None, 3, [], [None], ["map"], [DENSE * NAN], [DENSE * 1j], [np.empty((0, 3))], Opaque
            )
        },
    ),
    "plot.overlay": Subject(
        panel("overlay"),
        {"explanation": RECORD, "attribution": DENSE},
        {"attribution": given(_MAP), "alpha": one_of(-0.1, 2, "a", NAN, [], 1j, Opaque)},
    ),
    "plot.comparison": Subject(
        usu.plot.comparison,
        {"explanation": RECORD, "maps": {"usu": DENSE}},
        {
            "maps": one_of(
                {},
                {"usu": DENSE[0]},
                {"usu": "map"},
                {"usu": DENSE * NAN},
                {"usu": DENSE.T},
                None,
                3,
                [DENSE],
            )
        },
    ),
    "plot.overlay_figure": Subject(
        usu.plot.overlay_figure,
        {"explanation": RECORD},
        {"photograph": one_of(IMAGE[:, :5], 3, "a.jpg", DENSE, [])},
    ),
    "plot.figure5": Subject(usu.plot.figure5, {"explanation": RECORD}, {"cell": _NUMBER}),
    "plot.figure6": Subject(
        usu.plot.figure6,
        {"refinement": RECORD.refinements[0], "image": IMAGE},
        {"image": either(NOT_FLOATS, one_of(IMAGE[:1], DENSE, IMAGE[:, :5]))},
    ),
    "plot.raw_scores": Subject(
        panel("raw_scores"), {"explanation": RECORD, "number": 0}, {"number": _NUMBER}
    ),
    "plot.segment_borders": Subject(
        panel("segment_borders"), {"explanation": RECORD, "number": 0}, {"number": _NUMBER}
    ),
    "plot.cell_weights": Subject(
        panel("cell_weights"), {"explanation": RECORD, "cell": 0}, {"cell": _NUMBER}
    ),
    "plot.mark_cell": Subject(panel("mark_cell"), {"explanation": RECORD, "cell": 0}, {"cell": _NUMBER}),
    "plot.frame_seen": Subject(
        panel("frame_seen"), {"explanation": RECORD}, {"explanation": one_of(_NOWHERE)}, ("placement",)
    ),
    "plot.signal_figure": Subject(
        usu.plot.signal_figure,
        {"explanation": _SIGNAL},
        {
            "channels": one_of([], [5], [-1], 3, "a", [None], [1.5], NAN, Opaque),
            "explanation": one_of(RECORD, _VOLUME),
        },
    ),
    "plot.volume_figure": Subject(
        usu.plot.volume_figure,
        {"explanation": _VOLUME},
        {
            "axis": one_of(-1, 3, "a", None, [], 1.5, NAN),
            "slices": one_of(0, 9, -1, "a", [], [9], [-1], [1.5], None, NAN, Opaque),
            "explanation": one_of(RECORD, _SIGNAL),
        },
    ),
    "plot.error_map": Subject(
        panel("error_map"),
        {"errors": _ERRORS},
        {"truth": either(given(spoiled(DENSE, NOT_FLOATS)), one_of(DENSE[0], DENSE.T, DENSE * NAN))},
    ),
    "plot.error_figure": Subject(
        usu.plot.error_figure, {"errors": {"usu": _ERRORS}}, {"errors": one_of({}, None, 3, {"usu": 3})}
    ),
    "plot.distributions": Subject(
        panel("distributions"),
        {"values": {"usu": DENSE[0]}, "intervals": _INTERVAL, "label": "score"},
        {
            "values": one_of(
                {},
                None,
                3,
                {"iwmr": DENSE[0]},
                {"usu": DENSE[0, :3]},
                {"usu": DENSE},
                {"usu": DENSE[0] * NAN},
                {"usu": "a"},
            ),
            "intervals": one_of({}, None, 3, {"hybrid": _INTERVAL["usu"]}, {"usu": None}),
        },
    ),
    "plot.publication": Subject(publication, {"size": "page"}, {"size": NAMES}),
    "plot.save_figure": Subject(
        usu.plot.save_figure,
        {"figure": _FIGURE, "path": _FOLDER / "two.png", "dpi": 20},
        {
            "path": either(BYTES_OR_NUMBER, one_of("map.doc", "map.npz")),
            "dpi": one_of(0, -1, "a", None, NAN, INF, [], 1j, Opaque),
        },
    ),
    "report.html": Subject(
        usu.report.html,
        {"entries": [usu.report.Entry(RECORD, verdicts=False)]},
        {"entries": one_of([], None, 3, [None], [RECORD])},
    ),
    "report.write": Subject(
        usu.report.write,
        {"entries": [usu.report.Entry(RECORD, verdicts=False)], "path": _FOLDER / "page.html"},
        {"entries": one_of([], None, 3, [None], [RECORD]), "path": BYTES_OR_NUMBER},
    ),
}
