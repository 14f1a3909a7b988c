"""CIFAR-10's test images, from the pickled batches that torchvision reads and checks, or from image files."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import Image
from torchvision.datasets import CIFAR10

from usu.bench.datasets.files import Dataset, Item, digest, image_names

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@dataclass(frozen=True)
class Cifar10(Dataset):
    """The 10,000 test images of 32 × 32 pixels, named from "test/00000"; `root` holds `cifar-10-batches-py`.

    The pixels are read once per process. They are not part of the record, which is cheap to send elsewhere.
    """

    def open(self, item: Item) -> Image.Image:
        """Return the image, RGB, 32 × 32.

        Raises:
            ValueError: the files are gone or have changed.
        """
        picture: Image.Image = _test_split(self.root)[int(item.name.removeprefix("test/"))][0]
        return picture

    def image_hash(self, item: Item) -> str:
        """Return 16 hexadecimal digits of the SHA-256 of the pixels, row by row, RGB.

        Raises:
            ValueError: the files are gone or have changed.
        """
        return digest(self.open(item).tobytes())


def read_cifar10(folder: Path) -> Dataset:
    """Read the test split from `cifar-10-batches-py`, or from the folder where the archive was unpacked.

    Where there are none, but folders of images for the ten classes, such as `test/airplane`, with or without
    the level `test`, these are read; a part of the images is enough.

    Raises:
        ValueError: files are missing or differ from the published ones; a class has no folder.
    """
    top = folder / "test" if (folder / "test").is_dir() else folder
    if any((top / name).is_dir() for name in CLASSES):
        return _read_folders(top)
    root = folder.parent if folder.name == CIFAR10.base_folder else folder
    labels = _test_split(root).targets
    items = tuple(Item(f"test/{index:05}", label) for index, label in enumerate(labels))
    return Cifar10("cifar10", root, items, 10)


def _read_folders(top: Path) -> Dataset:
    absent = [name for name in CLASSES if not (top / name).is_dir()]
    if absent:
        raise ValueError(f"{top} lacks a folder for {', '.join(absent)}, of CIFAR-10's ten classes")
    items = tuple(
        Item(f"{name}/{file}", label)
        for label, name in enumerate(CLASSES)
        for file in image_names(top / name)
    )
    if not items:
        raise ValueError(f"{top} has folders for CIFAR-10's classes, but no image in them")
    return Dataset("cifar10", top, items, len(CLASSES))


@lru_cache(maxsize=1)
def _test_split(root: Path) -> CIFAR10:
    try:
        return CIFAR10(root, train=False, download=False)
    except RuntimeError as problem:
        raise ValueError(
            f"{root / CIFAR10.base_folder} is missing or not whole: nothing is downloaded here, so fetch "
            f"{CIFAR10.url} once and unpack it in {root}"
        ) from problem
