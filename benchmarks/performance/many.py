"""What one of many explanations costs in its parts, and what 50,000 would need of a GPU and cores: a model.

    OMP_NUM_THREADS=1 python -m benchmarks.performance.many FOLDER [--images 8] [--count 50000] [--minutes 10]

Parts of explaining a folder's photographs by EfficientNet-Lite0 with scores by order, in processor time of
one core, medians over `--images`: what a worker of `usu explain FOLDER` does besides passes. Passes are
counted, forwards and backwards apart. From these follows, for `--count` photographs in `--minutes`, how many
cores the workers need, and how many passes a second the GPU that they share has to do. No GPU is measured:
its passes are what is asked of it.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import usu
from usu.models.classifier import Classifier
from usu.models.images import read_image
from usu.models.loading import load_classifier
from usu.runtime.memory import keep_freed_memory


class Watched(nn.Module):
    """A model that adds up the processor seconds of its passes, forwards and backwards, and counts them."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.forwards = self.backwards = 0
        self.seconds = self.begun = 0.0

    def forward(self, batch: Tensor) -> Tensor:
        """Return the outputs, taking the time; that of a backward pass ends at the inputs' gradient."""
        start = time.process_time()
        outputs: Tensor = self.model(batch)
        self.seconds += time.process_time() - start
        self.forwards += len(batch)
        if outputs.requires_grad and batch.requires_grad:
            self.backwards += len(batch)
            outputs.register_hook(lambda _: setattr(self, "begun", time.process_time()))
            batch.register_hook(lambda _: self._ended())
        return outputs

    def _ended(self) -> None:
        self.seconds += time.process_time() - self.begun


def measured(folder: Path, images: int) -> dict[str, float]:
    """Return the median processor seconds of each part, and the passes of one explanation."""
    classifier = load_classifier("efficientnet-lite0")
    model = Watched(classifier.model).eval()
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    # The first call imports and warms up.
    rows = [parts(path, classifier, model) for path in [paths[0], *paths[:images]]][1:]
    return {name: statistics.median(row[name] for row in rows) for name in rows[0]}


def parts(path: Path, classifier: Classifier, model: Watched) -> dict[str, float]:
    """Return the processor seconds of each part of one explanation, and its passes."""
    row: dict[str, float] = {}
    wanted = usu.Settings(scoring="order").way.segmentation
    inputs, picture = timed(row, "read and prepare", lambda: classifier.prepare(read_image(path)))
    options: dict[str, Any] = {"images": picture, "scoring": "order", "backend": "eager"}
    options["segmentation"] = timed(
        row, "segments", lambda: [usu.segment(picture, own, name) for name, own in wanted.items()]
    )
    model.forwards, model.backwards, model.seconds = 0, 0, 0.0
    whole: dict[str, float] = {}
    found = timed(whole, "explain", lambda: usu.explain(model, inputs, **options))
    row |= {"passes": model.seconds, "explain, without passes": whole["explain"] - model.seconds}
    with tempfile.TemporaryDirectory() as place:
        timed(row, "record's file", lambda: found.save(Path(place) / "one.npz"))
    return row | {"forwards": model.forwards, "backwards": model.backwards}


def timed(row: dict[str, float], name: str, call: Callable[[], Any]) -> Any:
    """Return what a call returns, its processor seconds entered in a row."""
    start = time.process_time()
    found = call()
    row[name] = time.process_time() - start
    return found


def main() -> None:
    """Print the parts and the model."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--count", type=int, default=50_000)
    parser.add_argument("--minutes", type=float, default=10.0)
    options = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    row = measured(options.folder, options.images)
    forwards, backwards = row.pop("forwards"), row.pop("backwards")
    print("| part | ms of one core |")
    print("|---|--:|")
    for name, seconds in row.items():
        print(f"| {name} | {1000 * seconds:.0f} |")
    each = 60 * options.minutes / options.count
    beside = sum(row.values()) - row["passes"]
    print(f"\n{options.count} photographs in {options.minutes:g} minutes: {1000 * each:.1f} ms each, that is")
    print(f"* {beside / each:.1f} cores for what is no pass, {1000 * beside:.0f} ms;")
    print(f"* {forwards / each:.0f} forward passes a second, {backwards / each:.0f} with a backward one.")


if __name__ == "__main__":
    main()
