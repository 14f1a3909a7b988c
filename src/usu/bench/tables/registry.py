"""The names of tables and of their formats; what makes them is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from usu.runtime.lazy import Registry

if TYPE_CHECKING:
    from usu.bench.tables.cells import Table
    from usu.bench.tables.frame import Study

LAYOUTS: Mapping[str, Callable[[Study], Table]] = Registry(
    {
        "table2": "usu.bench.tables.layouts:desiderata",
        "table3": "usu.bench.tables.layouts:infidelities",
        "table7": "usu.bench.tables.layouts:effect_sizes",
        "table8": "usu.bench.tables.layouts:sources",
        "table9": "usu.bench.tables.layouts:table9",
        "table10": "usu.bench.tables.layouts:table10",
        "honest": "usu.bench.tables.layouts:honest",
    }
)

FORMATS: Mapping[str, Callable[[Table], str]] = Registry(
    {
        "text": "usu.bench.tables.render:text",
        "md": "usu.bench.tables.render:md",
        "csv": "usu.bench.tables.render:table_csv",
        "json": "usu.bench.tables.render:table_json",
        "latex": "usu.bench.tables.latex:latex",
        "html": "usu.bench.tables.html:html",
    }
)
