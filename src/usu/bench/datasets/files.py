"""A data set and its images: files in a folder, found in the same order on every machine."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image
from torchvision.datasets.folder import is_image_file

from usu.models.images import read_image


@dataclass(frozen=True)
class Item:
    """One image of a data set.

    Attributes:
        name: unique in the data set, a path with slashes.
        label: index in the outputs of a model that was trained on the data set; None if it is not known.
    """

    name: str
    label: int | None = None


@dataclass(frozen=True)
class Dataset:
    """A data set whose images are files, named by their paths below `root`.

    It can be pickled, and needs its folder at the same path wherever it is used.

    Attributes:
        name: in `usu.bench.datasets.registry.DATASETS`.
        root: the folder that the items' names start from.
        items: the images, in an order that is the same on every machine.
        class_count: number of classes that the labels come from; None if it is not known.
        absent: number of images that its lists name, but whose files are not there.
    """

    name: str
    root: Path
    items: tuple[Item, ...]
    class_count: int | None
    absent: int = field(default=0, kw_only=True)

    def open(self, item: Item) -> Image.Image:
        """Return the image, upright RGB.

        Raises:
            ValueError: it is damaged or not an image; the file is named.
            OSError: the file is gone or cannot be opened.
        """
        return read_image(self.root / item.name)

    def truth(self, item: Item) -> Image.Image | None:
        """Return where the object is, mode "L" from 0 to 255, of the image's size; None if not known."""
        return None

    def image_hash(self, item: Item) -> str:
        """Return 16 hexadecimal digits of the SHA-256 of the file.

        Raises:
            OSError: the file is gone or cannot be opened.
        """
        return digest((self.root / item.name).read_bytes())


def digest(content: bytes) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256.

    >>> digest(b"")
    'e3b0c44298fc1c14'
    """
    return hashlib.sha256(content).hexdigest()[:16]


def image_names(folder: Path) -> list[str]:
    """Return the images of a folder and the folders in it, as sorted paths with slashes.

    Images are told by the endings of their names, as in torchvision. Names that begin with a dot are skipped:
    notebooks and macOS archives leave them behind.

    Raises:
        ValueError: a name is not text that a table could hold.
        OSError: a folder cannot be read.
    """
    names = []
    for parent, folders, files in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found = [name for name in files if is_image_file(name) and not name.startswith(".")]
        names += [Path(parent, name).relative_to(folder).as_posix() for name in found]
    for name in names:
        if not _is_text(name):
            raise ValueError(f"{folder} holds the image {name!a}, whose name is not valid text: rename it")
    return sorted(names)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse(problem: OSError) -> None:
    """Raise what `os.walk` would silently skip."""
    raise problem
