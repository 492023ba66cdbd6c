"""Which array of an .npz is what: X, y, split and groups by their usual names, or X and y of each part."""

import re
from collections.abc import Mapping
from typing import TypeVar

import numpy as np

from likewise.data.images import SPLITS

__all__ = ["NAMES", "SIGNALS", "by_use", "is_known", "joined", "part_of"]

Entry = TypeVar("Entry")

# Names of the array X that say that it holds signals [N, C, T].
SIGNALS = ("signals", "signal", "waveforms", "waveform", "audio")
# The usual names of the arrays of a file, in lower case.
NAMES = {
    "X": ("x", "images", "image", "data", *SIGNALS),
    "y": ("y", "labels", "label", "targets", "target", "classes", "class"),
    "split": ("split", "splits", "fold", "subset"),
    "groups": ("groups", "group"),
}
WORDS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
USES = {name: use for use in ("X", "y") for name in NAMES[use]}


def by_use(stored: Mapping[str, Entry]) -> dict[str, Entry]:
    """The arrays by use (X, y, split, groups), recognised by usual names in any case; exact names have priority."""
    lowered = {key.casefold(): key for key in reversed(list(stored))}
    arrays = dict(stored)
    for use, names in NAMES.items():
        key = next((lowered[name] for name in names if name in lowered), None)
        if use not in stored and key is not None:
            arrays[use] = stored[key]
    return arrays


def part_of(key: str) -> tuple[str, str] | None:
    """Use and part of `x_train`, `train_images`, `y_test`: ("X", "train"); None for another name."""
    words = re.split(r"[_\-.]", key.casefold())
    if len(words) != 2:
        return None
    for use, part in (words, reversed(words)):
        if use in USES and part in WORDS:
            return USES[use], WORDS[part]
    return None


def is_known(key: str) -> bool:
    return key.casefold() in {name for names in NAMES.values() for name in names} or part_of(key) is not None


def joined(stored: Mapping[str, np.ndarray], where: str) -> dict[str, np.ndarray]:
    """X, y and split of a file that holds them by part (`x_train`, `y_train`, `x_test` ...); {} where it does not.

    Errors: ValueError for a part that lacks X or y, and for images of different sizes.
    """
    keys = {named: key for key in stored if (named := part_of(key))}
    parts = [part for part in SPLITS if any((use, part) in keys for use in ("X", "y"))]
    if ("X", "train") not in keys:
        return {}
    for part in parts:
        for use in ("X", "y"):
            if (use, part) not in keys:
                raise ValueError(f"{where} holds {', '.join(stored)} and no {use.lower()}_{part}")
    arrays = {use: [stored[keys[use, part]] for part in parts] for use in ("X", "y")}
    for use, listed in arrays.items():
        if len({array.shape[1:] for array in listed}) > 1 or not all(array.ndim for array in listed):
            shapes = ", ".join(f"{keys[use, part]} {list(stored[keys[use, part]].shape)}" for part in parts)
            raise ValueError(f"{where}: the parts differ in shape: {shapes}")
    for part, X, y in zip(parts, arrays["X"], arrays["y"], strict=True):
        if len(X) != len(y):
            raise ValueError(f"{where}: x_{part} has {len(X)} rows and y_{part} {len(y)}; each image needs both")
    split = np.repeat([SPLITS.index(part) for part in parts], [len(X) for X in arrays["X"]])
    return {"X": np.concatenate(arrays["X"]), "y": np.concatenate(arrays["y"]), "split": split}
