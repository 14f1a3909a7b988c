"""How long the report takes to recompute its map when ε changes, in Chromium, beside a frame's 16.7 ms.

    python -m benchmarks.performance.report_frame usu-demo/report.html [--moves 100]

Each move sets ε, waits for the callback of the next animation frame, in which the page recomputes and draws,
and takes the time that this callback ran. The first ten moves, while scripts are compiled, are left out. The
processor time of script, style and layout, for each move, does not depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np
from playwright.sync_api import CDPSession, sync_playwright

FRAME = 1000 / 60
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


def main() -> None:
    """Print the median, the slowest twentieth and the processor time for each mode."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("report", type=Path, help="a page that usu wrote")
    parser.add_argument("--moves", type=int, default=100)
    arguments = parser.parse_args()
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        page = chromium.new_page(viewport={"width": 1280, "height": 900})
        page.goto(arguments.report.absolute().as_uri())
        page.evaluate("usu.ready")
        devtools = page.context.new_cdp_session(page)
        devtools.send("Performance.enable", {"timeDomain": "threadTicks"})
        print("| map | median, ms | 95 % below, ms | processor, ms | frames of 16.7 ms |")
        print("|---|---|---|---|---|")
        for method in METHODS:
            page.evaluate(MOVES, [method, WARM_UP])
            before = spent_by(devtools)
            spent = page.evaluate(MOVES, [method, arguments.moves])
            processor = (spent_by(devtools) - before) / arguments.moves
            median, high = np.median(spent), np.quantile(spent, 0.95)
            print(f"| {method} | {median:.1f} | {high:.1f} | {processor:.1f} | {processor / FRAME:.2f} |")
        chromium.close()


if __name__ == "__main__":
    main()
