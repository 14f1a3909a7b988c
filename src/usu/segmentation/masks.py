"""Masks that overlap and leave gaps, such as Segment Anything's, as nested label maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from usu.arrays.checks import check_choice
from usu.arrays.convert import as_tensor

Background: TypeAlias = Literal["one", "components"]
BACKGROUNDS = ("one", "components")

# The part of a mask that has to lie inside a larger one for it to count as a part of that.
INSIDE = 0.9
_CHUNK = 2**16  # pixels whose masks are compared at a time


def nested(masks: Any, background: Background) -> tuple[list[Tensor], Any]:
    """Return label maps (H, W), coarsest first, and one of the arrays given; see `Hierarchy.from_masks`."""
    check_choice(background, BACKGROUNDS, "background")
    given, kind = _gathered(masks)
    areas = given.flatten(1).sum(1)
    order = areas.argsort(descending=True, stable=True)
    order = order[areas[order] > 0]
    if len(order) == 0:
        raise ValueError("masks must hold at least one that is not empty")
    sorted_masks = given[order]
    owner = torch.full(given.shape[1:], -1, dtype=torch.int64, device=given.device)
    for number, mask in enumerate(sorted_masks):
        owner[mask] = number
    around = _around(sorted_masks)
    levels: list[Tensor] = []
    for depth in range(max(map(len, around))):
        # Each mask counts as the one around it at this depth, or as itself if it lies less deep.
        names = torch.tensor([chain[min(depth, len(chain) - 1)] for chain in around], device=owner.device)
        labels = _renumbered(torch.where(owner >= 0, names[owner], -1), background)
        if not levels or not torch.equal(labels, levels[-1]):
            levels.append(labels)
    return levels, kind


def _gathered(masks: Any) -> tuple[Tensor, Any]:
    """Return masks as one boolean tensor (N, H, W), and one of the arrays as it was given."""
    if isinstance(masks, Mapping):
        raise TypeError("masks must be a list of SAM's mappings or of arrays (H, W), got one mapping")
    if isinstance(masks, np.ndarray | Tensor):
        return _checked(as_tensor(masks, "masks"), "masks"), masks
    if not isinstance(masks, Sequence) or isinstance(masks, str | bytes):
        raise TypeError(f"masks must be arrays (H, W) or SAM's mappings, got {type(masks).__name__}")
    if any(isinstance(one, Mapping) and "segmentation" not in one for one in masks):
        raise ValueError("masks must be arrays (H, W) or SAM's mappings, and one has no 'segmentation'")
    found = [one["segmentation"] if isinstance(one, Mapping) else one for one in masks]
    if not found:
        raise ValueError("masks must hold at least one mask (H, W)")
    if any(isinstance(one, Mapping) for one in found):
        raise TypeError("masks must be arrays, not run lengths: let SAM give output_mode='binary_mask'")
    parts = [_checked(as_tensor(one, f"masks[{n}]")[None], f"masks[{n}]") for n, one in enumerate(found)]
    if len({part.shape for part in parts}) > 1:
        raise ValueError(f"masks must have one size, got {sorted({tuple(part.shape[1:]) for part in parts})}")
    return torch.cat(parts), found[0]


def _checked(masks: Tensor, name: str) -> Tensor:
    if masks.dim() == 4 and masks.shape[1] == 1:
        masks = masks[:, 0]
    if masks.dim() != 3 or 0 in masks.shape:
        raise ValueError(f"{name} must be boolean, (N, H, W) in all, got shape {tuple(masks.shape)}")
    if masks.dtype != torch.bool and not bool(((masks == 0) | (masks == 1)).all()):
        raise ValueError(f"{name} must be boolean, or made of 0 and 1: pass {name} > 0")
    return masks.bool()


def _around(masks: Tensor) -> list[list[int]]:
    """Return the masks around each, from the outermost down to itself; masks go from large to small."""
    flat = masks.flatten(1)
    shared = torch.zeros(len(masks), len(masks), dtype=torch.float64, device=masks.device)
    for part in flat.split(_CHUNK, dim=1):
        shared += (part.float() @ part.float().T).double()
    areas: list[float] = shared.diagonal().tolist()
    chains: list[list[int]] = []
    for number, row in enumerate(shared.tolist()):
        inside = [larger for larger in range(number) if row[larger] >= INSIDE * areas[number]]
        chains.append([*(chains[inside[-1]] if inside else []), number])
    return chains


def _renumbered(names: Tensor, background: Background) -> Tensor:
    """Return labels 0..P-1 of names (H, W), the uncovered pixels, -1, after the masks."""
    covered = names >= 0
    labels = torch.zeros_like(names)
    labels[covered] = names[covered].unique(return_inverse=True)[1]
    rest = ~covered
    if bool(rest.any()):
        first = int(labels[covered].max()) + 1
        labels[rest] = first
        if background == "components":
            from scipy.ndimage import label

            parts = torch.from_numpy(label(rest.cpu().numpy())[0].astype(np.int64)).to(labels)
            labels[rest] = first - 1 + parts[rest]
    return labels
