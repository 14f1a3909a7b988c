"""Tables 1 and 5 as text, beside the paper's figures: from rows alone, without a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from usu.reproduce import published
from usu.reproduce.measured import Measured
from usu.reproduce.methods import CONTROLS, LIMITS, METHODS, UPSAMPLED
from usu.reproduce.rows import MEAN, Row
from usu.reproduce.subjects import CNNS, SUBJECTS, Subject


@dataclass(frozen=True)
class Table:
    """One of the paper's tables.

    Attributes:
        title: what it is called, here and there.
        subjects: the networks.
        paper: the paper's rows.
        sources: of the coarse maps that are printed.
        groups: the methods that are printed, by heading.
    """

    title: str
    subjects: tuple[Subject, ...]
    paper: tuple[published.PaperRow, ...]
    sources: tuple[str, ...]
    groups: Mapping[str, tuple[str, ...]]


TABLES: Mapping[str, Table] = MappingProxyType(
    {
        "table1": Table(
            "Table 1, controlled validation: shape classification, CNN",
            CNNS,
            published.TABLE1,
            ("gradient",),
            {"": tuple(UPSAMPLED)},
        ),
        "table5": Table(
            "Table 5, full synthetic results: shape classification",
            SUBJECTS,
            published.TABLE5,
            ("gradient", "gradcam"),
            {
                "": tuple(UPSAMPLED),
                "controls": tuple(CONTROLS),
                "one part replaced by its oracle": tuple(LIMITS),
            },
        ),
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
_PAPER = " |  paper: IoU  Conc.    PG"


def render(table: Table, results: Sequence[Measured], rows: Sequence[Row]) -> list[str]:
    """Return the lines of a table: one block for each network and source, means over all grids.

    Args:
        table: which networks, sources and methods to print.
        results: what was measured of its networks.
        rows: that `rows_of` made of them.
    """
    lines = [table.title, *_legend(rows)]
    for result in results:
        for source in result.sources:
            if source in table.sources:
                lines += ["", *_block(table, result, source, rows)]
    return [*lines, "", *_by_grid(rows, table), "", *_targets(table, rows)]


def _legend(rows: Sequence[Row]) -> list[str]:
    tests = next((test.correction.tests for row in rows for test in row.tests if test.correction), 0)
    return [
        f"{rows[0].n} test scenes, means over grids of 4, 7 and 14 cells a side; 95 % BCa intervals.",
        f"Holm's correction is for all {tests} Wilcoxon tests that were run for this table.",
    ]


def _block(table: Table, result: Measured, source: str, rows: Sequence[Row]) -> Iterator[str]:
    facts = result.facts
    yield f"{result.subject}: {_SOURCES[source]}"
    before, after = facts["inside_before"], facts["inside_after"]
    yield (
        f"  accuracy {facts['accuracy']:.3f}; gradient inside the foreground {before:.3f} without and "
        f"{after:.3f} with the penalty; {facts['forward_passes']:.0f} forward passes per scene"
    )
    empty, scenes = result.empty(source), result.values.shape[-1]
    if empty:
        yield f"  {empty} of {scenes} coarse maps are 0 everywhere: IoU there is chance's, concentration 0"
    own = {
        row.method: row for row in rows if (row.model, row.source, row.grid) == (result.subject, source, MEAN)
    }
    theirs = {row.method: row for row in table.paper if row.model == _paper_name(table, result)}
    yield f"{_HEADING}{_PAPER if theirs else ''}"
    yield _SECOND
    for heading, methods in table.groups.items():
        if heading:
            yield f"  {heading}:"
        for method in methods:
            yield _line(own[method], theirs.get(method))


def _line(row: Row, theirs: published.PaperRow | None) -> str:
    area, conc = row.measures["iou_area"], row.measures["concentration"]
    best, half, pointing, band = (
        row.measures[name].mean for name in ("iou_best", "iou_half", "pointing", "band_error")
    )
    cells = (
        f"{METHODS[row.method].title:28}{area.mean:>7.3f} [{area.low:.3f}, {area.high:.3f}]{best:>6.2f}"
        f"{half:>6.2f}"
        f"{conc.mean:>9.3f} [{conc.low:.3f}, {conc.high:.3f}]{pointing:>6.2f}{band:>6.2f}"
    )
    test = next((t for t in row.tests if (t.reference, t.measure) == ("bilinear", "iou_area")), None)
    if test is None or test.correction is None:
        cells += f" {'':24}"
    else:
        cells += f" {test.test.difference.mean:>+8.3f}{test.test.cohens_d:>7.2f}{test.correction.holm:>9.1e}"
    if theirs is not None:
        cells += f" | {theirs.iou:>11.2f}{theirs.concentration:>7.2f}{theirs.pointing:>6.2f}"
    return cells.rstrip()


def _by_grid(rows: Sequence[Row], table: Table) -> Iterator[str]:
    """Give the main figures of each grid, which the paper does not."""
    grids = sorted({row.grid for row in rows if isinstance(row.grid, int)})
    yield "By grid, from input gradients: IoU at the foreground's area / concentration / pointing"
    for subject in table.subjects:
        yield f"{subject.name:28}" + "".join(f"{f'{grid} × {grid}':^22}" for grid in grids)
        for method in UPSAMPLED:
            found = {
                row.grid: row.measures
                for row in rows
                if (row.model, row.source, row.method) == (subject.name, "gradient", method)
            }
            cells = (
                " / ".join(
                    f"{found[grid][name].mean:.2f}" for name in ("iou_area", "concentration", "pointing")
                )
                for grid in grids
            )
            yield f"  {UPSAMPLED[method].title:26}" + "".join(f"{cell:^22}" for cell in cells)


_REDISTRIBUTED = ("usu", "iwmr", "oracle-usu", "oracle-iwmr")


def _targets(table: Table, rows: Sequence[Row]) -> Iterator[str]:
    """Say where a redistributed map reaches the paper's figure, to two decimals, and where it does not."""
    yield "The paper's figures for USU and IWMR, reached or not (ours, the paper's):"
    for subject in table.subjects:
        for theirs in table.paper:
            if theirs.model != subject.paper or theirs.method not in _REDISTRIBUTED:
                continue
            ours = next(
                row.measures
                for row in rows
                if (row.model, row.source, row.method, row.grid)
                == (subject.name, "gradient", theirs.method, MEAN)
            )
            pairs = {
                "IoU at area": (ours["iou_area"].mean, theirs.iou),
                "best IoU": (ours["iou_best"].mean, theirs.iou),
                "concentration": (ours["concentration"].mean, theirs.concentration),
                "pointing": (ours["pointing"].mean, theirs.pointing),
            }
            verdicts = (
                f"{name} {mine:.2f} {'≥' if round(mine, 2) >= wanted else '<'} {wanted:.2f}"
                for name, (mine, wanted) in pairs.items()
            )
            yield f"  {subject.name:20} {METHODS[theirs.method].title:12} " + ", ".join(verdicts)


def _paper_name(table: Table, result: Measured) -> str | None:
    return next((subject.paper for subject in table.subjects if subject.name == result.subject), None)
