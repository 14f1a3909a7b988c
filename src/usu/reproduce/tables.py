"""Tables 1 and 5 as text, beside the paper's figures: from rows alone, without a model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import pandas as pd

from usu.reproduce.evidence import GRIDS
from usu.reproduce.measured import Measured
from usu.reproduce.methods import CONTROLS, LIMITS, METHODS, UPSAMPLED
from usu.reproduce.published import published
from usu.reproduce.rows import MEAN
from usu.reproduce.subjects import CNNS, SUBJECTS, Subject


@dataclass(frozen=True, eq=False)
class Table:
    """One of the paper's tables."""

    title: str  # what it is called, here and there
    subjects: tuple[Subject, ...]  # the networks
    paper: pd.DataFrame  # the paper's rows, by the paper's name of the network and our name of the method
    sources: tuple[str, ...]  # of the coarse maps that are printed
    groups: Mapping[str, Iterable[str]]  # the methods that are printed, by heading

    def paper_rows(self, network: str) -> pd.DataFrame:
        """Return the paper's rows of one of the subjects, by method; none if its table lacks the network."""
        names = {subject.name: subject.paper for subject in self.subjects}
        return self.paper[self.paper.index.get_level_values("model") == names[network]].droplevel("model")


_TITLES = (
    "Table 1, controlled validation: shape classification, CNN",
    "Table 5, full synthetic results: shape classification",
)
_GROUPS = {"": UPSAMPLED, "controls": CONTROLS, "one part replaced by its oracle": LIMITS}
TABLES: Mapping[str, Table] = MappingProxyType(
    {
        "table1": Table(_TITLES[0], CNNS, published("table1"), ("gradient",), {"": UPSAMPLED}),
        "table5": Table(_TITLES[1], SUBJECTS, published("table5"), ("gradient", "gradcam"), _GROUPS),
    }
)

_SOURCES = {"gradient": "|input gradient| summed into cells", "gradcam": "Grad-CAM (third convolution)"}
_HEADING = (
    f"{'':28}{'IoU at':>7} {'95 % interval':>15}{'best':>6}{'half':>6}{'concen-':>9}{'':16}{'point-':>7}"
    f"{'band':>6}  IoU - bilinear's"
)
_SECOND = (
    f"{'method':28}{'area':>7} {'':15}{'IoU':>6}{'max.':>6}{'tration':>9}{'95 % interval':>16}{'ing':>7}"
    f"{'error':>6} {'mean':>8}{'d_z':>7}{'p Holm':>9}"
)
_LINE = (
    "{title:28}{iou_area:>7.3f} [{iou_area_low:.3f}, {iou_area_high:.3f}]{iou_best:>6.2f}{iou_half:>6.2f}"
    "{concentration:>9.3f} [{concentration_low:.3f}, {concentration_high:.3f}]{pointing:>6.2f}"
    "{band_error:>6.2f}"
)
_TEST = " {difference:>+8.3f}{cohens_d:>7.2f}{holm:>9.1e}"
_PAPER_HEADING = " |  paper: IoU  Conc.    PG"
_PAPER = " | {iou:>11.2f}{concentration:>7.2f}{pointing:>6.2f}"
_SHORT = "{iou_area:.2f} / {concentration:.2f} / {pointing:.2f}"

# Ours, and the paper's that it is held against.
_COMPARED = {
    "IoU at area": ("iou_area", "iou"),
    "best IoU": ("iou_best", "iou"),
    "concentration": ("concentration", "concentration"),
    "pointing": ("pointing", "pointing"),
}
_REDISTRIBUTED = ("usu", "iwmr", "oracle-usu", "oracle-iwmr")


def render(table: Table, results: Sequence[Measured], rows: pd.DataFrame, tests: pd.DataFrame) -> list[str]:
    """Return the lines of a table: one block for each network and source, means over all grids.

    Takes what was measured of its networks, and what `rows_of` and `tests_of` made of that.
    """
    lines = [
        table.title,
        f"{rows['n'].iloc[0]} test scenes, means over grids of 4, 7 and 14 cells a side; 95 % BCa intervals.",
        f"Holm's correction is for all {len(tests)} Wilcoxon tests that were run for this table.",
    ]
    for result in results:
        for source in result.sources:
            if source in table.sources:
                lines += ["", *_block(table, result, source, rows, tests)]
    return [*lines, "", *_by_grid(table, rows), "", *_targets(table, rows)]


def _block(
    table: Table, result: Measured, source: str, rows: pd.DataFrame, tests: pd.DataFrame
) -> Iterator[str]:
    yield f"{result.subject}: {_SOURCES[source]}"
    yield (
        "  accuracy {accuracy:.3f}; gradient inside the foreground {inside_before:.3f} without and "
        "{inside_after:.3f} with the penalty; {forward_passes:.0f} forward passes per scene"
    ).format(**result.facts)
    empty, scenes = result.empty(source), result.values.shape[-1]
    if empty:
        yield f"  {empty} of {scenes} coarse maps are 0 everywhere: IoU there is chance's, concentration 0"
    ours = rows.xs((result.subject, source, MEAN), level=["model", "source", "grid"])
    against = tests[(tests["reference"] == "bilinear") & (tests["measure"] == "iou_area")]
    against = against.xs((result.subject, source), level=["model", "source"])
    theirs = table.paper_rows(result.subject)
    yield _HEADING + ("" if theirs.empty else _PAPER_HEADING)
    yield _SECOND
    for heading, methods in table.groups.items():
        if heading:
            yield f"  {heading}:"
        for method in methods:
            line = _LINE.format(title=METHODS[method].title, **ours.loc[method])
            line += _TEST.format(**against.loc[method]) if method in against.index else " " * 25
            line += _PAPER.format(**theirs.loc[method]) if method in theirs.index else ""
            yield line.rstrip()


def _by_grid(table: Table, rows: pd.DataFrame) -> Iterator[str]:
    """Give the main figures of each grid, which the paper does not."""
    yield "By grid, from input gradients: IoU at the foreground's area / concentration / pointing"
    for subject in table.subjects:
        yield f"{subject.name:28}" + "".join(f"{f'{grid} × {grid}':^22}" for grid in GRIDS)
        ours = rows.xs((subject.name, "gradient"), level=["model", "source"])
        for method, upsampled in UPSAMPLED.items():
            cells = (_SHORT.format(**ours.loc[(grid, method)]) for grid in GRIDS)
            yield f"  {upsampled.title:26}" + "".join(f"{cell:^22}" for cell in cells)


def _targets(table: Table, rows: pd.DataFrame) -> Iterator[str]:
    """Say where a redistributed map reaches the paper's figure, to two decimals, and where it does not."""
    yield "The paper's figures for USU and IWMR, reached or not (ours, the paper's):"
    for subject in table.subjects:
        theirs = table.paper_rows(subject.name)
        ours = rows.xs((subject.name, "gradient", MEAN), level=["model", "source", "grid"])
        for method in _REDISTRIBUTED:
            if method not in theirs.index:
                continue
            verdicts = []
            for name, (our_measure, their_measure) in _COMPARED.items():
                mine, wanted = ours.loc[method, our_measure], theirs.loc[method, their_measure]
                verdicts.append(f"{name} {mine:.2f} {'≥' if round(mine, 2) >= wanted else '<'} {wanted:.2f}")
            yield f"  {subject.name:20} {METHODS[method].title:12} " + ", ".join(verdicts)
