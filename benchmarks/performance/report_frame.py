"""How long the report takes to recompute its map when ε changes, in Chromium, beside a frame's 16.7 ms.

    python -m benchmarks.performance.report_frame [usu-demo/report.html] [--grids 7 14 32] [--moves 100]

Of the page that is given; else of pages made here, for 224 × 224 pixels of a photograph and drawn masses, of
one sign or both, on grids of so many cells a side.

Each move sets ε, waits for the callback of the next animation frame, in which the page recomputes and draws,
and takes the time that this callback ran. The first ten moves, while scripts are compiled, are left out. The
processor time of script, style and layout, for each move, does not depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

import numpy as np
import skimage.data
import torch
from PIL import Image
from playwright.sync_api import Browser, CDPSession, sync_playwright
from torch import Tensor

import usu
from usu.report import Entry, write

FRAME = 1000 / 60
SIZE = 224
WARM_UP = 10
METHODS = (
    "usu",
    "iwmr",
    "hybrid",
    "usu-continuous",
    "iwmr-continuous",
    "hybrid-continuous",
    "total-conserving",
)
# The page asks for a frame of its own in `input`: its callback runs between the two that are set here.
MOVES = """async ([method, moves]) => {
  document.getElementById("method").value = method;
  document.getElementById("method").dispatchEvent(new Event("change"));
  const slider = document.getElementById("temperature");
  const [low, high] = [Number(slider.min), Number(slider.max)];
  const spent = [];
  for (let move = 0; move < moves; move += 1) {
    await new Promise((done) => requestAnimationFrame(done));
    await new Promise((done) => {
      let start = 0;
      requestAnimationFrame(() => { start = performance.now(); });
      slider.value = low + ((high - low) * move) / moves;
      slider.dispatchEvent(new Event("input"));
      requestAnimationFrame(() => { spent.push(performance.now() - start); done(); });
    });
  }
  return spent;
}"""


def spent_by(devtools: CDPSession) -> float:
    """Return the milliseconds that the page's thread has spent on script, style and layout so far."""
    metrics = {one["name"]: one["value"] for one in devtools.send("Performance.getMetrics")["metrics"]}
    return 1000 * sum(metrics[name] for name in ("ScriptDuration", "RecalcStyleDuration", "LayoutDuration"))


def answer(images: Tensor) -> Tensor:
    """Return how red, green and blue images are: a network that takes no time."""
    return images.mean((2, 3)).softmax(1)


def drawn_page(cells: int, signed: bool, folder: Path) -> Path:
    """Write the page of a map with drawn masses on cells × cells, with scores of a photograph's segments."""
    picture = Image.fromarray(skimage.data.chelsea()).crop((80, 20, 360, 300)).resize((SIZE, SIZE))
    inputs = torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1) / 255
    coarse = torch.randn(cells, cells, generator=torch.Generator().manual_seed(0))
    coarse = coarse if signed else coarse.abs()
    record = usu.upsample(coarse, inputs, answer, 0, images=inputs, mode="usu", mass="total")
    path = folder / f"{cells}-{signed}.html"
    write([Entry(record, verdicts=False)], path)
    return path


def measure(chromium: Browser, path: Path, moves: int, name: str) -> None:
    """Print the median, the slowest twentieth and the processor time for each mode of a page."""
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    page.goto(path.absolute().as_uri())
    page.evaluate("usu.ready")
    devtools = page.context.new_cdp_session(page)
    devtools.send("Performance.enable", {"timeDomain": "threadTicks"})
    for method in METHODS:
        page.evaluate(MOVES, [method, WARM_UP])
        before = spent_by(devtools)
        spent = page.evaluate(MOVES, [method, moves])
        processor = (spent_by(devtools) - before) / moves
        figures = f"{np.median(spent):.1f} | {np.quantile(spent, 0.95):.1f} | {processor:.1f}"
        print(f"| {name} | {method} | {figures} | {processor / FRAME:.2f} |", flush=True)
    page.close()


def main() -> None:
    """Print a table of all pages."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "report", type=Path, nargs="?", help="a page that usu wrote (default: pages made here)"
    )
    parser.add_argument("--grids", type=int, nargs="+", default=[7, 14, 32], metavar="G", help="cells a side")
    parser.add_argument("--moves", type=int, default=100, metavar="N", help="moves of ε for each map")
    arguments = parser.parse_args()
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with sync_playwright() as driver, tempfile.TemporaryDirectory() as folder:
        chromium = driver.chromium.launch(executable_path=browser, args=["--no-sandbox", "--disable-gpu"])
        print("| page | map | median, ms | 95 % below, ms | processor, ms | frames of 16.7 ms |")
        print("|---|---|--:|--:|--:|--:|")
        if arguments.report:
            measure(chromium, arguments.report, arguments.moves, arguments.report.name)
        for cells in () if arguments.report else arguments.grids:
            for signed in (False, True):
                name = f"{cells}×{cells}, {'both signs' if signed else 'positive'}"
                measure(chromium, drawn_page(cells, signed, Path(folder)), arguments.moves, name)
        chromium.close()


if __name__ == "__main__":
    main()
