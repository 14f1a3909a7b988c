"""What `usu reproduce` can make: each takes a folder and whether to be quick, and returns lines to print."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from usu.reproduce.published import CAPTIONS

Experiment = Callable[[Path, bool], "list[str]"]


def _table(name: str) -> Experiment:
    def make(folder: Path, quick: bool) -> list[str]:
        from usu.reproduce.parallel import measure_all
        from usu.reproduce.rows import rows_of, tests_of, write_rows
        from usu.reproduce.subjects import FULL, QUICK
        from usu.reproduce.tables import TABLES, render

        table = TABLES[name]
        results = measure_all(table.subjects, QUICK if quick else FULL, folder / "measured")
        rows, tests = rows_of(results), tests_of(results)
        write_rows(rows, tests, folder / f"{name}.json")
        return render(table, results, rows, tests)

    return make


def _figure(name: str) -> Experiment:
    def make(folder: Path, quick: bool) -> list[str]:
        from usu.reproduce import figures, sheets
        from usu.reproduce.subjects import FULL, QUICK

        sheet = figures.FIGURES[name](QUICK if quick else FULL)
        paths = sheets.save(sheet, folder, name)
        return [sheet.title, f"the paper's: {CAPTIONS[name]}", *sheet.notes, *map(str, paths)]

    return make


def _settings(folder: Path, quick: bool) -> list[str]:
    from usu.reproduce.selection import choose

    return choose(folder, quick)


EXPERIMENTS: Mapping[str, Experiment] = MappingProxyType(
    {
        **{name: _table(name) for name in ("table1", "table5")},
        **{name: _figure(name) for name in CAPTIONS},
        "settings": _settings,
    }
)
