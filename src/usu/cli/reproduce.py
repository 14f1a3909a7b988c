"""The command `usu reproduce`: the paper's controlled experiments, beside the paper's own figures."""

from __future__ import annotations

import argparse
from pathlib import Path

# The names of usu.reproduce.experiments.EXPERIMENTS, without importing it.
CHOICES = ("table1", "table5", "figure2", "figure3", "figure4", "figure7", "figure8", "figure9", "settings")

SUMMARY = "make the paper's tables and figures of known truth anew"

DETAILS = """\
Make a table or figure of the paper's controlled experiments anew: grey images of one shape, of which the
foreground is the truth, and networks trained on them, plain and right for the right reasons.

  table1     upsampling by a CNN's scores, with oracles
  table5     the same for an MLP, a CNN and a vision transformer, with controls
  figure2, figure3, figure4, figure7, figure8, figure9
  settings   choose how segments are made and scored, on the validation scenes

Tables are printed beside the paper's figures and written to DIR as table1.json or table5.json, figures as PNG
and PDF. Networks are trained on the first call and kept in the user's cache folder; what was measured is kept
in DIR/measured, so that a second call needs no network, and one that was interrupted goes on.
"""

EXAMPLES = """\
examples:
  usu reproduce table5 --quick    a tenth of the scenes
  usu reproduce table5            all of them
  usu reproduce figure9 --out figures
"""


def reproduce(options: argparse.Namespace) -> int:
    """Make one table or figure anew."""
    folder = Path(options.out)
    folder.mkdir(parents=True, exist_ok=True)
    from usu.reproduce.experiments import EXPERIMENTS

    for line in EXPERIMENTS[options.what](folder, options.quick):
        print(line)
    return 0
