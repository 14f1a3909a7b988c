"""Many images: one record each, which a later call of the same run does not make again."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import time
import warnings
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Sized
from collections.abc import Set as AbstractSet
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from inspect import signature
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from usu.arrays.checks import check_count, check_path
from usu.arrays.convert import as_floats, as_numpy
from usu.explanation import Explanation
from usu.models.images import read_image
from usu.models.naming import name_of_model
from usu.models.placement import Placement
from usu.pipeline import explain, mode_of, settings_of
from usu.report import Entry, write
from usu.runtime.files import LOCK, lock_of, read_json, written_whole
from usu.runtime.processes import processes
from usu.runtime.silence import kept_filters
from usu.segmentation.hierarchy import Hierarchy
from usu.segmentation.methods import segment, stretched
from usu.settings import Settings, as_plain

Pixels: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"

RUN, ROWS, TABLE, GALLERY = "run.json", "rows.jsonl", "explained.csv", "report.html"
COLUMNS = (
    *("image", "target", "class_name", "probability", "mass", "d1_relative", "forward_passes", "seconds"),
    *("backend", "error"),
)
_ASKED = frozenset(signature(explain).parameters)
_SHOWN = 24  # explanations of the gallery, spread evenly


@dataclass(frozen=True, eq=False)
class Sample:
    """One image on its way to the model; arrays are NumPy's, so that it crosses between processes.

    Attributes:
        name: of its record, a path without the folder and without ".npz".
        inputs: (C, H, W).
        image: (3, H, W) or (1, H, W) in [0, 1], for segmentation; None for the inputs, stretched.
        placement: in its photograph, if known.
        hierarchies: its segments; empty until they are found.
    """

    name: str
    inputs: Pixels
    image: Pixels | None = None
    placement: Placement | None = None
    hierarchies: tuple[Hierarchy, ...] = ()

    def segmented(self, wanted: Any) -> Sample:
        """Return the sample with segments: by method their numbers at each level; others are as they are."""
        if not isinstance(wanted, Mapping):
            return self
        image = self.image
        if image is None:
            image = stretched(torch.from_numpy(self.inputs), "inputs, taken as images,").numpy()
        found = tuple(segment(image, counts, method) for method, counts in wanted.items())
        return replace(self, image=image, hierarchies=found)


def read_photograph(
    name: str, path: Path, prepare: Callable[..., Any], value_range: tuple[float, float] | None
) -> Sample:
    """Read a photograph, and prepare it as `usu.models.classifier.Preparation` does.

    Raises:
        ValueError: it is damaged or not an image.
        OSError: it cannot be opened.
    """
    with kept_filters():
        warnings.simplefilter("ignore")
        image = read_image(path, value_range)
    inputs, picture = prepare(image)
    place: Placement = prepare.placement(image)  # type: ignore[attr-defined]
    return Sample(name, inputs.numpy(), picture.numpy(), place)


def explain_dataset(
    model: nn.Module,
    loader: Iterable[Any],
    *,
    out: str | os.PathLike[str],
    workers: int = 1,
    show_progress: bool = False,
    **options: Any,
) -> list[dict[str, Any]]:
    """Explain every image of a loader; write a record each, a table and a gallery.

    `out` gets 000000.npz, 000001.npz, … in the order of the loader, explained.csv, and report.html with up to
    24 of them. If a call is interrupted, even killed, the same call continues after the last record.

    Args:
        model: as for `usu.explain`.
        loader: batches of inputs (B, C, H, W), or tuples that begin with one, as of a `DataLoader`; the same
            images in the same order each time. All images of a batch are explained together.
        out: a folder, made if needed.
        workers: processes that find segments ahead of the model. A script that starts them needs
            `if __name__ == "__main__":`.
        show_progress: show a bar on standard error, with the rate and the time left.
        **options: as for `usu.explain`, without `images` and `placement`; `target` is one for all images.

    Returns:
        The rows of the table, in order; those of images that failed have an "error".

    Raises:
        ValueError: an argument that does not fit; `out` holds something else, or another run.
        BlockingIOError: another run is writing to `out`.
        TypeError: as `usu.explain`.
    """
    from tqdm import tqdm

    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    check_count(workers, "workers", 1)
    folder, title = Path(check_path(out, "out")), name_of_model(model)
    wanted = _settings(options).segmentation
    total = len(loader) if isinstance(loader, Sized) else None
    failed: dict[str, str] = {}
    with (
        closing(Results(folder, run_of(title, model, options))) as results,
        processes(workers, _begin) as pool,
        tqdm(total=total, desc="images", unit="batch", disable=not show_progress) as bar,
    ):
        for batch in _ahead(pool, _samples(loader), results.done.keys(), wanted, 2 + workers):
            missing = batch.keys() - results.done.keys()
            for name, outcome, seconds in together(model, batch, missing, title, options):
                if isinstance(outcome, Exception):
                    failed[name] = reason(outcome)
                else:
                    results.add(*packed(name, outcome, seconds))
            bar.update()
        return results.finish(failed)


def _samples(loader: Iterable[Any]) -> Iterator[list[Sample]]:
    number = 0
    for batch in loader:
        inputs = as_floats(batch[0] if isinstance(batch, list | tuple) else batch, "loader's batches")
        if inputs.dim() != 4:
            raise ValueError(f"loader must give batches (B, C, H, W), got {tuple(inputs.shape)}")
        yield [Sample(f"{number + index:06d}", as_numpy(one)) for index, one in enumerate(inputs)]
        number += len(inputs)


def _begin() -> None:
    torch.set_num_threads(1)


def _ahead(
    pool: ProcessPoolExecutor,
    batches: Iterable[list[Sample]],
    done: AbstractSet[str],
    wanted: Any,
    depth: int,
) -> Iterator[dict[str, Sample | Exception]]:
    """Yield the samples of each batch, or what they raised, by name; segments of some are found ahead.

    Batches of which nothing is missing are empty.
    """
    waiting: deque[dict[str, Future[Sample]]] = deque()
    remaining = iter(batches)
    while True:
        for batch in islice(remaining, depth - len(waiting)):
            missing = [] if {sample.name for sample in batch} <= done else batch
            waiting.append({sample.name: pool.submit(sample.segmented, wanted) for sample in missing})
        if not waiting:
            return
        yield {name: _result(future) for name, future in waiting.popleft().items()}


def _result(future: Future[Sample]) -> Sample | Exception:
    try:
        return future.result()
    except Exception as problem:
        return problem


class Results:
    """The folder of a run: records, a row for each, what the run is; until `close`, no other writes to it.

    Attributes:
        folder: where it is.
        run: what the run is.
        done: rows by the names of images that have a record.

    Raises:
        ValueError: the folder holds something else, or a run with other settings.
        BlockingIOError: another run is writing to it.
    """

    def __init__(self, folder: Path, run: Mapping[str, Any]) -> None:
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"out must be a folder, but {folder} is a file")
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.run = folder, dict(run)
        if not (folder / RUN).is_file() and any(not _is_ours(path.name) for path in folder.iterdir()):
            raise ValueError(f"out must be empty or of an earlier run, but {folder} holds other files")
        self._lock = lock_of(folder)
        try:
            self.done = self._agreed()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let other runs write to the folder."""
        self._lock.release()

    def _agreed(self) -> dict[str, dict[str, Any]]:
        """See that the folder is of the same run, or begin one; return the rows of records that are there."""
        facts = self.folder / RUN
        if facts.is_file():
            try:
                before = read_json(facts)
            except ValueError as problem:
                raise ValueError(f"{facts} is damaged ({problem}): name another folder") from None
            _check_same(self.folder, before if isinstance(before, dict) else {"run": before}, self.run)
        else:
            with written_whole(facts) as file:
                file.write(json.dumps(self.run, indent=1, sort_keys=True).encode())
        lines = (self.folder / ROWS).read_bytes().decode(errors="replace").splitlines() if self._begun else []
        if lines:  # a line that the end of a process cut off must not swallow the next one
            self._append("")
        rows = map(_row, lines)
        return {row["image"]: row for row in rows if row and self.record(row["image"]).is_file()}

    def _append(self, line: str) -> None:
        with open(self.folder / ROWS, "a", encoding="utf-8") as file:
            file.write(line + "\n")

    @property
    def _begun(self) -> bool:
        return (self.folder / ROWS).is_file() and (self.folder / ROWS).stat().st_size > 0

    def record(self, name: str) -> Path:
        """Return the file of an image's record."""
        return self.folder / f"{name}.npz"

    def add(self, row: dict[str, Any], record: bytes) -> None:
        """Write a record, then its row, both as `packed` gives them."""
        path = self.record(row["image"])
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as file:
            file.write(record)
        self._append(json.dumps(row))
        self.done[row["image"]] = row

    def finish(self, failed: Mapping[str, str]) -> list[dict[str, Any]]:
        """Write the table and the gallery; return the rows, those of failed images with their errors."""
        rows = [*self.done.values(), *({"image": name, "error": why} for name, why in failed.items())]
        rows.sort(key=lambda row: str(row["image"]))
        text = io.StringIO(newline="")
        table = csv.DictWriter(text, COLUMNS)
        table.writeheader()
        table.writerows(rows)
        with written_whole(self.folder / TABLE) as file:
            file.write(text.getvalue().encode("utf-8", errors="replace"))
        names = sorted(self.done)
        shown = names[:: max(1, -(-len(names) // _SHOWN))]
        if shown:
            records = ((name, Explanation.load(self.record(name))) for name in shown)
            write((Entry(one, name=name, verdicts=False) for name, one in records), self.folder / GALLERY)
        return rows


def _is_ours(name: str) -> bool:
    """Return whether a run that was killed before its first file may have left this."""
    return name == LOCK or (name.startswith(f".{Path(RUN).stem}.") and name.endswith(".partial"))


def _check_same(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    now = json.loads(json.dumps(now))
    for name in sorted({*before, *now}):
        if before.get(name) != now.get(name):
            raise ValueError(
                f"out must be of the same run, but {folder} was made with {name}={before.get(name)!r}, not "
                f"{now.get(name)!r}: name another folder"
            )


def _row(line: str) -> dict[str, Any] | None:
    """Return a row; None for a line that the end of a process cut off, or that `add` did not write."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict) or not isinstance(row.get("image"), str) or not row.keys() <= {*COLUMNS}:
        return None
    plain = all(value is None or isinstance(value, str | int | float) for value in row.values())
    return row if plain and ".." not in Path(row["image"]).parts else None


def run_of(name: str, model: nn.Module, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run is, by the options of `usu.explain` other than those of speed, for JSON."""
    quick = ("perturbations_per_eval", "backend", "show_progress")
    said = {key: as_plain(value) for key, value in options.items() if key not in quick}
    return {"model": name, "weights": weights_hash(model), **said}


def weights_hash(model: nn.Module) -> str:
    """Return 16 hexadecimal digits of the SHA-256 of a model's weights."""
    found = hashlib.sha256()
    for name, value in model.state_dict().items():
        found.update(name.encode())
        if isinstance(value, Tensor):
            found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:16]


def together(
    model: nn.Module,
    batch: Mapping[str, Sample | Exception],
    missing: Collection[str],
    title: str,
    options: Mapping[str, Any],
) -> Iterator[tuple[str, Explanation | Exception, float]]:
    """Yield name, explanation and seconds of each image of a batch that is missing, or why it has none.

    A batch of which some are missing is explained whole: among other images a map differs in its last digits,
    so that a run which was interrupted would not end as one that was not.

    Args:
        model: as for `usu.explain`.
        batch: what is explained together, by name; in the place of a sample what reading it raised.
        missing: names that lack a record.
        title: the model's name, for the record.
        options: as for `usu.explain`; `target` is one for all images.
    """
    samples = [sample for sample in batch.values() if isinstance(sample, Sample)]
    bad = [(name, found) for name, found in batch.items() if isinstance(found, Exception)]
    yield from ((name, problem, 0.0) for name, problem in bad if name in missing)
    if not any(sample.name in missing for sample in samples):
        return
    start = time.perf_counter()
    try:
        found: Sequence[Explanation | Exception] = _explained(model, samples, title, options)
    except (ValueError, RuntimeError) as problem:
        if len(samples) > 1:
            for sample in samples:
                yield from together(model, {sample.name: sample}, missing, title, options)
            return
        found = [problem]
    seconds = (time.perf_counter() - start) / len(samples)
    for sample, outcome in zip(samples, found, strict=True):
        if sample.name in missing:
            yield sample.name, outcome, seconds


def _explained(
    model: nn.Module, samples: Sequence[Sample], title: str, options: Mapping[str, Any]
) -> list[Explanation]:
    first = next(model.parameters(), torch.empty(0))
    inputs = torch.stack([torch.from_numpy(sample.inputs) for sample in samples]).to(first.device)
    given = dict(options)
    if given.get("target") is not None:
        given["target"] = [given["target"]] * len(samples)
    if samples[0].image is not None:
        given["images"] = torch.stack([torch.from_numpy(sample.image) for sample in samples])
    if samples[0].placement is not None:
        given["placement"] = [sample.placement for sample in samples]
    said: dict[str, Any] = {}
    if samples[0].hierarchies:
        given["segmentation"] = [
            [_on(hierarchy, inputs.device) for hierarchy in sample.hierarchies] for sample in samples
        ]
        said["segmentation"] = _settings(options).plain()["segmentation"]
    found = explain(model, inputs, **given)
    return [replace(one, settings={**one.settings, **said}, model=title) for one in found]


def _settings(options: Mapping[str, Any]) -> Settings:
    own = {name: value for name, value in options.items() if name not in _ASKED}
    return settings_of(mode_of(options.get("mode"), own), own)


def _on(hierarchy: Hierarchy, device: torch.device) -> Hierarchy:
    levels = tuple(torch.from_numpy(as_numpy(level)).to(device) for level in hierarchy.levels)
    return Hierarchy(levels, hierarchy.method)


def packed(name: str, explanation: Explanation, seconds: float) -> tuple[dict[str, Any], bytes]:
    """Return the row of an explanation, and its record as a file holds it."""
    pixels = torch.as_tensor(as_numpy(explanation.attribution)).double()
    error, scale = explanation.coarse_map.mass_error(pixels)
    row = {
        "image": name,
        **{key: getattr(explanation, key) for key in ("target", "class_name", "probability")},
        **{key: getattr(explanation, key) for key in ("forward_passes", "backend")},
        "mass": float(pixels.sum()),
        "d1_relative": float(error / scale) if scale else None,
        "seconds": round(seconds, 4),
    }
    record = io.BytesIO()
    explanation.write_to(record)
    return row, record.getvalue()


def reason(problem: Exception) -> str:
    """Return why an image failed, in one line."""
    return " ".join(str(problem).split()) or type(problem).__name__
