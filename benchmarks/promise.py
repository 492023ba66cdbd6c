"""Does the promise hold? Classes that neither the training, the calibration nor the gallery has seen, against `--far`.

    LIKEWISE_DATA=... python benchmarks/promise.py --weights mobilenet_v2-b0353104.pth

A frozen ImageNet MobileNetV2 (96 pixels), so that no class was trained on. Half of the classes are enrolled and
calibrated by leaving classes out; the images of the other half are unknown queries. 20 random halves.
"""

import argparse

import numpy as np
import torch

from likewise import Embedder, load_data
from likewise.gallery.calibrate import calibrate, leave_out
from likewise.gallery.index import prepare, similarities

SETS = {"faces": 40, "groceries": 80, "omniglot": 200}  # classes taken, at most
HALVES = 20


def embedded(name: str, most: int, weights: str) -> tuple[np.ndarray, np.ndarray]:
    torch.manual_seed(0)
    images = load_data(name, size=96, channels=3)
    chosen = np.random.default_rng(0).permutation(images.labels.unique().numpy())[:most]
    places = np.flatnonzero(np.isin(images.labels.numpy(), chosen))
    model = Embedder(network="mobilenet_v2", shape=(3, 96, 96), dim=0)
    model.load_weights(weights)
    parts = [
        model.embed(images.batch(torch.from_numpy(part))) for part in np.array_split(places, len(places) // 64 + 1)
    ]
    return torch.cat(parts).numpy(), images.labels.numpy()[places]


def measure(name: str, most: int, weights: str) -> None:
    x_ND, labels_N = embedded(name, most, weights)
    classes = np.unique(labels_N)
    for far in (0.1, 0.01):
        rates, inside, highs, found = [], 0, [], []
        for seed in range(HALVES):
            known = np.random.default_rng(seed).permutation(classes)[: len(classes) // 2]
            mine = np.isin(labels_N, known)
            gallery, names = x_ND[mine], [str(label) for label in labels_N[mine]]
            promise = calibrate(leave_out(gallery, names, None, names, sim="cosine"), far)
            best = similarities(x_ND[~mine], prepare(gallery, "cosine"), "cosine").max(1)
            rate = float((best >= promise.threshold).mean())
            rates.append(rate)
            inside += promise.low <= rate <= promise.high
            highs.append(promise.high)
            found.append(promise.detected)
        print(
            f"{name:10} {len(classes):4} classes {len(x_ND):5} images  promised {far:4}  measured {np.mean(rates):.4f} "
            f"({min(rates):.4f} to {max(rates):.4f})  inside the interval {inside} of {HALVES}  upper end "
            f"{np.mean(highs):.4f}  enrolled named right {np.mean(found):.3f}",
            flush=True,
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--weights", required=True)
    options = parser.parse_args()
    for name, most in SETS.items():
        measure(name, most, options.weights)
