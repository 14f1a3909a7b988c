"""The names of tables and of the formats that they are printed in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from usu.runtime.lazy import Registry

if TYPE_CHECKING:
    from usu.bench.tables.frame import Study
    from usu.bench.tables.sheet import Sheet

LAYOUTS: Mapping[str, Callable[[Study], Sheet]] = Registry(
    {
        "table2": "usu.bench.tables.full:desiderata",
        "table3": "usu.bench.tables.infidelity:infidelities",
        "table7": "usu.bench.tables.infidelity:effect_sizes",
        "table8": "usu.bench.tables.infidelity:sources",
        "table9": "usu.bench.tables.full:table9",
        "table10": "usu.bench.tables.full:table10",
        "honest": "usu.bench.tables.honest:honest",
    }
)

FORMATS: Mapping[str, Callable[[Sheet], str]] = Registry(
    {
        "text": "usu.bench.tables.text:text",
        "md": "usu.bench.tables.formats:md",
        "csv": "usu.bench.tables.formats:table_csv",
        "json": "usu.bench.tables.formats:table_json",
        "latex": "usu.bench.tables.latex:latex",
        "html": "usu.bench.tables.html:html",
    }
)
