"""The command as one of several processes that torchrun started: rank 0 alone speaks, and only training is shared."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["check_shared", "is_other", "let_rank_0_speak", "quiet", "silent"]

SHARED = ("train",)  # commands that several processes run together
WAIT = 5.0  # seconds, at most, for rank 0 to say what all fail with


def environment(name: str) -> int:
    value = os.environ.get(name, "")
    return int(value) if value.isdigit() else 0


def is_other() -> bool:
    """Whether this is one of several processes, and not rank 0."""
    return environment("WORLD_SIZE") > 1 and environment("RANK") > 0


def check_shared(command: str) -> None:
    """Errors: ValueError for a command that every process would run anew."""
    if environment("WORLD_SIZE") > 1 and command not in SHARED:
        raise ValueError(
            f"{command} runs in one process, and torchrun started {os.environ['WORLD_SIZE']}; start it without torchrun"
        )


@contextmanager
def quiet() -> Iterator[None]:
    """Inside, what a process other than rank 0 prints is dropped: it says the same."""
    if not is_other():
        yield
        return
    before = sys.stdout, sys.stderr
    with open(os.devnull, "w") as nowhere:
        sys.stdout = sys.stderr = nowhere
        try:
            yield
        finally:
            sys.stdout, sys.stderr = before


def silent(error: BaseException) -> bool:
    """Whether another process says why this one fails: the first to fail does, and rank 0 where all fail alike."""
    if getattr(error, "failed_first", False):
        return False
    return is_other() or type(error).__name__ == "RankFailedError"


def let_rank_0_speak(error: BaseException) -> None:
    """Wait before a silent end where all fail alike: torchrun ends the others as soon as one has ended."""
    if is_other() and type(error).__name__ != "RankFailedError":
        time.sleep(WAIT)
