"""How costs grow with images, classes, embedding size, batch and gallery size, and what that means for far larger ones.

    python benchmarks/curves.py [--rounds 3]

Processor time of one thread, least of the rounds, at five sizes each; the exponent b of time = a * size ** b is the
slope of a line through the three largest on logarithmic axes, since fixed costs rule the small ones. `predicted` is
that line at a size of interest: a figure of the order, not a measurement. Bytes are counted, not measured: weights,
moments and vectors in float32.
"""

import argparse
import time
from collections.abc import Callable
from typing import NamedTuple

import machine
import numpy as np
import torch


class Curve(NamedTuple):
    """What is measured at which sizes, and the size of interest."""

    name: str
    sizes: tuple[int, ...]
    make: Callable[[int], Callable[[], object]]
    far: int


def embedding(images: int) -> Callable[[], object]:
    from likewise.models import Embedder

    model = Embedder("convnet", shape=(1, 28, 28), dim=64).eval()
    pixels = torch.zeros(images, 1, 28, 28, dtype=torch.uint8)

    def run() -> None:
        with torch.no_grad():
            for part in pixels.split(128):
                model(part)

    return run


def proxies(classes: int, share: float = 0.0) -> Callable[[], object]:
    from likewise import losses
    from likewise.training import sparse_rows

    loss_fn = losses.build("cosface", dim=128, classes=classes, proxy_share=share)
    optimizer = torch.optim.SGD(loss_fn.parameters(), 0.1)
    emb, labels = torch.randn(64, 128, requires_grad=True), torch.randint(classes, (64,))

    def run() -> None:
        loss_fn(emb, labels).backward()
        sparse_rows.step(optimizer)
        optimizer.zero_grad()

    return run


def pairs(batch: int, dim: int = 64) -> Callable[[], object]:
    from likewise import losses

    loss_fn = losses.build("supcon(temperature=0.1)")
    emb, labels = torch.randn(batch, dim, requires_grad=True), torch.arange(batch) // 4
    return lambda: loss_fn(emb, labels).backward()


def gallery(vectors: int) -> Callable[[], object]:
    from likewise.metrics.neighbours import nearest_of_blocks

    query, held = torch.randn(16, 64), torch.randn(vectors, 64)
    return lambda: nearest_of_blocks(query, held.split(1 << 14), 10)


CURVES = (
    Curve("images embedded (convnet, 28 x 28)", (128, 256, 512, 1024, 2048), embedding, 10_000_000),
    Curve("classes, a step of 64 (cosface, 128)", (2_000, 8_000, 32_000, 64_000, 128_000), proxies, 1_000_000),
    Curve("classes, proxy_share=0.1", (2_000, 8_000, 32_000, 64_000, 128_000), lambda n: proxies(n, 0.1), 1_000_000),
    Curve("batch of a step (supcon, 64)", (128, 256, 512, 1024, 2048), pairs, 65_536),
    Curve("embedding size (supcon, batch 512)", (64, 128, 256, 512, 1024), lambda d: pairs(512, d), 2_048),
    Curve("gallery, 16 queries (exact, 64)", (8_000, 16_000, 32_000, 64_000, 128_000), gallery, 1_000_000_000),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = ["| size | measured, ms | exponent | size of interest | predicted |", "|---|---|---:|---:|---:|"]
    measured = {}
    for curve in CURVES:
        times = [least(curve.make(size), given.rounds) for size in curve.sizes]
        slope, level = np.polyfit(np.log(curve.sizes[-3:]), np.log(times[-3:]), 1)
        cells = ", ".join(f"{size:,}: {1000 * t:.1f}" for size, t in zip(curve.sizes, times, strict=True))
        far = float(np.exp(level + slope * np.log(curve.far)))
        rows.append(f"| {curve.name} | {cells} | {slope:.2f} | {curve.far:,} | {told(far)} |")
        measured[f"{curve.name}: {slope:.2f}"] = (curve.sizes, times)
        print(rows[-1], flush=True)
    plot(measured)
    rows += ["", "| memory, counted | GiB |", "|---|---:|", *memory(), "", "![time against size](curves.svg)"]
    machine.write("curves", "\n".join(rows), str(__doc__))


def least(run: Callable[[], object], rounds: int) -> float:
    """Processor seconds of the quickest round, after one that warms up."""
    run()
    found = []
    for _ in range(rounds):
        began = time.process_time()
        run()
        found.append(time.process_time() - began)
    return max(min(found), 1e-6)


def told(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def memory() -> list[str]:
    """Of the sizes of interest."""
    counted = {
        "10 M images of 28 x 28, uint8, in memory": 10_000_000 * 784,
        "10 M vectors of 64": 10_000_000 * 64 * 4,
        "1 M proxies of 128, gradient, two moments (AdamW), all in a process": 1_000_000 * 128 * 4 * 4,
        "the same, a process of 8": 1_000_000 * 128 * 4 * 4 / 8,
        "the same, gradient of a tenth of the rows (proxy_share=0.1)": 1_000_000 * 128 * 4 * 3.1 / 8,
        "1 B vectors of 64, exact search": 1_000_000_000 * 64 * 4,
        "1 B labels, int64": 1_000_000_000 * 8,
    }
    return [f"| {name} | {size / 2**30:.1f} |" for name, size in counted.items()]


def plot(measured: dict[str, tuple[tuple[int, ...], list[float]]]) -> None:
    import matplotlib

    matplotlib.use("agg")
    matplotlib.rcParams["svg.hashsalt"] = "likewise"
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for name, (sizes, times) in measured.items():
        axis.loglog(sizes, [1000 * t for t in times], marker="o", markersize=3, linewidth=1, label=name)
    axis.set(xlabel="size", ylabel="processor time, ms")
    axis.legend(frameon=False, fontsize=8, title="curve: exponent", title_fontsize=8)
    figure.savefig(machine.RESULTS / "curves.svg", metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    main()
