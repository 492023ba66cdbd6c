"""Does the promise hold? Classes that neither the training, the calibration nor the gallery has seen, against `--far`.

    LIKEWISE_DATA=... python benchmarks/promise.py --weights mobilenet_v2-b0353104.pth
    python benchmarks/promise.py --simulated     # where the method of the interval was chosen

A frozen ImageNet MobileNetV2 (96 pixels), so that no class was trained on. Half of the classes are enrolled and
calibrated by leaving classes out; the images of the other half are unknown queries. 20 random halves. Rates are means
over the halves, with the lowest and highest; the interval is the median of those stated.
"""

import argparse

import frozen
import machine
import numpy as np

from likewise.gallery.calibrate import calibrate, leave_out
from likewise.gallery.index import prepare, similarities

SETS = {"faces": 40, "groceries": 80, "omniglot": 200}  # classes taken, at most
HALVES = 20
HEAD = (
    "| data | promised | measured | stated interval | inside | above | said to be unsupported |\n"
    "|---|---:|---:|---:|---:|---:|---:|"
)
# Classes come in families that look alike, of other sizes and spreads: number of classes, mean size of a family, images
SIMULATED = {
    "single, 80": (80, 1, 30),
    "families, 40": (40, 4, 30),
    "families, 80": (80, 4, 30),
    "many, 200": (200, 3, 15),
}


def halves(x_ND: np.ndarray, label_N: np.ndarray, far: float, count: int = HALVES) -> np.ndarray:
    """Of each half: the rate, low, high, and whether the calibration was said not to support it."""
    classes, rows = np.unique(label_N), []
    for seed in range(count):
        known = np.random.default_rng(seed).permutation(classes)[: len(classes) // 2]
        mine_N = np.isin(label_N, known)
        gallery, names = x_ND[mine_N], [str(label) for label in label_N[mine_N]]
        promise = calibrate(leave_out(gallery, names, None, names, sim="cosine"), far)
        best = similarities(x_ND[~mine_N], prepare(gallery, "cosine"), "cosine").max(1)
        rows.append(((best >= promise.threshold).mean(), promise.low, promise.high, bool(promise.note)))
    return np.asarray(rows, float)


def line(name: str, far: float, rows: np.ndarray) -> str:
    rate, low, high, weak = rows.T
    inside, above = int(((low <= rate) & (rate <= high)).sum()), int((rate > high).sum())
    return (
        f"| {name} | {far:g} | {rate.mean():.3f} ({rate.min():.3f} to {rate.max():.3f}) | {np.median(low):.3f} to "
        f"{np.median(high):.3f} | {inside} of {len(rows)} | {above} | {int(weak.sum())} |"
    )


def simulated(seed: int, classes: int, family: int, images: int, dim: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of classes in families, each of its own spread and number of images."""
    rng = np.random.default_rng(seed)
    centres: list[np.ndarray] = []
    while len(centres) < classes:
        middle, spread = rng.normal(size=dim), 0.5 * np.exp(0.6 * rng.normal())
        centres += [middle + spread * rng.normal(size=dim) for _ in range(1 + rng.poisson(family - 1))]
    sizes = np.maximum(4, images * np.exp(0.8 * rng.normal(size=classes) - 0.32)).astype(int)
    label_N = np.repeat(np.arange(classes), sizes)
    noise_N1 = 0.35 * np.exp(0.3 * rng.normal(size=classes))[label_N][:, None]
    return (np.stack(centres)[label_N] + noise_N1 * rng.normal(size=(len(label_N), dim))).astype(np.float32), label_N


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--weights", default=frozen.WEIGHTS)
    parser.add_argument("--simulated", action="store_true")
    options = parser.parse_args()
    lines = [HEAD]
    for far in (0.1, 0.01):
        if options.simulated:
            for name, shape in SIMULATED.items():
                rows = [halves(*simulated(seed, *shape), far, count=2) for seed in range(20)]
                lines.append(line(f"simulated: {name}", far, np.concatenate(rows)))
        else:
            for name, most in SETS.items():
                taken = frozen.embedded(name, most, options.weights)
                lines.append(line(f"{name}, {most} classes", far, halves(taken.x, taken.label, far)))
    machine.write("promise_simulated" if options.simulated else "promise", "\n".join(lines), __doc__ or "")


if __name__ == "__main__":
    main()
