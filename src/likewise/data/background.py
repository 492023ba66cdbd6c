"""Background threads for writing the cache; the process waits for them before it ends."""

import functools
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

__all__ = ["behind", "settle"]


def behind(do: Callable[[], object]) -> None:
    """Do it in a thread, for which `settle` waits, and the end of the process."""

    def politely() -> None:
        if sys.platform == "linux":  # where each thread has a priority of its own
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
        do()

    thread = threading.Thread(target=politely, name="likewise-keep")
    thread.start()
    waiting().append(thread)


def settle() -> None:
    """Wait until what this process has put behind is done."""
    while waiting():
        waiting().pop().join()


@functools.cache
def waiting() -> list[threading.Thread]:
    return []
