"""What `usu.explain` returns: the record, and what a user asks of it next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from usu.models.placement import Padding
from usu.operators.registry import UPSAMPLERS
from usu.operators.upsamplers import Upsampler, upsample_all
from usu.record import Record


@dataclass(frozen=True, eq=False, repr=False)
class Explanation(Record):
    """A pixel map with every stage that led to it; see `Record` for its attributes."""

    def by(self, method: str | Upsampler) -> Any:
        """Return the pixel map (H, W) that another upsampler makes of the same coarse map and scores.

        Args:
            method: a name of `usu.UPSAMPLERS`, or a callable (see `usu.find_upsampler`).

        Raises:
            ValueError: an unknown name; interpolation, where the cells are not a grid; "usu", "iwmr" or
                "hybrid", where the potential was a callable, which a record does not hold.
        """
        names = ("temperature", "importance_temperature", "potential", "negative")
        built_in = UPSAMPLERS.get(method) if isinstance(method, str) else None
        shares = built_in is not None and built_in.budget is not None
        setting = {name: self.settings[name] for name in names} if shares else {}
        return upsample_all(
            method,
            self.coarse,
            self.further,
            self.score_map,
            self.neighbourhoods,
            mass=self.mass,
            **setting,
        )

    def at_photograph(self, padding: Padding = "raise") -> Any:
        """Return the map at the size of the photograph that the image was cut from; 0 outside the cut.

        Args:
            padding: what to do with mass on padding around the photograph: "raise" an error or "drop" it.

        Raises:
            ValueError: there is no `placement`, or mass lies on padding.
        """
        if self.placement is None:
            raise ValueError("where the image lies in a photograph is not known: give explain a `placement`")
        return self.placement.to_photograph(self.attribution, padding=padding)

    def to_html(self, *, category: str | None = None, model: str | None = None) -> str:
        """Return the interactive report of this explanation, one self-contained HTML document.

        Args:
            category: name of the class.
            model: name of the model.
        """
        from usu.report import Entry, html

        return html([Entry(self, category=category, model=model)])

    def _repr_html_(self) -> str:
        """Return the report as a notebook shows it, without the verdicts, which take seconds."""
        from usu.report import Entry, frame

        return frame(Entry(self, verdicts=False))
