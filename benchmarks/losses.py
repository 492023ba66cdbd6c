"""Time and memory of the pair losses, side by side with pytorch-metric-learning, and how they grow.

    python benchmarks/losses.py              # all of it: about 20 minutes on 2 quiet cores
    python benchmarks/losses.py --quick      # a few losses at n = 128 and 512: 2 minutes, to losses_quick.md
    python benchmarks/losses.py --only ntxent lifted --sizes 128 512

One cell is one loss at one n: embeddings [n, 128] float32, forward and backward, classes of 4 or of n/10 images. Each
runs in a process of its own, with a limit on time and on memory; where a limit is hit it says so. Time is the best of
repeated runs, which other work on the machine disturbs least; memory is the peak of the first one above what the
process held before it.
"""

import argparse
import math
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import machine
import torch
from pytorch_metric_learning import distances, losses, miners
from torch import Tensor

from likewise.losses import build
from likewise.losses.sorted_triplets import ascending

DIM = 128
GROWTH = (2048, 4096, 8192, 16384, 32768)
GROWING = ("ntxent", "supcon", "multi_similarity", "triplet")
QUICK = ("ntxent", "lifted", "triplet", "supcon", "multi_similarity", "contrastive")


class Pair(NamedTuple):
    """One loss in both packages."""

    ours: str
    theirs: Callable[[], Callable]
    sim: str = "cosine"
    family: str = "row"  # see COST


def euclid(power: int = 1) -> distances.LpDistance:
    return distances.LpDistance(normalize_embeddings=False, power=power)


def semihard() -> Callable:
    cosine = distances.CosineSimilarity()
    miner, loss = (
        miners.TripletMarginMiner(0.2, "semihard", distance=cosine),
        losses.TripletMarginLoss(0.2, distance=cosine),
    )
    return lambda emb, labels: loss(emb, labels, miner(emb, labels))


def hard() -> Callable:
    cosine = distances.CosineSimilarity()
    miner, loss = miners.BatchHardMiner(distance=cosine), losses.TripletMarginLoss(0.2, distance=cosine)
    return lambda emb, labels: loss(emb, labels, miner(emb, labels))


COSINE = distances.CosineSimilarity
PAIRS = {
    "ntxent": Pair("ntxent", losses.NTXentLoss),
    "lifted": Pair("lifted", lambda: losses.LiftedStructureLoss(distance=euclid()), "euclidean"),
    "triplet": Pair("triplet", lambda: losses.TripletMarginLoss(0.2, distance=COSINE()), family="sort"),
    "triplet, semihard": Pair("triplet(pick='semihard')", semihard, family="sort"),
    "triplet, hard": Pair("triplet(pick='hard')", hard),
    "triplet, soft": Pair(
        "triplet(soft=True)", lambda: losses.TripletMarginLoss(0, smooth_loss=True, distance=COSINE()), family="triples"
    ),
    "supcon": Pair("supcon", losses.SupConLoss),
    "multi_similarity": Pair("multi_similarity", losses.MultiSimilarityLoss),
    "contrastive": Pair(
        "contrastive(pos_at=0.9, neg_at=0.1)", lambda: losses.ContrastiveLoss(0.9, 0.1, distance=COSINE())
    ),
    "circle": Pair("circle", losses.CircleLoss),
    "nca": Pair("nca(scale=1.0)", lambda: losses.NCALoss(distance=euclid(2)), "sqeuclidean"),
    "margin": Pair("margin(beta=-1.2)", lambda: losses.MarginLoss(0.2, beta=1.2, distance=euclid()), "euclidean"),
    "tuplet_margin": Pair("tuplet_margin", losses.TupletMarginLoss),
    "generalized_lifted": Pair(
        "generalized_lifted", lambda: losses.GeneralizedLiftedStructureLoss(distance=euclid()), "euclidean"
    ),
    "npairs": Pair(
        "npairs", lambda: losses.NPairsLoss(distance=distances.DotProductSimilarity(normalize_embeddings=False)), "dot"
    ),
    "angular": Pair("angular", losses.AngularLoss),
    "snr_contrastive": Pair("snr_contrastive", losses.SignalToNoiseRatioContrastiveLoss, "snr"),
    "intra_pair_variance": Pair("intra_pair_variance", losses.IntraPairVarianceLoss),
    "threshold_consistent": Pair("threshold_consistent", losses.ThresholdConsistentMarginLoss),
    "ranked_list": Pair(
        "ranked_list(pos_at=-0.8, neg_at=-1.2, neg_scale=4.0)", lambda: losses.RankedListLoss(0.4, 4.0), "euclidean"
    ),
    "fast_ap": Pair("fast_ap", lambda: losses.FastAPLoss(distance=distances.LpDistance(power=2))),
    "smooth_ap": Pair("smooth_ap", losses.SmoothAPLoss, family="triples"),
    "histogram": Pair("histogram", losses.HistogramLoss),
}
CLASSES = {"of 4": lambda n: torch.arange(n) // 4, "of n/10": lambda n: torch.arange(n) * 10 // n}
COST = """
The floor is what the arithmetic alone would take at the rates of this machine ({rates}), for [n, m] similarities:
- row: three matrix products, 6 n m {dim} FLOP (similarities, and the gradients of both sides), and 6 n m floats moved
  (similarities written and read, their gradient written and read twice, the two masks);
- sort: that, and a sort of every row, n m entries, with 8 n m floats moved for keys, order and counts;
- triples: that of row, and 6 floats for each positive pair and reference, k m of them, forward and backward.
"""


class Rates(NamedTuple):
    """What the machine does in a second."""

    flop: float
    byte: float
    sorted: float


def measure(run: Callable[[], Any], least_s: float = 0.5) -> float:
    """Seconds of one run, the best of at least three that take `least_s` together; a slow one runs once."""
    times: list[float] = []
    while not times or (max(times) < 5 and (len(times) < 3 or sum(times) < least_s)):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def lr_multipliers() -> Rates:
    x, keys = torch.randn(2048, DIM), torch.randn(512, 1024)
    block, into = torch.randn(1 << 24), torch.empty(1 << 24)
    return Rates(
        flop=2 * 2048 * 2048 * DIM / measure(lambda: x @ x.T),
        byte=2 * 4 * len(block) / measure(lambda: into.copy_(block)),
        sorted=keys.numel() / measure(lambda: ascending(keys, keys > 2)),
    )


def floor(family: str, labels: Tensor, rate: Rates) -> float:
    """Seconds that the arithmetic of a loss takes at these rates."""
    entries = len(labels) ** 2
    positives = sum(size * (size - 1) for size in labels.unique(return_counts=True)[1].tolist())
    seconds = 6 * entries * DIM / rate.flop + 6 * 4 * entries / rate.byte
    if family == "sort":
        seconds += entries / rate.sorted + 8 * 4 * entries / rate.byte
    if family == "triples":
        seconds += 2 * 6 * 4 * positives * len(labels) / rate.byte
    return seconds


class Cell(NamedTuple):
    """What came of one process; `failed` says why there is nothing."""

    seconds: float = math.nan
    mib: float = math.nan
    failed: str = ""


def cell(make: Callable[[], Callable], n: int, classes: str, args: argparse.Namespace) -> Cell:
    """One loss at one n, in a process of its own."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=in_process, args=(theirs, make, n, classes, args))
    process.start()
    theirs.close()
    try:
        return ours.recv() if ours.poll(args.seconds) else Cell(failed=f"did not finish in {args.seconds} s")
    except EOFError:
        return Cell(failed=f"did not finish in {args.gib} GiB")
    finally:
        process.kill()
        process.join()


def in_process(pipe: Any, make: Callable[[], Callable], n: int, classes: str, args: argparse.Namespace) -> None:
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    loss = make()
    step(loss, torch.randn(64, DIM), CLASSES[classes](64))
    emb, labels = torch.randn(n, DIM), CLASSES[classes](n)
    limit = memory("VmSize") + int(args.gib * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here
    before = memory("VmRSS")
    try:
        first = measure_once(lambda: step(loss, emb, labels))
        peak = memory("VmHWM") - before
        pipe.send(Cell(first if first > 5 else measure(lambda: step(loss, emb, labels)), peak / 2**20))
    except (MemoryError, RuntimeError) as error:
        out = "memory" in str(error) or isinstance(error, MemoryError)
        pipe.send(Cell(failed=f"did not finish in {args.gib} GiB" if out else f"failed: {str(error)[:60]}"))


def measure_once(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def step(loss: Callable, emb: Tensor, labels: Tensor) -> None:
    loss(emb.clone().requires_grad_(), labels).backward()


def memory(what: str) -> int:
    """Bytes, from what the system says of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(what):
            return int(line.split()[1]) * 1024
    raise ValueError(what)


Cells = dict[tuple[str, int], Cell]  # of classes of 4, by loss (", PML" for theirs) and n


def compared(args: argparse.Namespace, rate: Rates) -> tuple[str, Cells]:
    """Ours and theirs, a table for each n and kind of classes."""
    parts, cells = [], {}
    for n in args.sizes:
        for classes in CLASSES:
            rows = [
                "| loss | ours | PML | faster | ours, memory | PML, memory | less | floor | of it |",
                "|---|" + "---:|" * 8,
            ]
            for name in args.only or PAIRS:
                pair = PAIRS[name]
                ours = cell(partial(build, pair.ours, sim=pair.sim), n, classes, args)
                theirs = cell(pair.theirs, n, classes, args)
                cells |= {(name, n): ours, (f"{name}, PML", n): theirs} if classes == "of 4" else {}
                rows.append(row(name, ours, theirs, floor(pair.family, CLASSES[classes](n), rate)))
                print(rows[-1], flush=True)
            parts.append(f"## n = {n}, classes {classes}\n\n" + "\n".join(rows))
    return "\n\n".join(parts), cells


def row(name: str, ours: Cell, theirs: Cell, floor_s: float) -> str:
    faster, less = theirs.seconds / ours.seconds, theirs.mib / max(ours.mib, 0.1)
    return (
        f"| {name} | {said(ours, ours.seconds, span)} | {said(theirs, theirs.seconds, span)} | {times(faster)} "
        f"| {said(ours, ours.mib, size)} | {said(theirs, theirs.mib, size)} | {times(less)} "
        f"| {span(floor_s)} | {ours.seconds / floor_s:.1f}x |"
    )


def said(cell: Cell, value: float, how: Callable[[float], str]) -> str:
    return cell.failed or how(value)


def span(seconds: float) -> str:
    return f"{seconds * 1e3:.2f} ms" if seconds < 0.1 else f"{seconds:.2f} s"


def size(mib: float) -> str:
    return f"{mib:.1f} MiB" if mib < 1024 else f"{mib / 1024:.1f} GiB"


def times(factor: float) -> str:
    return "" if math.isnan(factor) else f"{factor:.1f}x" if factor < 10 else f"{factor:,.0f}x"


def growth(cells: Cells, args: argparse.Namespace, rate: Rates) -> str:
    """Ours as n grows beyond what was compared; adds to `cells`."""
    rows = ["| loss | n | time | memory | floor | of it |", "|---|" + "---:|" * 5]
    for name in [name for name in GROWING if name in (args.only or GROWING)]:
        pair = PAIRS[name]
        for n in (*args.sizes, *GROWTH):
            got = cells.get((name, n)) or cell(partial(build, pair.ours, sim=pair.sim), n, "of 4", args)
            cells[name, n] = got
            floor_s = floor(pair.family, CLASSES["of 4"](n), rate)
            rows.append(
                f"| {name} | {n:,} | {said(got, got.seconds, span)} | {said(got, got.mib, size)} "
                f"| {span(floor_s)} | {got.seconds / floor_s:.1f}x |"
            )
            print(rows[-1], flush=True)
    return "## How it grows, classes of 4\n\n" + "\n".join(rows)


def draw(cells: Cells, path: Path) -> None:
    """Seconds and memory against n, both axes logarithmic; the exponent is fitted from n = 1,024 on."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    for axis, what, unit in zip(
        axes, ("seconds", "mib"), ("seconds, forward and backward", "MiB at the peak"), strict=True
    ):
        for place, name in enumerate(GROWING):
            for who, style in ((name, "o-"), (f"{name}, PML", "x--")):
                points = [(n, getattr(c, what)) for (of, n), c in cells.items() if of == who and not c.failed]
                if points:
                    label = f"{who}{exponent(points)}"
                    axis.loglog(*zip(*points, strict=True), style, label=label, color=f"C{place}", markersize=4)
        axis.set(xlabel="n", ylabel=unit)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    figure.savefig(path, dpi=120)


def exponent(points: list[tuple[int, float]]) -> str:
    """The power of n that fits best, where there is enough to fit."""
    large = [(math.log(n), math.log(y)) for n, y in points if n >= 1024 and y > 0]
    if len(large) < 3:
        return ""
    slope = statistics.linear_regression(*zip(*large, strict=True)).slope
    return f": n^{slope:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few losses at n = 128 and 512, nothing larger")
    parser.add_argument("--only", nargs="+", choices=PAIRS, help="these losses")
    parser.add_argument("--sizes", nargs="+", type=int, help="n of the comparison: 128 512 1024, or 128 512 if quick")
    parser.add_argument("--seconds", type=float, default=90, help="time limit of a cell")
    parser.add_argument("--gib", type=float, default=12, help="memory limit of a cell")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    args.only = args.only or (list(QUICK) if args.quick else None)
    args.sizes = args.sizes or ([128, 512] if args.quick else [128, 512, 1024])
    rate = within(lr_multipliers, args.threads)
    table, cells = compared(args, rate)
    if not args.quick:
        table += f"\n\n{growth(cells, args, rate)}\n\n![cost against n](losses.png)"
        draw(cells, machine.RESULTS / "losses.png")
    said_rates = (
        f"{rate.flop / 1e9:.0f} GFLOP/s, {rate.byte / 1e9:.1f} GB/s, {rate.sorted / 1e6:.0f} M sorted entries/s"
    )
    about = __doc__.split("\n\n", 2)[2] + COST.format(rates=said_rates, dim=DIM)
    machine.write("losses_quick" if args.quick else "losses", table, about)


def within(run: Callable[[], Any], threads: int) -> Any:
    """Its result, from a process of its own: this one stays without threads, so that it can be forked."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)

    def send() -> None:
        torch.set_num_threads(threads)
        theirs.send(run())

    process = context.Process(target=send)
    process.start()
    result = ours.recv()
    process.join()
    return result


if __name__ == "__main__":
    main()
