"""The command `usu`: a demo, explanations of one's own photographs, checks, reports and benchmarks.

Everything is imported inside `main`: `usu --help` answers at once, and Ctrl-C is one line from the start.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    import argparse

INTERRUPTED, PIPE_CLOSED = 130, 141
_TOLD = "usu: interrupted"

_ABOUT = """\
Bring a coarse attribution map, such as Grad-CAM's, to pixels: each cell's mass is shared among its
pixels by how much the model's answer depends on the segments they lie in, and none is lost or made up.
"""

_START = """\
start here:
  usu demo                  explain a bundled photograph, with a small trained network
  usu explain cat.jpg       explain your own photograph with the same network
  usu explain --help        choose another network, class, layer or way of upsampling
  usu check                 see which guarantees each way of upsampling keeps
"""


# New objects before Python looks for cycles among them, instead of 700 or 2,000: imports make millions.
_BETWEEN_COLLECTIONS = 100_000


def program() -> NoReturn:
    """Run the command line as a process of its own, and end it.

    A process that has loaded PyTorch takes a second to take itself apart, object by object. This one writes
    what is buffered, calls what `atexit` was told, and leaves the rest to the system.
    """
    import atexit
    import gc

    gc.set_threshold(_BETWEEN_COLLECTIONS, *gc.get_threshold()[1:])
    code = main()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code.

    0; 1 where `usu check --require` finds a violation; 2 for bad input; 130 after Ctrl-C.

    Raises:
        SystemExit: after `--help`, `--version`, and arguments that cannot be parsed (code 2).
    """
    if argv is None and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    try:
        return _run(argv)
    except KeyboardInterrupt:
        print(_TOLD, file=sys.stderr)
        return INTERRUPTED


def _interrupt(number: int, frame: Any) -> None:
    """Raise KeyboardInterrupt, or end at once where an import is under way: libraries swallow it there."""
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            os.write(2, f"{_TOLD}\n".encode())
            os._exit(INTERRUPTED)
        frame = frame.f_back
    raise KeyboardInterrupt


def _run(argv: Sequence[str] | None) -> int:
    from usu.cli._output import BAD_INPUT, complain

    options = build_parser().parse_args(argv)

    from usu.runtime.memory import keep_freed_memory

    keep_freed_memory()
    try:
        code: int = options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read the output has gone; what is still buffered must not fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except (ValueError, OSError, ImportError) as problem:
        complain(problem)
        return BAD_INPUT
    return code


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; its namespace has the command's function as `run`."""
    from usu.cli import bench, check, demo, explain, report, reproduce
    from usu.cli._output import Parser, ShowVersion

    parser = Parser(prog="usu", description=_ABOUT, epilog=_START)
    parser.add_argument("--version", action=ShowVersion)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (demo, explain, check, report, reproduce, bench):
        command.add_parser(commands)
    return parser
