"""The allocator's setting takes effect in a process of its own: freed blocks are not handed back."""

import subprocess
import sys

import pytest


def faults(*lines):
    program = "\n".join(lines)
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return int(found.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="sets an option of glibc")
def test_pages_of_freed_blocks_are_used_again():
    work = (
        "import resource, numpy as np",
        "np.ones(2**23)",
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt",
        "for _ in range(20): np.ones(2**23)",
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)",
    )
    kept = faults("from usu.allocation import keep_freed_memory", "assert keep_freed_memory()", *work)
    assert kept < faults(*work) / 10
