"""What `usu.explain` returns: the record, and what can be done with it next."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from usu.arrays.checks import check_choice, check_path
from usu.models.placement import Padding
from usu.operators.registry import REDISTRIBUTIONS
from usu.operators.setting import Upsampler
from usu.record import Record
from usu.runtime.renames import renamed, tell
from usu.settings import UPSAMPLING


@dataclass(frozen=True, eq=False, repr=False)
class Explanation(Record):
    """A pixel map with every stage that led to it; see `Record` for its attributes."""

    def upsampled_by(self, upsampler: str | Upsampler) -> Any:
        """Return the pixel map (H, W) that another upsampler makes of the same coarse map and scores.

        Args:
            upsampler: a name of `usu.UPSAMPLERS`, or a callable (see `usu.find_upsampler`).

        Raises:
            ValueError: an unknown name; cells that are not a grid, where the upsampler needs one; an
                upsampler that redistributes, if the potential was a callable, which a record does not hold.
        """
        shares = isinstance(upsampler, str) and upsampler in REDISTRIBUTIONS
        setting = {name: self.settings[name] for name in UPSAMPLING} if shares else {}
        return self.coarse_map.upsample(upsampler, self.score_map, **setting)

    def by(self, method: str | Upsampler) -> Any:
        """Return `upsampled_by(method)`; the old name."""
        tell("Explanation.by", "Explanation.upsampled_by")
        return self.upsampled_by(method)

    def to_original_size(self, padding: Padding = "raise") -> Any:
        """Return the map at the size of the photograph that the image was cropped from; 0 outside the crop.

        Args:
            padding: what to do with mass on padding around the photograph: "raise" an error or "drop" it.

        Raises:
            ValueError: there is no `placement`, or mass lies on padding.
        """
        check_choice(padding, ("raise", "drop"), "padding")
        if self.placement is None:
            raise ValueError("the image's place in its photograph is not known: give explain a `placement`")
        return self.placement.to_photograph(self.attribution, padding=padding)

    def at_photograph(self, padding: Padding = "raise") -> Any:
        """Return `to_original_size(padding)`; the old name."""
        tell("Explanation.at_photograph", "Explanation.to_original_size")
        return self.to_original_size(padding)

    def show(self, **options: Any) -> None:
        """Open a window, or a notebook's output, with the picture and the map over it.

        Args:
            **options: of the figure: see `usu.plot.figure_of`.

        Raises:
            ImportError: matplotlib is missing.
            RuntimeError: there is no display.
        """
        from usu.plot import figure_of, show_figure

        show_figure(figure_of(self, **options))

    def save_image(self, path: str | os.PathLike[str], *, dpi: int = 150, **options: Any) -> None:
        """Write the picture and the map over it, such as to "map.png"; see `usu.plot.save_figure`.

        Options are the figure's: see `usu.plot.figure_of`, such as `slices=(10, 12)` of a volume.
        """
        from usu.plot import figure_of, save_figure

        check_path(path, "path")
        save_figure(figure_of(self, **options), path, dpi=dpi)

    @renamed(category="class_name")
    def to_html(self, *, class_name: str | None = None, model: str | None = None) -> str:
        """Return the interactive report of this explanation, one self-contained HTML document.

        It is for pictures, not for signals and volumes.

        Args:
            class_name: name of the class; by default the record's.
            model: name of the model; by default the record's.
        """
        from usu.report import Entry, html

        return html([Entry(self, class_name=class_name, model=model)])

    def _repr_html_(self) -> str | None:
        """Return the report as a notebook shows it, without the verdicts, which take seconds.

        None for a signal or a volume, which the notebook then shows in words.
        """
        if np.ndim(self.attribution) != 2:
            return None
        from usu.report import Entry, frame

        return frame(Entry(self, verdicts=False))
