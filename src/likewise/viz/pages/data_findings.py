"""What the images of each part are like: counts, brightness, contrast, sharpness, and where parts differ in them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from likewise.data.images import SPLITS, Images
from likewise.data.scenes import clusters
from likewise.imaging.decode import Head
from likewise.imaging.resize import fit
from likewise.metrics.verification import auc, roc
from likewise.recipes.facts import heads_of, spaced_files

__all__ = [
    "BURSTS",
    "LEAST",
    "MEASURES",
    "MOST",
    "Burst",
    "Look",
    "Shift",
    "bursts",
    "chance",
    "counts",
    "heads",
    "looks",
    "measured",
    "shifts",
]

MOST = 500  # images of a part that are measured
AT_ONCE = 64  # of those
LEAST = 20  # images of either part from which two parts are compared
BURSTS = 5_000  # images among which near-copies are looked for
FILES = 200  # of each part, whose size is read
APART = 0.75  # chance from which a difference is named
MEASURES = ("brightness", "contrast", "sharpness")


class Look(NamedTuple):
    """Measured images of one part, ascending by place.

    places: int64 [M], in Images; values: float64 [M] of each of MEASURES; of: images of the part.
    """

    places: np.ndarray
    values: dict[str, np.ndarray]
    of: int


class Shift(NamedTuple):
    """chance: that an image of `part` has a higher value than one of `other`, ties counted as half."""

    measure: str
    part: str
    other: str
    chance: float


@dataclass(frozen=True)
class Burst:
    """Near-copies of one another, in the order of Images, and the parts that they are in."""

    places: tuple[int, ...]
    parts: tuple[str, ...]


def counts(images: Images) -> np.ndarray:
    """int64 `[C, 3]`: images of each class in train, val and test."""
    cell_N = images.labels.cpu().numpy() * len(SPLITS) + images.split.cpu().numpy()
    return np.bincount(cell_N, minlength=len(images.classes) * len(SPLITS)).reshape(-1, len(SPLITS))


def looks(images: Images, seed: int = 0) -> dict[str, Look]:
    """The look of each part that has images; none for feature rows and floats, whose range is unknown."""
    if len(images.shape) != 3 or images.shape[0] not in (1, 3):
        return {}
    split_N, look_of = images.split.cpu().numpy(), {}
    for number, part in enumerate(SPLITS):
        place_P = np.flatnonzero(split_N == number)
        if len(place_P):
            chosen = np.random.default_rng(seed).permutation(place_P)[:MOST]
            if (values := look(images, np.sort(chosen))) is None:
                return {}
            look_of[part] = Look(np.sort(chosen), values, len(place_P))
    return look_of


def look(images: Images, place_M: np.ndarray) -> dict[str, np.ndarray] | None:
    """float64 `[M]` of each measure; None where pixels are no bytes."""
    parts = []
    for at in torch.as_tensor(place_M).split(AT_ONCE):
        pixels = images.batch(at).cpu()
        if pixels.dtype != torch.uint8:
            return None
        parts.append(measured(pixels))
    return {name: torch.cat([part[name] for part in parts]).numpy() for name in MEASURES}


def measured(pixels_NCHW: Tensor) -> dict[str, Tensor]:
    """float64 `[N]` of each measure, for uint8 images of 1 or 3 channels, as fractions of white.

    brightness: mean grey. contrast: standard deviation of grey. sharpness: standard deviation of the Laplacian, whose
    square is the measure of focus of Pech-Pacheco et al., 2000, https://doi.org/10.1109/ICPR.2000.903548; 0 for images
    of fewer than 3 pixels a side.
    """
    grey = fit(pixels_NCHW.double() / 255, (1, *pixels_NCHW.shape[2:]))[:, 0]
    inner = grey[:, 1:-1, 1:-1]
    around = grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1] + grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:]
    laplacian = (around - 4 * inner).flatten(1)
    sharpness = laplacian.std(1, correction=0) if laplacian.shape[1] else torch.zeros(len(grey)).double()
    flat = grey.flatten(1)
    return {"brightness": flat.mean(1), "contrast": flat.std(1, correction=0), "sharpness": sharpness}


def chance(x_N: np.ndarray, y_M: np.ndarray) -> float:
    """Share of pairs with x above y, ties counted as half. McGraw and Wong, 1992."""
    is_x = torch.arange(len(x_N) + len(y_M)) < len(x_N)
    return float(auc(roc(torch.as_tensor(np.concatenate([x_N, y_M])), is_x)))


def shifts(look_of: Mapping[str, Look]) -> list[Shift]:
    """Measures in which a held-out part differs from training, the largest difference first."""
    train = look_of.get("train")
    if train is None or len(train.places) < LEAST:
        return []
    every = [
        Shift(name, part, "train", chance(part_look.values[name], train.values[name]))
        for part, part_look in look_of.items()
        if part != "train" and len(part_look.places) >= LEAST
        for name in MEASURES
    ]
    far = [one for one in every if abs(one.chance - 0.5) >= APART - 0.5]
    return sorted(far, key=lambda one: -abs(one.chance - 0.5))


def bursts(images: Images) -> list[Burst] | None:
    """Near-copies of one class as `clusters` finds them, the largest burst first; None for more than BURSTS images."""
    if len(images) > BURSTS or len(images.shape) != 3:
        return None
    split_N, cluster_N = images.split.cpu().numpy(), clusters(images)
    order = np.argsort(cluster_N, kind="stable")
    every = np.split(order, np.flatnonzero(np.diff(cluster_N[order])) + 1)
    several = sorted((place_M for place_M in every if len(place_M) > 1), key=lambda place_M: -len(place_M))
    return [
        Burst(tuple(place_M.tolist()), tuple(SPLITS[part] for part in np.unique(split_N[place_M]).tolist()))
        for place_M in several
    ]


def heads(images: Images, data: str) -> dict[str, list[Head]]:
    """Sizes of up to FILES files of each part, the smallest first; none for arrays and absent files.

    data: the source as a recipe names it.
    """
    listed = {}
    for part in SPLITS:
        paths = spaced_files(images.part(part), data, FILES)
        if heads_of_part := heads_of(paths):
            listed[part] = sorted(heads_of_part, key=lambda one: one.width * one.height)
    return listed
