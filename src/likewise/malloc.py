"""How the process keeps its memory."""

import ctypes
import sys

__all__ = ["keep_memory"]

MALLOC = ((-4, 0), (-1, 2**31 - 1))  # M_MMAP_MAX and M_TRIM_THRESHOLD of malloc.h: no block apart, none given back


def keep_memory() -> None:
    """Keep what was freed for what comes next, where the C library is glibc; a network asks for the same every step.

    Left to itself it gives large blocks back at once, and every step waits for the kernel to clear them anew. The
    command line does this by itself; the process keeps the most that it has ever taken.
    """
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if library and hasattr(library, "mallopt"):
        for option, value in MALLOC:
            library.mallopt(option, value)
