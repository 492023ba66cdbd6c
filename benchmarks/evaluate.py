"""Retrieval metrics beside pytorch-metric-learning's: time, peak memory and the numbers themselves.

    python benchmarks/evaluate.py                    # 10,000 x 128: a minute
    python benchmarks/evaluate.py --n 10000 60000    # and 60,000 x 128: on 2 cores some minutes

recall@1, R-precision and MAP@R of one set of vectors whose queries are one another's references. Each contestant runs
in a process of its own; memory is what its peak adds to what was resident before the call, the vectors included there.
pytorch-metric-learning is measured as it comes (k=None: every reference is ranked) and at its best
(k="max_bin_count": as deep as the metrics need), each with its own exact search in torch and, where faiss is
installed, with faiss, which is what it takes unless told otherwise. As it comes it needs some 62 bytes a pair of
images (6 GB for 10,000, 220 GB for 60,000), so that beyond 12,000 images it is left out.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import machine
import torch
from torch import Tensor

NAMES = {
    "recall@1": "precision_at_1",
    "r_precision": "r_precision",
    "map@r": "mean_average_precision_at_r",
}
EVERY_RANK_AT_MOST = 12_000
Metrics = Callable[[Tensor, Tensor], dict[str, float]]


def likewise() -> Metrics:
    from likewise.metrics.retrieval import Set, measure

    def run(vectors: Tensor, labels: Tensor) -> dict[str, float]:
        found = measure(list(NAMES), Set(vectors, labels))
        return {name: float(values.mean()) for name, values in found.values.items()}

    return run


def pml(k: str | None, search: str) -> Metrics:
    from pytorch_metric_learning.distances import CosineSimilarity
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
    from pytorch_metric_learning.utils.inference import CustomKNN, FaissKNN

    batch = 1000 if k else None
    knn = FaissKNN() if search == "faiss" else CustomKNN(CosineSimilarity(), batch_size=batch)
    calculator = AccuracyCalculator(include=tuple(NAMES.values()), k=k, knn_func=knn)

    def run(vectors: Tensor, labels: Tensor) -> dict[str, float]:
        found = calculator.get_accuracy(vectors, labels)
        return {ours: found[theirs] for ours, theirs in NAMES.items()}

    return run


CONTESTANTS: dict[str, Callable[[], Metrics]] = {
    "likewise": likewise,
    "pml as it comes, torch": lambda: pml(None, "torch"),
    "pml as it comes, faiss": lambda: pml(None, "faiss"),
    "pml at its best, torch": lambda: pml("max_bin_count", "torch"),
    "pml at its best, faiss": lambda: pml("max_bin_count", "faiss"),
}


def made(n: int, classes: int, dim: int = 128) -> tuple[Tensor, Tensor]:
    """Unit vectors about class centres, so near that some neighbours are of another class; in no order."""
    generator = torch.Generator().manual_seed(0)
    labels = (torch.arange(n) % classes)[torch.randperm(n, generator=generator)]
    centres = torch.randn(classes, dim, generator=generator)
    vectors = centres[labels] + 1.5 * torch.randn(n, dim, generator=generator)
    return torch.nn.functional.normalize(vectors, dim=1), labels


def measure(name: str, n: int, classes: int) -> dict:
    """In this process: seconds, MiB that the peak adds, and the metrics."""
    metrics = CONTESTANTS[name]()
    metrics(*made(300, 30))  # imports and first-call costs
    vectors, labels = made(n, classes)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts here
    before = _status("VmRSS")
    start = time.perf_counter()
    found = metrics(vectors, labels)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "mib": (_status("VmHWM") - before) / 1024, "found": found}


def _status(field: str) -> int:
    """KiB, as Linux counts them for this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1])


def apart(name: str, n: int, classes: int) -> dict | None:
    """The same in a process of its own; None where it did not come to an end."""
    words = [sys.executable, __file__, "--only", name, "--n", str(n), "--classes", str(classes)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else None


def rows(n: int, classes: int, rounds: int) -> list[str]:
    names = [name for name in CONTESTANTS if "faiss" not in name or find_spec("faiss")]
    names = [name for name in names if "as it comes" not in name or n <= EVERY_RANK_AT_MOST]
    best: dict[str, dict | None] = {}
    for name in names * rounds:
        found = apart(name, n, classes)
        if name not in best or (found and best[name] and found["seconds"] < best[name]["seconds"]):
            best[name] = found
    ours = best["likewise"]
    assert ours, "likewise did not come to an end"
    return [row(f"{n:,} of {classes:,} classes", name, found, ours) for name, found in best.items()]


def row(data: str, name: str, found: dict | None, ours: dict) -> str:
    if found is None:
        return f"| {data} | {name} | did not end | | | | |"
    far = max(abs(found["found"][metric] - ours["found"][metric]) for metric in NAMES)
    ratios = f"{found['seconds'] / ours['seconds']:.1f} x | {found['mib'] / ours['mib']:.1f} x"
    return f"| {data} | {name} | {found['seconds']:.2f} | {found['mib']:,.0f} | {ratios} | {far:.0e} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, nargs="+", default=[10_000], help="images")
    parser.add_argument("--classes", type=int, nargs="+", default=[100, 10], help="among how many classes")
    parser.add_argument("--rounds", type=int, default=3, help="the best of so many")
    parser.add_argument("--only", choices=CONTESTANTS, help="measure one here and print JSON")
    asked = parser.parse_args()
    if asked.only:
        print(json.dumps(measure(asked.only, asked.n[0], asked.classes[0])))
        return
    head = "| images | | s | peak MiB | time to ours | memory to ours | largest difference |\n" + "|---" * 7 + "|"
    body = [line for n in asked.n for classes in asked.classes for line in rows(n, classes, asked.rounds)]
    about = "recall@1, R-precision and MAP@R of n x 128 vectors, each contestant in a process of its own; best time of "
    said = f"{about}{asked.rounds}. {torch.get_num_threads()} threads. Memory is what the peak adds to the vectors."
    machine.write("evaluate", "\n".join([head, *body]), said)


if __name__ == "__main__":
    main()
