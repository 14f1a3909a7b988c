"""Ctrl-C in a real process: one line and exit code 130, from the first moments on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")

SCRIPT = [str(Path(sys.executable).with_name("usu"))]
MODULE = [sys.executable, "-m", "usu"]


@pytest.fixture(autouse=True)
def heard():
    """A shell lets what it starts in the background ignore SIGINT, these tests too."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("command", [SCRIPT, MODULE], ids=["script", "module"])
@pytest.mark.parametrize("moment", ["argparse", "usu.cli.bench", "numpy", "torch.functional", "matplotlib"])
def test_one_line_while_imports_run(command, moment, tmp_path):
    process = subprocess.Popen(
        [*command, "demo", "--out", str(tmp_path)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPROFILEIMPORTTIME": "1"},  # a line on standard error after each import
    )
    told = []
    with process.stderr:
        for line in process.stderr:
            if not line.startswith("import time:"):
                told.append(line)
            elif line.split("|")[-1].strip() == moment:
                process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    assert told == ["usu: interrupted\n"]


def run_with(program, folder):
    """Run a command that does what `program` says, with a folder on its path; return what came of it."""
    before = """if True:
        import os, signal, sys
        from types import SimpleNamespace
        from usu import cli

        def interrupt():
            os.kill(os.getpid(), signal.SIGINT)

        def run(options):
            PROGRAM
            print("finished")
            return 0

        options = SimpleNamespace(run=run)
        cli.build_parser = lambda: SimpleNamespace(parse_args=lambda argv: options)
        sys.path.insert(0, sys.argv[1])
        sys.exit(cli.main())
    """
    command = [sys.executable, "-c", before.replace("PROGRAM", program), str(folder)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return run.returncode, run.stdout, run.stderr


def test_a_library_cannot_swallow_it(tmp_path):
    """Extensions turn what is raised while they are imported into errors of their own, or drop it."""
    (tmp_path / "greedy.py").write_text(
        "import __main__\ntry:\n    __main__.interrupt()\nexcept BaseException:\n    pass\n"
    )
    assert run_with("import greedy", tmp_path) == (130, "", "usu: interrupted\n")


def test_work_is_tidied_up(tmp_path):
    tidied = "\n            ".join(["try: interrupt()", "finally: print('tidied')"])
    assert run_with(tidied, tmp_path) == (130, "tidied\n", "usu: interrupted\n")


def test_a_process_that_ignores_it_still_does(tmp_path):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    assert run_with("interrupt()", tmp_path) == (0, "finished\n", "")


def test_a_process_ends_with_its_code_all_that_was_printed_and_what_was_left_for_its_end():
    """It skips only taking itself apart: 100,000 letters are more than a pipe takes at once."""
    before = """if True:
        import atexit
        from types import SimpleNamespace
        from usu import cli

        options = SimpleNamespace(run=lambda options: print("a" * 100_000) or 2)
        cli.build_parser = lambda: SimpleNamespace(parse_args=lambda argv: options)
        atexit.register(print, "at the end")
        cli.program()
    """
    run = subprocess.run([sys.executable, "-c", before], capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stdout, run.stderr) == (2, "a" * 100_000 + "\nat the end\n", "")
