"""What is known of each input before any map is computed: its picture, placement and segments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from usu.arrays.convert import Array
from usu.models.forward import check_planar
from usu.models.placement import Placement
from usu.scoring.perturbation import Perturbation
from usu.segmentation.hierarchy import Hierarchy, check_fit
from usu.segmentation.methods import check_picture, segment, stretched
from usu.settings import Settings

_PIXELS = 4  # at least, on average, in a segment that nobody asked for


@dataclass(frozen=True, eq=False)
class Views:
    """What is known of each input: found first, so that a source runs only if everything fits.

    Attributes:
        pictures: (C, H, W) in [0, 1], RGB or grey; signals (C, L) and volumes (C, D, H, W) as they are.
        placements: where each lies in its photograph, if that is known.
        hierarchies: of each picture.
    """

    pictures: list[Tensor]
    placements: list[Placement | None]
    hierarchies: list[list[Hierarchy]]

    def shown(self, image: int) -> Tensor:
        """Return a picture as a record has it, (3, H, W); a signal or a volume as it is."""
        picture = self.pictures[image]
        return picture.expand(3, -1, -1).contiguous() if picture.dim() == 3 else picture


def views_of(
    perturbed: Perturbation,
    images: Array | None,
    placement: Placement | Sequence[Placement] | None,
    settings: Settings,
) -> Views:
    """Return what is known of each input; arguments that do not fit raise errors as in `usu.explain`."""
    pictures, placements = _pictures(images, perturbed, settings), _placements(placement, perturbed)
    return Views(pictures, placements, _hierarchies(settings, pictures, perturbed))


def _pictures(images: Array | None, perturbed: Perturbation, settings: Settings) -> list[Tensor]:
    """Return one picture per input; without `images`, the inputs, pictures (C, H, W) stretched to [0, 1].

    Of other channels than RGB or grey the mean is shown, if the segments are the caller's own.
    """
    inputs, ndim = perturbed.inputs, settings.ndim
    if images is None and ndim == 2:
        own = inputs.shape[1] not in (1, 3) and not isinstance(settings.segmentation, Mapping)
        return list(stretched(inputs.mean(1, keepdim=True) if own else inputs, "inputs, taken as images,"))
    pictures = inputs if images is None else check_picture(images, "images", ndim)
    pictures = pictures if pictures.dim() == ndim + 2 else pictures[None]
    if len(pictures) != len(inputs) or pictures.shape[2:] != inputs.shape[2:]:
        raise ValueError(
            f"images must be one picture of the inputs' size each, got {tuple(pictures.shape)} for inputs "
            f"{tuple(inputs.shape)}"
        )
    return list(pictures.to(inputs.device))


def _placements(
    placement: Placement | Sequence[Placement] | None, perturbed: Perturbation
) -> list[Placement | None]:
    count, size = len(perturbed.inputs), tuple(perturbed.inputs.shape[2:])
    if placement is None:
        return [None] * count
    check_planar(perturbed.inputs, "placement")
    given = [placement] if isinstance(placement, Placement) else placement
    several = isinstance(given, Sequence) and all(isinstance(one, Placement) for one in given)
    if not several or len(given) != count:
        raise ValueError(f"placement must be a usu.Placement for each of {count} inputs, got {placement!r}")
    for one in given:
        if one.network != size:
            raise ValueError(f"placement is of inputs of {one.network} pixels, but these have {size}")
    return [*given]


def _hierarchies(
    settings: Settings, pictures: list[Tensor], perturbed: Perturbation
) -> list[list[Hierarchy]]:
    wanted: Any = settings.segmentation
    if isinstance(wanted, Mapping):
        if wanted == settings.way.segmentation:  # the default's numbers are for pictures of some size
            most = max(1, perturbed.inputs[0, 0].numel() // _PIXELS)
            wanted = {
                name: (*dict.fromkeys(min(one, most) for one in counts),) for name, counts in wanted.items()
            }
        return [[_segment(picture, name, counts) for name, counts in wanted.items()] for picture in pictures]
    if isinstance(wanted, Hierarchy):
        wanted = [wanted]
    per_image = list(wanted) if perturbed.batched else [list(wanted)]
    if len(per_image) != len(pictures):
        raise ValueError(f"segmentation has entries for {len(per_image)} images, inputs are {len(pictures)}")
    nested = [[entry] if isinstance(entry, Hierarchy) else list(entry) for entry in per_image]
    if not all(several and all(isinstance(one, Hierarchy) for one in several) for several in nested):
        raise TypeError(
            "segmentation must be made of usu.Hierarchy objects; wrap label maps in usu.Hierarchy"
        )
    return [[check_fit(one, perturbed.inputs) for one in several] for several in nested]


def _segment(picture: Tensor, name: str, counts: Sequence[int]) -> Hierarchy:
    try:
        hierarchy: Hierarchy = segment(picture, counts, name, ndim=picture.dim() - 1)
    except (TypeError, ValueError) as problem:
        raise type(problem)(f"segmentation by {name!r}: {problem}") from None
    return hierarchy
