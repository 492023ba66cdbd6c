"""Trainings of several processes, one of which is killed: the others are ended as torchrun ends them."""

import os
import random
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from killing import forked
from likewise import distributed
from ranks import environment, free_port

__all__ = ["SECONDS", "InRanks"]

SECONDS = 30.0  # torchrun kills a process that has not ended so long after SIGTERM


class InRanks:
    """`killing.in_fork` for several processes of one gloo group.

    A call runs the work in each: 0 all have done it, 1 one has failed, 137 one was killed. Which one, and how long the
    others are left alone before SIGTERM, is drawn. hung: processes that SIGTERM did not end. failures: what processes
    printed where none was killed and one failed.
    """

    def __init__(self, number: int, seed: int):
        self.number, self.rng = number, random.Random(seed)
        self.killed, self.hung, self.slowest = [0] * number, 0, 0.0
        self.folder, self.failures = tempfile.TemporaryDirectory(), []

    def __call__(self, work: Callable[[], Any], *, kill_after: float | None = None) -> int:
        port, began = free_port(), time.monotonic()
        running = {
            rank: forked(lambda: self.joined(work, rank, port), self.errors(rank))  # noqa: B023 (called at once)
            for rank in range(self.number)
        }
        victim, patience = self.rng.randrange(self.number), self.rng.choice((0.0, 0.1, 2.0))
        due = float("inf") if kill_after is None else began + kill_after
        codes: dict[int, int] = {}
        while running:
            codes |= ended(running)
            if any(codes.values()):
                break
            if time.monotonic() >= due and victim in running:
                os.kill(running[victim], signal.SIGKILL)
                codes[victim] = wait(running.pop(victim))
                if codes[victim]:
                    break  # else it had just ended
            time.sleep(0.005)
        self.end(running, codes, patience)
        killed = codes[victim] < 0
        self.killed[victim] += killed
        if any(codes.values()) and not killed:
            self.failures += [Path(self.errors(rank)).read_text(encoding="utf-8") for rank in codes]
        return 137 if killed else int(any(codes.values()))

    def errors(self, rank: int) -> str:
        return str(Path(self.folder.name) / str(rank))

    def joined(self, work: Callable[[], Any], rank: int, port: int) -> None:
        os.environ.update(environment(rank, self.number, port))
        with distributed.joined():
            work()

    def end(self, running: dict[int, int], codes: dict[int, int], patience: float) -> None:
        """Wait for the processes that are left, then SIGTERM, then SIGKILL."""
        began = time.monotonic()
        self.watch(running, codes, patience)
        for process in running.values():
            os.kill(process, signal.SIGTERM)
        self.watch(running, codes, SECONDS)
        self.hung += len(running)
        for rank, process in running.items():
            os.kill(process, signal.SIGKILL)
            codes[rank] = wait(process)
        self.slowest = max(self.slowest, time.monotonic() - began)

    def watch(self, running: dict[int, int], codes: dict[int, int], seconds: float) -> None:
        due = time.monotonic() + seconds
        while running and time.monotonic() < due:
            codes |= ended(running)
            time.sleep(0.005)


def ended(running: dict[int, int]) -> dict[int, int]:
    """Exit codes of those that have ended, by rank; they are taken out of `running`."""
    found = {}
    for rank, process in list(running.items()):
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            found[rank] = os.waitstatus_to_exitcode(status)
            del running[rank]
    return found


def wait(process: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
