"""Real processes of one gloo group on this machine, to call functions in: `Ranks(2)(function, *args)`.

They are forked from a server that has imported torch once, so that a group starts in a fraction of a second.
"""

import multiprocessing
import os
import socket
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

TIMEOUT = 120  # seconds for one call; a process that waits for a collective that another skipped would wait for ever


class Ranks:
    """N processes of one group. A call runs the function in each and returns the results by rank."""

    def __init__(self, number: int):
        self.number, self.processes, self.ends = number, [], []

    def __call__(self, function: Callable, *args: Any, **given: Any) -> list[Any]:
        if not self.processes:
            self.start()
        for end in self.ends:
            end.send((function, args, given))
        answers = [end.recv() if end.poll(TIMEOUT) else ("no answer", None) for end in self.ends]
        if failures := [f"rank {r}: {what}" for r, (what, _) in enumerate(answers) if what]:
            self.stop()
            raise AssertionError("\n".join(failures))
        return [value for _, value in answers]

    def start(self) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(
            ["torch", "likewise.training.loop", "likewise.losses", "likewise.experiment.train"]
        )
        port = free_port()
        for rank in range(self.number):
            ours, theirs = context.Pipe()
            process = context.Process(target=serve, args=(theirs, rank, self.number, port), daemon=True)
            process.start()
            theirs.close()
            self.processes.append(process)
            self.ends.append(ours)

    def stop(self) -> None:
        for end in self.ends:
            end.close()
        for process in self.processes:
            process.kill()
            process.join()
            process.close()
        self.processes, self.ends = [], []


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def environment(rank: int, size: int, port: int) -> dict[str, str]:
    """What torchrun tells a process."""
    told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return {name: str(value) for name, value in told.items()}


def serve(end: Connection, rank: int, size: int, port: int) -> None:
    """Run what is asked for, one call after the other, until the pipe is closed."""
    os.environ.update(environment(rank, size, port))
    import torch

    from likewise import distributed

    torch.set_num_threads(1)
    with distributed.joined():
        while True:
            try:
                function, args, given = end.recv()
            except (EOFError, ConnectionError):
                return
            try:
                end.send(("", function(*args, **given)))
            except Exception:
                end.send((traceback.format_exc(), None))
