"""What segments cost by the size of the picture, and what making them quicker does to them.

    python -m benchmarks.performance.segments [--sides 224 448 1024 2048 4096] [--repeat 3] [--before SRC]
    python -m benchmarks.performance.segments --photographs FOLDER [--before SRC] [--images 200]

The first prints processor time of `usu.segment` with the partitions of scoring by masking and by order, the
least of `--repeat` calls on scikit-image's photograph of a cat, resized. With `--before`, the folder `src` of
an earlier version, processes of both take turns, up to a side of `--before-sides`.

The second compares segments. At 224 × 224, with `--before`: in how many photographs any pixel has another
label than before. At the own size of each that is no large picture: the explained variation of segments that
are found among a quarter and a sixteenth of the pixels, as those of large pictures are, less that of segments
found among all. It is the share of the variance of Lab colour that segments' means explain (Moore et al.).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import skimage.color
from PIL import Image

import usu
from usu.segmentation.large import LARGE, by_fewer_pixels

_NOW = Path(__file__).parents[2] / "src"
WANTED = {scoring: dict(usu.Settings(scoring=scoring).way.segmentation) for scoring in ("mask", "order")}

# Prints the processor milliseconds of each call, in the order given.
_TIMES = """
import json, sys, time, skimage.data, torch, usu
from usu.runtime.memory import keep_freed_memory
keep_freed_memory()
side, repeat, calls = json.loads(sys.argv[1])
whole = torch.from_numpy(skimage.data.chelsea()).permute(2, 0, 1)[None] / 255
resize = torch.nn.functional.interpolate
picture = resize(whole, (side, side), mode="bilinear", antialias=True)[0].clamp(0, 1)
for method, counts in calls:
    usu.segment(torch.rand(3, 16, 16), (4, 8), method)  # imports
    found = []
    for _ in range(repeat):
        start = time.process_time()
        usu.segment(picture, counts, method)
        found.append(1000 * (time.process_time() - start))
    print(min(found))
"""

# Saves the finest label maps of photographs, one array for each call.
_LABELS = """
import json, sys, numpy as np, usu
from PIL import Image
paths, calls, place = json.loads(sys.argv[1])
found = [[] for _ in calls]
for path in paths:
    picture = np.asarray(Image.open(path).convert("RGB").resize((224, 224))).transpose(2, 0, 1) / 255
    for own, (method, counts) in zip(found, calls):
        own.append(usu.segment(picture, counts, method).levels[-1])
np.savez(place, *map(np.stack, found))
"""


def _run(source: Path, program: str, *given: Any) -> list[float]:
    call = [sys.executable, "-c", program, json.dumps(given)]
    environment = {**os.environ, "PYTHONPATH": str(source)}
    run = subprocess.run(call, check=True, env=environment, stdout=subprocess.PIPE, text=True)
    return [float(line) for line in run.stdout.split()]


def _calls(scoring: str) -> list[tuple[str, tuple[int, ...]]]:
    return list(WANTED[scoring].items())


def times(sides: Iterable[int], repeat: int, before: Path | None, last_before: int) -> None:
    """Print the table of processor times."""
    print("| scoring | side, pixels | each, ms | together, ms | µs per pixel | before, ms | now / before |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for scoring in WANTED:
        calls = _calls(scoring)
        for side in sides:
            each, earlier = _run(_NOW, _TIMES, side, repeat, calls), []
            if before is not None and side <= last_before:
                earlier = _run(before, _TIMES, side, repeat, calls)
            methods = ", ".join(f"{name} {one:.1f}" for (name, _), one in zip(calls, each, strict=True))
            beside = f"{sum(earlier):.0f} | {sum(each) / sum(earlier):.2f}" if earlier else " | "
            per_pixel = 1000 * sum(each) / side**2
            print(
                f"| {scoring} | {side} | {methods} | {sum(each):.0f} | {per_pixel:.2f} | {beside} |",
                flush=True,
            )


def differences(paths: list[Path], before: Path) -> None:
    """Print in how many photographs segments at 224 × 224 differ from those of an earlier version."""
    calls = [call for scoring in WANTED for call in _calls(scoring)]
    given = [str(path.resolve()) for path in paths]
    with tempfile.TemporaryDirectory() as place:
        files = [f"{place}/{name}.npz" for name in ("before", "now")]
        for source, file in zip((before, _NOW), files, strict=True):
            _run(source, _LABELS, given, calls, file)
        earlier, now = map(np.load, files)
        print("| method | segments | photographs | with other labels |")
        print("|---|--:|--:|--:|")
        for name, (method, counts) in zip(earlier.files, calls, strict=True):
            other = sum(not np.array_equal(*pair) for pair in zip(earlier[name], now[name], strict=True))
            print(f"| {method} | {counts} | {len(paths)} | {other} |", flush=True)


def explained(labels: np.ndarray[Any, Any], colours: np.ndarray[Any, Any]) -> float:
    """Return the explained variation of colours (H, W, 3) by segments (H, W)."""
    flat, pixels = labels.ravel(), colours.reshape(-1, 3)
    sizes = np.bincount(flat)
    means = np.stack([np.bincount(flat, channel) for channel in pixels.T], axis=1) / sizes[:, None]
    centre = pixels.mean(0)
    return float((sizes * ((means - centre) ** 2).sum(1)).sum() / ((pixels - centre) ** 2).sum())


def quality(paths: list[Path]) -> None:
    """Print the explained variation of segments found among fewer pixels, less that of all pixels."""
    rows: dict[tuple[str, int], list[list[float]]] = {}
    for path in paths:
        picture = np.asarray(Image.open(path).convert("RGB")) / 255.0
        colours, pixels = skimage.color.rgb2lab(picture), picture.shape[0] * picture.shape[1]
        for method, counts in {call for scoring in WANTED for call in _calls(scoring)}:
            if method == "quadtree":
                continue
            limits = (pixels, pixels // 4, pixels // 16)
            several = [by_fewer_pixels(segmenter(method), picture, counts, limit) for limit in limits]
            for count, *maps in zip(counts, *several, strict=True):
                rows.setdefault((method, count), []).append([explained(one, colours) for one in maps])
    print("| method | segments | photographs | all pixels | a quarter, less all | a sixteenth, less all |")
    print("|---|--:|--:|--:|--:|--:|")
    for (method, count), own in sorted(rows.items()):
        found = np.array(own)
        texts = []
        for place in (1, 2):
            change = found[:, place] - found[:, 0]
            error = statistics.stdev(change) / len(change) ** 0.5 if len(change) > 1 else float("nan")
            texts.append(f"{change.mean():+.4f} ± {error:.4f}")
        print(f"| {method} | {count} | {len(found)} | {found[:, 0].mean():.4f} | {' | '.join(texts)} |")


def segmenter(method: str) -> Callable[..., Any]:
    """Return `usu.segment` on pictures (H, W, C), as maps of labels."""
    return lambda picture, counts: list(usu.segment(picture.transpose(2, 0, 1), counts, method).levels)


def main() -> None:
    """Print the tables."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--sides", nargs="+", type=int, default=[224, 448, 1024, 2048, 4096])
    parser.add_argument("--repeat", type=int, default=3, help="calls of each (default: 3)")
    parser.add_argument("--before", type=Path, metavar="SRC", help="folder src of an earlier version")
    parser.add_argument("--before-sides", type=int, default=1024, help="largest for SRC (default: 1024)")
    parser.add_argument("--photographs", type=Path, metavar="FOLDER", help="compare segments of these")
    parser.add_argument("--images", type=int, default=200, help="photographs to compare (default: 200)")
    options = parser.parse_args()
    before = options.before and options.before.resolve()
    if options.photographs is None:
        times(options.sides, options.repeat, before, options.before_sides)
        return
    paths = sorted(options.photographs.glob("*.[jJ][pP]*"))[: options.images]
    if before is not None:
        differences(paths, before)
        print()
    quality([path for path in paths if pixels_of(path) <= LARGE])


def pixels_of(path: Path) -> int:
    """Return the number of pixels of a photograph."""
    with Image.open(path) as image:
        return image.width * image.height


if __name__ == "__main__":
    main()
