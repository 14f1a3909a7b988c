"""Data sets by name, and which of their images a run takes."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from usu.arrays.checks import suggestion
from usu.runtime.lazy import Registry

if TYPE_CHECKING:
    from usu.bench.datasets.files import Dataset, Item

DATASETS: Mapping[str, Callable[[Path], Dataset]] = Registry(
    {
        "imagenet": "usu.bench.datasets.imagenet:read_imagenet",
        "cifar10": "usu.bench.datasets.cifar10:read_cifar10",
        "cub200": "usu.bench.datasets.cub200:read_cub200",
        "ecssd": "usu.bench.datasets.ecssd:read_ecssd",
        "folder": "usu.bench.datasets.folder:read_folder",
    }
)


def find_dataset(name: str, folder: str | os.PathLike[str]) -> Dataset:
    """Read what a data set holds; images are read later, one by one.

    Args:
        name: one of `DATASETS`.
        folder: where it is, in its published layout.

    Raises:
        ValueError: an unknown name, a folder that does not exist or does not hold this data set, bad labels.
        OSError: the folder cannot be read.
    """
    if name not in DATASETS:
        raise ValueError(
            f"there is no data set {name!r}{suggestion(name, DATASETS) or ': ' + ', '.join(DATASETS)}"
        )
    place = Path(folder).absolute()
    if not place.is_dir():
        raise ValueError(f"the folder of {name}, {place}, does not exist or is not a folder")
    return DATASETS[name](place)


def chosen(dataset: Dataset, count: int | None = None, seed: int = 0) -> list[Item]:
    """Return `count` images in a random order; a larger number begins with the same ones.

    An image's place depends on its name and the seed alone: not on a generator, nor on other images.

    Args:
        dataset: what to choose from.
        count: how many; None takes all.
        seed: of the order.

    Raises:
        ValueError: `count` is below 1, or there are fewer images.
    """
    total = len(dataset.items)
    if count is not None and not 1 <= count <= total:
        raise ValueError(f"images must be from 1 to {total}, as many as {dataset.name} has here, got {count}")
    shuffled = sorted(dataset.items, key=lambda item: _lot(item.name, seed))
    return shuffled[:count]


def _lot(name: str, seed: int) -> bytes:
    import hashlib

    return hashlib.sha256(f"{seed}/{name}".encode()).digest()
