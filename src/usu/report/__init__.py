"""The interactive report: one HTML file that shows explanations and recomputes their maps in the browser."""

from usu.report.entry import Entry
from usu.report.page import frame, html, write

__all__ = ["Entry", "frame", "html", "write"]
