"""`usu explain FOLDER`: every photograph of a folder, one record each."""

from __future__ import annotations

import argparse
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from usu.cli._output import BAD_INPUT, complain

if TYPE_CHECKING:
    from usu.models.classifier import Classifier

_TOGETHER = 8  # photographs whose masked copies fill the same batches


def explain_folder(options: argparse.Namespace, classifier: Classifier, keywords: dict[str, Any]) -> int:
    """Explain the photographs of a folder that have no record yet; a bad one is reported, the rest go on.

    Raises:
        ValueError: the folder holds no image; the output folder holds something else, or another run.
        BlockingIOError: another run is writing to the output folder.
    """
    from usu.bench.datasets.files import image_names
    from usu.dataset import GALLERY, TABLE, Results, explained, read_photograph, run_of

    folder = Path(options.images[0])
    names = image_names(folder)
    if not names:
        raise ValueError(f"{folder} holds no image, nor do the folders in it")
    wanted = {**keywords, "class_names": classifier.class_names}
    run = run_of(classifier.name, classifier.model, {**keywords, "photographs": str(folder.resolve())})
    with closing(Results(Path(options.out), run)) as results:
        before, limits = len(results.done), None if options.range is None else tuple(options.range)
        jobs = [(name, read_photograph, (name, folder / name, classifier.prepare, limits)) for name in names]
        batches = [jobs[start : start + _TOGETHER] for start in range(0, len(jobs), _TOGETHER)]
        failures: list[str] = []

        def report(name: str, reason: str) -> None:
            failures.append(name)
            complain(ValueError(reason), str(folder / name))

        shown = sys.stderr.isatty()
        explained(classifier.model, batches, results, options.workers, shown, len(batches), report, **wanted)
    counts = f"{len(results.done) - before} photograph(s), {before} before, {len(failures)} failed"
    print(f"{'explained':<16}{counts}")
    print(f"{'written to':<16}{options.out}: a record each, {TABLE}, {GALLERY}")
    return BAD_INPUT if failures else 0
