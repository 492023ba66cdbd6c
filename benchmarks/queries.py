"""Is a query of several images better by their mean or by the best of any? Does re-ranking pay?

    LIKEWISE_DATA=... python benchmarks/queries.py --part together --weights mobilenet_v2-b0353104.pth
    LIKEWISE_DATA=... python benchmarks/queries.py --part rerank --weights mobilenet_v2-b0353104.pth

Vectors of a frozen ImageNet MobileNetV2 (96 pixels). Intervals are the bootstrap over classes, 95 %.

Several images: 3 images of each class are enrolled, n others are one query; the share of queries whose nearest image is
of their class, over 10 draws. False accepts: half of the classes enrolled, all their images, and calibrated for single
images at 0.1; queries of n images of the other half, over 10 halves.

Re-ranking: each of 100 images searches all others (of grocery-store, those of other bursts); the mean average precision
of the nearest R, R being the number of other images of the class, and what re-ranking the nearest 1,000 adds to it.
"""

import argparse
import time
from collections.abc import Callable

import frozen
import machine
import numpy as np

from likewise.gallery.index import prepare
from likewise.gallery.rerank import POOL, RERANKS, reranked

SETS = {"faces": 40, "groceries": 80, "omniglot": 200}
DRAWS, ENROLLED, QUERIES = 10, 3, 100
Scores = dict[int, list[float]]  # by class


def over_classes(of_class: Scores, statistic: Callable[[np.ndarray], float] = np.mean) -> tuple[float, float, float]:
    """Mean of the class means, and its 95 % interval by drawing classes again."""
    mean_C = np.asarray([np.mean(values) for values in of_class.values()])
    rng = np.random.default_rng(0)
    drawn = [statistic(mean_C[rng.integers(0, len(mean_C), len(mean_C))]) for _ in range(2000)]
    return float(mean_C.mean()), *map(float, np.quantile(drawn, (0.025, 0.975)))


def shown(found: tuple[float, float, float]) -> str:
    return f"{found[0]:.3f} ({found[1]:.3f} to {found[2]:.3f})"


def similarity(sim_NN: np.ndarray, places: np.ndarray, way: str, rows_N: np.ndarray) -> np.ndarray:
    """Of one object in some images to each row, `[M]`, as in gallery.together."""
    sim_QM = sim_NN[np.ix_(places, rows_N)]
    if way != "mean":
        return sim_QM.max(0)
    return sim_QM.mean(0) / np.sqrt(sim_NN[np.ix_(places, places)].mean())


def together(sim_NN: np.ndarray, label_N: np.ndarray, count: int) -> dict[str, Scores]:
    """Per class, whether each query finds it: one image, and count images by their mean and by the best."""
    found: dict[str, Scores] = {"single": {}, "mean": {}, "best": {}}
    for seed in range(DRAWS):
        rng = np.random.default_rng(seed)
        drawn = {c: rng.permutation(np.flatnonzero(label_N == c)) for c in np.unique(label_N).tolist()}
        rows = np.concatenate([places[:ENROLLED] for places in drawn.values()])
        for one, places in drawn.items():
            query = places[ENROLLED : ENROLLED + count]
            for way in found:
                asked = query[:1] if way == "single" else query
                nearest = rows[similarity(sim_NN, asked, way, rows).argmax()]
                found[way].setdefault(one, []).append(float(label_N[nearest] == one))
    return found


def false_accepts(sim_NN: np.ndarray, label_N: np.ndarray, count: int) -> dict[str, float]:
    """The share of unknown objects that reach the threshold for single images."""
    rates: dict[str, list[float]] = {"single": [], "mean": [], "best": []}
    for seed in range(DRAWS):
        order = np.random.default_rng(seed).permutation(np.unique(label_N))
        mine_N = np.isin(label_N, order[: len(order) // 2])
        threshold = frozen.threshold(sim_NN, label_N, mine_N, 0.1)
        hits: dict[str, list[bool]] = {way: [] for way in rates}
        for one in order[len(order) // 2 :]:
            places = np.random.default_rng(seed).permutation(np.flatnonzero(label_N == one))
            for start in range(0, len(places) - count + 1, count):
                query = places[start : start + count]
                for way in rates:
                    asked = query[:1] if way == "single" else query
                    best = similarity(sim_NN, asked, way, np.flatnonzero(mine_N)).max()
                    hits[way].append(bool(best >= threshold))
        for way, values in hits.items():
            rates[way].append(float(np.mean(values)))
    return {way: float(np.mean(values)) for way, values in rates.items()}


def precision(right_R: np.ndarray) -> float:
    """Average precision of the nearest R."""
    return float((right_R * np.cumsum(right_R) / np.arange(1, len(right_R) + 1)).mean()) if len(right_R) else np.nan


def reranking(
    unit_ND: np.ndarray, label_N: np.ndarray, burst_N: np.ndarray | None
) -> tuple[dict[str, Scores], dict[str, float]]:
    """Per class, the precision of each query, and the gain of each re-ranking; and its milliseconds."""
    scores: dict[str, Scores] = {"none": {}} | {way: {} for way in RERANKS}
    spent = dict.fromkeys(RERANKS, 0.0)
    queries = np.random.default_rng(0).permutation(len(label_N))[:QUERIES]
    for q in queries.tolist():
        others_N = np.arange(len(label_N)) != q
        if burst_N is not None:
            others_N &= burst_N != burst_N[q]
        rows = np.flatnonzero(others_N)
        rows = rows[np.argsort(-(unit_ND[rows] @ unit_ND[q]), kind="stable")]
        relevant, one = int((label_N[rows] == label_N[q]).sum()), int(label_N[q])
        if not relevant:
            continue
        plain = precision(label_N[rows[:relevant]] == label_N[q])
        scores["none"].setdefault(one, []).append(plain)
        for way in RERANKS:
            began = time.perf_counter()
            place = reranked(unit_ND[q], unit_ND[rows[:POOL]], way)
            spent[way] += time.perf_counter() - began
            found = precision(label_N[rows[:POOL][place][:relevant]] == label_N[q])
            scores[way].setdefault(one, []).append(found - plain)
    return scores, {way: 1000 * seconds / len(queries) for way, seconds in spent.items()}


def several(name: str, unit_ND: np.ndarray, label_N: np.ndarray, burst_N: np.ndarray | None) -> list[str]:
    sim_NN, lines = unit_ND @ unit_ND.T, []
    for count in (2, 3, 5):
        found, accepted = together(sim_NN, label_N, count), false_accepts(sim_NN, label_N, count)
        cells = [shown(over_classes(found[way])) for way in ("single", "mean", "best")]
        rates = ", ".join(f"{accepted[way]:.3f}" for way in ("single", "mean", "best"))
        lines.append(f"| {name} | {count} | {' | '.join(cells)} | {rates} |")
    return lines


def again(name: str, unit_ND: np.ndarray, label_N: np.ndarray, burst_N: np.ndarray | None) -> list[str]:
    scores, spent = reranking(unit_ND, label_N, burst_N)
    cells = [f"{shown(over_classes(scores[way]))} | {spent[way]:.1f}" for way in ("query-expansion", "k-reciprocal")]
    return [f"| {name} | {shown(over_classes(scores['none']))} | {' | '.join(cells)} |"]


PARTS = {
    "together": (several, ["| data | n | one image | mean of n | best of n | false accepts: one, mean, best |"]),
    "rerank": (again, ["| data | map@r | + query expansion | ms | + k-reciprocal | ms |"]),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--weights", default=frozen.WEIGHTS)
    parser.add_argument("--part", choices=PARTS, required=True)
    options = parser.parse_args()
    measure, lines = PARTS[options.part]
    lines = [*lines, "|---" + "|---:" * (lines[0].count("|") - 2) + "|"]
    for name, most in SETS.items():
        taken = frozen.embedded(name, most, options.weights)
        burst_N = taken.group if name == "groceries" else None
        lines += measure(name, prepare(taken.x, "cosine"), taken.label, burst_N)
        print(lines[-1], flush=True)
    machine.write(f"queries_{options.part}", "\n".join(lines), __doc__ or "")


if __name__ == "__main__":
    main()
