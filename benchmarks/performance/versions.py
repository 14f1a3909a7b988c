"""This version of usu beside an earlier one, and beside shap's partition explainer: processor time of each.

Called by `python -m benchmarks.performance.pipeline --before SRC --photographs FOLDER`. Both score by
masking, but for one row, in which this version scores by order, as it does by default.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

_NOW = Path(__file__).parents[2] / "src"

# Prints the processor seconds of `usu.explain` by the model itself, the median of calls after the first.
_CALL = """
import statistics, sys, time, torch, usu
from PIL import Image
from usu.models import load_classifier
from usu.runtime.memory import keep_freed_memory
keep_freed_memory()
classifier = load_classifier("efficientnet-lite0")
inputs, picture = classifier.prepare(Image.open(sys.argv[1]))
options = {"backend": "eager"} if sys.argv[2] == "now" else {}
seconds = []
for call in range(4):
    start = time.process_time()
    usu.explain(classifier.model, inputs, images=picture, scoring="mask", **options)
    seconds.append(time.process_time() - start)
print(statistics.median(seconds[1:]))
"""

# Prints the seconds of a complete map, and of shap's partition explainer with as many passes. A first call of
# each imports and compiles.
_BESIDE = """
import sys, time, numpy as np, shap, torch, usu
from PIL import Image
from usu.models import load_classifier
from usu.runtime.memory import keep_freed_memory
keep_freed_memory()
classifier = load_classifier("efficientnet-lite0")
inputs, picture = classifier.prepare(Image.open(sys.argv[1]))
def ask(batch):
    with torch.no_grad():
        return classifier.model(torch.from_numpy(batch).permute(0, 3, 1, 2).contiguous()).softmax(1).numpy()
pixels = inputs.permute(1, 2, 0).contiguous().numpy()
explainer = shap.Explainer(ask, shap.maskers.Image("blur(56,56)", pixels.shape))
def ours():
    options = {"mode": "complete", "target": target}
    return usu.explain(classifier.model, inputs, images=picture, **options).forward_passes
def theirs():
    explainer(pixels[None], max_evals=passes, batch_size=16, outputs=[target], silent=True)
target = int(ask(pixels[None]).argmax())
passes = ours()
theirs()
for call in (ours, theirs):
    start = time.process_time()
    call()
    print(time.process_time() - start)
print(passes)
"""


def compare(before: Path, folder: Path, rounds: int, several: int) -> None:
    """Print the table: medians over `rounds` of processor seconds and of each round's ratio."""
    photographs = sorted(
        path for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png")
    )
    one, many = photographs[:1], photographs[:several]
    print("| what | before, seconds | now, seconds | now / before (range) | goal |")
    print("|---|--:|--:|--:|--:|")
    cases: list[tuple[str, Callable[[Path], float], Callable[[Path], float], str]] = [
        ("`usu explain photo.jpg`", lambda src: _explain(src, one), lambda src: _explain(src, one), "≤ 0.5"),
        (
            f"`usu explain` of {len(many)} photographs",
            lambda src: _explain(src, many),
            lambda src: _explain(src, many),
            "≤ 0.35",
        ),
        (
            f"the same {len(many)}, now as a folder",
            lambda src: _explain(src, many),
            lambda src: _explain(src, many, together=True),
            "",
        ),
        (
            "`usu explain photo.jpg`, now by order",
            lambda src: _explain(src, one),
            lambda src: _explain(src, one, scoring="order"),
            "",
        ),
        (
            '`usu.explain(backend="eager")`',
            lambda src: _printed(src, _CALL, one[0], "before")[0],
            lambda src: _printed(src, _CALL, one[0], "now")[0],
            "≤ 1",
        ),
    ]
    for name, first, second, goal in cases:
        pairs = [(first(before), second(_NOW)) for _ in range(rounds)]
        _line(name, pairs, goal)
    found = [_printed(_NOW, _BESIDE, one[0]) for _ in range(rounds)]
    name = f"complete map beside shap's partition explainer, {found[0][2]:.0f} passes"
    _line(name, [(theirs, ours) for ours, theirs, _ in found], "≤ 0.7")


def _line(name: str, pairs: Sequence[tuple[float, float]], goal: str) -> None:
    ratios = [now / before for before, now in pairs]
    seconds = (f"{statistics.median(each):.2f}" for each in zip(*pairs, strict=True))
    spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    print(f"| {name} | {' | '.join(seconds)} | {spread} | {goal} |", flush=True)


def _explain(
    source: Path, photographs: Sequence[Path], together: bool = False, scoring: str = "mask"
) -> float:
    """Return the processor seconds of the command line, with those of the processes that it starts."""
    with tempfile.TemporaryDirectory() as place:
        paths = [str(path) for path in photographs]
        if together:
            folder = Path(place) / "photographs"
            folder.mkdir()
            for path in photographs:
                (folder / path.name).symlink_to(path.resolve())
            paths = [str(folder)]
        start = _spent()
        call = [sys.executable, "-m", "usu", "explain", *paths, "--scoring", scoring, "--out", f"{place}/out"]
        subprocess.run(call, check=True, env=_environment(source), stdout=subprocess.DEVNULL)
        return _spent() - start


def _printed(source: Path, program: str, photograph: Path, *arguments: str) -> list[float]:
    call = [sys.executable, "-c", program, str(photograph), *arguments]
    run = subprocess.run(call, check=True, env=_environment(source), stdout=subprocess.PIPE, text=True)
    return [float(line) for line in run.stdout.split()]


def _environment(source: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(source)}


def _spent() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
