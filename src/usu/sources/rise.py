"""RISE: how much more the model answers when a cell is shown, over random masks of coarse cells.

Petsiuk, Das and Saenko (2018), "RISE: randomized input sampling for explanation of black-box models". No
library is behind it; the model need only be called.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from usu.arrays.checks import as_number
from usu.models.baselines import Baselines
from usu.models.targets import Output, find_link
from usu.sources._answer import Answer, ImageSource, check_counts


@dataclass(frozen=True)
class Rise(ImageSource):
    """RISE on the grid of its own masks: maps (B, cells, cells), signed, in the unit of the answer.

    A mask is a grid of cells, each on with probability `shown`, enlarged bilinearly; where it is 0 the image
    is replaced by the fill. A cell's value is the mean answer over the masks that have it on, less the mean
    over all masks: E[f | cell on] - E[f]. Two things differ from the paper's map of pixels:

    * The masks are not shifted by a random part of a cell. The paper's shift smooths a map of pixels, and
      mixes each cell with its neighbours. Here a cell is one coefficient of the mask, which is what can be
      redistributed, and the detail inside it comes from the segments' scores.
    * The mean answer is subtracted. It is the same for all cells, so that the paper's picture, scaled to its
      minimum and maximum, does not change; as mass it would be given to cells that have no effect.

    A value is the effect of a whole cell, whatever its area, hence `mass="total"`. Its standard error is
    about √((1 - shown) / (shown · masks)) of the answers' standard deviation, 3 % by default, which may hide
    the map of a large object: the paper takes 4,000 or 8,000 masks.

    Attributes:
        cells: along each side of the grid.
        masks: for each image, and so its forward passes.
        shown: probability that a cell is on.
        baselines: the fill, see `usu.models.baselines.make_fill`; the paper's is "zeros", the mean
            colour of the training set after normalisation, and "blur" leaves fewer edges.
        output: the answer f: the target's softmax "probability", as in the paper, its "logit", or its entry
            in the result of a callable on the outputs.
        perturbations_per_eval: masked images per forward call; bounds the memory, whatever `masks`.
        seed: of the masks, which are the same for all images.

    Raises:
        ValueError: a field out of its range.
        TypeError: a count that is not an integer.
    """

    name: ClassVar[str] = "rise"
    cells: int = 7
    masks: int = 1000
    shown: float = 0.5
    baselines: Baselines = "zeros"
    output: Output = "probability"
    perturbations_per_eval: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        check_counts(self, cells=2, masks=2, perturbations_per_eval=1, seed=0)
        if not 0 < as_number(self.shown, "shown") < 1:
            raise ValueError(f"shown must be a probability between 0 and 1, got {self.shown!r}")
        find_link(self.output)

    @torch.no_grad()
    def explain(self, image: Tensor, fill: Tensor, answer: Answer) -> tuple[Tensor, None]:
        """Return E[f | cell on] - E[f] of each cell, (cells, cells) in float64.

        Raises:
            ValueError: an image smaller than the grid; too few masks to show each cell.
        """
        size = tuple(image.shape[-2:])
        if min(size) < self.cells:
            raise ValueError(f"cells must be at most the sides of the inputs {size}, got {self.cells}")
        shown = torch.zeros(self.cells, self.cells, dtype=torch.float64, device="cpu")
        answered, total = torch.zeros_like(shown), shown.sum()
        for grids in self._grids():
            masks = nn.functional.interpolate(
                grids.to(image.device, torch.promote_types(image.dtype, torch.float32)),
                size,
                mode="bilinear",
                align_corners=False,
            ).to(image.dtype)
            scores = answer(fill + masks * (image - fill)).to("cpu", torch.float64)
            on = grids[:, 0].to(torch.float64)
            shown += on.sum(0)
            answered += torch.einsum("n,nhw->hw", scores, on)
            total += scores.sum()
        if not bool(shown.all()):
            raise ValueError(
                f"masks must be enough to show each of {self.cells} × {self.cells} cells, got {self.masks}"
            )
        return answered / shown - total / self.masks, None

    def _grids(self) -> Iterator[Tensor]:
        """Yield the masks' cells, (n, 1, cells, cells) of 0 and 1 in float32, a batch at a time."""
        generator = torch.Generator().manual_seed(self.seed)
        for start in range(0, self.masks, self.perturbations_per_eval):
            count = min(self.perturbations_per_eval, self.masks - start)
            drawn = torch.rand(count, 1, self.cells, self.cells, generator=generator, device="cpu")
            yield (drawn < self.shown).to(torch.float32)


rise = Rise()
