"""Captum's integrated gradients, occlusion and LIME as sources of coarse maps."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from usu.arrays.checks import check_number
from usu.models.baselines import Baselines, make_fill
from usu.models.contexts import differentiable
from usu.models.targets import Target
from usu.operators.lattice import Grid, grid
from usu.segmentation.methods import segment
from usu.sources._answer import Answer, check_counts, each_image
from usu.sources.coarse_map import CoarseMap

try:
    from captum._utils.models.linear_model import SkLearnRidge
    from captum.attr import FeatureAblation, IntegratedGradients, Lime
except ImportError as missing:
    raise ImportError("Captum's methods need captum: pip install 'usu-xai[captum]'") from missing


# Images per forward call, as in `usu.explain`: bounds the memory, whatever the number of steps or samples.
_BATCH = 16


def _square_cells(size: Sequence[int], cells: int) -> Grid:
    """Return a grid with `cells` along the shorter side, as square as they come, none without a pixel."""
    shorter = min(size)
    across = min(cells, shorter)
    rows, columns = (max(1, round(across * side / shorter)) for side in size)
    return grid((rows, columns), tuple(size))


@dataclass(frozen=True)
class IntegratedGradientsSource:
    """Integrated gradients, summed over channels and over the pixels of each cell.

    The cells sum to the answer for the image less the answer for the baseline, but for the error of the
    integral.

    Attributes:
        cells: along the shorter side of the image.
        n_steps: of the Gauss-Legendre quadrature: one forward pass each.
        baselines: where the path starts; see `usu.models.baselines.make_fill`.

    Raises:
        ValueError: a field out of its range.
        TypeError: a count that is no integer.
    """

    cells: int = 14
    n_steps: int = 100
    baselines: Baselines = "zeros"

    def __post_init__(self) -> None:
        check_counts(self, cells=1, n_steps=1)

    def __call__(
        self, model: nn.Module, inputs: Tensor, targets: Sequence[Target], layer: str | nn.Module | None
    ) -> CoarseMap:
        """Return the maps (B, rows, columns) of `inputs` (B, C, H, W).

        Raises:
            ValueError: a layer, a model in training mode or one that gives no gradients, targets that do not
                fit.
        """
        jobs = each_image("integrated-gradients", model, inputs, targets, layer)
        cells = _square_cells(inputs.shape[-2:], self.cells)
        values = []
        with differentiable(model):
            for image, answer in jobs:
                attributions = IntegratedGradients(_with_gradients(answer)).attribute(
                    image,
                    make_fill(image, self.baselines),
                    n_steps=self.n_steps,
                    internal_batch_size=_BATCH,
                )
                values.append(cells.sum(attributions[0].detach().sum(0)))
        return CoarseMap(
            torch.stack(values).to(inputs),
            mass="total",
            source="integrated-gradients",
            forward_passes=tuple(answer.passes for _, answer in jobs),
            output="logit",
        )


def _with_gradients(answer: Answer) -> Any:
    def forward_func(batch: Tensor) -> Tensor:
        scores = answer(batch)
        if not scores.requires_grad:
            raise ValueError(
                "source 'integrated-gradients' needs gradients, and the model's outputs do not depend on its "
                "inputs by any; take 'occlusion' or 'shap'"
            )
        return scores

    return forward_func


@dataclass(frozen=True)
class OcclusionSource:
    """Occlusion: how much the answer falls when one cell of a grid is replaced, cell by cell.

    Captum's FeatureAblation over the cells: its Occlusion takes windows of one size only, and would leave
    narrow ones at the border where they are no multiple.

    Attributes:
        cells: along the shorter side of the image; one forward pass per cell, and one more.
        baselines: what replaces a cell; see `usu.models.baselines.make_fill`.

    Raises:
        ValueError: a field out of its range.
        TypeError: a count that is no integer.
    """

    cells: int = 14
    baselines: Baselines = "blur"

    def __post_init__(self) -> None:
        check_counts(self, cells=1)

    def __call__(
        self, model: nn.Module, inputs: Tensor, targets: Sequence[Target], layer: str | nn.Module | None
    ) -> CoarseMap:
        """Return the maps (B, rows, columns) of `inputs` (B, C, H, W).

        Raises:
            ValueError: a layer, a model in training mode, targets that do not fit.
        """
        jobs = each_image("occlusion", model, inputs, targets, layer)
        cells = _square_cells(inputs.shape[-2:], self.cells)
        labels = cells.spread(torch.arange(math.prod(cells.shape), device=inputs.device).view(cells.shape))
        values = []
        for image, answer in jobs:
            attributions = FeatureAblation(answer).attribute(
                image,
                make_fill(image, self.baselines),
                feature_mask=labels[None, None],
                perturbations_per_eval=_BATCH,
            )
            # Every pixel of a cell has the cell's value.
            flat = attributions[0, 0].flatten()
            values.append(
                flat.new_zeros(labels.max() + 1).scatter(0, labels.flatten(), flat).view(cells.shape)
            )
        return CoarseMap(
            torch.stack(values).to(inputs),
            mass="total",
            source="occlusion",
            forward_passes=tuple(answer.passes for _, answer in jobs),
            output="logit",
        )


@dataclass(frozen=True)
class LimeSource:
    """LIME over superpixels: the coefficients of a ridge regression on images with some of them replaced.

    As in the authors' package, images are weighed by the cosine distance of what is left of them in
    superpixels, the unperturbed image is the first sample, and the regression is ridge with α = 1. The answer
    is the target's logit, not its probability, and what replaces a superpixel is a fill, not its mean colour.

    Attributes:
        superpixels: their number.
        n_samples: perturbed images, one forward pass each.
        kernel_width: of the exponential kernel on that distance.
        baselines: what replaces a superpixel; see `usu.models.baselines.make_fill`.
        seed: of the samples; the global generator of random numbers is left as it was.

    Raises:
        ValueError: a field out of its range.
        TypeError: a count that is no integer.
    """

    superpixels: int = 64
    n_samples: int = 1000
    kernel_width: float = 0.25
    baselines: Baselines = "blur"
    seed: int = 0

    def __post_init__(self) -> None:
        check_counts(self, superpixels=1, n_samples=2, seed=0)
        if check_number(self.kernel_width, "kernel_width") <= 0:
            raise ValueError(f"kernel_width must be positive, got {self.kernel_width!r}")

    def __call__(
        self, model: nn.Module, inputs: Tensor, targets: Sequence[Target], layer: str | nn.Module | None
    ) -> CoarseMap:
        """Return coefficients (K,) and superpixels (H, W) of each image of `inputs` (B, C, H, W).

        Raises:
            ValueError: a layer, a model in training mode, targets that do not fit, images that are neither
                RGB nor grey.
            ImportError: scikit-learn, which Captum fits the regression by, is missing.
        """
        if find_spec("sklearn") is None:
            raise ImportError("source 'lime' needs scikit-learn: pip install 'usu-xai[lime]'")
        jobs = each_image("lime", model, inputs, targets, layer)
        values, labels = [], []
        for image, answer in jobs:
            superpixels = self._superpixels(image[0])
            # Captum's data loader and linear model draw from the CPU's generator.
            with torch.random.fork_rng(devices=[]), torch.no_grad():
                coefficients = Lime(
                    answer, SkLearnRidge(alpha=1.0), self._similarity, self._samples
                ).attribute(
                    image,
                    make_fill(image, self.baselines),
                    feature_mask=superpixels[None, None],
                    n_samples=self.n_samples,
                    perturbations_per_eval=_BATCH,
                    return_input_shape=False,
                )
            values.append(coefficients.flatten().to(inputs))
            labels.append(superpixels)
        return CoarseMap(
            values,
            mass="total",
            source="lime",
            neighbourhoods=labels,
            forward_passes=tuple(answer.passes for _, answer in jobs),
            output="logit",
        )

    def _superpixels(self, image: Tensor) -> Tensor:
        picture = image.to(torch.promote_types(image.dtype, torch.float32))
        lowest, highest = picture.aminmax()
        stretched = (picture - lowest) / (highest - lowest).clamp(min=torch.finfo(picture.dtype).tiny)
        count = min(self.superpixels, picture[0].numel())
        labels: Tensor = segment(stretched, (count,), "slic").levels[0]
        return labels

    def _samples(self, image: Tensor, **options: Any) -> Iterator[Tensor]:
        """Yield which superpixels are left, (1, K): all of them, then random halves."""
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
