"""Training on cores that others use too: how long OpenMP's threads wait for one another by spinning.

    python benchmarks/busy_cores.py [--seconds 6] [--rounds 3]

Images/s of training steps in a process of their own, with as many threads as there are cores, while nothing else runs
(quiet), and while one more process a core does arithmetic (busy). `as it comes` is libgomp's own count of spins, which
it makes before a thread that waits lets go of its core; `likewise` is what the command line sets, GOMP_SPINCOUNT=10000;
`passive` lets go at once (OMP_WAIT_POLICY=PASSIVE); `one thread` is what is left to do without it. Medians over rounds,
in each of which the ways follow one another. Where all cores are busy, half of the quiet figure is the most there is.
"""

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import machine

from likewise.cli import SPINS

WAYS = {
    "as it comes": {},
    "likewise": {"GOMP_SPINCOUNT": SPINS},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
NETWORKS = {"mobilenet_v2, 160 px, bfloat16": ("mobilenet_v2", 3, 160, 16), "convnet, 28 px": ("convnet", 1, 28, 128)}
STEPS = """
import sys, time, torch
from likewise.models import Embedder
network, (channels, side, batch), seconds = sys.argv[1], map(int, sys.argv[2:5]), float(sys.argv[5])
model = Embedder(network, shape=(channels, side, side), dim=64)
images = torch.randint(0, 256, (batch, channels, side, side), dtype=torch.uint8)
optimizer = torch.optim.AdamW(model.parameters())
began, done = 0.0, -2
while done < 1 or time.perf_counter() - began < seconds:
    if done == 0:
        began = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16, enabled=side > 28):
        emb = model(images)
    emb.float()[:, 0].mean().backward()
    optimizer.step()
    optimizer.zero_grad()
    done += 1
print(done * batch / (time.perf_counter() - began))
"""


def speed(network: tuple, way: str, seconds: float) -> float:
    set_already = {name for names in WAYS.values() for name in names}
    env = {name: value for name, value in os.environ.items() if name not in set_already} | WAYS[way]
    words = [sys.executable, "-c", STEPS, *map(str, network), str(seconds)]
    return float(subprocess.run(words, env=env, check=True, capture_output=True, text=True).stdout)


@contextmanager
def others(count: int) -> Iterator[None]:
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    lines = [f"| training | cores | {' | '.join(WAYS)} |", f"|---|---|{'---:|' * len(WAYS)}"]
    for name, network in NETWORKS.items():
        for cores, count in (("quiet", 0), ("busy", os.cpu_count() or 1)):
            with others(count):
                rounds = [[speed(network, way, asked.seconds) for way in WAYS] for _ in range(asked.rounds)]
            shown = [f"{statistics.median(way):,.0f}" for way in zip(*rounds, strict=True)]
            lines.append(f"| {name} | {cores} | {' | '.join(shown)} |")
            print(lines[-1], flush=True)
    machine.write("busy_cores", "\n".join(lines), __doc__)


if __name__ == "__main__":
    main()
