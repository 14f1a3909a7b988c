"""Memory that the allocator keeps instead of handing it back: for processes of our own, never on import."""

from __future__ import annotations

import ctypes
import sys

# Of glibc's mallopt: what it is called by, and bytes.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_OPTIONS = {_M_TRIM_THRESHOLD: 2**30, _M_TOP_PAD: 2**28, _M_MMAP_THRESHOLD: 2**30}


def keep_freed_memory() -> bool:
    """Let glibc keep large blocks that are freed; return whether it does from now on.

    Otherwise every activation of a forward pass on the CPU is fetched from the system and zeroed anew, which
    takes more time than the pass itself. Without glibc (macOS, Windows, musl) nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    taken = [mallopt(option, size) == 1 for option, size in _OPTIONS.items()]
    return all(taken)
