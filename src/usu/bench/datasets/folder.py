"""Any folder of images, with labels from a table if there is one."""

from __future__ import annotations

import csv
from collections.abc import Collection
from pathlib import Path

from usu.bench.datasets.files import Dataset, Item, image_names

LABELS = "labels.csv"
_FILE, _CLASS = "file", "class_index"


def read_folder(folder: Path) -> Dataset:
    """Read every image of a folder and of the folders in it, in sorted order.

    `labels.csv` in the folder itself has a header with the columns `file`, a path with slashes relative to
    the folder, and `class_index`, a number from 0 or empty; other columns are ignored. Images without a line
    have no label.

    Raises:
        ValueError: there is no image, or a line of the table is damaged, repeats another, or names no image.
    """
    names = image_names(folder)
    if not names:
        raise ValueError(f"{folder} holds no image, nor do the folders in it")
    table = folder / LABELS
    labels = _read_labels(table, set(names)) if table.is_file() else {}
    return Dataset("folder", folder, tuple(Item(name, labels.get(name)) for name in names), None)


def _read_labels(path: Path, names: Collection[str]) -> dict[str, int | None]:
    labels: dict[str, int | None] = {}
    try:
        # A spreadsheet puts a byte order mark before the header.
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file, strict=True)
            columns = rows.fieldnames or ()
            if _FILE not in columns or _CLASS not in columns:
                raise ValueError(f"needs the columns {_FILE} and {_CLASS} in its first line, got {columns}")
            for row in rows:
                labels |= _labelled(row, rows.line_num, names, labels)
    except (ValueError, csv.Error) as problem:
        raise ValueError(f"{path}: {problem}") from problem
    return labels


def _labelled(
    row: dict[str, str | None], line: int, names: Collection[str], before: Collection[str]
) -> dict[str, int | None]:
    """Return the one label of a line, by name."""
    name, text = row[_FILE], row[_CLASS]
    if name is None or name not in names:
        raise ValueError(f"line {line} has a label for {name!r}, but there is no such image")
    if name in before:
        raise ValueError(f"line {line} has a second label for {name!r}")
    if text is None or not (text == "" or text.isdecimal()):
        raise ValueError(f"line {line}: {_CLASS} must be a number from 0 up, got {text!r}")
    return {name: int(text) if text else None}
