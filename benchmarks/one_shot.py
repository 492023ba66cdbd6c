"""A class that no training saw, with one image enrolled: is it found?

    LIKEWISE_DATA=... python benchmarks/one_shot.py --weights mobilenet_v2-b0353104.pth --run runs/omniglot

One image of each class is enrolled, all others are queries; 10 draws of the enrolled image. Omniglot: the evaluation
alphabets, embedded by a run that was trained on the background alphabets only. The other sets: a frozen ImageNet
MobileNetV2 (96 pixels). The last column is the share of queries named right at the threshold for a false-accept rate
of 0.1, calibrated on the enrolled images alone. Intervals are the bootstrap over classes, 95 %.
"""

import argparse
from pathlib import Path

import frozen
import machine
import numpy as np
from queries import over_classes, shown

from likewise.embeddings import Embeddings
from likewise.experiment.run import Run
from likewise.gallery.calibrate import calibrate, leave_out
from likewise.gallery.index import prepare

SETS = {"faces": 40, "groceries": 80, "omniglot": 200}
DRAWS = 10


def measured(unit_ND: np.ndarray, label_N: np.ndarray) -> list[str]:
    """Share whose nearest, one of whose five nearest, is of the class, and share named right at FAR 0.1."""
    scores: list[dict[int, list[float]]] = [{}, {}, {}]
    for seed in range(DRAWS):
        rng = np.random.default_rng(seed)
        rows = np.asarray([rng.choice(np.flatnonzero(label_N == c)) for c in np.unique(label_N)])
        names = [str(label) for label in label_N[rows]]
        threshold = calibrate(leave_out(unit_ND[rows], names, None, names, sim="cosine"), 0.1).threshold
        rest = np.setdiff1d(np.arange(len(label_N)), rows)
        sim_QM = unit_ND[rest] @ unit_ND[rows].T
        order_QK = np.argsort(-sim_QM, axis=1, kind="stable")[:, :5]
        right_QK = label_N[rows][order_QK] == label_N[rest][:, None]
        named_Q = right_QK[:, 0] & (sim_QM.max(1) >= threshold)
        for one in np.unique(label_N).tolist():
            mine_Q = label_N[rest] == one
            for score, hit_Q in zip(scores, (right_QK[:, 0], right_QK.any(1), named_Q), strict=True):
                score.setdefault(one, []).append(float(hit_Q[mine_Q].mean()))
    return [shown(over_classes(score)) for score in scores]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--weights", default=frozen.WEIGHTS)
    parser.add_argument("--run", type=Path)
    options = parser.parse_args()
    lines = [
        "| data | classes | nearest is right | among 5 nearest | named right at FAR 0.1 |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, most in SETS.items():
        taken = frozen.embedded(name, most, options.weights)
        cells = measured(prepare(taken.x, "cosine"), taken.label)
        lines.append(f"| {name}, frozen | {most} | {' | '.join(cells)} |")
    if options.run:
        test = Embeddings.load(Run.open(options.run).embeddings).part("test")
        label_N = test.labels.numpy()
        cells = measured(prepare(test.vectors.numpy(), "cosine"), label_N)
        lines.append(f"| omniglot, evaluation alphabets, trained | {len(np.unique(label_N))} | {' | '.join(cells)} |")
    machine.write("one_shot", "\n".join(lines), __doc__ or "")


if __name__ == "__main__":
    main()
