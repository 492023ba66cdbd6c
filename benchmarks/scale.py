"""Training with 1, 2 ... processes of one thread each: time of a step, efficiency, and what communication costs.

    python benchmarks/scale.py [--processes 1,2] [--steps 30] [--rounds 5] [--out benchmarks/results/scale.md]

One thread each, gloo over 127.0.0.1, one and the same global batch for every number of processes. Each round measures
all numbers in turn, so that a busy machine slows them alike; medians of the rounds, and the least and most of them.
  time         wall clock of a step
  efficiency   time of one process / (N x time of N): 1 is best; on a machine busy with other work it is that work's
               scheduling as much as ours
  CPU          processor time of one process / that of all N together: what is computed twice or spent on exchanging
"""

import argparse
import os
import socket
import statistics
import subprocess
import sys
import time

import torch
from machine import write

# name: (network, image, global batch, loss)
WORK = {
    "convnet, 28 x 28, batch 120": ("convnet", (1, 28, 28), 120, "supcon(temperature=0.1)"),
    "convnet, 28 x 28, batch 480": ("convnet", (1, 28, 28), 480, "supcon(temperature=0.1)"),
    "small_resnet with batch normalisation, 32 x 32, batch 128": ("small_resnet", (3, 32, 32), 128, "supcon"),
    "loss alone: triplet, batch 2048, 64 numbers": ("", (64,), 2048, "triplet(margin=0.2)"),
    "loss alone: cosface, batch 512, 10,000 classes": ("", (64,), 512, "cosface"),
}
CLASSES = {"cosface": 10_000}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", default="1,2")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--work", default="", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        print(*step_seconds(given.work, given.steps))
        return
    numbers = [int(n) for n in given.processes.split(",")]
    heads = [f"{n} process{'es' * (n > 1)}, ms" for n in numbers]
    heads += [f"{what} of {n}" for n in numbers[1:] for what in ("efficiency", "CPU")]
    lines = ["| a step of | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for name in WORK:
        rounds = [[measured(name, n, given.steps) for n in numbers] for _ in range(given.rounds)]
        lines.append(row(name, numbers, rounds))
        print(lines[-1], flush=True)
    load = f"Load of the machine, average of 5 minutes: {os.getloadavg()[1]:.1f} on {os.cpu_count()} cores."
    write("scale", "\n".join(lines), f"{__doc__}\n{load}")


def row(name: str, numbers: list[int], rounds: list[list[tuple[float, float]]]) -> str:
    """Wall and processor time of each round, by number of processes."""
    times = [statistics.median(one[i][0] for one in rounds) * 1000 for i in range(len(numbers))]
    cells = [f"{t:.1f}" for t in times]
    for i, n in enumerate(numbers[1:], 1):
        cells.append(spread([one[0][0] / one[i][0] / n for one in rounds]))
        cells.append(spread([one[0][1] / one[i][1] for one in rounds]))
    return f"| {name} | {' | '.join(cells)} |"


def spread(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} – {max(ratios):.2f})"


def measured(name: str, processes: int, steps: int) -> tuple[float, float]:
    """Seconds of a step, of the slowest process, and processor seconds of all."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, __file__, "--work", name, "--steps", str(steps)]
    told = {"OMP_NUM_THREADS": "1", "WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    running = [
        subprocess.Popen(
            command, env=os.environ | told | {"RANK": str(r), "LOCAL_RANK": str(r)}, stdout=subprocess.PIPE
        )
        for r in range(processes)
    ]
    answers = [[float(word) for word in process.communicate()[0].split()] for process in running]
    return max(wall for wall, _ in answers), sum(cpu for _, cpu in answers)


def step_seconds(name: str, steps: int) -> tuple[float, float]:
    from likewise import distributed, losses
    from likewise.models import Embedder
    from likewise.models.synced_batchnorm import synchronise
    from likewise.training.ranks import places_of

    network, shape, batch, loss = WORK[name]
    torch.set_num_threads(1)
    with distributed.joined():
        torch.manual_seed(0)
        model = synchronise(Embedder(network, shape=shape)) if network else torch.nn.Linear(64, 64)
        classes = CLASSES.get(loss, 10)
        loss_fn = losses.build(loss, dim=64, classes=classes)
        params = [*model.parameters(), *loss_fn.parameters()]
        optimizer = torch.optim.AdamW(params, 1e-3, fused=True)
        own = places_of(batch, 0).parts[0]
        images, labels = torch.rand(batch, *shape)[own], torch.randint(classes, (batch,))[own]
        took, worked = [], []
        for _ in range(steps + 5):
            distributed.barrier()
            began, busy = time.perf_counter(), time.process_time()
            losses.across_ranks(loss_fn, model(images), labels).backward()
            distributed.average_gradients(params)
            optimizer.step()
            optimizer.zero_grad()
            took.append(time.perf_counter() - began)
            worked.append(time.process_time() - busy)
    return statistics.median(took[5:]), statistics.mean(worked[5:])


if __name__ == "__main__":
    main()
