"""The allocator's setting takes effect in a process of its own: freed blocks are not handed back."""

import subprocess
import sys

import pytest

from usu.runtime import memory as allocation


def faults(*lines):
    program = "\n".join(lines)
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return int(found.stdout)


WORK = (
    "import resource, numpy as np",
    "np.ones(2**23)",
    "before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt",
    "for _ in range(20): np.ones(2**23)",
    "print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)",
)
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="sets an option of glibc")


def test_pages_of_freed_blocks_are_used_again():
    kept = faults("from usu.runtime.memory import keep_freed_memory", "assert keep_freed_memory()", *WORK)
    assert kept < faults(*WORK) / 10


def test_a_process_that_is_not_ours_is_left_as_it_is(monkeypatch):
    pytest.importorskip("openvino", reason="benchmarks need openvino")
    from usu.bench.engines.local import LocalEngine
    from usu.bench.worker import Spec, Worker

    def refuse(name):
        raise AssertionError(f"{name} is asked for mallopt")

    monkeypatch.setattr(allocation.ctypes, "CDLL", refuse)
    with pytest.raises(AssertionError, match="mallopt"):
        allocation.keep_freed_memory()
    assert list(LocalEngine(1).run(lambda: Worker(Spec("folder", ".")), [])) == []
    Worker(Spec("folder", "."))
