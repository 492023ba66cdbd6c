"""Run folders made without training, for the tests of what reads them: digits in embeddings that grow apart."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from likewise.data.images import SPLITS, Images
from likewise.evaluate import Embeddings

RECIPE = """data = "digits"
network = "convnet"
dim = {dim}
sim = "cosine"
loss = "triplet(margin=0.2, pick='semihard')"
epochs = {epochs}
seed = 0
"""


def digits(most: int = 1797) -> Images:
    """scikit-learn's digits: 70 % train, 10 % validation, 20 % test."""
    found = load_digits()
    pixels = torch.tensor(found.images[:most] * 16).clamp(max=255).to(torch.uint8)[:, None]
    split = torch.tensor([0, 0, 0, 0, 0, 0, 0, 1, 2, 2], dtype=torch.uint8)[torch.arange(len(pixels)) % 10]
    ids = tuple(f"{SPLITS[s]}/{n:05d}" for n, s in enumerate(split.tolist()))
    labels = torch.tensor(found.target[:most], dtype=torch.int64)
    return Images(pixels, labels, tuple("0123456789"), ids, split, name="digits")


def embeddings(images: Images, *, progress: float, dim: int = 8) -> Embeddings:
    """A random projection (progress 0) that rotations into linear discriminants of the training part (progress 1)."""
    x_ND = images.pixels.flatten(1).numpy() / 255.0
    train = images.split.numpy() == 0
    told_ND = LinearDiscriminantAnalysis(n_components=dim).fit(x_ND[train], images.labels[train]).transform(x_ND)
    drawn_ND = x_ND @ np.random.default_rng(0).normal(size=(x_ND.shape[1], dim))
    mixed_ND = progress * told_ND / told_ND.std() + (1 - progress) * drawn_ND / drawn_ND.std()
    if dim > 2:
        mixed_ND /= np.linalg.norm(mixed_ND, axis=1, keepdims=True)
    return of_vectors(mixed_ND, images)


def of_vectors(vectors_ND: np.ndarray, images: Images) -> Embeddings:
    return Embeddings(
        torch.tensor(vectors_ND, dtype=torch.float32), images.labels, images.ids, images.split, images.classes
    )


def clusters(classes: list[str], each: int = 6, dim: int = 8, parts: tuple[str, ...] = ("train", "test")) -> Embeddings:
    """Overlapping Gaussian classes under any names, `each` images a class and part."""
    rng = np.random.default_rng(1)
    labels = np.tile(np.repeat(np.arange(len(classes)), each), len(parts))
    vectors = rng.normal(size=(len(classes), dim))[labels] + 0.5 * rng.normal(size=(len(labels), dim))
    split = np.repeat([SPLITS.index(part) for part in parts], len(classes) * each)
    return Embeddings(
        torch.tensor(vectors, dtype=torch.float32), torch.tensor(labels), tuple(f"{n:04d}" for n in range(len(labels))),
        torch.tensor(split, dtype=torch.uint8), tuple(classes),
    )  # fmt: skip


def score(value: float, n: int = 360, half: float = 0.012) -> dict[str, Any]:
    return {"value": value, "low": max(value - half, 0), "high": min(value + half, 1), "n": n}


NAN = float("nan")  # as JSON holds it: NaN
SCORES = {
    "knn@1": score(0.958), "knn@5": score(0.961), "recall@1": score(0.945), "recall@10": score(0.991),
    "r_precision": score(0.812), "map@r": score(0.788), "silhouette": score(0.447), "nmi": score(0.889),
    "ami": score(0.886), "probe": score(0.953), "pair_auc": score(0.983, 7200, 0.004),
    "pair_accuracy": score(0.936, 7200, 0.006), "eer": score(0.063, 7200, 0.006),
    "tar@far=0.01": score(0.774, 7200, 0.02), "brier": score(0.051, 7200, 0.006), "ece": score(0.018, 7200, 0.006),
    "few_shot@5w1s": {"value": NAN, "low": NAN, "high": NAN, "n": 0},
}  # fmt: skip


def write_run(
    folder: Path, held: Embeddings | None, *, metrics: dict | None = None, epochs: int = 10, dim: int = 8
) -> Path:
    """A run folder with a log, metrics, and the given embeddings."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.toml").write_text(RECIPE.format(dim=dim, epochs=epochs), encoding="utf-8")
    if held is not None:
        held.save(folder / "embeddings.parquet")
    if metrics is not None:
        (folder / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    (folder / "metrics.jsonl").write_text("\n".join(json.dumps(line) for line in log(epochs)), encoding="utf-8")
    return folder


def keep(held: Embeddings, folder: Path, epoch: int) -> None:
    """A snapshot."""
    (folder / "snapshots").mkdir(exist_ok=True)
    held.save(folder / "snapshots" / f"epoch_{epoch:04d}.parquet")


def log(epochs: int, steps: int = 12) -> list[dict[str, Any]]:
    """A training that goes well, with noise."""
    rng = np.random.default_rng(0)
    lines: list[dict[str, Any]] = []
    for step in range(1, epochs * steps + 1):
        epoch = step / steps
        down = float(np.exp(-epoch / 3))
        line = {"kind": "train", "step": step, "epoch": round(epoch, 3), "seconds": step * 0.02, "lr": 1e-3, "empty": 0}
        noise_loss, noise_active = rng.normal(scale=0.012, size=2).tolist()
        lines.append(line | {"loss": 0.05 + 0.16 * down + noise_loss, "active": 0.15 + 0.8 * down + noise_active})
        if step % steps == 0:
            scores = {
                "knn@1": score(0.96 - 0.5 * down),
                "map@r": score(0.8 - 0.6 * down),
                "silhouette": score(0.45 - 0.5 * down),
            }
            lines.append({"kind": "val", "step": step, "epoch": int(epoch), "seconds": step * 0.02, "scores": scores})
    return lines


def digits_metrics(**changes: Any) -> dict[str, Any]:
    return {
        "run": "digits", "split": "test", "open": False, "scores": SCORES,
        "val": {name: score(found["value"], 180, 0.02) for name, found in SCORES.items()},
        "threshold": {"value": 0.561, "target": "accuracy", "low": 0.54, "high": 0.58},
        "calibration": {"kind": "platt", "slope": 9.0, "offset": -5.0, "n": 3600},
        "left_out": {"tar@far=0.0001": "too few pairs to say: of 7,200 pairs of two classes 0.72 would be"},
        "queries_without_positives": {"retrieval": 3, "unseen": 1},
        "health": {"effective_rank": 6.53, "dimensions": 8, "norm_mean": 1.0, "norm_min": 1.0, "norm_max": 1.0,
                   "uniformity": -2.4, "hubness": 1.25, "orphans": 0.071, "overlapping": 0.2},
        "loss_at_collapse": 0.2, "seconds": 24.3, "images_per_s": 10211.0,
        "data": {"name": "digits", "train": 1258, "val": 180, "test": 359, "classes": 10},
    } | changes  # fmt: skip


def digits_run(
    folder: Path, *, dim: int = 8, epochs: int = 10, snapshots: tuple[int, ...] = (0, 1, 2, 5, 10)
) -> tuple[Path, Images]:
    """A complete run on digits, and its images."""
    images = digits()
    write_run(folder, embeddings(images, progress=1.0, dim=dim), metrics=digits_metrics(), epochs=epochs, dim=dim)
    for epoch in snapshots:
        progress = float(1 - np.exp(-epoch / 2)) if epoch < epochs else 1.0
        keep(embeddings(images, progress=progress, dim=dim), folder, epoch)
    return folder, images
