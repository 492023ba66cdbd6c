"""How the process keeps its memory."""

import ctypes
import sys

__all__ = ["keep_memory", "return_memory"]

# options of malloc.h
TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX, ARENA_MAX = -1, -3, -4, -8
KEEP = ((MMAP_MAX, 0), (TRIM_THRESHOLD, 2**31 - 1))  # no block apart, none given back
RETURN = ((MMAP_MAX, 65_536), (MMAP_THRESHOLD, 256 << 10), (TRIM_THRESHOLD, 256 << 10), (ARENA_MAX, 2))


def keep_memory() -> None:
    """Keep what was freed for what comes next, where the C library is glibc; a network asks for the same every step.

    Left to itself it gives large blocks back at once, and every step waits for the kernel to clear them anew. The
    command line does this by itself; the process keeps the most that it has ever taken.
    """
    _set(KEEP)


def return_memory() -> None:
    """Return large blocks at once, and let all threads share two arenas: for a process that runs for weeks."""
    _set(RETURN)


def _set(options: tuple[tuple[int, int], ...]) -> None:
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if library and hasattr(library, "mallopt"):
        for option, value in options:
            library.mallopt(option, value)
