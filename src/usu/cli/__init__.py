"""The command `usu`: a demo, explanations of one's own photographs, and a check of every upsampler.

Heavy libraries are imported by the commands that use them, so that `usu --help` answers at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from usu.cli._output import complain
from usu.cli._parser import build_parser
from usu.cli.explain import BAD_INPUT
from usu.runtime.memory import keep_freed_memory

INTERRUPTED, PIPE_CLOSED = 130, 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code.

    0; 1 where `usu check --require` finds a violation; 2 for bad input; 130 after Ctrl-C.

    Raises:
        SystemExit: after `--help`, `--version`, and arguments that cannot be parsed (code 2).
    """
    options = build_parser().parse_args(argv)
    keep_freed_memory()
    try:
        code: int = options.run(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has gone; what is still buffered must not fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except (ValueError, OSError, ImportError) as problem:
        complain(problem)
        return BAD_INPUT
    return code
