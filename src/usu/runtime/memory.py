"""Memory that the allocator keeps instead of returning it: for our own processes, never on import."""

from __future__ import annotations

import ctypes
import sys

# glibc's mallopt: option numbers, and their values in bytes.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_OPTIONS = {_M_TRIM_THRESHOLD: 2**30, _M_TOP_PAD: 2**28, _M_MMAP_THRESHOLD: 2**30}


def keep_freed_memory() -> bool:
    """Let glibc keep large freed blocks; return whether it now does.

    Otherwise every activation of a forward pass on the CPU is requested from the system and zeroed again,
    which takes more time than the pass itself. Without glibc (macOS, Windows, musl) nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    taken = [mallopt(option, size) == 1 for option, size in _OPTIONS.items()]
    return all(taken)
