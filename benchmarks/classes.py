"""Very many classes: a training step with proxies held by one process, or shared out over several.

    python benchmarks/classes.py [--classes 1000000] [--processes 2] [--steps 3]

arcface, 128 numbers, a batch of 64 anchors, SGD without momentum, one thread a process, gloo over 127.0.0.1.
  step     median wall clock of a step after one that warms up: loss, gradients, update
  memory   most memory of the process that needed most, in GiB, torch itself included
"""

import argparse
import os
import resource
import socket
import statistics
import subprocess
import sys
import time

import torch
from machine import write

BATCH, DIM = 64, 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--classes", type=int, default=1_000_000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--share", type=float, default=-1, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.share >= 0:
        print(*measured(given.classes, given.steps, given.share))
        return
    lines = [f"| {given.classes:,} classes | processes | step, s | memory of a process, GiB |", "|---|---|---|---|"]
    for name, processes, share in (
        ("`ProxyLoss`", 1, 0.0),
        ("`ShardedProxyLoss`", given.processes, 1.0),
        ("`ShardedProxyLoss`, share=0.1", given.processes, 0.1),
    ):
        answers = run(processes, share, given.classes, given.steps)
        step, memory = (max(values) for values in zip(*answers, strict=True))
        lines.append(f"| {name} | {processes} | {step:.2f} | {memory:.2f} |")
        print(lines[-1], flush=True)
    load = f"Load of the machine, average of 5 minutes: {os.getloadavg()[1]:.1f} on {os.cpu_count()} cores."
    write("classes", "\n".join(lines), f"{__doc__}\n{load}")


def run(processes: int, share: float, classes: int, steps: int) -> list[list[float]]:
    """Seconds of a step and GiB, of each process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, __file__, "--share", str(share), "--classes", str(classes), "--steps", str(steps)]
    told = {"OMP_NUM_THREADS": "1", "WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    running = [
        subprocess.Popen(
            command, env=os.environ | told | {"RANK": str(r), "LOCAL_RANK": str(r)}, stdout=subprocess.PIPE
        )
        for r in range(processes)
    ]
    return [[float(word) for word in process.communicate()[0].split()] for process in running]


def measured(classes: int, steps: int, share: float) -> tuple[float, float]:
    """share 0: ProxyLoss."""
    from likewise import distributed, losses

    torch.set_num_threads(1)
    with distributed.joined():
        torch.manual_seed(0)
        model = torch.nn.Linear(DIM, DIM)
        if share:
            loss_fn = losses.ShardedProxyLoss("arcface", classes=classes, dim=DIM, share=share)
        else:
            loss_fn = losses.build("arcface", classes=classes, dim=DIM)
        optimizer = torch.optim.SGD([*model.parameters(), *loss_fn.parameters()], 0.1)
        own = slice(distributed.rank(), None, distributed.world_size())
        images, labels = torch.rand(BATCH, DIM)[own], torch.randint(classes, (BATCH,))[own]
        took = []
        for _ in range(steps + 1):
            distributed.barrier()
            began = time.perf_counter()
            losses.across_ranks(loss_fn, model(images), labels).backward()
            distributed.average_gradients(model.parameters())
            optimizer.step()
            optimizer.zero_grad()
            took.append(time.perf_counter() - began)
    unit = 2**30 if sys.platform == "darwin" else 2**20
    return statistics.median(took[1:]), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


if __name__ == "__main__":
    main()
