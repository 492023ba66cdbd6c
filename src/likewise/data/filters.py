"""Keep some of the classes, and some of the images of a class."""

from dataclasses import replace

import numpy as np
import torch
from numpy.random import default_rng

from likewise.data.images import SPLITS, Images
from likewise.data.within_class import place_in_class

__all__ = ["compact", "narrow"]


def narrow(
    images: Images, *, min_per_class: int = 1, max_per_class: int = 0, max_classes: int = 0, seed: int = 0
) -> Images:
    """Filter classes and images; the order stays, and the seed determines the choice.

    min_per_class  classes with fewer images, over all parts, are left out
    max_classes    at most this many of the others; 0 is all
    max_per_class  at most this many images of each class in each part of the source; 0 is all
    Errors: ValueError when no class is left.
    """
    rng = default_rng(seed)
    labels = images.labels.cpu().numpy()
    counts = np.bincount(labels, minlength=len(images.classes))
    enough = np.flatnonzero(counts >= max(1, min_per_class))
    if not len(enough):
        largest = int(counts.argmax()) if len(counts) else 0
        has = f"the largest, {images.classes[largest]!r}, has {counts[largest]}" if len(counts) else "there is no class"
        raise ValueError(f"no class has min_per_class={min_per_class} images: {has}; ask for fewer")
    if max_classes:
        enough = rng.permutation(enough)[:max_classes]
    keep = np.isin(labels, enough)
    if max_per_class:
        part_of_class = labels * len(SPLITS) + images.split.cpu().numpy()
        keep &= place_in_class(part_of_class, rng) < max_per_class
    return images if keep.all() else compact(images.take(torch.from_numpy(np.flatnonzero(keep))))


def compact(images: Images) -> Images:
    """Drop classes without images and renumber the labels."""
    present, labels = images.labels.unique(return_inverse=True)
    return replace(images, labels=labels, classes=tuple(images.classes[i] for i in present.tolist()))
