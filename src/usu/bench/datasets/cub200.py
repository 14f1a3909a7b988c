"""The test split of CUB-200-2011: birds, and where they are in the photographs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from PIL import ExifTags, Image, ImageOps

from usu.bench.datasets.files import Dataset, Item
from usu.models.images import read_image

Box: TypeAlias = tuple[float, float, float, float]

_ARCHIVE_FOLDER = "CUB_200_2011"
_CLASS_COUNT = 200


@dataclass(frozen=True)
class Birds(Dataset):
    """Photographs of birds, and for each of them a mask or a box.

    Attributes:
        masks: the folder of the segmentations; None if they were not unpacked, so that boxes count.
        boxes: by name, the left, upper, width and height of the bird's box, in pixels.
    """

    masks: Path | None
    boxes: Mapping[str, Box]

    def truth(self, item: Item) -> Image.Image:
        """Return where the bird is: a picture of mode "L" and of the photograph's size.

        A segmentation holds the share of people who marked a pixel, from 0 to 255; a box is 255 inside and 0
        outside. So values from 128 are a majority in both.

        Raises:
            ValueError: the segmentation is damaged, or of another size than the photograph.
            OSError: the segmentation or the photograph is missing.
        """
        with Image.open(self.root / item.name) as photograph:
            size, orientation = photograph.size, photograph.getexif().get(ExifTags.Base.Orientation)
        mask = self._box(item, size) if self.masks is None else self._segmentation(self.masks, item, size)
        # The published places are those of the picture as stored, not upright.
        if orientation is not None:
            mask.getexif()[ExifTags.Base.Orientation] = orientation
            mask = ImageOps.exif_transpose(mask)
        return mask

    def _box(self, item: Item, size: tuple[int, int]) -> Image.Image:
        left, upper, width, height = self.boxes[item.name]
        mask = Image.new("L", size)
        mask.paste(255, (round(left), round(upper), round(left + width), round(upper + height)))
        return mask

    @staticmethod
    def _segmentation(masks: Path, item: Item, size: tuple[int, int]) -> Image.Image:
        path = (masks / item.name).with_suffix(".png")
        mask = read_image(path).convert("L")
        if mask.size != size:
            raise ValueError(f"{path} is of {mask.size} pixels, but its photograph of {size}")
        return mask


def read_cub200(folder: Path, train: bool = False) -> Birds:
    """Read the folder where CUB_200_2011.tgz was unpacked, or the folder CUB_200_2011 itself.

    `segmentations` may be in CUB_200_2011 or beside it. A part of the images is enough: those that the lists
    name and the folder lacks are counted. `train` reads the training split in place of the test split.

    Raises:
        ValueError: a list is missing, damaged, or does not fit the others; a class is not one of the 200; no
            image is there.
    """
    top = folder / _ARCHIVE_FOLDER if (folder / _ARCHIVE_FOLDER).is_dir() else folder
    names = _read_list(top / "images.txt")
    labels, splits, boxes = (
        _read_list(top / file, names)
        for file in ("image_class_labels.txt", "train_test_split.txt", "bounding_boxes.txt")
    )
    file, split = top / "train_test_split.txt", "training" if train else "test"
    taken = [number for number in names if _number(file, splits[number], 0, 1) == int(train)]
    items = tuple(
        Item(names[number], _number(top / "image_class_labels.txt", labels[number], 1, _CLASS_COUNT) - 1)
        for number in taken
    )
    if not items:
        raise ValueError(f"{file} names no image of the {split} split")
    there = tuple(item for item in items if (top / "images" / item.name).is_file())
    if not there:
        raise ValueError(f"{top / 'images'} has none of the {len(items)} images of the {split} split")
    found = [place for place in (top / "segmentations", top.parent / "segmentations") if place.is_dir()]
    places = {names[number]: _box(top / "bounding_boxes.txt", boxes[number]) for number in taken}
    masks, absent = found[0] if found else None, len(items) - len(there)
    return Birds("cub200", top / "images", there, _CLASS_COUNT, masks, places, absent=absent)


def _read_list(path: Path, wanted: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return what a list says of each image number.

    Args:
        path: of a file with lines of a number, a space and the rest.
        wanted: a list whose numbers this one must have.
    """
    if not path.is_file():
        raise ValueError(
            f"{path} is missing: unpack CUB_200_2011.tgz, and give the folder where it was unpacked"
        )
    entries: dict[str, str] = {}
    for line, text in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        number, _, rest = text.strip().partition(" ")
        if not number.isdecimal() or not rest or number in entries:
            raise ValueError(f"{path}, line {line}: expected a new number, a space and a value, got {text!r}")
        entries[number] = rest
    missing = next((number for number in wanted or () if number not in entries), None)
    if missing is not None:
        raise ValueError(f"{path} has no line for image {missing}, which images.txt names")
    return entries


def _number(path: Path, text: str, lowest: int, highest: int) -> int:
    if not text.isdecimal() or not lowest <= int(text) <= highest:
        raise ValueError(f"{path}: expected a number from {lowest} to {highest}, got {text!r}")
    return int(text)


def _box(path: Path, text: str) -> Box:
    try:
        left, upper, width, height = map(float, text.split())
    except ValueError as problem:
        raise ValueError(f"{path}: expected four numbers for a box, got {text!r}") from problem
    return left, upper, width, height
