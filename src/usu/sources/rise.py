"""RISE: how much more the model answers when a cell is shown, over random masks of coarse cells.

Petsiuk, Das and Saenko (2018), "RISE: randomized input sampling for explanation of black-box models". No
library is behind it; the model need only be called.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from usu.models.baselines import Baselines, make_fill
from usu.models.forward import check_evaluation_mode
from usu.models.targets import Output, Target, answers, check_targets, find_link
from usu.sources._answer import check_counts
from usu.sources.coarse_map import CoarseMap


@dataclass(frozen=True)
class Rise:
    """RISE on the grid of its own masks.

    A mask is a grid of cells, each on with probability `shown`, blown up bilinearly; where it is 0 the image
    gives way to the fill. A cell's value is the mean answer over the masks that have it on, less the mean
    over all masks: E[f | cell on] - E[f]. Two things differ from the paper's map of pixels:

    * The masks are not shifted by a random part of a cell. The paper's shift smooths a map of pixels, and
      mixes each cell with its neighbours. Here a cell is one coefficient of the mask, which is what can be
      redistributed, and the detail inside it comes from the segments' scores.
    * The mean answer is subtracted. It is the same for all cells, so the paper's picture, scaled to its
      minimum and maximum, stays as it is; as mass it would be given to cells that do nothing.

    A value is the effect of a whole cell, whatever its area, hence `mass="total"`. Its standard error is
    about √((1 - shown) / (shown · masks)) of the answers' standard deviation, 3 % by default, which the map
    of a large object may not stand out of: the paper takes 4,000 or 8,000 masks.

    Attributes:
        cells: along each side of the grid.
        masks: for each image, and so its forward passes.
        shown: probability of a cell to be on.
        baselines: the fill, see `usu.models.baselines.make_fill`; the paper's is "zeros", the mean
            colour of the training set after normalisation, and "blur" leaves fewer edges.
        output: the answer f: the target's softmax "probability", as in the paper, its "logit", or its entry
            of what a callable makes of the outputs.
        perturbations_per_eval: masked images per forward call; bounds the memory, whatever `masks`.
        seed: of the masks, which are the same for all images.

    Raises:
        ValueError: a field out of its range.
        TypeError: a count that is no integer.
    """

    cells: int = 7
    masks: int = 1000
    shown: float = 0.5
    baselines: Baselines = "zeros"
    output: Output = "probability"
    perturbations_per_eval: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        check_counts(self, cells=2, masks=2, perturbations_per_eval=1, seed=0)
        if not 0 < self.shown < 1:
            raise ValueError(f"shown must be a probability between 0 and 1, got {self.shown!r}")
        find_link(self.output)

    def __call__(
        self, model: nn.Module, inputs: Tensor, targets: Sequence[Target], layer: str | nn.Module | None
    ) -> CoarseMap:
        """Return E[f | cell on] - E[f] of each cell, for each image.

        Args:
            model: in evaluation mode; only called.
            inputs: (B, C, H, W).
            targets: one per image.
            layer: none: RISE describes no layer.

        Returns:
            The maps (B, cells, cells), signed, in the unit of the answer; `masks` forward passes an image.

        Raises:
            ValueError: a layer; images smaller than the grid; too few masks to show each cell; a target out
                of range; a model in training mode.
        """
        check_evaluation_mode(model, "model")
        if layer is not None:
            raise ValueError(f"layer must be None for source 'rise', which describes none, got {layer!r}")
        if min(inputs.shape[-2:]) < self.cells:
            raise ValueError(
                f"cells must be at most the sides of the inputs {tuple(inputs.shape[-2:])}, got {self.cells}"
            )
        inputs = inputs.detach()
        wanted = check_targets(list(targets), len(inputs), batched=True)
        fills = make_fill(inputs, self.baselines)
        with torch.no_grad():
            values = [self._importance(model, *each) for each in zip(inputs, fills, wanted, strict=True)]
        return CoarseMap(
            values=torch.stack(values).to(inputs),
            mass="total",
            source="rise",
            forward_passes=(self.masks,) * len(inputs),
            output=self.output,
        )

    def _importance(self, model: nn.Module, image: Tensor, fill: Tensor, target: Target) -> Tensor:
        """Return the values of one image's cells, (cells, cells) in float64."""
        link = find_link(self.output)
        shown = torch.zeros(self.cells, self.cells, dtype=torch.float64, device="cpu")
        answered, total = torch.zeros_like(shown), shown.sum()
        for grids in self._grids():
            masks = nn.functional.interpolate(
                grids.to(image.device, torch.promote_types(image.dtype, torch.float32)),
                tuple(image.shape[-2:]),
                mode="bilinear",
                align_corners=False,
            ).to(image.dtype)
            outputs = model(fill + masks * (image - fill))
            scores = answers(outputs, [target] * len(grids), link).to("cpu", torch.float64)
            on = grids[:, 0].to(torch.float64)
            shown += on.sum(0)
            answered += torch.einsum("n,nhw->hw", scores, on)
            total += scores.sum()
        if not bool(shown.all()):
            raise ValueError(
                f"masks must be enough to show each of {self.cells} × {self.cells} cells, got {self.masks}"
            )
        return answered / shown - total / self.masks

    def _grids(self) -> Iterator[Tensor]:
        """Yield the masks' cells, (n, 1, cells, cells) of 0 and 1 in float32, a batch at a time."""
        generator = torch.Generator().manual_seed(self.seed)
        for start in range(0, self.masks, self.perturbations_per_eval):
            count = min(self.perturbations_per_eval, self.masks - start)
            drawn = torch.rand(count, 1, self.cells, self.cells, generator=generator, device="cpu")
            yield (drawn < self.shown).to(torch.float32)


rise = Rise()
