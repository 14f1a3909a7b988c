"""What is killed: runs of usu that write files, what they must leave behind, and how that is read.

Each continues what an earlier run left in its folder, and ends with the same things as a run that nothing
interrupted. The networks and pictures are so small that a run takes a fraction of a second.
"""

from __future__ import annotations

import csv
import hashlib
import json
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

import usu
import usu.bench.run
import usu.cli.folder
import usu.models.card
import usu.report
from usu import cli
from usu.bench.results.folder import PARTS, Results, read_part, read_rows
from usu.bench.results.schema import SCHEMA, Cell
from usu.dataset import ROWS
from usu.worlds.training import Recipe, Stage, trained

SIDE = 24
_TINY = Recipe(plain=(Stage(6, 6),), penalised=(Stage(6, 6),))
_OPTIONS: dict[str, Any] = {"segmentation": {"slic": (2, 4)}, "backend": "eager"}

Found = Mapping[str, Any]


class Small(nn.Module):
    """Two convolutions and a linear head on their mean."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 6, 3, 2, 1), nn.ReLU()
        )
        self.head = nn.Linear(6, 3)

    def forward(self, batch: Tensor) -> Tensor:
        """Return (B, 3)."""
        return self.head(self.features(batch).mean((2, 3)))


@dataclass(frozen=True)
class Work:
    """A run that writes.

    Attributes:
        act: does the run in a folder, with the inputs' folder given; raises what the user would see.
        survey: reads all that is in the folder, by name; raises where something is not whole.
        before: puts there what an earlier run had left.
        moving: whether values may change from one whole state to another; else they stay once they are there.
        tidy: whether a finished run leaves no part of a file behind.
    """

    act: Callable[[Path, Path], None]
    survey: Callable[[Path], Found]
    before: Callable[[Path, Path], None] = lambda folder, inputs: None
    moving: bool = False
    tidy: bool = False


def make_inputs(inputs: Path) -> None:
    """Write photographs, a network with its card, and two records."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    model = Small().eval()
    torch.save(model.state_dict(), inputs / "small.pt")
    prepare = {"size": SIDE, "mean": 0.5, "std": 0.5}
    card = {"network": f"{__name__}:Small", "weights": "small.pt", "prepare": prepare}
    (inputs / "small.json").write_text(json.dumps(card), encoding="utf-8")
    (inputs / "photographs" / "more").mkdir(parents=True)
    for number in range(6):
        pixels = torch.randint(0, 256, (SIDE, SIDE + number, 3), generator=generator, dtype=torch.uint8)
        place = inputs / "photographs" / ("more" if number % 2 else "") / f"{number}.png"
        Image.fromarray(pixels.numpy()).save(place)
    for name, target in (("one", 0), ("two", 1)):
        image = torch.rand(3, SIDE, SIDE, generator=generator)
        usu.explain(model, image, target, **_OPTIONS).save(inputs / f"{name}.npz")


def _command(*words: str) -> None:
    code = cli.main(words)
    if code:
        raise OSError(f"usu {words[0]} ended with code {code}")


def _bench(folder: Path, inputs: Path) -> None:
    out, data, card = folder / "results", inputs / "photographs", inputs / "small.json"
    names = ("--upsampler", "nearest", "bilinear", "--metric", "sparseness", "--model", str(card))
    _command("bench", "run", "--data", str(data), *names, "--out", str(out))


def _parts(folder: Path, inputs: Path) -> None:
    protocol = {"dataset": "folder", "seed": 0}
    with Results.open(folder / "results", protocol) as results:
        for number in range(16):
            cells = [Cell(f"{number:03d}", "small", "gradcam", "usu", metric) for metric in ("road", "irof")]
            results.add([_measured(cell) for cell in cells if cell not in results.done])
            if number % 4 == 3:
                results.compact()
        results.compact()


def _measured(cell: Cell) -> dict[str, Any]:
    """Return the row of a measurement, made of its name alone."""
    number = int(hashlib.sha256("/".join(cell).encode()).hexdigest()[:12], 16)
    kinds: dict[str, Any] = {"string": "{}", "int64": number % 1000, "double": number / 2**48}
    return {field.name: kinds[str(field.type)] for field in SCHEMA} | cell._asdict()


def _rows(folder: Path) -> Found:
    """Return the value of each measurement; `read_rows` gives each once."""
    if not (folder / "results" / "protocol.json").is_file():
        return {}
    rows = read_rows(folder / "results").to_pylist()
    found = {"/".join(row[name] for name in Cell._fields): row["value"] for row in rows}
    if len(found) != len(rows):
        raise ValueError("a measurement is there twice")
    return found


def _all_rows(folder: Path) -> Found:
    parts = sorted((folder / "results" / PARTS).glob("[!.]*.parquet"))
    return {**_rows(folder), "rows in all parts": sum(len(read_part(part, ["image"])) for part in parts)}


def _folder(folder: Path, inputs: Path) -> None:
    photographs, card = inputs / "photographs", inputs / "small.json"
    options = ("--source", "gradcam", "--backend", "eager", "--mode", "iwmr", "--no-continuous")
    _command("explain", str(photographs), "--out", str(folder / "maps"), "--model", str(card), *options)


def _records(folder: Path) -> Found:
    """Return what each record holds; the folder's other files must be whole, too."""
    maps = folder / "maps"
    found: dict[str, Any] = {}
    for path in sorted(maps.rglob("[!.]*.npz")):
        found[path.relative_to(maps).as_posix()] = _digest(usu.Explanation.load(path))
    for path in maps.glob("run.json"):
        found["run"] = json.loads(path.read_bytes())["weights"]
    for path in maps.glob("report.html"):
        found["report"] = path.read_text(encoding="utf-8").rstrip().endswith("</html>")
    return found


def _all_records(folder: Path) -> Found:
    """Return the same, and how often the rows and the table name each photograph."""
    told: Counter[str] = Counter()
    for line in (folder / "maps" / ROWS).read_text(encoding="utf-8").splitlines():
        if line.endswith("}"):  # else a kill cut it off, and the next run wrote its row again
            told[json.loads(line)["image"]] += 1
    with open(folder / "maps" / "explained.csv", newline="", encoding="utf-8") as file:
        table = Counter(row["image"] for row in csv.DictReader(file))
    return {**_records(folder), "rows": dict(told), "table": dict(table)}


def _digest(record: usu.Explanation) -> str:
    arrays = (record.attribution, record.coarse, record.score_map, record.image)
    rounded = [np.round(np.asarray(one, np.float64), 6) + 0.0 for one in arrays]
    return hashlib.sha256(b"".join(one.tobytes() for one in rounded)).hexdigest()[:16]


def _save(folder: Path, inputs: Path) -> None:
    records = [usu.Explanation.load(inputs / f"{name}.npz") for name in ("one", "two")]
    for number in range(8):
        records[number % 2].save(folder / "map.npz")


def _saved(folder: Path) -> Found:
    return {"map": _digest(usu.Explanation.load(folder / "map.npz"))}


def _save_first(folder: Path, inputs: Path) -> None:
    usu.Explanation.load(inputs / "one.npz").save(folder / "map.npz")


def _report(folder: Path, inputs: Path) -> None:
    records = [str(inputs / f"{name}.npz") for name in ("one", "two")]
    _command("report", *records, "-o", str(folder / "page.html"), "--quick")


def _report_first(folder: Path, inputs: Path) -> None:
    _command("report", str(inputs / "one.npz"), "-o", str(folder / "page.html"), "--quick")


def _page(folder: Path) -> Found:
    return {"page": hashlib.sha256((folder / "page.html").read_bytes()).hexdigest()[:16]}


def _cache(folder: Path, inputs: Path) -> None:
    trained("cnn", 0.1, count=24, size=SIDE, recipe=_TINY, cache=folder / "cache")


def _weights(folder: Path) -> Found:
    found = {}
    for path in sorted((folder / "cache").glob("[!.]*.npz")):
        with warnings.catch_warnings(), np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files if name != "facts"}
        content = b"".join(np.round(arrays[name], 5).tobytes() for name in sorted(arrays))
        found[path.name] = hashlib.sha256(content).hexdigest()[:16]
    return found


# What is read after each interruption, and what at the end.
WORKS: Mapping[str, Work] = {
    "bench": Work(_bench, _rows, tidy=True),
    "folder": Work(_folder, _records, tidy=True),
    "save": Work(_save, _saved, _save_first, moving=True),
    "report": Work(_report, _page, _report_first, moving=True),
    "cache": Work(_cache, _weights),
    "parts": Work(_parts, _rows, tidy=True),
}
ENDS: Mapping[str, Callable[[Path], Found]] = {
    **{name: work.survey for name, work in WORKS.items()},
    "bench": _all_rows,
    "folder": _all_records,
    "parts": _all_rows,
}
