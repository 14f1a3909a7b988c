"""No command of usu asks for anything beyond this machine; nor does importing all of it."""

from __future__ import annotations

import pytest
from benchmarks.robustness import network
from benchmarks.robustness.works import make_inputs


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    make_inputs(folder)
    return folder


@pytest.mark.parametrize("name", ["every module", "usu bench run"])
def test_nothing_is_asked_for(name, inputs, tmp_path):
    """With two processes for the benchmark; benchmarks/robustness/network.py runs the other commands."""
    assert network.asked_for(network.COMMANDS[name], inputs, tmp_path / "out") == []


def test_what_is_asked_for_is_seen(inputs, tmp_path):
    """The check itself is checked, in a process that a process starts."""
    program = "import urllib.request; urllib.request.urlopen('http://192.0.2.1/', timeout=1)"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {program!r}])"
    found = network.asked_for(["-c", outer], inputs, tmp_path / "out")
    assert found
    assert all("192.0.2.1" in one for one in found)
    trace = 'connect(3, {sa_family=AF_INET, sin_port=htons(443), sin_addr=inet_addr("192.0.2.1")}, 16) = 0\n'
    assert network.beyond(trace.replace("192.0.2.1", "127.0.0.1") + trace) == ["192.0.2.1"]
