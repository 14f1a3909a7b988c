"""Every kind of file that usu reads: whole ones, from which spoiled ones are made, and what reads them."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import usu
from benchmarks.robustness.spoiling import png_chunk
from benchmarks.robustness.works import SIDE, Small, make_inputs
from usu.bench.datasets.registry import find_dataset
from usu.bench.results.folder import PARTS, Results, read_protocol, read_rows
from usu.bench.run import PROBLEMS, read_problems
from usu.cli.report import names_of
from usu.dataset import ROWS, RUN
from usu.dataset import Results as Folder
from usu.models import load_classifier
from usu.models.checkpoints import read_weights
from usu.models.images import read_image
from usu.report import Entry, html
from usu.worlds.cache import find, keep


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        suffixes: of its files, one of which each spoiled file gets.
        seeds: whole files, made in a folder.
        read: what reads a file, given its path and a folder of whole inputs.
    """

    suffixes: tuple[str, ...]
    seeds: Callable[[Path], list[bytes]]
    read: Callable[[Path, Path], None]


def _bytes_of(folder: Path, pattern: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.rglob(pattern))]


def _records(inputs: Path) -> list[bytes]:
    superpixels = np.arange(SIDE * SIDE).reshape(SIDE, SIDE) // 100
    image = torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    found = usu.upsample(
        torch.randn(6, generator=torch.Generator().manual_seed(1)),
        image,
        Small().eval(),
        0,
        mode="usu",
        mass="total",
        neighbourhoods=superpixels,
        segmentation={"slic": (2, 4)},
    )
    found.save(inputs / "superpixels.npz")
    return _bytes_of(inputs, "*.npz")


def _read_record(path: Path, inputs: Path) -> None:
    record = usu.Explanation.load(path)
    repr(record)
    html([Entry(record, name=names_of([str(path)])[0], verdicts=False)])


def _pictures(inputs: Path) -> list[bytes]:
    noise = np.random.default_rng(0)
    rgb = Image.fromarray(noise.integers(0, 256, (9, 11, 3), dtype=np.uint8))
    grey16 = Image.fromarray(noise.integers(0, 65536, (9, 11), dtype=np.uint16))
    still = {
        "PNG": rgb,
        "JPEG": rgb,
        "BMP": rgb,
        "TIFF": rgb,
        "WEBP": rgb,
        "GIF": rgb.convert("P"),
        "TGA": rgb,
        "PPM": rgb,
        "ICO": rgb,
        "PCX": rgb,
        "SGI": rgb,
    }
    found = [_saved(picture, form) for form, picture in still.items()]
    found += [_saved(grey16, "PNG"), _saved(grey16, "TIFF"), _saved(rgb.convert("CMYK"), "JPEG")]
    found += [
        _saved(rgb.convert("P"), "PNG"),
        _saved(rgb.convert("LA"), "PNG"),
        _saved(rgb.convert("1"), "PNG"),
    ]
    frames = [rgb, rgb.rotate(180)]
    for form in ("GIF", "WEBP", "PNG"):
        found.append(_saved(rgb, form, save_all=True, append_images=frames))
    exif = Image.Exif()
    exif[0x0112] = 6
    found.append(_saved(rgb, "JPEG", exif=exif, icc_profile=b"\0" * 200))
    found.append(deep_png(noise.integers(0, 65536, (5, 4, 3), dtype=np.uint16)))
    found.append(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")
    return found


def deep_png(values: np.ndarray[Any, Any]) -> bytes:
    """Return (h, w, 3) of 16 bits as a PNG file."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, 2, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*part) for part in parts)


def _saved(picture: Image.Image, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def _read_picture(path: Path, inputs: Path) -> None:
    assert read_image(path).mode == "RGB"


def _checkpoints(inputs: Path) -> list[bytes]:
    state = Small().state_dict()
    files = [io.BytesIO() for _ in range(3)]
    torch.save(state, files[0])
    torch.save({"state_dict": {f"module.{key}": value for key, value in state.items()}, "epoch": 3}, files[1])
    torch.save(state, files[2], _use_new_zipfile_serialization=False)
    return [file.getvalue() for file in files]


def _safetensors(inputs: Path) -> list[bytes]:
    from safetensors.torch import save

    return [save(Small().state_dict()), save({"a": torch.zeros(2, dtype=torch.float16)}, {"format": "pt"})]


def _read_weights(path: Path, inputs: Path) -> None:
    read_weights(path)


def _read_card(path: Path, inputs: Path) -> None:
    (path.parent / "small.pt").write_bytes((inputs / "small.pt").read_bytes())
    load_classifier(str(path))


def _parts(inputs: Path) -> list[bytes]:
    from benchmarks.robustness.works import WORKS

    WORKS["parts"].act(inputs, inputs)
    return _bytes_of(inputs / "results", "*.parquet")


def _read_part(path: Path, inputs: Path) -> None:
    folder = path.parent / "results"
    (folder / PARTS).mkdir(parents=True, exist_ok=True)
    (folder / "protocol.json").write_bytes((inputs / "results" / "protocol.json").read_bytes())
    path.replace(folder / PARTS / "part.parquet")
    read_rows(folder)


def _protocols(inputs: Path) -> list[bytes]:
    _parts(inputs)
    problems = json.dumps({"small: a.png": "damaged"}).encode()
    return [(inputs / "results" / "protocol.json").read_bytes(), problems]


def _read_protocol(path: Path, inputs: Path) -> None:
    folder = path.parent / "results"
    folder.mkdir(exist_ok=True)
    (folder / PROBLEMS).write_bytes(path.read_bytes())
    path.replace(folder / "protocol.json")
    for read in (read_protocol, read_problems):
        _ours(partial(read, folder))
    with Results.open(folder, {"dataset": "folder", "seed": 0}):
        pass


def _ours(call: Callable[[], Any]) -> None:
    """Let a call fail by an error of the kinds that are ours; the caller has more to read."""
    try:
        call()
    except (ValueError, TypeError, OSError) as problem:
        if not is_own(problem):
            raise


def is_own(problem: BaseException) -> bool:
    """Return whether an error is one that usu raises itself, with a message, or one of the system's."""
    if isinstance(problem, OSError):
        return True
    package = str(Path(usu.__file__).parent)
    trace = problem.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    inside = trace is not None and trace.tb_frame.f_code.co_filename.startswith(package)
    return isinstance(problem, ValueError | TypeError) and inside and len(str(problem)) > 10


def _runs(inputs: Path) -> list[bytes]:
    row = {"image": "a.png", "target": 1, "class_name": None, "probability": 0.5, "mass": 1.0, "error": None}
    return [json.dumps({"model": "small", "weights": "ab"}).encode(), (json.dumps(row) + "\n").encode() * 2]


def _read_run(path: Path, inputs: Path) -> None:
    """Read it as what a run is, then as its rows."""
    content = path.read_bytes()
    path.unlink()
    for name, folder in ((RUN, path.parent / "run"), (ROWS, path.parent / "rows")):
        folder.mkdir(exist_ok=True)
        (folder / RUN).write_text('{"model": "small", "weights": "ab"}')
        (folder / "a.png.npz").write_bytes((inputs / "one.npz").read_bytes())
        (folder / name).write_bytes(content)

        def read(folder: Path = folder) -> None:
            results = Folder(folder, {"model": "small", "weights": "ab"})
            try:
                results.finish({})
            finally:
                results.close()

        _ours(read)


def _labels(inputs: Path) -> list[bytes]:
    return [b"file,class_index\n0.png,3\nmore/1.png,\n", "\ufefffile,other,class_index\n0.png,a,7\n".encode()]


def _read_labels(path: Path, inputs: Path) -> None:
    for photograph in inputs.joinpath("photographs").rglob("*.png"):
        place = path.parent / photograph.relative_to(inputs / "photographs")
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(photograph.read_bytes())
    path.replace(path.parent / "labels.csv")
    find_dataset("folder", path.parent)


def _lists(inputs: Path) -> list[bytes]:
    return [
        b"1 001.A/a.jpg\n2 002.B/b.jpg\n",
        b"1 1\n2 2\n",
        b"1 0\n2 0\n",
        b"1 1.0 2.0 3.0 4.0\n2 1 2 3 4\n",
    ]


def _read_lists(path: Path, inputs: Path) -> None:
    """Read it as each of the lists of CUB-200-2011 in turn, beside whole ones."""
    names = ("images.txt", "image_class_labels.txt", "train_test_split.txt", "bounding_boxes.txt")
    content, top = path.read_bytes(), path.parent / "CUB_200_2011"
    path.unlink()
    for spoiled in names:
        for name, whole in zip(names, _lists(inputs), strict=True):
            place = top / name
            place.parent.mkdir(exist_ok=True)
            place.write_bytes(content if name == spoiled else whole)
        for name in ("001.A/a.jpg", "002.B/b.jpg"):
            place = top / "images" / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(b"")
        _ours(lambda: find_dataset("cub200", path.parent))


def _caches(inputs: Path) -> list[bytes]:
    keep(inputs / "cache" / "kept.npz", {"weight": np.ones((3, 4))}, {"seconds": 1.0, "name": "cnn"})
    return [(inputs / "cache" / "kept.npz").read_bytes()]


def _read_cache(path: Path, inputs: Path) -> None:
    find(path, lambda arrays, facts: (arrays["weight"] + 1, facts["seconds"]))


KINDS: Mapping[str, Kind] = {
    "record": Kind((".npz",), _records, _read_record),
    "picture": Kind((".png", ".jpg", ".tif", ".gif", ""), _pictures, _read_picture),
    "checkpoint": Kind((".pt", ".pth"), _checkpoints, _read_weights),
    "safetensors": Kind((".safetensors",), _safetensors, _read_weights),
    "card": Kind((".json",), lambda inputs: _bytes_of(inputs, "small.json"), _read_card),
    "results": Kind((".parquet",), _parts, _read_part),
    "protocol": Kind((".json",), _protocols, _read_protocol),
    "run": Kind((".json",), _runs, _read_run),
    "labels": Kind((".csv",), _labels, _read_labels),
    "lists": Kind((".txt",), _lists, _read_lists),
    "cache": Kind((".npz",), _caches, _read_cache),
}


def prepare(kind: str, inputs: Path) -> list[bytes]:
    """Write what the readers need into a folder; return the kind's seeds."""
    if not (inputs / "small.json").is_file():
        make_inputs(inputs)
    return KINDS[kind].seeds(inputs)
