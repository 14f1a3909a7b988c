"""Make a table or figure of the paper's controlled experiments again.

Grey images of one shape, of which the foreground is the truth, and networks trained on them, plain and right
for the right reasons:

  table1     upsampling by a CNN's scores, with oracles
  table5     the same for an MLP, a CNN and a vision transformer, with controls
  figure...  the figures where the truth is known
  settings   choose how segments are made and scored, on the validation scenes

Tables are printed beside the paper's figures and written to DIR as table1.json or table5.json, figures as PNG
and PDF. Networks are trained on the first call and kept in the user's cache folder; what was measured is kept
in DIR/measured, so that a second call needs no network, and one that was interrupted continues.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from usu.cli._output import OUT, Commands
from usu.reproduce.experiments import EXPERIMENTS

_EXAMPLES = """\
examples:
  usu reproduce table5 --quick    a tenth of the scenes
  usu reproduce table5            all of them
  usu reproduce figure9 --out figures
"""


def add_parser(commands: Commands) -> None:
    """Add the command to those of `usu`."""
    parser = commands.add_parser(
        "reproduce",
        help="make the paper's tables and figures of known truth again",
        description=__doc__,
        epilog=_EXAMPLES,
    )
    add = parser.add_argument
    add("what", metavar="WHAT", choices=tuple(EXPERIMENTS), help="table or figure: %(choices)s")
    add("--quick", action="store_true", help="a tenth of the scenes")
    add("--out", metavar="DIR", default="usu-reproduction", help=OUT)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Make one table or figure again."""
    folder = Path(options.out)
    folder.mkdir(parents=True, exist_ok=True)
    for line in EXPERIMENTS[options.what](folder, options.quick):
        print(line)
    return 0
