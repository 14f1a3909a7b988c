"""Files made by somebody who means harm: each is refused by an error of usu's own, and runs nothing."""

from __future__ import annotations

import base64
import io
import json
import os
import pickle
import struct
import tracemalloc
import warnings
import zipfile
import zlib
from random import Random

import numpy as np
import pytest
import torch
from benchmarks.robustness import hostile
from benchmarks.robustness.files import Reader
from benchmarks.robustness.spoiling import png_chunk, spoiled
from benchmarks.robustness.works import Small
from PIL import Image

import usu
from usu.models import load_classifier
from usu.models.checkpoints import read_weights
from usu.models.images import read_image
from usu.report import Entry


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "inputs"
    folder.mkdir()
    hostile.make_inputs(folder)
    return folder


@pytest.mark.parametrize("kind", hostile.KINDS)
def test_spoiled_files_are_refused_or_read(kind, inputs, tmp_path):
    seeds, draw = hostile.prepare(kind, inputs), Random(f"7/{kind}")
    suffixes, is_own, read = hostile.KINDS[kind].suffixes, hostile.is_own, hostile.KINDS[kind].read
    for number in range(60):
        content = seeds[number % len(seeds)]
        given = content if number < len(seeds) else spoiled(content, seeds, draw)
        folder = tmp_path / str(number)
        folder.mkdir()
        path = folder / f"file{suffixes[number % len(suffixes)]}"
        path.write_bytes(given)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a cache that is damaged is told of and made again
                read(path, inputs)
        except (ValueError, TypeError, OSError) as problem:
            if not is_own(problem):
                raise


def test_the_reader_tells_what_is_not_ours(inputs, tmp_path, monkeypatch):
    """The check itself is checked: on readers that run something, fail elsewhere, refuse, and read."""

    def read(path, _):
        word = path.read_text()
        if word == "run":
            os.system("true")
        if word == "fail":
            json.loads("[")
        if word == "refuse":
            read_image(path)

    monkeypatch.setitem(hostile.KINDS, "card", hostile.Kind((".json",), list, read))
    reader = Reader("card", inputs, tmp_path)
    for word in ("run", "fail", "refuse", "read"):
        reader.read(word.encode(), ".json")
    assert sorted(one.split()[0] for one in reader.found) == ["Acted", "JSONDecodeError"]
    assert len(list(tmp_path.glob("card-*.json"))) == 2


def changed(inputs, tmp_path, **members):
    """Return a record's file with some members replaced: by arrays, by texts of the facts, or dropped."""
    with np.load(inputs / "one.npz") as file:
        arrays = dict(file)
    facts = json.loads(str(arrays.pop("facts")))
    facts |= members.pop("facts", {})
    arrays |= members
    arrays = {name: value for name, value in arrays.items() if value is not None}
    path = tmp_path / "changed.npz"
    np.savez_compressed(path, facts=np.array(json.dumps(facts)), **arrays)
    return path


NAN = np.full((24, 24), np.nan)


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"attribution": NAN}, "attribution must be finite, got NaN"),
        ({"attribution": np.zeros((24, 23))}, r"must be of shape \(24, 23\), got \(24, 24\)"),
        ({"score_map": np.full((24, 24), "a")}, "score_map must be an array of numbers, got <U1"),
        (
            {"coarse": np.zeros((6, 6, 6))},
            r"coarse of shape \(6, 6, 6\) does not fit attribution, \(24, 24\)",
        ),
        ({"coarse": None}, "'coarse'"),
        ({"image": np.zeros((3, 2, 2))}, "image must be of shape"),
        ({"refinements.0.partitions.0": np.full((24, 24), 2**40)}, "labels 0 to P - 1"),
        ({"refinements.0.scores.0": np.zeros(99)}, r"scores must be of shape \(2,\), got \(99,\)"),
        ({"refinements.0.score_map": np.zeros((2, 2))}, "maps of a refinement must be of shape"),
        ({"facts": {"format": "3"}}, "format must be a number from 1 up, got '3'"),
        ({"facts": {"target": [1]}}, r"target must be int or str, got \(1,\)"),
        ({"facts": {"forward_passes": True}}, "forward_passes must be int, got True"),
        ({"facts": {"settings": 3}}, "settings must be dict, got 3"),
        ({"facts": {"mass": "much"}}, "mass must be 'density' or 'total', got 'much'"),
        ({"facts": {"versions": {"torch": 2}}}, "versions must hold texts, got 2 for torch"),
        ({"facts": {"further_field": 1}}, "further_field"),
        ({"facts": {"attribution": {"array": "nothing"}}}, "nothing"),
    ],
)
def test_a_record_with_a_wrong_field_is_refused_by_its_name(members, words, inputs, tmp_path):
    path = changed(inputs, tmp_path, **members)
    with pytest.raises(ValueError, match=rf"changed\.npz' cannot be read as an explanation: .*{words}"):
        usu.Explanation.load(path)


def test_maps_of_any_whole_numbers_are_reported_as_they_are(inputs, tmp_path):
    """The page's indices have 32 bits and no sign; maps are no indices, whatever their kind in a file."""
    members = dict(np.load(inputs / "one.npz"))
    members["score_map"] = members["score_map"].astype(np.int64)
    members["score_map"][0, :2] = -1, 2**40
    np.savez(tmp_path / "whole.npz", **members)
    record = usu.Explanation.load(tmp_path / "whole.npz")
    packed = Entry(record, verdicts=False).plain()["scoreMap"]["values"]
    values = np.frombuffer(zlib.decompress(base64.b64decode(packed["zlib"])), packed["kind"])
    assert values.tolist() == sorted({*members["score_map"].ravel().tolist()})


def test_a_record_that_is_a_bomb_is_refused_before_it_is_unpacked(inputs, tmp_path):
    path = tmp_path / "bomb.npz"
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f8", "fortran_order": False, "shape": (2**28,)})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        with zipfile.ZipFile(inputs / "one.npz") as whole:
            file.writestr("facts.npy", whole.read("facts.npy"))
        with file.open("attribution.npy", "w") as member:
            member.write(head.getvalue())
            for _ in range(257):
                member.write(bytes(2**20))
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"its \d+ bytes unpack to \d+, as no explanation's do"):
        usu.Explanation.load(path)
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


def test_names_in_a_record_that_climb_out_of_it_write_nothing(inputs, tmp_path):
    path = changed(inputs, tmp_path, **{"../../climbed": np.zeros(3), "/tmp/climbed": np.zeros(3)})
    before = sorted(tmp_path.rglob("*"))
    usu.Explanation.load(path)
    assert sorted(tmp_path.rglob("*")) == before
    assert not (tmp_path.parents[1] / "climbed.npy").exists()


def test_a_record_cut_anywhere_is_refused(inputs, tmp_path):
    content, path = (inputs / "one.npz").read_bytes(), tmp_path / "cut.npz"
    for end in range(0, len(content), max(1, len(content) // 150)):
        path.write_bytes(content[:end])
        with pytest.raises(ValueError, match="cannot be read as an explanation"):
            usu.Explanation.load(path)


class Payload:
    """Code that a pickle runs as it is read."""

    def __init__(self, place):
        self.place = str(place)

    def __reduce__(self):
        return os.mkdir, (self.place,)


@pytest.mark.parametrize("name", ["a.pt", "a.pth", "a.safetensors", "a.npz", "a.png"])
@pytest.mark.parametrize("way", ["pickle", "torch", "old torch", "state", "array"])
def test_code_in_a_file_does_not_run(name, way, tmp_path):
    path, payload = tmp_path / name, Payload(tmp_path / "ran")
    with open(path, "wb") as file:
        if way == "pickle":
            pickle.dump(payload, file)
        elif way == "array":
            np.savez(file, facts=np.array([payload], dtype=object))
        else:
            content = {"state_dict": Small().state_dict(), "extra": payload} if way == "state" else payload
            torch.save(content, file, _use_new_zipfile_serialization=way != "old torch")
    read = {".npz": usu.Explanation.load, ".png": read_image}.get(path.suffix, read_weights)
    with pytest.raises(ValueError, match=path.stem):
        read(path)
    assert not (tmp_path / "ran").exists()
    unsafe = {
        "pickle": lambda: pickle.loads(path.read_bytes()),
        "array": lambda: np.load(path, allow_pickle=True)["facts"],
    }
    unsafe.get(way, lambda: torch.load(io.BytesIO(path.read_bytes()), weights_only=False))()
    assert (tmp_path / "ran").is_dir()  # what reading it in another way does


def test_pictures_that_are_bombs(tmp_path):
    for (width, height), words in [
        ((30_000, 30_000), "Image size"),
        ((4, 2**21), "4 × 2097152 pixels, where a side may have 1048576"),  # takes twice what its pixels do
    ]:
        head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        chunks = ((b"IHDR", head), (b"IDAT", b"x"), (b"IEND", b""))
        png = b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)
        (tmp_path / "large.png").write_bytes(png)
        with pytest.raises(ValueError, match=rf"large\.png is too large to open safely: {words}"):
            read_image(tmp_path / "large.png")


def test_an_icc_profile_and_a_rotation_that_are_nonsense_do_not_matter(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = Image.new("RGB", (4, 7), "red")
    picture.save(tmp_path / "a.jpg", exif=exif, icc_profile=b"\xff" * 300)
    assert read_image(tmp_path / "a.jpg").size == (7, 4)


def card(**changes):
    """Return the text of a card; values are JSON's."""
    prepare = {"size": "9", "mean": "0", "std": "1"}
    whole = {"network": '"resnet18"', "weights": '"a.pt"'}
    for name, value in changes.items():
        (prepare if name in ("size", "mean", "std", "crop") else whole)[name] = value
    inner = ", ".join(f'"{name}": {value}' for name, value in prepare.items())
    return (
        "{" + "".join(f'"{name}": {value}, ' for name, value in whole.items()) + f'"prepare": {{{inner}}}}}'
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 100_000, "is not a network card: it is nested too deeply"),
        ('{"network": "resnet18", "network": "os:system"}', "is not a network card: it has 'network' twice"),
        (card(size="1e999"), "size must be a number of pixels"),
        (card(size="true"), "size must be a number of pixels"),
        (card(size="9999999"), "size over crop must be at most"),
        (card(crop="1e-320"), "size over crop must be at most"),
        (card(mean="NaN"), "mean must be a number or three, .* got nan"),
        (card(std="1e999"), "std must be a number or three, .* got inf"),
        (card(network='["resnet18"]'), "network must be a name"),
        (card(options="3"), "options must be an object"),
        (card(class_names="7"), "class_names must be a list of names"),
        (card(network='"os:system"', options='{"command": "touch ran"}'), "of Python's own library"),
        (card(network='"builtins:exec"', options="{}"), "of Python's own library"),
    ],
)
def test_cards_that_mean_harm(text, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "card.json").write_text(text)
    with pytest.raises(ValueError, match=rf"card\.json.*{words}"):
        load_classifier(str(tmp_path / "card.json"))
    assert [path.name for path in tmp_path.iterdir()] == ["card.json"]
