"""ImageNet's validation images, a folder for each class, as torchvision lays them out."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

from usu.bench.datasets.files import Dataset, Item, image_names


def read_imagenet(folder: Path) -> Dataset:
    """Read `folder/val/n01440764/*.JPEG`, with or without the level `val`.

    A class is the place of its WordNet id among the sorted 1,000 ids, which is the order of torchvision's
    outputs. The ids are bundled, so that some of the folders are enough and no development kit is needed.
    Where there are no folders, files count whose names begin with the id, such as `n01440764_tench.JPEG`.

    Raises:
        ValueError: no folder of a class holds an image, or a folder is named by another WordNet id.
    """
    root = folder / "val" if (folder / "val").is_dir() else folder
    labels = {identifier: label for label, identifier in enumerate(wordnet_ids())}
    classes = sorted(
        entry.name for entry in root.iterdir() if re.fullmatch(r"n\d{8}", entry.name) and entry.is_dir()
    )
    unknown = [name for name in classes if name not in labels]
    if unknown:
        raise ValueError(f"{root / unknown[0]} is not one of the 1,000 classes of ImageNet's challenge")
    items = tuple(
        Item(f"{name}/{file}", labels[name]) for name in classes for file in image_names(root / name)
    )
    if not classes:
        named = ((name, re.match(r"n\d{8}(?=[_.])", name)) for name in image_names(root))
        items = tuple(Item(name, labels[found[0]]) for name, found in named if found and found[0] in labels)
    if not items:
        raise ValueError(
            f"{root} has no images in folders named by WordNet ids, such as n01440764: sort the validation "
            "images into a folder for each class first"
        )
    return Dataset("imagenet", root, items, len(labels))


def wordnet_ids() -> list[str]:
    """Return the WordNet ids of the 1,000 classes, in the order of the outputs.

    >>> wordnet_ids()[:2]
    ['n01440764', 'n01443537']
    """
    return (resources.files("usu.bench.datasets") / "wnids.txt").read_text(encoding="ascii").split()
