"""Part images into train, val and test: the same Images with another `split`, the same for the same seed."""

from dataclasses import replace

import numpy as np
import torch
from numpy.random import Generator, default_rng

from likewise.data.images import SPLITS, Images
from likewise.data.scenes import clusters
from likewise.data.within_class import place_in_class

__all__ = ["auto", "by_class", "by_group", "by_scene", "given", "ratio"]

TRAIN, VAL, TEST = range(len(SPLITS))


def given(images: Images, *, val: float = 0.1, test: float = 0.2, seed: int = 0) -> Images:
    """The parts of the source; missing ones are taken out of train.

    no val         the share `val` of train: by class when the test classes are not trained on (open set), so that
                   validation asks what the test asks; else of every class
    val, no test   val becomes the test part, since no choice may be made on the images that are scored, and a new val
                   part is taken out of train
    neither        as ratio(val, test)
    """
    has = [bool((images.split == part).any()) for part in range(len(SPLITS))]
    if not has[TRAIN] or all(has):
        return images
    if not has[VAL] and not has[TEST]:
        return ratio(images, val=val, test=test, seed=seed)
    split = images.split.cpu().numpy().copy()
    split[split == VAL] = TEST
    train = np.flatnonzero(split == TRAIN)
    labels = images.labels.cpu().numpy()[train]
    part = _classes if images.open and len(np.unique(labels)) >= 3 else _each_image
    split[train] = part(labels, val, 0.0, default_rng(seed))
    return _with(images, split)


def ratio(images: Images, *, val: float = 0.1, test: float = 0.2, seed: int = 0) -> Images:
    """The shares `val` and `test` of every class, the rest train: a closed set.

    A class is parted within one image of the exact shares, and so is the whole, as far as the rule allows that every
    class keeps an image in train; a class with one image is all train.
    """
    return _with(images, _each_image(images.labels.cpu().numpy(), val, test, default_rng(seed)))


def by_class(images: Images, *, val: float = 0.1, test: float = 0.2, seed: int = 0) -> Images:
    """The shares `val` and `test` of the classes, the rest train: an open set, in which no class is in two parts.

    At least two classes for each share above 0, since in a single one every neighbour is right; one where fewer than
    two for each part are there. Errors: ValueError when none would be left to train on.
    """
    labels = images.labels.cpu().numpy()
    classes, wanted = len(np.unique(labels)), (val > 0) + (test > 0) + 1
    if classes < wanted:
        has = f"{images.name or 'the data'} has {classes}"
        raise ValueError(f"by_class needs {wanted} classes or more, one for each part, and {has}; use split='ratio'")
    return _with(images, _classes(labels, val, test, default_rng(seed)))


def by_group(images: Images, *, val: float = 0.1, test: float = 0.2, seed: int = 0) -> Images:
    """The shares `val` and `test` of the groups (alphabets, bursts, writers, cameras), no group in two parts.

    A test part of the source stays as it is, and only `val` is taken, from all other images. Groups of one class each,
    such as bursts, are divided class by class, and one of each stays in train; other groups are divided together.
    Errors: ValueError for a source without groups, or with a single one to part.
    """
    name = images.name or "the data"
    if images.groups is None:
        raise ValueError(
            f"{name} has no groups to split by; use split='ratio' or 'by_class', or say where file names hold "
            "them, as in group_from='(video[0-9]+)_'"
        )
    split = images.split.cpu().numpy().copy()
    has_test = bool((split == TEST).any())
    at = np.flatnonzero(split != TEST)
    groups, group = np.unique(np.array(images.groups)[at], return_inverse=True)
    if len(groups) < 2:
        raise ValueError(f"{name} has {len(groups)} group to split, and by_group needs 2 or more; use split='ratio'")
    labels = images.labels.cpu().numpy()[at]
    low, high = np.full(len(groups), labels.max()), np.zeros(len(groups), labels.dtype)
    np.minimum.at(low, group, labels)
    np.maximum.at(high, group, labels)
    of_groups = _each_image(np.where(low == high, low, -1), val, 0.0 if has_test else test, default_rng(seed))
    split[at] = of_groups[group]
    return _with(images, split)


def by_scene(images: Images, *, val: float = 0.1, test: float = 0.2, seed: int = 0) -> Images:
    """As by_group, with clusters of near-copies (bursts, frames of a video) as groups: none is in two parts.

    A test part that the source came with stays as it is.
    """
    scene = clusters(images, seed=seed)
    return _units(images, scene, val=val, test=test, seed=seed)


def auto(images: Images, *, val: float = 0.1, test: float = 0.2, seed: int = 0) -> Images:
    """As given, but whole groups are taken out of train if there are groups, otherwise whole scenes.

    Parts that the source came with are never cut again. Without groups and near-copies, and for test classes that are
    not trained on, this is `given`.
    """
    has = [bool((images.split == part).any()) for part in range(len(SPLITS))]
    if not draws_groups(images, "auto"):
        return given(images, val=val, test=test, seed=seed)
    if images.groups is not None:
        unit = np.unique(np.array(images.groups), return_inverse=True)[1]
    else:
        unit = clusters(images, seed=seed)
    split = images.split.cpu().numpy()
    if len(np.unique(unit[split == TRAIN])) in (1, int((split == TRAIN).sum())):
        return given(images, val=val, test=test, seed=seed)
    if has[VAL]:  # measured as the test part, see given
        images = _moved(images, VAL, TEST)
    return _units(images, unit, val=val, test=test, seed=seed)


def draws_groups(images: Images, name: str) -> bool:
    """Whether the split of this name draws parts by groups: not where the source has all, or test classes are new."""
    has = [bool((images.split == part).any()) for part in range(len(SPLITS))]
    if name != "auto":
        return name == "by_group"
    return has[TRAIN] and not all(has) and not (has[TEST] and images.open)


def _moved(images: Images, part: int, to: int) -> Images:
    return replace(images, split=torch.where(images.split == part, to, images.split).to(images.split.dtype))


def _units(images: Images, unit: np.ndarray, *, val: float, test: float, seed: int) -> Images:
    """The shares of every class, in whole units; one unit of each class stays in train.

    Units of one class are drawn until the share of its images is reached; other units are drawn together. A unit that
    exceeds the remaining number by more than half of its size is skipped.
    """
    _check(val, test)
    rng = default_rng(seed)
    split = images.split.cpu().numpy().copy()
    at = np.flatnonzero(split != TEST)
    test = 0.0 if len(at) < len(split) else test
    labels, unit = images.labels.cpu().numpy()[at], np.unique(unit[at], return_inverse=True)[1]
    size = np.bincount(unit)
    low, high = np.full(len(size), labels.max()), np.zeros(len(size), labels.dtype)
    np.minimum.at(low, unit, labels)
    np.maximum.at(high, unit, labels)
    kind = np.where(low == high, low, -1)
    part = np.full(len(size), TRAIN)
    owed = {TEST: 0.0, VAL: 0.0}  # what classes could not give exactly is carried on to the next
    for one in np.unique(kind):
        free = rng.permutation(np.flatnonzero(kind == one))
        total = int(size[free].sum())
        for which, share in ((TEST, test), (VAL, val)):
            owed[which] += share * total
            for u in free:
                left = int((part[free] == TRAIN).sum())
                if part[u] == TRAIN and left > 1 and size[u] <= 2 * owed[which]:
                    part[u] = which
                    owed[which] -= size[u]
            owed[which] = min(owed[which], share * total)
    split[at] = part[unit]
    return _with(images, split)


def _with(images: Images, split: np.ndarray) -> Images:
    was = images.split.cpu().numpy()
    drawn = tuple(SPLITS[part] for part in (VAL, TEST) if ((split == part) & (was == TRAIN)).any())
    return replace(images, split=torch.from_numpy(split).to(images.split.device), drawn=drawn)


def _each_image(labels: np.ndarray, val: float, test: float, rng: Generator) -> np.ndarray:
    """uint8 [N] parts: the shares of every class, of which one image at least stays in train."""
    _check(val, test)
    _, label, counts = np.unique(labels, return_inverse=True, return_counts=True)
    tests = _apportion(counts * test, counts - 1, rng)
    vals = _apportion(counts * val, counts - 1 - tests, rng)
    place = place_in_class(label, rng)
    return np.select([place < tests[label], place < (tests + vals)[label]], [TEST, VAL], TRAIN).astype(np.uint8)


def _classes(labels: np.ndarray, val: float, test: float, rng: Generator) -> np.ndarray:
    """uint8 [N] parts: the shares of the classes, and of each as many as there must be to tell them apart."""
    _check(val, test)
    names = rng.permutation(np.unique(labels))
    least = 2 if len(names) >= 2 * ((val > 0) + (test > 0) + 1) else 1
    tests = min(max(round(len(names) * test), least), len(names) - 1 - least * (val > 0)) if test else 0
    vals = min(max(round(len(names) * val), least), len(names) - 1 - tests) if val else 0
    held_out = [np.isin(labels, names[:tests]), np.isin(labels, names[tests : tests + vals])]
    return np.select(held_out, [TEST, VAL], TRAIN).astype(np.uint8)


def _apportion(ideal: np.ndarray, most: np.ndarray, rng: Generator) -> np.ndarray:
    """Whole numbers within one of `ideal`, with its sum as far as `most` allows: floors, and one more by remainder."""
    quota = np.minimum(np.floor(ideal), most).astype(np.int64)
    owed = np.where(quota < most, ideal - quota, 0.0)
    first = np.lexsort((rng.random(len(ideal)), -owed))[: round(float(ideal.sum())) - int(quota.sum())]
    quota[first[owed[first] > 0]] += 1
    return quota


def _check(val: float, test: float) -> None:
    if not (val >= 0 and test >= 0 and val + test < 1):
        raise ValueError(
            f"val and test are shares that leave some to train on, such as 0.1 and 0.2; got val={val}, test={test}"
        )
