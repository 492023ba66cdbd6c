"""How well do proposed classes agree with real ones? Classes left out of a gallery, clustered at its own cut.

    LIKEWISE_DATA=... python benchmarks/suggest.py --weights mobilenet_v2-b0353104.pth

Vectors of a frozen ImageNet MobileNetV2 (96 pixels). Half of the classes are enrolled and calibrated; images of the
other half (at most 20 of a class) that are unknown at the threshold are clustered. Means over 20 halves, with the
middle 95 % of them. Agreement with the true classes: normalized mutual information, and purity; NMI of as many random
clusters of the same sizes, for comparison.
"""

import argparse

import frozen
import machine
import numpy as np
import torch

from likewise.gallery.index import prepare
from likewise.gallery.suggest import best_cut, clusters
from likewise.metrics.clustering import nmi, purity

SETS = {"faces": 40, "groceries": 80, "omniglot": 200}
HALVES, IMAGES = 20, 20


def half(unit_ND: np.ndarray, sim_NN: np.ndarray, label_N: np.ndarray, far: float, seed: int) -> list[float]:
    """Share of images unknown, clusters of two and more for each class, their images, NMI, purity, NMI by chance."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(np.unique(label_N))
    mine_N = np.isin(label_N, order[: len(order) // 2])
    threshold = frozen.threshold(sim_NN, label_N, mine_N, far)
    cut = best_cut(unit_ND[mine_N], [str(label) for label in label_N[mine_N]], "cosine", threshold)
    rest = np.concatenate([rng.permutation(np.flatnonzero(label_N == c))[:IMAGES] for c in order[len(order) // 2 :]])
    unknown = rest[sim_NN[np.ix_(rest, mine_N)].max(1) < threshold]
    label_U, place_U = (
        torch.from_numpy(label_N[unknown]),
        torch.from_numpy(clusters(unit_ND[unknown], cut, "cosine")),
    )
    sizes = place_U.bincount()
    joined_U = sizes[place_U] > 1
    by_chance = nmi(label_U, place_U[torch.from_numpy(rng.permutation(len(place_U)))])
    return [
        len(unknown) / len(rest),
        int((sizes > 1).sum()) / len(label_U.unique()),
        float(joined_U.double().mean()),
        nmi(label_U, place_U),
        purity(label_U[joined_U], place_U[joined_U]),
        by_chance,
    ]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--weights", default=frozen.WEIGHTS)
    options = parser.parse_args()
    lines = [
        "| data | FAR | unknown | clusters per class | images in clusters | NMI | by chance | purity of clusters |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, most in SETS.items():
        taken = frozen.embedded(name, most, options.weights)
        unit_ND = prepare(taken.x, "cosine")
        sim_NN = unit_ND @ unit_ND.T
        for far in (0.1,):
            rows = np.asarray([half(unit_ND, sim_NN, taken.label, far, seed) for seed in range(HALVES)])
            mean, low, high = rows.mean(0), *np.quantile(rows, (0.025, 0.975), axis=0)
            cells = [f"{m:.2f} ({a:.2f} to {b:.2f})" for m, a, b in zip(mean, low, high, strict=True)]
            shown = [f"{mean[0]:.2f}", f"{mean[1]:.1f}", f"{mean[2]:.2f}", cells[3], f"{mean[5]:.2f}", cells[4]]
            lines.append(f"| {name} | {far:g} | {' | '.join(shown)} |")
    machine.write("suggest", "\n".join(lines), __doc__ or "")


if __name__ == "__main__":
    main()
