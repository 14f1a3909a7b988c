"""ECSSD: photographs with a pixel mask of the object that stands out (Shi, Yan, Xu and Jia, 2016)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from usu.bench.datasets.files import Dataset, Item, image_names
from usu.models.images import read_image

# The folders as published and as they are often renamed.
_FOLDERS = (("images", "ground_truth_mask"), ("images", "masks"))


@dataclass(frozen=True)
class Salient(Dataset):
    """Photographs without labels, and for each of them a mask.

    Attributes:
        masks: the folder of the masks.
    """

    masks: Path

    def truth(self, item: Item) -> Image.Image:
        """Return the object's mask: a picture of mode "L" and of the photograph's size, 255 on the object.

        Raises:
            ValueError: the mask is damaged, or of another size than the photograph.
            OSError: the mask or the photograph is missing.
        """
        path = (self.masks / item.name).with_suffix(".png")
        mask, photograph = read_image(path).convert("L"), self.open(item)
        if mask.size != photograph.size:
            raise ValueError(f"{path} is of {mask.size} pixels, but its photograph of {photograph.size}")
        return mask


def read_ecssd(folder: Path) -> Salient:
    """Read the folder that holds `images` and `ground_truth_mask` (or `masks`).

    A part of the photographs is enough; those without a mask are counted as absent.

    Raises:
        ValueError: a folder is missing, or no photograph has a mask.
    """
    found = [(folder / one, folder / other) for one, other in _FOLDERS if (folder / other).is_dir()]
    if not found or not found[0][0].is_dir():
        raise ValueError(f"{folder} must hold the folders images and ground_truth_mask of ECSSD")
    images, masks = found[0]
    names = image_names(images)
    items = tuple(Item(name) for name in names if (masks / name).with_suffix(".png").is_file())
    if not items:
        raise ValueError(f"{masks} has no mask for any of the {len(names)} photographs in {images}")
    return Salient("ecssd", images, items, None, masks, absent=len(names) - len(items))
