"""Tables of `benchmarks/scores`, from its saved results alone: no model, no photographs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from usu.metrics.statistics import Correction, PairedTest, bootstrap_interval, correct, paired_test
from usu.runtime.files import written_whole

FILLS = ("blur", "mean")
AREAS = tuple(f"{curve}, {fill}" for fill in FILLS for curve in ("deletion", "insertion"))
HALVES = ("choosing", "reporting")
RESULTS = Path("results")
# What every map is compared with, photograph by photograph.
REFERENCES = ("SHAP partition 160", "SHAP partition 1000", "RISE 1600", "bilinear", "guided filter")
# What docs/scores.md claims of the reporting half: (map, reference), all areas of all pairs tested together.
CLAIMS = (
    *(
        ("complete 160", reference)
        for reference in (
            "SHAP partition 160",
            "SHAP partition 1000",
            "KernelShap 160",
            "Lime 160",
            "RISE 160",
            "RISE 1600",
            "XRAI",
            "bilinear",
            "guided filter",
        )
    ),
    ("scores owen 160", "scores masking"),
    ("usu owen 160", "usu masking"),
    ("hybrid owen 160", "hybrid masking"),
)
LEVEL = 0.05
TESTED = (
    "Mean differences with 95 % BCa intervals; p of the two-sided signed-rank test, zeros after Pratt, as "
    f"it is and after Holm for all {{}} tests of this table, bold below {LEVEL:g}; r, rank-biserial."
)


@dataclass(frozen=True)
class Row:
    """One map of one photograph: what it cost, and its areas for each tie seed (seeds, 6), as `MEASURES`."""

    half: str
    passes: int
    seconds: float
    areas: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """Areas (6,), the mean over the tie seeds."""
        return self.areas.mean(0)


Rows: TypeAlias = "dict[str, Row]"
Results: TypeAlias = "dict[str, Rows]"


def _difference(fill: str) -> str:
    return f"insertion − deletion, {fill}"


MEASURES = tuple(
    name for fill in FILLS for name in (f"deletion, {fill}", f"insertion, {fill}", _difference(fill))
)


def read_records(source: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of a folder of results, or of the file that `gather` made of one."""
    if source.is_dir():
        yield from (json.loads(path.read_text()) for path in sorted(source.glob("*/*.json")))
    elif source.exists():
        yield from map(json.loads, source.read_text().splitlines())


def gather(folder: Path, target: Path) -> None:
    """Write the records of a folder to one file, a line each: the areas, without the curves."""
    with written_whole(target) as file:
        for record in read_records(folder):
            for entry in record["maps"].values():
                for seed in entry["seeds"].values():
                    seed.update({name: {"area": seed[name]["area"]} for name in AREAS})
            file.write((json.dumps(record) + "\n").encode())


def read_results(source: Path) -> Results:
    """Return the rows of every map found in `source`, a folder or a file, by map and photograph.

    Raises:
        ValueError: two methods gave a map of one name for one photograph.
    """
    results: Results = {}
    for record in read_records(source):
        for name, entry in record["maps"].items():
            rows = results.setdefault(name, {})
            if record["photograph"] in rows:
                raise ValueError(f"two methods have a map {name!r} of {record['photograph']}")
            areas = np.array([_measures(seed) for seed in entry["seeds"].values()])
            rows[record["photograph"]] = Row(
                record["half"], entry["passes"], record["seconds_outside"], areas
            )
    return results


def chosen_on(results: Path = RESULTS) -> set[str]:
    """Return the names of the photographs of the ImageNet sample on which a default was chosen."""
    defaults = {f"{record.stem}.JPEG" for record in results.glob("defaults/*.json")}
    scores = read_results(results / "scores.jsonl").values()
    return defaults | {name for rows in scores for name, row in rows.items() if row.half == "choosing"}


def _measures(seed: dict[str, Any]) -> list[float]:
    areas = {name: seed[name]["area"] for name in AREAS}
    for fill in FILLS:
        areas[_difference(fill)] = areas[f"insertion, {fill}"] - areas[f"deletion, {fill}"]
    return [areas[name] for name in MEASURES]


def means(results: Results, half: str) -> list[str]:
    """Return the table of one half: mean ± standard error, best difference of the two areas first."""
    table = {name: [row for row in rows.values() if row.half == half] for name, rows in results.items()}
    values = {name: np.array([row.mean for row in rows]) for name, rows in table.items() if rows}
    key = MEASURES.index(_difference("blur"))
    lines = _head("map", "photographs", "passes", "seconds outside")
    for name in sorted(values, key=lambda name: -values[name][:, key].mean()):
        count = len(values[name])
        errors = values[name].std(0, ddof=min(1, count - 1)) / count**0.5
        cells = [
            f"{mean:.3f} ± {error:.3f}" for mean, error in zip(values[name].mean(0), errors, strict=True)
        ]
        passes = np.mean([row.passes for row in table[name]])
        seconds = np.median([row.seconds for row in table[name]])
        lines.append(line(name, count, f"{passes:.0f}", f"{seconds:.2f}", *cells))
    return lines


def paired(results: Results, reference: str, half: str) -> list[str]:
    """Return the table of paired differences from one map: mean and 95 % BCa interval."""
    lines = _head(f"map, less {reference}", "photographs")
    for name in results:
        shared = _shared(results, name, reference, half)
        if name != reference and shared:
            differences = _areas(results[name], shared) - _areas(results[reference], shared)
            lines.append(line(name, len(shared), *(_difference_cell(column) for column in differences.T)))
    return lines


def tests(results: Results, claims: Sequence[tuple[str, str]], half: str) -> list[str]:
    """Return the table of signed-rank tests of pairs of maps, corrected together for all areas of all."""
    found = []
    for name, reference in claims:
        shared = _shared(results, name, reference, half)
        ours, theirs = (_areas(results[one], shared) for one in (name, reference))
        columns = [MEASURES.index(area) for area in AREAS]
        found.append((name, reference, [paired_test(ours[:, one], theirs[:, one]) for one in columns]))
    corrected = iter(correct([test.p_value for *_, several in found for test in several]))
    lines = _head("map", "less", "photographs", measures=AREAS)
    for name, reference, several in found:
        cells = [tested_cell(test, next(corrected)) for test in several]
        lines.append(line(name, reference, several[0].n, *cells))
    return lines


def tested_cell(test: PairedTest, corrected: Correction) -> str:
    """Return a difference with its interval and its test, bold where it is one at the corrected level."""
    found = test.difference
    text = (
        f"{found.mean:+.3f} [{found.low:+.3f}, {found.high:+.3f}], p {corrected.p_value:.2g}, "
        f"Holm {corrected.holm:.2g}, r {test.rank_biserial:+.2f}"
    )
    return f"**{text}**" if corrected.holm < LEVEL else text


def _shared(results: Results, name: str, reference: str, half: str) -> list[str]:
    rows, others = results[name], results[reference]
    return [key for key, row in rows.items() if row.half == half and key in others]


def _areas(rows: Rows, photographs: Sequence[str]) -> np.ndarray:
    """Return (photographs, measures)."""
    return np.array([rows[key].mean for key in photographs])


def _difference_cell(differences: np.ndarray) -> str:
    text = f"{differences.mean():+.3f}"
    if len(differences) < 2:
        return text
    found = bootstrap_interval(differences)
    text += f" [{found.low:+.3f}, {found.high:+.3f}]"
    return f"**{text}**" if found.low > 0 or found.high < 0 else text


def ties(results: Results) -> list[str]:
    """Return how far the order of tied pixels moves the areas: the deviation over seeds, and at the worst."""
    lines = _head("map", "photographs", "seeds")
    for name, rows in results.items():
        several = [row.areas for row in rows.values() if len(row.areas) > 1]
        if not several:
            continue
        spreads = np.array([areas.std(0, ddof=1) for areas in several])
        widest = np.array([np.ptp(areas, axis=0) for areas in several]).max(0)
        cells = [f"{mean:.3f}, {most:.3f}" for mean, most in zip(spreads.mean(0), widest, strict=True)]
        lines.append(line(name, len(several), min(map(len, several)), *cells))
    return lines


def _head(*names: str, measures: Sequence[str] = MEASURES) -> list[str]:
    columns = (*names, *measures)
    return [line(*columns), "|---" * len(columns) + "|"]


def line(*cells: object) -> str:
    """Return a row of a Markdown table."""
    return f"| {' | '.join(map(str, cells))} |"


def tables(source: Path) -> str:
    """Return all tables in Markdown, of a folder of results or of a file that `gather` made."""
    results = read_results(source)
    parts: list[tuple[str, Sequence[str], Callable[[], Iterable[str]]]] = [
        (
            "The reporting half",
            ["Areas over the class probability, mean ± standard error; CPU seconds outside: median."],
            lambda: means(results, "reporting"),
        ),
        ("The choosing half", [], lambda: means(results, "choosing")),
    ]
    claims = [pair for pair in CLAIMS if set(pair) <= results.keys()]
    if claims:
        note = TESTED.format(len(claims) * len(AREAS))
        parts.append(("Paired tests, reporting half", [note], lambda: tests(results, claims, "reporting")))
    for reference in (name for name in REFERENCES if name in results):
        note = "Mean and 95 % BCa interval, not corrected for their number; bold where it excludes zero."
        parts.append(
            (
                f"Paired differences from {reference}, reporting half",
                [note],
                lambda name=reference: paired(results, name, "reporting"),
            )
        )
    if any(len(row.areas) > 1 for rows in results.values() for row in rows.values()):
        note = (
            "Standard deviation over tie seeds, mean of the photographs; and the widest range of one of them."
        )
        parts.append(("The order of tied pixels", [note], lambda: ties(results)))
    lines: list[str] = []
    for title, notes, rows in parts:
        lines += [f"## {title}", "", *(text for note in notes for text in (note, "")), *rows(), ""]
    return "\n".join(lines).rstrip()
