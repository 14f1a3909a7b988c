"""How whole files are spoiled: in their structure, where that is known, or in bytes."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from random import Random
from typing import Any

import numpy as np

MOST = 2**20  # bytes of a spoiled file

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
        kind = np.dtype(draw.choice(_TYPES[:9]))
        kinds = {kind.kind, values.dtype.kind}
        if "M" in kinds and kinds & {"S", "U"}:
            return data  # between texts and dates NumPy can end the process
        try:
            with np.errstate(all="ignore"):
                values = values.astype(kind)
        except (ValueError, TypeError, OverflowError):
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


def png_chunk(name: bytes, content: bytes) -> bytes:
    """Return one chunk of a PNG file, with the checksum that it must have."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
