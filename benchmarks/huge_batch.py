"""A batch of 65,536 images in one step on one CPU: how much memory GradCache and tiles need.

    python benchmarks/huge_batch.py [--batch 65536] [--chunk 512]

SupCon (temperature 0.1) on random images of 28 x 28 with 2 of each class, the network `convnet`, 64 numbers, one
thread. Each row is a process of its own.
  gradient    relative difference to the gradient of the plain step (no chunks, no tiles) in the same process
  peak        most memory of the process, in GiB; `before` is that of torch, the network and the images
  processor   processor time of the step, forward, backward and the second forward pass, in seconds
`similarities` is what the matrix of similarities alone would take, once; a plain step holds several of them.
"""

import argparse
import resource
import subprocess
import sys
import time

import torch
from machine import write

SIDE, DIM = 28, 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=65_536)
    parser.add_argument("--chunk", type=int, default=512)
    parser.add_argument("--small", type=int, default=2_048, help="the batch that a plain step is compared at")
    parser.add_argument("--case", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.case:
        print(*measured(given.case[0], int(given.case[1]), given.chunk))
        return
    rows = ["| step | batch | similarities, GiB | before, GiB | peak, GiB | processor, s | gradient |"]
    rows.append("|---|---:|---:|---:|---:|---:|---:|")
    cases = [("plain", given.small), ("chunks and tiles", given.small), ("both", given.small)]
    for how, batch in [*cases, ("chunks and tiles", given.batch)]:
        command = [sys.executable, __file__, "--chunk", str(given.chunk), "--case", how, str(batch)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        before, peak, seconds, apart = (float(word) for word in done.stdout.split())
        matrix = 4 * batch * batch / 2**30
        gradient = f"{apart:.1e}" if how == "both" else ""
        rows.append(f"| {how} | {batch:,} | {matrix:.2f} | {before:.2f} | {peak:.2f} | {seconds:.0f} | {gradient} |")
        print(rows[-1], flush=True)
    write("huge_batch", "\n".join(rows), f"{__doc__}\nChunks of {given.chunk} images.")


def measured(how: str, batch: int, chunk: int) -> tuple[float, float, float, float]:
    """GiB before and at most, seconds, and the relative difference of the gradients where both are taken."""
    from likewise import losses
    from likewise.losses import tile
    from likewise.losses.cached import cached
    from likewise.models import Embedder

    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = Embedder("convnet", shape=(1, SIDE, SIDE), dim=DIM)
    images = torch.randint(0, 256, (batch, 1, SIDE, SIDE), dtype=torch.uint8)
    labels = torch.arange(batch) // 2
    before, began, gradients = peak(), time.process_time(), []
    if how != "chunks and tiles":
        tile.BUDGET["cpu"] = 1 << 62
        losses.build("supcon(temperature=0.1)")(model(images), labels).backward()
        gradients.append(taken(model))
    if how != "plain":
        tile.BUDGET["cpu"] = 256 << 20
        cached(model, losses.build("supcon(temperature=0.1)"), images, labels, chunk=chunk)
        gradients.append(taken(model))
    apart = float((gradients[0] - gradients[-1]).norm() / gradients[0].norm())
    return before, peak(), time.process_time() - began, apart


def taken(model: torch.nn.Module) -> torch.Tensor:
    """The gradient of all weights, which are then without one."""
    found = torch.cat([p.grad.flatten().double() for p in model.parameters() if p.grad is not None])
    model.zero_grad()
    return found


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)


if __name__ == "__main__":
    main()
