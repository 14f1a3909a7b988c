"""Captum's integrated gradients, occlusion and LIME as sources of coarse maps."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar

import torch
from torch import Tensor

from usu.arrays.checks import check_number
from usu.models.baselines import Baselines
from usu.models.contexts import differentiable
from usu.models.diagnosis import check_differentiable, why_no_gradient
from usu.operators.lattice import Grid, grid
from usu.runtime.lazy import needed
from usu.runtime.random import torch_seeded
from usu.segmentation.methods import segment, stretched
from usu.sources._answer import BATCH, Answer, ImageSource, check_counts

with needed("Captum's methods need captum", "captum"):
    from captum._utils.models.linear_model import SkLearnRidge
    from captum.attr import FeatureAblation, IntegratedGradients, Lime


def _square_cells(size: Sequence[int], cells: int) -> Grid:
    """Return a grid with `cells` along the shortest side, as square as possible, none without a pixel.

    A volume gets about as many cells in all as a picture.
    """
    shortest = min(size)
    across = min(round(cells ** (2 / 3)) if len(size) == 3 else cells, shortest)
    return grid(tuple(max(1, round(across * side / shortest)) for side in size), tuple(size))


@dataclass(frozen=True)
class IntegratedGradientsSource(ImageSource):
    """Integrated gradients, summed over channels and over the pixels of each cell.

    The cells sum to the answer for the image less the answer for the baseline, up to the error of the
    integral.

    Attributes:
        cells: along the shortest side of the image; of a volume as many in all.
        n_steps: of the Gauss-Legendre quadrature: one forward pass each.
        baselines: where the path starts; see `usu.models.baselines.make_fill`.
    """

    name: ClassVar[str] = "integrated-gradients"
    planar: ClassVar[bool] = False
    cells: int = 14
    n_steps: int = 100
    baselines: Baselines = "zeros"

    def __post_init__(self) -> None:
        check_counts(self, cells=1, n_steps=1)

    def explain(self, image: Tensor, fill: Tensor, answer: Answer) -> tuple[Tensor, None]:
        """Return the values (rows, columns) of one image, on a grid of as many axes as it has."""

        def forward_func(batch: Tensor) -> Tensor:
            scores = answer(batch)
            if not scores.requires_grad:
                raise ValueError(
                    "source 'integrated-gradients' needs gradients, and the model's outputs have none with "
                    f"respect to its inputs; {why_no_gradient(answer.model)}"
                )
            return scores

        check_differentiable(answer.model, self.name)
        with differentiable(answer.model):
            attributions = IntegratedGradients(forward_func).attribute(
                image, fill, n_steps=self.n_steps, internal_batch_size=BATCH
            )
        return _square_cells(image.shape[2:], self.cells).sum(attributions[0].detach().sum(0)), None


@dataclass(frozen=True)
class OcclusionSource(ImageSource):
    """Occlusion: how much the answer falls when one cell of a grid is replaced, cell by cell.

    Captum's FeatureAblation over the cells: its Occlusion takes windows of one size only, and would leave
    narrow ones at the border of sides that are not a multiple of it.

    Attributes:
        cells: along the shortest side of the image, of a volume as many in all; one forward pass per cell,
            and one more.
        baselines: what replaces a cell; see `usu.models.baselines.make_fill`.
    """

    name: ClassVar[str] = "occlusion"
    planar: ClassVar[bool] = False
    cells: int = 14
    baselines: Baselines = "blur"

    def __post_init__(self) -> None:
        check_counts(self, cells=1)

    def explain(self, image: Tensor, fill: Tensor, answer: Answer) -> tuple[Tensor, None]:
        """Return the values (rows, columns) of one image, on a grid of as many axes as it has."""
        cells = _square_cells(image.shape[2:], self.cells)
        labels = cells.spread(torch.arange(math.prod(cells.shape), device=image.device).view(cells.shape))
        attributions = FeatureAblation(answer).attribute(
            image, fill, feature_mask=labels[None, None], perturbations_per_eval=BATCH
        )
        # Every pixel of a cell has the cell's value.
        flat = attributions[0, 0].flatten()
        values = flat.new_zeros(labels.max() + 1).scatter(0, labels.flatten(), flat)
        return values.view(cells.shape), None


@dataclass(frozen=True)
class LimeSource(ImageSource):
    """LIME over superpixels: the coefficients of a ridge regression on images with some of them replaced.

    As in the authors' package, images are weighted by the cosine distance of their remaining superpixels, the
    unperturbed image is the first sample, and the regression is ridge with α = 1. The answer is the target's
    logit, not its probability, and superpixels are replaced by a fill, not by their mean colour. They are cut
    of the `images` that `usu.explain` got, or of the inputs, stretched to [0, 1].

    Attributes:
        superpixels: their number.
        n_samples: perturbed images, one forward pass each.
        kernel_width: of the exponential kernel on that distance.
        baselines: what replaces a superpixel; see `usu.models.baselines.make_fill`.
        seed: of the samples; the global generator of random numbers is left unchanged.
    """

    name: ClassVar[str] = "lime"
    superpixels: int = 64
    n_samples: int = 1000
    kernel_width: float = 0.25
    baselines: Baselines = "blur"
    seed: int = 0

    def __post_init__(self) -> None:
        check_counts(self, superpixels=1, n_samples=2, seed=0)
        if check_number(self.kernel_width, "kernel_width") <= 0:
            raise ValueError(f"kernel_width must be positive, got {self.kernel_width!r}")

    def explain(self, image: Tensor, fill: Tensor, answer: Answer) -> tuple[Tensor, Tensor]:
        """Return the coefficients (K,) and superpixels (H, W) of one image.

        Raises:
            ValueError: an image that is neither RGB nor grey, and no picture of it.
            ImportError: scikit-learn, which Captum uses for the regression, is missing.
        """
        with needed("source 'lime' needs scikit-learn", "lime"):
            import_module("sklearn")
        superpixels = self._superpixels(image[0] if answer.picture is None else answer.picture)
        lime = Lime(answer, SkLearnRidge(alpha=1.0), self._similarity, self._samples)
        # Captum's data loader and linear model draw from the CPU's generator.
        with torch_seeded(self.seed), torch.no_grad():
            coefficients = lime.attribute(
                image,
                fill,
                feature_mask=superpixels[None, None],
                n_samples=self.n_samples,
                perturbations_per_eval=BATCH,
                return_input_shape=False,
            )
        return coefficients.flatten(), superpixels

    def _superpixels(self, image: Tensor) -> Tensor:
        picture = stretched(image.to(torch.promote_types(image.dtype, torch.float32)), "inputs")
        count = min(self.superpixels, picture[0].numel())
        labels: Tensor = segment(picture, (count,), "slic").levels[0]
        return labels

    def _samples(self, image: Tensor, **options: Any) -> Iterator[Tensor]:
        """Yield which superpixels are present, (1, K): all of them, then random halves."""
        generator = torch.Generator().manual_seed(self.seed)
        present = torch.ones(1, options["num_interp_features"], dtype=torch.int64, device="cpu")
        while True:
            yield present.to(image.device)
            present = torch.randint(0, 2, present.shape, generator=generator, device="cpu")

    def _similarity(self, image: Tensor, perturbed: Tensor, present: Tensor, **options: Any) -> float:
        distance = 1 - math.sqrt(float(present.double().mean()))
        return math.exp(-(distance**2) / (2 * self.kernel_width**2))


integrated_gradients = IntegratedGradientsSource()
occlusion = OcclusionSource()
lime = LimeSource()
