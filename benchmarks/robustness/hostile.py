"""Hostile files: seeds of every kind that usu reads, how they are spoiled, and what reads them."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from PIL import Image

import usu
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

MOST = 2**20  # bytes of a spoiled file


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


def png_chunk(name: bytes, content: bytes) -> bytes:
    """Return one chunk of a PNG file, with the checksum that it must have."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


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

# What JSON should not hold in place of what it holds.
_VALUES = (
    *(
        "null",
        "true",
        "-1",
        "0",
        "3",
        "1e308",
        "1e999",
        "NaN",
        "-Infinity",
        "1" * 5000,
        "0.5",
        '""',
        "[]",
        "{}",
    ),
    *(
        '"x"',
        '"usu"',
        '"</script><img src=x onerror=alert(1)>"',
        '"\\ud800"',
        '"../../../etc/passwd"',
        "[1, 2]",
    ),
    *('[["a"]]', '{"array": "coarse"}', '{"array": "nothing"}', '{"a": 1, "a": 2}', "[" * 3000 + "]" * 3000),
    *('"' + "x" * 3000 + '"', '"2024-01-01"', '"\\u2028"'),
)
_NUMBERS = (0, 1, 2, 127, 128, 255, 256, 32767, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1)


def spoiled(content: bytes, others: list[bytes], draw: Random) -> bytes:
    """Return a file with one to three things changed: in its structure, where that is known, or in bytes."""
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        if content.startswith(b"PK") and draw.random() < 0.8:
            content = _in_zip(content, draw)
        elif content.startswith(b"\x89PNG") and draw.random() < 0.6:
            content = _in_png(content, draw)
        elif content[:1] in (b"{", b"[") and draw.random() < 0.7:
            content = in_json(content, draw)
        else:
            content = _in_bytes(content, others, draw)
    return content[:MOST]


def _in_zip(content: bytes, draw: Random) -> bytes:
    """Spoil one member of an archive, its name or its place; checksums fit, so that what is in it is read."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            members = [(member.filename, file.read(member)) for member in file.infolist()]
    except Exception:
        return _in_bytes(content, [], draw)
    if not members:
        return content
    index = draw.randrange(len(members))
    name, data = members[index]
    way = draw.random()
    if way < 0.1:
        del members[index]
    elif way < 0.2:
        members[index] = (
            draw.choice((f"../../{name}", "/etc/passwd", name * 50, f"{name}\0", "x.npy")),
            data,
        )
    elif way < 0.25:
        members.append((name, members[draw.randrange(len(members))][1]))
    elif data.startswith(b"\x93NUMPY"):
        members[index] = (name, _in_array(data, draw))
    else:
        members[index] = (name, _in_bytes(data, [], draw))
    made = io.BytesIO()
    try:
        with zipfile.ZipFile(made, "w", draw.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as file:
            for name, data in members:
                file.writestr(zipfile.ZipInfo(name), data)
    except Exception:
        return content
    return made.getvalue()


_SHAPES = ((), (0,), (1,), (2, 2), (24, 24), (3, 24, 24), (10**6, 10**6), (2**62,), (-1,), (24, 24, 1))
_TYPES = ("<f8", "<f4", "<i8", "|u1", "|b1", "<c16", "|S4", "<U3", "<M8[s]", "|O", "|V8", "<f2", ">f8", "<i2")


def _in_array(data: bytes, draw: Random) -> bytes:
    """Spoil an array: its values, its kind, its shape as it is or as its header says, or its bytes."""
    try:
        values = np.load(io.BytesIO(data), allow_pickle=False)
    except Exception:
        return _in_bytes(data, [], draw)
    if values.dtype.kind == "U" and values.ndim == 0 and draw.random() < 0.9:
        values = np.array(in_json(str(values).encode(), draw).decode(errors="replace"))
    elif (way := draw.random()) < 0.25:
        wrong = draw.choice((np.nan, np.inf, -1, 0, 1e300, 2**40))
        with np.errstate(all="ignore"):
            changed = values.reshape(-1).astype(values.dtype)
            if changed.size:
                changed[draw.randrange(changed.size)] = np.asarray(wrong).astype(values.dtype)
        values = changed.reshape(values.shape)
    elif way < 0.5:
        shape = draw.choice(_SHAPES[:6])
        values = np.zeros(shape, values.dtype)
    elif way < 0.65:
        try:
            with np.errstate(all="ignore"):
                values = values.astype(draw.choice(_TYPES[:9]))
        except (ValueError, TypeError):
            return data
    elif way < 0.85:
        start = data.index(b"{")
        end = data.index(b"}", start) + 1
        kind, shape = draw.choice(_TYPES), draw.choice(_SHAPES)
        head = repr({"descr": kind, "fortran_order": False, "shape": shape})
        text = head.encode() + b" " * draw.randint(0, 40) + b"\n"
        return b"\x93NUMPY\x01\0" + struct.pack("<H", len(text)) + text + data[end:]
    else:
        return _in_bytes(data, [], draw)
    made = io.BytesIO()
    np.save(made, values, allow_pickle=False)
    return made.getvalue()


def _in_png(content: bytes, draw: Random) -> bytes:
    """Spoil one chunk of a PNG file; its checksum fits."""
    at, parts = 8, []
    while at + 8 <= len(content):
        length = struct.unpack(">I", content[at : at + 4])[0]
        parts.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += 12 + length
    if not parts:
        return content
    index = draw.randrange(len(parts))
    name, data = parts[index]
    if draw.random() < 0.2:
        parts.insert(index, (draw.choice((b"iCCP", b"tRNS", b"PLTE", b"zTXt", b"eXIf", b"acTL")), data))
    elif name == b"IDAT" and draw.random() < 0.5:
        try:
            parts[index] = (name, zlib.compress(_in_bytes(zlib.decompress(data), [], draw)))
        except zlib.error:
            parts[index] = (name, _in_bytes(data, [], draw))
    else:
        parts[index] = (name, _in_bytes(data, [], draw))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*part) for part in parts)


def in_json(content: bytes, draw: Random) -> bytes:
    """Put something else in place of one value, or take, double or rename a key."""
    try:
        tree = json.loads(content)
    except (ValueError, RecursionError):
        return _in_bytes(content, [], draw)
    places: list[tuple[Any, Any]] = []
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
        places += [(node, key) for key in keys]
        waiting += [node[key] for key in keys]
    if not places or draw.random() < 0.03:
        return draw.choice(_VALUES).encode()
    node, key = draw.choice(places)
    mark = "\x01spoiled\x01"
    way = draw.random()
    if isinstance(node, dict) and way < 0.1:
        del node[key]
    elif isinstance(node, dict) and way < 0.2:
        node[draw.choice(("unknown", "", "array", "__class__", key * 2))] = node.pop(key)
    elif way < 0.3:
        other, where = draw.choice(places)
        node[key] = (
            json.loads(json.dumps(other[where]))
            if where in (other if isinstance(other, dict) else range(len(other)))
            else None
        )
    else:
        node[key] = mark
    try:
        text = json.dumps(tree)
    except RecursionError:
        return content
    return text.replace(json.dumps(mark), draw.choice(_VALUES)).encode(errors="replace")


def _in_bytes(content: bytes, others: list[bytes], draw: Random) -> bytes:
    if not content:
        return draw.randbytes(draw.randint(1, 40))
    data = bytearray(content)
    at = draw.randrange(len(data))
    way = draw.randrange(8)
    if way == 0:
        data[at] ^= 1 << draw.randrange(8)
    elif way == 1:
        del data[at:]
    elif way == 2:
        del data[at : at + draw.randint(1, 64)]
    elif way == 3:
        data[at:at] = draw.randbytes(draw.randint(1, 16))
    elif way == 4:
        data[at:at] = data[at : at + draw.randint(1, 512)] * draw.randint(1, 8)
    elif way == 5:
        size = draw.choice((1, 2, 4, 8))
        number = draw.choice(_NUMBERS) & (256**size - 1)
        data[at : at + size] = number.to_bytes(size, draw.choice(("little", "big")))
    elif way == 6 and others:
        other = draw.choice(others)
        cut = draw.randrange(len(other) or 1)
        data[at:] = other[cut:]
    else:
        data[at : at + draw.randint(1, 32)] = draw.choice(
            (b"\0", b"\xff", b"-1", b"9" * 40, b"\xed\xa0\x80", b"\r\n")
        )
    return bytes(data)


def prepare(kind: str, inputs: Path) -> list[bytes]:
    """Write what the readers need into a folder; return the kind's seeds."""
    if not (inputs / "small.json").is_file():
        make_inputs(inputs)
    return KINDS[kind].seeds(inputs)
