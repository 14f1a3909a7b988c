"""Processes end with the one that started them, and say nothing of Ctrl-C, even while they import."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from usu.runtime.processes import processes

PROGRAM = """
import os, signal, sys, time
from pathlib import Path
from usu.runtime.processes import processes

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs ignore it
    try:
        with processes(1, os.getpid) as pool:
            pool.submit(abs, -1).result()
    except KeyboardInterrupt:
        sys.exit(130)
else:  # the other process imports this module
    Path("number").write_text(str(os.getpid()))
    Path("number").rename("importing")
    time.sleep(60)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_ctrl_c_while_a_process_imports(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    process = subprocess.Popen(
        [sys.executable, "program.py"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (tmp_path / "importing").exists():
        assert process.poll() is None
        time.sleep(0.05)
    start = time.monotonic()
    # A terminal signals both; the other process has all the time to print a traceback.
    os.kill(int((tmp_path / "importing").read_text()), signal.SIGINT)
    time.sleep(1)
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=50)
    assert (process.returncode, errors) == (130, "")
    assert time.monotonic() - start < 30  # of the 60 seconds that the import takes


def test_what_begins_has_its_arguments():
    with processes(1, os.putenv, "USU_BEGUN", "yes") as pool:
        assert pool.submit(_asked, "USU_BEGUN").result(timeout=60) == "yes"


def _asked(name):
    return subprocess.run(["printenv", name], capture_output=True, text=True).stdout.strip()
