"""Vectors of a frozen ImageNet MobileNetV2 (96 pixels), trained on none of the classes; kept for later calls."""

import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from likewise import Embedder, load_data
from likewise.gallery.calibrate import promise

CACHE = Path(tempfile.gettempdir()) / "likewise-frozen"
WEIGHTS = "mobilenet_v2-b0353104.pth"


class Frozen(NamedTuple):
    """N images of some classes of a source."""

    x: np.ndarray  # float32 [N, D]
    label: np.ndarray  # index into classes
    group: np.ndarray  # the burst, person or drawer; one for all where the source says none
    classes: np.ndarray


def embedded(name: str, most: int, weights: str, *, skip: int = 0) -> Frozen:
    """At most so many classes in a random order, from behind `skip` of them."""
    path = CACHE / f"{name}-{skip}-{most}.npz"
    if not path.is_file():
        CACHE.mkdir(exist_ok=True)
        np.savez(path, **_embedded(name, most, weights, skip)._asdict())
    kept = np.load(path)
    return Frozen(*(kept[field] for field in Frozen._fields))


def _embedded(name: str, most: int, weights: str, skip: int) -> Frozen:
    torch.manual_seed(0)
    images = load_data(name, size=96, channels=3)
    order = np.random.default_rng(0).permutation(images.labels.unique().numpy())
    places = np.flatnonzero(np.isin(images.labels.numpy(), order[skip : skip + most]))
    model = Embedder(network="mobilenet_v2", shape=(3, 96, 96), dim=0)
    model.load_weights(weights)
    parts = np.array_split(places, len(places) // 64 + 1)
    x_ND = torch.cat([model.embed(images.batch(torch.from_numpy(part))) for part in parts]).numpy()
    groups = [images.groups[i] for i in places] if images.groups is not None else [""] * len(places)
    return Frozen(x_ND, images.labels.numpy()[places], np.asarray(groups), np.asarray(images.classes))


def threshold(sim_NN: np.ndarray, label_N: np.ndarray, mine_N: np.ndarray, far: float) -> float:
    """As `gallery calibrate` finds it with the rule nearest: each class of a gallery left out in turn."""
    sim_MM = np.where(label_N[mine_N][:, None] == label_N[mine_N], -np.inf, sim_NN[np.ix_(mine_N, mine_N)])
    return promise(sim_MM.max(1).astype(np.float64), far)
